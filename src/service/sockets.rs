//! Sockets that the service manager has opened for us (sd_listen_fds(3)).

use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;

/// What systemd's first passed descriptor is.
const FIRST: usize = 3;

/// A listening socket that was passed in.
#[derive(Debug)]
pub struct PassedSocket {
    /// `FileDescriptorName=` of the socket unit.
    pub name: String,
    /// The socket.
    pub listener: PassedListener,
}

/// A socket by its family.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum PassedListener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// What was passed in cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The variables make no sense.
    #[error(
        "the sockets passed in cannot be used: {0}; LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES are for service managers to set"
    )]
    Variables(std::io::Error),
    /// It is no stream socket of TCP or of the file system.
    #[error(
        "descriptor {descriptor} ({name}), which was passed in, is no TCP or unix stream socket: give the socket unit ListenStream="
    )]
    Kind {
        /// Its number.
        descriptor: usize,
        /// Its name.
        name: String,
    },
    /// It is a connection.
    #[error(
        "descriptor {descriptor} ({name}), which was passed in, does not listen: give the socket unit Accept=no"
    )]
    NotListening {
        /// Its number.
        descriptor: usize,
        /// Its name.
        name: String,
    },
}

/// Takes the sockets that were passed to this process; none if they are for another one. Call it
/// once, before other threads start: the variables are removed from the environment.
pub fn take_passed() -> Result<Vec<PassedSocket>, SocketError> {
    let names: Vec<String> = sd_notify::listen_fds_with_names()
        .map_err(SocketError::Variables)?
        .map(|(_, name)| name)
        .collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut passed = ListenFd::from_env();
    names
        .into_iter()
        .enumerate()
        .map(|(index, name)| {
            let descriptor = FIRST + index;
            let listener = take(&mut passed, index)
                .ok_or_else(|| SocketError::Kind { descriptor, name: name.clone() })?;
            let listens = match &listener {
                PassedListener::Tcp(socket) => socket_acceptconn(socket),
                PassedListener::Unix(socket) => socket_acceptconn(socket),
            };
            match listens {
                Ok(true) => Ok(PassedSocket { name, listener }),
                _ => Err(SocketError::NotListening { descriptor, name }),
            }
        })
        .collect()
}

/// A socket of the other family stays where it is, so that both can be tried.
fn take(passed: &mut ListenFd, index: usize) -> Option<PassedListener> {
    if let Ok(Some(listener)) = passed.take_tcp_listener(index) {
        return Some(PassedListener::Tcp(listener));
    }
    passed.take_unix_listener(index).ok().flatten().map(PassedListener::Unix)
}
