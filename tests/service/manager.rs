//! A service manager's side of sd_notify(3).

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use crate::harness::PATIENCE;

/// A notification socket; every message is kept.
pub struct Manager {
    socket: UnixDatagram,
    address: String,
    /// Of a socket that has a path.
    _directory: Option<tempfile::TempDir>,
    heard: Vec<Message>,
}

/// The variables of one message, in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Message(Vec<(String, String)>);

impl Message {
    fn parse(text: &str) -> Self {
        let pairs = text.lines().map(|line| line.split_once('=').expect("NAME=VALUE"));
        Self(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// All names but that of the status, which is for people.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str()).filter(|name| *name != "STATUS")
    }
}

impl Manager {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let address = path.to_str().expect("UTF-8").to_owned();
        Self { socket, address, _directory: Some(directory), heard: Vec::new() }
    }

    /// At an address that is not in the file system.
    pub fn abstract_address() -> Self {
        let name = format!("strixhalo-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        Self { socket, address: format!("@{name}"), _directory: None, heard: Vec::new() }
    }

    /// `NOTIFY_SOCKET=..`
    pub fn variable(&self) -> String {
        format!("NOTIFY_SOCKET={}", self.address)
    }

    /// The next message, if one comes in time.
    pub fn next(&mut self, patience: Duration) -> Option<Message> {
        let mut buffer = [0; 4096];
        self.socket.set_read_timeout(Some(patience.max(Duration::from_millis(1)))).unwrap();
        let n = self.socket.recv(&mut buffer).ok()?;
        let message = Message::parse(std::str::from_utf8(&buffer[..n]).expect("UTF-8"));
        self.heard.push(message.clone());
        Some(message)
    }

    /// Reads up to the first message of this kind.
    pub fn wait_for(&mut self, what: &str, wanted: impl Fn(&Message) -> bool) -> Message {
        let start = Instant::now();
        while let Some(left) = PATIENCE.checked_sub(start.elapsed()) {
            match self.next(left) {
                Some(message) if wanted(&message) => return message,
                _ => {}
            }
        }
        panic!("no {what}; heard: {:#?}", self.heard);
    }

    pub fn wait_for_name(&mut self, name: &str) -> Message {
        self.wait_for(name, |message| message.has(name))
    }

    /// Forgets what waits to be read.
    pub fn skip_waiting(&mut self) {
        while self.next(Duration::from_millis(1)).is_some() {}
    }

    /// Every message so far.
    pub fn heard(&self) -> &[Message] {
        &self.heard
    }
}
