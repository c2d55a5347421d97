//! An accepted connection, whatever it came over.

use std::time::Duration;

use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::net::{TcpStream, UnixStream};
use tokio_util::either::Either;

use super::access_log::Client;

/// An accepted connection.
pub(super) type Stream = Either<TcpStream, UnixStream>;

/// Who is at the other end; `None`: a client that has gone already.
pub(super) fn client(stream: &Stream) -> Option<Client> {
    match stream {
        Either::Left(tcp) => Some(Client::Ip(tcp.peer_addr().ok()?.ip().to_canonical())),
        Either::Right(_) => Some(Client::Unix),
    }
}

/// How long data may wait for the client to take it; a file-system socket has no such bound.
pub(super) fn set_write_timeout(stream: &Stream, timeout: Duration) {
    if let Either::Left(tcp) = stream {
        let ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        // Not worth losing the connection for.
        let _ = set_tcp_user_timeout(tcp, ms);
    }
}
