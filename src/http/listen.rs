//! Binding the addresses of `server.host`, or taking sockets that were passed in.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, UnixListener};

use super::socket::Stream;
use crate::config::Settings;
use crate::service::sockets::{PassedListener, PassedSocket};

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 1024;

/// A bound address.
#[derive(Debug)]
pub struct Listener {
    socket: BoundSocket,
    address: String,
    /// Its maker keeps it: connections wait there while no server runs.
    passed: bool,
}

#[derive(Debug)]
enum BoundSocket {
    Tcp(TcpListener),
    /// The file is there if it was made here: that of a passed socket is its maker's.
    Unix {
        listener: UnixListener,
        _file: Option<SocketFile>,
    },
}

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process listens there.
    #[error(
        "{address} is in use: choose another with {option}, or stop its owner (`ss {filter}` names it)"
    )]
    InUse {
        /// The address.
        address: String,
        /// The option that changes it.
        option: &'static str,
        /// Arguments of `ss` that find the owner.
        filter: String,
    },
    /// The system does not let this user listen there.
    #[error("no permission to listen on {address}: {hint}")]
    Permission {
        /// The address.
        address: String,
        /// The way out.
        hint: &'static str,
    },
    /// The host name has no address.
    #[error(
        "cannot find the address of host `{host}`: {reason}; `--host` takes IP addresses, host names and unix:PATH"
    )]
    UnknownHost {
        /// The name.
        host: String,
        /// What the resolver said.
        reason: String,
    },
    /// No interface has the address.
    #[error(
        "cannot listen on {address}: no network interface has this address; see `ip address`, or take 0.0.0.0 for all"
    )]
    NotOurs {
        /// The address.
        address: String,
    },
    /// A setting that names no address.
    #[error("{0}")]
    Setting(String),
    /// Anything else that the system answers.
    #[error("cannot listen on {address}: {source}")]
    System {
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
}

/// What an entry of `server.host` means.
#[derive(Debug, PartialEq, Eq)]
enum Host<'a> {
    Ip(IpAddr),
    Name(&'a str),
    Unix(&'a Path),
}

impl<'a> Host<'a> {
    fn parse(entry: &'a str) -> Result<Self, ListenError> {
        let entry = entry.trim();
        let path = entry
            .strip_prefix("unix:")
            // llama-server's form
            .or_else(|| entry.ends_with(".sock").then_some(entry));
        if let Some(path) = path {
            return match path {
                "" => Err(ListenError::Setting("`unix:` in `server.host` needs a path".into())),
                path => Ok(Self::Unix(Path::new(path))),
            };
        }
        let bare = entry.strip_prefix('[').and_then(|e| e.strip_suffix(']')).unwrap_or(entry);
        match bare.parse() {
            Ok(ip) => Ok(Self::Ip(ip)),
            Err(_) if entry.is_empty() => {
                Err(ListenError::Setting("`server.host` holds an empty address".into()))
            }
            Err(_) => Ok(Self::Name(entry)),
        }
    }
}

/// The host names in `server.host`, which has addresses and paths as well.
pub(super) fn names(hosts: &[String]) -> impl Iterator<Item = &str> {
    hosts.iter().filter_map(|host| match Host::parse(host) {
        Ok(Host::Name(name)) => Some(name),
        _ => None,
    })
}

/// Binds every address of `server.host` and logs each as `listening on http://ADDRESS:PORT` or
/// `listening on unix:PATH`. Port 0 takes a free port.
pub async fn bind(settings: &Settings) -> Result<Vec<Listener>, ListenError> {
    let server = &settings.server;
    if server.host.is_empty() {
        return Err(ListenError::Setting(
            "`server.host` is empty: name at least one address, such as 127.0.0.1".into(),
        ));
    }
    let hosts = server.host.iter().map(|h| Host::parse(h)).collect::<Result<Vec<_>, _>>()?;
    // Alone, `::` takes IPv4 as well; beside others that would take their address away.
    let v6_only = hosts.len() > 1;
    let mut seen = HashSet::new();
    let mut listeners = Vec::new();
    for host in hosts {
        match host {
            Host::Unix(path) => listeners.push(bind_unix(path)?),
            Host::Ip(ip) if seen.insert(ip) => {
                listeners.push(bind_tcp(SocketAddr::new(ip, server.port), v6_only)?);
            }
            Host::Ip(_) => {}
            Host::Name(name) => {
                let mut addresses = resolve(name, server.port).await?;
                addresses.retain(|a| seen.insert(a.ip()));
                listeners.extend(bind_name(&addresses)?);
            }
        }
    }
    for listener in &listeners {
        tracing::info!("listening on {}", listener.address);
    }
    Ok(listeners)
}

/// Takes sockets that listen already, and logs each as [`bind`] does, with its name. Whoever
/// opened them keeps them: connections wait there while no server runs.
pub fn adopt(sockets: Vec<PassedSocket>) -> Result<Vec<Listener>, ListenError> {
    sockets
        .into_iter()
        .map(|PassedSocket { name, listener }| {
            let error = |source| ListenError::System { address: format!("socket {name}"), source };
            let listener = adopt_one(listener).map_err(error)?;
            tracing::info!(
                "listening on {} (socket {name} was passed in: server.host and server.port are not used)",
                listener.address
            );
            Ok(listener)
        })
        .collect()
}

fn adopt_one(listener: PassedListener) -> io::Result<Listener> {
    match listener {
        PassedListener::Tcp(socket) => {
            socket.set_nonblocking(true)?;
            let listener = TcpListener::from_std(socket)?;
            let address = format!("http://{}", listener.local_addr()?);
            Ok(Listener { socket: BoundSocket::Tcp(listener), address, passed: true })
        }
        PassedListener::Unix(socket) => {
            socket.set_nonblocking(true)?;
            let address = socket.local_addr()?;
            let address = match (address.as_pathname(), address.as_abstract_name()) {
                (Some(path), _) => format!("unix:{}", path.display()),
                (None, Some(name)) => format!("unix:@{}", String::from_utf8_lossy(name)),
                (None, None) => "unix:(unnamed)".to_owned(),
            };
            let listener = UnixListener::from_std(socket)?;
            Ok(Listener {
                socket: BoundSocket::Unix { listener, _file: None },
                address,
                passed: true,
            })
        }
    }
}

async fn resolve(name: &str, port: u16) -> Result<Vec<SocketAddr>, ListenError> {
    let unknown = |reason: String| ListenError::UnknownHost { host: name.to_owned(), reason };
    let found: Vec<_> =
        tokio::net::lookup_host((name, port)).await.map_err(|e| unknown(e.to_string()))?.collect();
    if found.is_empty() {
        return Err(unknown("it has none".to_owned()));
    }
    Ok(found)
}

/// Binds the addresses of one name, on one port. `localhost` often has an IPv6 address on
/// machines without IPv6: one address that works is enough.
fn bind_name(addresses: &[SocketAddr]) -> Result<Vec<Listener>, ListenError> {
    let mut bound: Vec<Listener> = Vec::new();
    let mut failed = None;
    for &address in addresses {
        let port = match bound.first().map(|l| &l.socket) {
            Some(BoundSocket::Tcp(tcp)) => tcp.local_addr().map_or(0, |a| a.port()),
            _ => address.port(),
        };
        match bind_tcp(SocketAddr::new(address.ip(), port), true) {
            Ok(listener) => bound.push(listener),
            Err(error @ ListenError::NotOurs { .. }) => failed = Some(error),
            Err(error) => return Err(error),
        }
    }
    match failed {
        Some(error) if bound.is_empty() => Err(error),
        _ => Ok(bound),
    }
}

fn bind_tcp(address: SocketAddr, v6_only: bool) -> Result<Listener, ListenError> {
    let bound = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // A restart need not wait for the last connections' TIME_WAIT.
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(v6_only)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    let listener = bound().map_err(|source| tcp_error(address, source))?;
    let address = listener.local_addr().map_err(|source| tcp_error(address, source))?;
    let address = format!("http://{address}");
    Ok(Listener { socket: BoundSocket::Tcp(listener), address, passed: false })
}

fn tcp_error(address: SocketAddr, source: io::Error) -> ListenError {
    match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse {
            address: address.to_string(),
            option: "--port or --host",
            filter: format!("-ltnp sport = :{}", address.port()),
        },
        io::ErrorKind::PermissionDenied => ListenError::Permission {
            address: address.to_string(),
            hint: "ports below 1024 need CAP_NET_BIND_SERVICE; choose another with --port",
        },
        io::ErrorKind::AddrNotAvailable => ListenError::NotOurs { address: address.to_string() },
        // A kernel without IPv6.
        _ if address.is_ipv6()
            && rustix::io::Errno::from_io_error(&source)
                == Some(rustix::io::Errno::AFNOSUPPORT) =>
        {
            ListenError::NotOurs { address: address.to_string() }
        }
        _ => ListenError::System { address: address.to_string(), source },
    }
}

fn bind_unix(path: &Path) -> Result<Listener, ListenError> {
    let address = format!("unix:{}", path.display());
    remove_stale(path, &address)?;
    let error = |source: io::Error| unix_error(address.clone(), source);
    let listener = std::os::unix::net::UnixListener::bind(path).map_err(error)?;
    let file = SocketFile::of(path.to_owned()).map_err(error)?;
    // Connecting needs write permission: the owner and its group get it.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(error)?;
    listener.set_nonblocking(true).map_err(error)?;
    let listener = UnixListener::from_std(listener).map_err(error)?;
    Ok(Listener {
        socket: BoundSocket::Unix { listener, _file: Some(file) },
        address,
        passed: false,
    })
}

/// Removes the socket file of a process that is gone; nothing else.
fn remove_stale(path: &Path, address: &str) -> Result<(), ListenError> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(ListenError::Setting(format!(
            "{} exists and is not a socket: move it away, or choose another path in `server.host`",
            path.display()
        )));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|e| unix_error(address.to_owned(), e))
        }
        // Gone in the meantime: binding will tell.
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            Err(unix_error(address.to_owned(), e))
        }
        // Somebody answers, or is too busy to.
        _ => Err(ListenError::InUse {
            address: address.to_owned(),
            option: "--host unix:PATH",
            filter: format!("-lxp src {}", path.display()),
        }),
    }
}

fn unix_error(address: String, source: io::Error) -> ListenError {
    match source.kind() {
        io::ErrorKind::PermissionDenied => ListenError::Permission {
            address,
            hint: "the user needs write permission in the directory and to an old socket in it",
        },
        io::ErrorKind::InvalidInput => ListenError::Setting(format!(
            "{address} is no possible socket path ({source}): choose a shorter one in `server.host`"
        )),
        io::ErrorKind::NotFound => ListenError::Setting(format!(
            "cannot listen on {address}: its directory does not exist"
        )),
        _ => ListenError::System { address, source },
    }
}

/// Removes the socket's file when the listener is dropped, unless another process has put its
/// own in the place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn of(path: PathBuf) -> io::Result<Self> {
        let identity = Self::identity(&path)?;
        Ok(Self { path, identity })
    }

    fn identity(path: &Path) -> io::Result<(u64, u64)> {
        std::fs::symlink_metadata(path).map(|m| (m.dev(), m.ino()))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if Self::identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            // Nothing depends on it: the next start removes a stale file.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Listener {
    /// The address as a URL, such as `http://127.0.0.1:8091`, or `unix:PATH`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// It was opened by another process, which keeps it.
    pub(super) fn is_passed(&self) -> bool {
        self.passed
    }

    /// Whether other machines may connect.
    pub(super) fn is_reachable(&self) -> bool {
        match &self.socket {
            BoundSocket::Tcp(listener) => {
                !listener.local_addr().is_ok_and(|a| a.ip().to_canonical().is_loopback())
            }
            BoundSocket::Unix { .. } => false,
        }
    }

    /// The next connection.
    pub(super) async fn accept(&self) -> io::Result<Stream> {
        match &self.socket {
            BoundSocket::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // A token must not wait for the acknowledgement of the one before. A client
                // that vanished without a word is noticed by keep-alive probes. Neither option
                // is worth losing the connection for.
                let _ = stream.set_nodelay(true);
                let probes = TcpKeepalive::new()
                    .with_time(std::time::Duration::from_secs(60))
                    .with_interval(std::time::Duration::from_secs(15));
                let _ = SockRef::from(&stream).set_tcp_keepalive(&probes);
                Ok(Stream::Left(stream))
            }
            BoundSocket::Unix { listener, .. } => {
                listener.accept().await.map(|(stream, _)| Stream::Right(stream))
            }
        }
    }
}

#[cfg(test)]
mod tests;
