//! systemd's journal.
//!
//! An entry is a datagram, and sending one waits while journald is behind. A thread of its own
//! sends them, so that only it waits.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{io, thread};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, Event, Metadata, Subscriber, Value, dispatcher};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::{Layer, Registry};

/// Entries that wait for journald at most.
const MOST: usize = 1024;
/// How long an event waits for one of them to leave, once; until there is room again, events are
/// dropped.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long the end of the process waits for the last entries.
const FAREWELL: Duration = Duration::from_secs(1);
/// Fields of an entry at most; ours have eleven.
const FIELDS: usize = 32;

static QUEUE: Queue = Queue::new();

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
    let send = move || {
        dispatcher::with_default(&journald, || {
            loop {
                QUEUE.pass_on(Entry::send);
            }
        });
    };
    thread::Builder::new().name("journal".to_owned()).spawn(send)?;
    Ok(Journal)
}

/// Waits until what was logged has been sent, for a second at most.
pub(super) fn flush() {
    QUEUE.wait_until_empty(FAREWELL);
}

/// Takes events to the thread that sends them.
#[derive(Debug)]
pub(super) struct Journal;

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        QUEUE.push(Entry::of(event), PATIENCE);
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

    /// Says in the message that so many before it were dropped.
    fn note(&mut self, lost: u64) {
        if let Some((_, message)) = self.fields.iter_mut().find(|(f, _)| f.name() == "message") {
            *message = format!("({lost} log entries before this one could not be sent) {message}");
        }
    }

    fn send(self) {
        let Some((any, _)) = self.fields.first() else { return };
        let mut values: [(&Field, Option<&dyn Value>); FIELDS] = [(any, None); FIELDS];
        for (place, (field, value)) in values.iter_mut().zip(&self.fields) {
            *place = (field, Some(value));
        }
        Event::dispatch(self.metadata, &self.metadata.fields().value_set(&values));
    }
}

/// Entries on their way to the journal.
#[derive(Debug)]
struct Queue {
    state: Mutex<State>,
    /// An entry came or went.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    entries: VecDeque<Entry>,
    /// One of them has left the queue and is being sent.
    sending: bool,
    /// Dropped since the last one that found room.
    lost: u64,
}

impl State {
    fn is_full(&self) -> bool {
        self.entries.len() >= MOST
    }
}

impl Queue {
    const fn new() -> Self {
        let state = State { entries: VecDeque::new(), sending: false, lost: 0 };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while<'a>(
        &self,
        state: MutexGuard<'a, State>,
        patience: Duration,
        condition: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        let waited = self.changed.wait_timeout_while(state, patience, |state| condition(state));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn push(&self, mut entry: Entry, patience: Duration) {
        let mut state = self.state();
        if state.lost == 0 {
            state = self.wait_while(state, patience, State::is_full);
        }
        if state.is_full() {
            state.lost += 1;
            return;
        }
        if state.lost > 0 {
            entry.note(state.lost);
            state.lost = 0;
        }
        state.entries.push_back(entry);
        self.changed.notify_all();
    }

    /// Waits for an entry and sends it.
    fn pass_on(&self, send: impl FnOnce(Entry)) {
        let mut state = self.state();
        let entry = loop {
            if let Some(entry) = state.entries.pop_front() {
                break entry;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        state.sending = true;
        self.changed.notify_all();
        drop(state);
        send(entry);
        self.state().sending = false;
        self.changed.notify_all();
    }

    fn wait_until_empty(&self, patience: Duration) {
        drop(self.wait_while(self.state(), patience, |s| s.sending || !s.entries.is_empty()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

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
    fn a_reader_that_is_behind_is_waited_for_once_and_the_next_entry_tells_what_was_lost() {
        let queue = Queue::new();
        let push = |patience| queue.push(entry(|| tracing::info!("x")), patience);
        for _ in 0..MOST {
            push(LONG);
        }
        let began = Instant::now();
        push(Duration::from_millis(20));
        assert!(began.elapsed() >= Duration::from_millis(20));
        for _ in 0..3 {
            push(LONG);
        }
        assert!(began.elapsed() < LONG);
        let take = || {
            let mut taken = None;
            queue.pass_on(|entry| taken = Some(entry));
            taken.unwrap()
        };
        take();
        push(LONG);
        for _ in 1..MOST {
            assert_eq!(texts(&take()), [("message", "x")]);
        }
        let note = "(4 log entries before this one could not be sent) x";
        assert_eq!(texts(&take()), [("message", note)]);
    }

    #[test]
    fn the_end_waits_for_what_is_being_sent_but_not_for_ever() {
        let queue = Queue::new();
        queue.wait_until_empty(LONG);
        queue.push(entry(|| tracing::info!("x")), LONG);
        let began = Instant::now();
        queue.wait_until_empty(Duration::from_millis(20));
        assert!(began.elapsed() >= Duration::from_millis(20));
        thread::scope(|scope| {
            let (begun, begins) = std::sync::mpsc::channel();
            let queue = &queue;
            let sends = scope.spawn(move || {
                queue.pass_on(|_| {
                    begun.send(()).unwrap();
                    thread::sleep(Duration::from_millis(20));
                });
            });
            begins.recv().unwrap();
            queue.wait_until_empty(LONG);
            assert!(!queue.state().sending);
            sends.join().unwrap();
        });
        assert!(began.elapsed() < LONG);
    }

    #[test]
    fn a_stream_is_a_device_and_an_inode_and_nothing_else() {
        assert_eq!(parse("8:1234567"), Some((8, 1_234_567)));
        for other in ["", "8", "8:", ":8", "8:x", "8:1:2", "-8:1"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
