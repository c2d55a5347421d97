//! The signals that the server answers.

use std::io::{self, IsTerminal};

use tokio::signal::unix::{self, SignalKind, signal};

/// SIGTERM and SIGINT stop, SIGHUP reloads.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hangup: unix::Signal,
    /// Started from a terminal.
    on_terminal: bool,
}

/// What a signal asks the server to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Stop,
    Reload,
}

/// From now on SIGHUP ends the process no more. Needs a runtime.
pub(crate) fn catch_hangups() -> io::Result<unix::Signal> {
    signal(SignalKind::hangup())
}

impl Signals {
    /// From now on none ends the process by itself. Needs a runtime, and somebody who waits for
    /// them: a start that hangs in a GPU's driver can only be ended by the default action.
    pub(crate) fn new(hangup: unix::Signal) -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup,
            on_terminal: io::stderr().is_terminal(),
        })
    }

    /// The next signal.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.interrupt.recv() => Signal::Stop,
            // A closed terminal says SIGHUP as well, and means the end.
            _ = self.hangup.recv() => match self.on_terminal && !io::stderr().is_terminal() {
                true => Signal::Stop,
                false => Signal::Reload,
            },
        }
    }

    /// The next one that asks to stop.
    pub(crate) async fn stop(&mut self) {
        while self.next().await != Signal::Stop {}
    }
}
