//! Where each value came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::error::ErrorKind;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A key of the model's file.
    Model {
        /// The file; none: the model is built in.
        path: Option<PathBuf>,
        /// The key.
        key: &'static str,
    },
    /// A line of the settings file.
    File {
        /// The file as it was named.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
    },
    /// A line of the file given with `--env-file`.
    EnvFile {
        /// The file as it was named.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// The variable set there.
        name: String,
    },
    /// A variable of the process's environment.
    Environment {
        /// The variable.
        name: String,
    },
    /// The command line.
    Flag {
        /// The flag's long form.
        name: String,
    },
}

impl Origin {
    /// The layer: `default`, `model`, `file`, `env-file`, `environment` or `flag`.
    pub fn layer(&self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Model { .. } => "model",
            Self::File { .. } => "file",
            Self::EnvFile { .. } => "env-file",
            Self::Environment { .. } => "environment",
            Self::Flag { .. } => "flag",
        }
    }

    /// The place inside the layer: `path:line`, `path:line NAME`, a variable or a flag; none for
    /// a default.
    pub fn source(&self) -> Option<String> {
        match self {
            Self::Default => None,
            Self::Model { path: Some(path), key } => Some(format!("{} {key}", path.display())),
            Self::Model { path: None, key } => Some((*key).to_owned()),
            Self::File { path, line } => Some(format!("{}:{line}", path.display())),
            Self::EnvFile { path, line, name } => Some(format!("{}:{line} {name}", path.display())),
            Self::Environment { name } | Self::Flag { name } => Some(name.clone()),
        }
    }

    /// The kind of error that a wrong value from here is.
    pub(crate) fn error_kind(&self) -> ErrorKind {
        match self {
            Self::Flag { .. } => ErrorKind::Usage,
            _ => ErrorKind::Content,
        }
    }

    /// Whether this is one of the environment file's own names for the model.
    pub(crate) fn is_model_file(&self) -> bool {
        matches!(self, Self::EnvFile { name, .. } if name == super::names::MODEL_FILE)
    }

    /// The layer's strength: later layers win.
    pub(crate) fn rank(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::Model { .. } => 1,
            Self::File { .. } => 2,
            Self::EnvFile { .. } => 3,
            Self::Environment { .. } => 4,
            Self::Flag { .. } => 5,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.source().as_deref().unwrap_or("default"))
    }
}

/// The origin of every value that somebody set, by dotted key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins(BTreeMap<String, Origin>);

impl Origins {
    /// Whether somebody set `key` (such as `context.ctx_size`); false for a default.
    pub fn is_set(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Where the value of `key` came from.
    pub fn get(&self, key: &str) -> &Origin {
        self.0.get(key).unwrap_or(&Origin::Default)
    }

    /// The keys that somebody set, with their origins, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Origin)> {
        self.0.iter().map(|(key, origin)| (key.as_str(), origin))
    }

    pub(crate) fn set(&mut self, key: &str, origin: Origin) {
        self.0.insert(key.to_owned(), origin);
    }

    pub(crate) fn unset(&mut self, key: &str) {
        self.0.remove(key);
    }
}
