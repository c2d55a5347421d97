//! systemd's journal.
//!
//! An entry is a datagram, and sending one waits while journald is behind: a thread of its own
//! sends them.

use std::fmt::Debug;
use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, Event, Metadata, Subscriber, Value, dispatcher};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::{Layer, Registry};

use super::queue::Queue;

/// Entries that wait for journald at most.
const MAX_ENTRIES: usize = 1024;
/// Fields of an entry at most; ours have eleven.
const MAX_FIELDS: usize = 32;

static ENTRIES: OnceLock<Queue<Entry>> = OnceLock::new();

/// Whether stderr is connected to the journal: systemd says so in `JOURNAL_STREAM`, as the device
/// and the inode of the socket. A redirection such as `2>file` inside the unit makes them differ.
pub(super) fn is_stderr() -> bool {
    let Ok(stat) = rustix::fs::fstat(rustix::stdio::stderr()) else { return false };
    std::env::var("JOURNAL_STREAM")
        .ok()
        .and_then(|stream| parse(&stream))
        .is_some_and(|stream| stream == (stat.st_dev, stat.st_ino))
}

fn parse(stream: &str) -> Option<(u64, u64)> {
    let (device, inode) = stream.split_once(':')?;
    Some((device.parse().ok()?, inode.parse().ok()?))
}

/// Sends each event as one entry: the message, and its fields under their own names in capitals
/// (`request_id` is `REQUEST_ID`), so that `journalctl REQUEST_ID=..` finds it.
pub(super) fn layer() -> io::Result<Journal> {
    let mappings = PriorityMappings {
        // The crate's own has info as notice and debug as info, which `journalctl -p` would show
        // one level too high.
        info: Priority::Informational,
        debug: Priority::Debug,
        trace: Priority::Debug,
        ..PriorityMappings::new()
    };
    let layer = tracing_journald::Layer::new()?
        .with_field_prefix(None)
        .with_syslog_identifier(env!("CARGO_PKG_NAME").to_owned())
        .with_priority_mappings(mappings);
    // It is handed events that the log's own filter has let pass, and must not make others
    // worth recording: no call site counts on it.
    let journald = Dispatch::new(Registry::default().with(layer).with(LevelFilter::OFF));
    let send = move |mut entry: Entry, dropped| {
        if dropped > 0 {
            entry.note(dropped);
        }
        dispatcher::with_default(&journald, || entry.send());
    };
    // A second log is refused where it is set up.
    let _ = ENTRIES.set(Queue::new("journal", MAX_ENTRIES, send)?);
    Ok(Journal)
}

/// Waits until what was logged has been sent, at most this long.
pub(super) fn flush(timeout: Duration) {
    if let Some(entries) = ENTRIES.get() {
        entries.flush(timeout);
    }
}

/// Takes events to the thread that sends them.
#[derive(Debug)]
pub(super) struct Journal;

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if let Some(entries) = ENTRIES.get() {
            entries.push(Entry::of(event));
        }
    }
}

/// An event that outlives the call that logged it.
#[derive(Debug)]
struct Entry {
    metadata: &'static Metadata<'static>,
    fields: Vec<(Field, String)>,
}

impl Visit for Entry {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.push((field.clone(), value.to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.fields.push((field.clone(), format!("{value:?}")));
    }
}

impl Entry {
    fn of(event: &Event<'_>) -> Self {
        let mut entry = Self { metadata: event.metadata(), fields: Vec::new() };
        event.record(&mut entry);
        entry
    }

    /// Says in the message how many before it were dropped.
    fn note(&mut self, dropped: u64) {
        if let Some((_, message)) = self.fields.iter_mut().find(|(f, _)| f.name() == "message") {
            *message =
                format!("({dropped} log entries before this one could not be sent) {message}");
        }
    }

    fn send(self) {
        let Some((any, _)) = self.fields.first() else { return };
        let mut values: [(&Field, Option<&dyn Value>); MAX_FIELDS] = [(any, None); MAX_FIELDS];
        for (place, (field, value)) in values.iter_mut().zip(&self.fields) {
            *place = (field, Some(value));
        }
        Event::dispatch(self.metadata, &self.metadata.fields().value_set(&values));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// The entry of an event, as the layer makes it.
    fn entry(log: impl FnOnce()) -> Entry {
        struct Catch(Arc<Mutex<Option<Entry>>>);
        impl<S: Subscriber> Layer<S> for Catch {
            fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
                *self.0.lock().unwrap() = Some(Entry::of(event));
            }
        }
        let caught = Arc::default();
        let subscriber = Registry::default().with(Catch(Arc::clone(&caught)));
        tracing::subscriber::with_default(subscriber, log);
        let entry = caught.lock().unwrap().take();
        entry.expect("an event")
    }

    fn texts(entry: &Entry) -> Vec<(&str, &str)> {
        entry.fields.iter().map(|(field, text)| (field.name(), text.as_str())).collect()
    }

    #[test]
    fn an_entry_keeps_the_values_that_the_event_had() {
        let first = entry(|| tracing::info!(status = 200, client = "a b", none = ?None::<u8>, "x"));
        let values = [("message", "x"), ("status", "200"), ("client", "a b"), ("none", "None")];
        assert_eq!(texts(&first), values);
        let again = entry(|| first.send());
        assert_eq!(texts(&again), values);
        assert_eq!(*again.metadata.level(), tracing::Level::INFO);
    }

    #[test]
    fn an_entry_says_how_many_before_it_were_dropped() {
        let mut entry = entry(|| tracing::info!("x"));
        entry.note(4);
        let note = "(4 log entries before this one could not be sent) x";
        assert_eq!(texts(&entry), [("message", note)]);
    }

    #[test]
    fn a_stream_is_a_device_and_an_inode_and_nothing_else() {
        assert_eq!(parse("8:1234567"), Some((8, 1_234_567)));
        for other in ["", "8", "8:", ":8", "8:x", "8:1:2", "-8:1"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
