//! Telling the service manager how far the server is (sd_notify(3)).

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use sd_notify::NotifyState;

/// Longest wait for the last words to be sent.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// The manager cuts longer ones anyway.
const MAX_STATUS_CHARS: usize = 300;

/// Sends messages to the socket that `NOTIFY_SOCKET` names; without one it does nothing.
///
/// A thread of its own does the sending: a manager that is slow to read must hold up neither the
/// loading of the model nor a request.
#[derive(Debug, Clone, Default)]
pub struct Notifier {
    sender: Option<Sender<Message>>,
}

#[derive(Debug)]
enum Message {
    Text(String),
    /// Answered when all that was sent before is out.
    Flush(Sender<()>),
}

impl Notifier {
    /// The service manager's, if this process has one.
    pub fn from_env() -> Self {
        if std::env::var_os("NOTIFY_SOCKET").is_none_or(|socket| socket.is_empty()) {
            return Self::default();
        }
        let (sender, messages) = channel();
        match thread::Builder::new().name("notify".to_owned()).spawn(move || send_all(messages)) {
            Ok(_) => Self { sender: Some(sender) },
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
    pub(crate) fn recording() -> (Self, Receiver<String>) {
        let (sender, messages) = channel();
        let (record, sent) = channel();
        thread::spawn(move || {
            for message in messages {
                match message {
                    Message::Text(text) => drop(record.send(text)),
                    Message::Flush(done) => drop(done.send(())),
                }
            }
        });
        (Self { sender: Some(sender) }, sent)
    }

    /// Whether anybody listens.
    pub fn is_active(&self) -> bool {
        self.sender.is_some()
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
        let (done, wait) = channel();
        if let Some(sender) = &self.sender
            && sender.send(Message::Flush(done)).is_ok()
        {
            // Too late is as good as sent: the process ends now.
            let _ = wait.recv_timeout(LAST_WORDS);
        }
    }

    fn send(&self, states: &[NotifyState<'_>]) {
        if let Some(sender) = &self.sender {
            let text: Vec<String> = states.iter().map(ToString::to_string).collect();
            // The thread lives as long as there is a sender.
            let _ = sender.send(Message::Text(text.join("\n")));
        }
    }
}

/// How often the watchdog wants a heartbeat: half of what it waits for, if there is one.
pub fn heartbeat_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled()
        .map(|timeout| timeout / 2)
        .filter(|interval| *interval >= Duration::from_millis(1))
}

fn send_all(messages: Receiver<Message>) {
    let mut failing = false;
    for message in messages {
        match message {
            Message::Text(text) => {
                let sent = tell(&text);
                if let Err(error) = &sent
                    && !failing
                {
                    warn(error);
                }
                // A manager that is restarted comes back.
                failing = sent.is_err();
            }
            // The process may have given up waiting.
            Message::Flush(done) => drop(done.send(())),
        }
    }
}

fn tell(text: &str) -> io::Result<()> {
    let socket = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
    match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => tell_abstract(name, text),
        None => sd_notify::notify(&[NotifyState::Custom(text)]),
    }
}

/// sd-notify 0.5 takes an address that is not in the file system for a path.
fn tell_abstract(name: &[u8], text: &str) -> io::Result<()> {
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
