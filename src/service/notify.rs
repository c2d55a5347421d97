//! Telling the service manager how far the server is (sd_notify(3)).

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;

use super::queue::Queue;

/// Longest wait for the last messages to be sent.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// Messages that wait for the manager at most; heartbeats and progress come again.
const MAX_MESSAGES: usize = 64;
/// The manager cuts longer ones anyway.
const MAX_STATUS_CHARS: usize = 300;

/// Sends messages to the socket that `NOTIFY_SOCKET` names; without one it does nothing.
///
/// A thread of its own does the sending: a manager that is slow to read must hold up neither the
/// loading of the model nor a request.
#[derive(Debug, Clone, Default)]
pub struct Notifier {
    messages: Option<Arc<Queue<String>>>,
}

impl Notifier {
    /// The service manager's, if this process has one.
    pub fn from_env() -> Self {
        if std::env::var_os("NOTIFY_SOCKET").is_none_or(|socket| socket.is_empty()) {
            return Self::default();
        }
        let mut failing = false;
        let send = move |text: String, _| {
            let sent = notify(&text);
            if let Err(error) = &sent
                && !failing
            {
                warn(error);
            }
            // A manager that is restarted comes back.
            failing = sent.is_err();
        };
        match Queue::new("notify", MAX_MESSAGES, send) {
            Ok(messages) => Self { messages: Some(Arc::new(messages)) },
            Err(error) => {
                tracing::warn!(
                    "cannot start the thread that talks to the service manager: {error}"
                );
                Self::default()
            }
        }
    }

    /// One whose messages can be read.
    #[cfg(all(test, feature = "engine"))]
    pub(crate) fn recording() -> (Self, std::sync::mpsc::Receiver<String>) {
        let (record, sent) = std::sync::mpsc::channel();
        let queue = Queue::new("notify", MAX_MESSAGES, move |text, _| drop(record.send(text)));
        (Self { messages: queue.ok().map(Arc::new) }, sent)
    }

    /// Whether anybody listens.
    pub fn is_active(&self) -> bool {
        self.messages.is_some()
    }

    /// What the server does, in a line for people.
    pub fn status(&self, status: &str) {
        self.send(&[NotifyState::Status(&one_line(status))]);
    }

    /// Starting takes longer: asks for this much time until the next such message.
    pub fn starting(&self, status: &str, extend: Duration) {
        self.send(&[NotifyState::Status(&one_line(status)), extension(extend)]);
    }

    /// The server serves, or has finished reloading.
    pub fn ready(&self, status: &str) {
        self.send(&[NotifyState::Ready, NotifyState::Status(&one_line(status))]);
    }

    /// The server reads its settings again; [`Self::ready`] must follow.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => {
                let status = NotifyState::Status("reading the settings again");
                self.send(&[NotifyState::Reloading, now, status]);
            }
            Err(error) => tracing::warn!("cannot read the monotonic clock: {error}"),
        }
    }

    /// The server stops, within this time.
    pub fn stopping(&self, status: &str, within: Duration) {
        let status = one_line(status);
        self.send(&[NotifyState::Stopping, NotifyState::Status(&status), extension(within)]);
    }

    /// The server is alive.
    pub fn heartbeat(&self) {
        self.send(&[NotifyState::Watchdog]);
    }

    /// Waits, not for long, until all messages are out.
    pub fn flush(&self) {
        if let Some(messages) = &self.messages {
            messages.flush(FLUSH_TIMEOUT);
        }
    }

    fn send(&self, states: &[NotifyState<'_>]) {
        if let Some(messages) = &self.messages {
            let text: Vec<String> = states.iter().map(ToString::to_string).collect();
            messages.push(text.join("\n"));
        }
    }
}

/// How often the watchdog wants a heartbeat: half of what it waits for, if there is one.
pub fn heartbeat_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled()
        .map(|timeout| timeout / 2)
        .filter(|interval| *interval >= Duration::from_millis(1))
}

fn notify(text: &str) -> io::Result<()> {
    let socket = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
    match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => notify_abstract(name, text),
        None => sd_notify::notify(&[NotifyState::Custom(text)]),
    }
}

/// sd-notify 0.5 takes an address that is not in the file system for a path.
fn notify_abstract(name: &[u8], text: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?;
    socket.send(text.as_bytes()).map(drop)
}

fn warn(error: &io::Error) {
    let socket = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
    tracing::warn!(
        "the service manager cannot be told anything: NOTIFY_SOCKET is {}: {error}; going on without it",
        socket.display()
    );
}

fn extension(time: Duration) -> NotifyState<'static> {
    NotifyState::ExtendTimeoutUsec(u32::try_from(time.as_micros()).unwrap_or(u32::MAX))
}

/// A line break would begin another variable.
fn one_line(text: &str) -> String {
    text.chars().take(MAX_STATUS_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_cannot_hold_another_variable() {
        assert_eq!(one_line("failed: a\nREADY=1"), "failed: a READY=1");
        assert_eq!(one_line(&"ä".repeat(1000)).chars().count(), MAX_STATUS_CHARS);
    }

    #[test]
    fn a_time_beyond_what_the_message_holds_is_the_longest() {
        let long = extension(Duration::from_secs(100_000)).to_string();
        assert_eq!(long, format!("EXTEND_TIMEOUT_USEC={}", u32::MAX));
    }
}
