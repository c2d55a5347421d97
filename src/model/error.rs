//! Why a model cannot be loaded, with the paths and numbers of it.

use std::fmt;
use std::path::{Path, PathBuf};

use super::gguf::GgufError;

const WAY_OUT: &str = "check `model.path` (`--model`, LLAMA_ARG_MODEL or MODEL_FILE)";
/// Names of files in one message.
const MAX_NAMES: usize = 10;
/// Characters of one message: a damaged file holds names that are 64 kB long.
const MAX_CHARS: usize = 2000;

/// Why a model cannot be loaded: one line with the cause and the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelFileError {
    /// There is no such file.
    NotFound {
        /// The file.
        path: PathBuf,
        /// Where it links to, if it is a symbolic link.
        link: Option<PathBuf>,
    },
    /// A part of the path is no directory.
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// Parts of a split model are not there.
    MissingParts {
        /// The first of them.
        first: PathBuf,
        /// How many are missing.
        missing: usize,
        /// How many there should be.
        parts: u32,
    },
    /// The user may not read the file.
    Permission {
        /// The file.
        path: PathBuf,
    },
    /// The system cannot read it now; later it may.
    System {
        /// The file.
        path: PathBuf,
        /// The system's words.
        cause: String,
    },
    /// The file cannot be read for another reason.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        cause: String,
    },
    /// The path is a directory.
    Directory {
        /// The directory.
        path: PathBuf,
        /// Names of the GGUF files in it, sorted.
        models: Vec<String>,
    },
    /// The path is a device, a pipe or a socket.
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The name of a part does not say which one it is.
    PartName {
        /// The file.
        path: PathBuf,
        /// Its number, from 1, as its header says.
        number: u64,
        /// How many parts there are.
        parts: u64,
    },
    /// The file is not a model that can be served.
    Bad {
        /// The file; `None`: it is not on disk.
        path: Option<PathBuf>,
        /// What is wrong with it.
        error: GgufError,
    },
}

impl ModelFileError {
    pub(super) fn bad(path: &Path, error: &GgufError) -> Self {
        Self::Bad { path: Some(path.to_owned()), error: error.clone() }
    }

    fn text(&self) -> String {
        match self {
            Self::NotFound { path, link } => {
                let link = link
                    .as_ref()
                    .map(|to| format!(" (it links to {}, which does not exist)", to.display()))
                    .unwrap_or_default();
                format!("the model file {} does not exist{link}: {WAY_OUT}", path.display())
            }
            Self::NotADirectory { path } => format!(
                "the model file {} does not exist, a part of its path is a file: {WAY_OUT}",
                path.display()
            ),
            Self::MissingParts { first, missing, parts } => {
                let others = match missing {
                    0 | 1 => String::new(),
                    count => format!(" and {} more of its {parts} parts", count - 1),
                };
                format!(
                    "the model is split and {}{others} is missing: download all parts into the same directory",
                    first.display()
                )
            }
            Self::Permission { path } => format!(
                "the model file {} may not be read by this user: change its permissions or owner, or those of its directories",
                path.display()
            ),
            Self::System { path, cause } | Self::Unreadable { path, cause } => {
                format!("the model file {} cannot be read: {cause}", path.display())
            }
            Self::Directory { path, models } if models.is_empty() => format!(
                "{} is a directory without GGUF files: give the path of a GGUF file",
                path.display()
            ),
            Self::Directory { path, models } => {
                let more = match models.len().saturating_sub(MAX_NAMES) {
                    0 => String::new(),
                    count => format!(" and {count} more"),
                };
                format!(
                    "{} is a directory: give one of its files: {}{more}",
                    path.display(),
                    models[..models.len().min(MAX_NAMES)].join(", ")
                )
            }
            Self::NotAFile { path } => {
                format!("{} is not a regular file: give the path of a GGUF file", path.display())
            }
            Self::PartName { path, number, parts } => format!(
                "{} is part {number} of a model split in {parts}, but its name does not say so: name the parts NAME-00001-of-{parts:05}.gguf and so on",
                path.display()
            ),
            Self::Bad { path: Some(path), error } => {
                format!("cannot load the model {}: {error}", path.display())
            }
            Self::Bad { path: None, error } => format!("cannot load the model: {error}"),
        }
    }
}

/// One line of bounded length: names and texts from files may hold line breaks and escape
/// sequences.
impl fmt::Display for ModelFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text();
        let mut chars = text.chars().map(|c| if c.is_control() { ' ' } else { c });
        let line: String = chars.by_ref().take(MAX_CHARS).collect();
        let rest = if chars.next().is_some() { "..." } else { "" };
        write!(f, "{line}{rest}")
    }
}

impl std::error::Error for ModelFileError {}
