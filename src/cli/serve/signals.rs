//! The signals that the server answers.

use std::io::{self, IsTerminal};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT stop, SIGHUP reloads.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// Started from a terminal.
    on_terminal: bool,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Stop,
    Reload,
}

/// From now on SIGHUP ends the process no more. Needs a runtime.
pub(super) fn catch_hangups() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}

impl Signals {
    /// From now on none ends the process by itself. Needs a runtime, and somebody who waits for
    /// them: a start that hangs in a GPU's driver can only be ended by the default action.
    pub(super) fn new(hangup: Signal) -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup,
            on_terminal: io::stderr().is_terminal(),
        })
    }

    /// The next signal.
    pub(super) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            // A closed terminal says SIGHUP as well, and means the end.
            _ = self.hangup.recv() => match self.on_terminal && !io::stderr().is_terminal() {
                true => Asked::Stop,
                false => Asked::Reload,
            },
        }
    }

    /// The next one that asks to stop.
    pub(super) async fn stop(&mut self) {
        while self.next().await != Asked::Stop {}
    }
}
