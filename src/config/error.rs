//! What can be wrong with settings, as one line and its kind.

use std::fmt;
use std::io;
use std::path::Path;

/// Why settings could not be loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The command line is wrong, or asks for something that strixhalo lacks.
    Usage,
    /// A settings file or a variable holds something wrong.
    Content,
    /// A file that was named does not exist.
    Missing,
    /// A file that was named cannot be read.
    Unreadable,
}

/// An error in the settings: a line that says where, what, and the way out; several mistakes in one
/// file are a line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    kind: ErrorKind,
    message: String,
}

impl ConfigError {
    /// An error of this kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The failure to read `path`, which is called `what` in the message.
    pub(crate) fn reading(what: &str, path: &Path, error: &io::Error) -> Self {
        let path = path.display();
        match error.kind() {
            io::ErrorKind::NotFound => Self::new(
                ErrorKind::Missing,
                format!("{what} {path} does not exist; create it or name another one"),
            ),
            io::ErrorKind::IsADirectory => Self::new(
                ErrorKind::Missing,
                format!("{what} {path} is a directory; name a file in it"),
            ),
            io::ErrorKind::InvalidData => Self::new(
                ErrorKind::Content,
                format!("{what} {path} is not UTF-8 text; save it as UTF-8"),
            ),
            _ => Self::new(
                ErrorKind::Unreadable,
                format!("{what} {path} cannot be read: {error}; check its permissions"),
            ),
        }
    }

    /// The kind of error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConfigError {}
