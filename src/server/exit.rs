//! How a command ends: exit codes after sysexits.h, so that systemd and scripts can tell failures
//! apart, and the one table from errors to them.

use std::fmt;
use std::process::ExitCode;

use crate::config::{ConfigError, ErrorKind};
use crate::model::{EmbeddingSourceError, ModelFileError, PlanError, SourceError};
use crate::service::logging::LoggingError;
use crate::service::say;

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done; also after a drain.
    Success = 0,
    /// The command line is wrong, or asks for something that strixhalo lacks.
    Usage = 64,
    /// A model file holds bad data.
    BadModel = 65,
    /// A file that was named, such as the model, does not exist.
    Missing = 66,
    /// A GPU is required or named, and it is not there or computes less than asked for.
    NoGpu = 69,
    /// An internal error, or the model could not be loaded.
    Internal = 70,
    /// The system refused something, such as a port that is in use.
    System = 71,
    /// A file that was named cannot be read.
    Permission = 77,
    /// A settings file or a variable holds something wrong.
    Config = 78,
    /// A second SIGTERM cut the drain short.
    Terminated = 143,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command ends with an error. Any error that [`Exit`] has a code for becomes one with `?`.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// One line; several mistakes in the settings are a line each.
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// Prints the message on stderr and gives the exit code. This is the command's last word: it
    /// does not go through the log, whose level might hide it.
    pub(crate) fn report(&self) -> ExitCode {
        self.message.lines().for_each(say);
        self.exit.into()
    }
}

impl<E: fmt::Display> From<E> for Failure
where
    for<'a> Exit: From<&'a E>,
{
    fn from(error: E) -> Self {
        Self { exit: Exit::from(&error), message: error.to_string() }
    }
}

impl From<&ConfigError> for Exit {
    fn from(error: &ConfigError) -> Self {
        match error.kind() {
            ErrorKind::Usage => Self::Usage,
            ErrorKind::Missing => Self::Missing,
            ErrorKind::Unreadable => Self::Permission,
            ErrorKind::Content => Self::Config,
        }
    }
}

impl From<&LoggingError> for Exit {
    fn from(error: &LoggingError) -> Self {
        match error {
            LoggingError::Output(_) => Self::System,
            LoggingError::Filter(_) | LoggingError::Twice(_) | LoggingError::Level(_) => {
                Self::Config
            }
        }
    }
}

impl From<&ModelFileError> for Exit {
    fn from(error: &ModelFileError) -> Self {
        match error {
            ModelFileError::NotFound { .. }
            | ModelFileError::NotADirectory { .. }
            | ModelFileError::MissingParts { .. } => Self::Missing,
            ModelFileError::Permission { .. } | ModelFileError::Unreadable { .. } => {
                Self::Permission
            }
            ModelFileError::System { .. } => Self::System,
            ModelFileError::Directory { .. }
            | ModelFileError::NotAFile { .. }
            | ModelFileError::PartName { .. }
            | ModelFileError::Bad { .. } => Self::BadModel,
        }
    }
}

impl From<&SourceError> for Exit {
    fn from(error: &SourceError) -> Self {
        match error {
            SourceError::File(error) => error.into(),
            SourceError::Builtin(_) => Self::Internal,
            SourceError::Memory(_) => Self::System,
        }
    }
}

impl From<&EmbeddingSourceError> for Exit {
    fn from(error: &EmbeddingSourceError) -> Self {
        match error {
            EmbeddingSourceError::File { error, .. } => error.into(),
            EmbeddingSourceError::SameName { .. } => Self::Config,
            EmbeddingSourceError::NoPooling { .. }
            | EmbeddingSourceError::IsReranker { .. }
            | EmbeddingSourceError::NoReranker { .. }
            | EmbeddingSourceError::NoChatModel { .. } => Self::BadModel,
        }
    }
}

impl From<&PlanError> for Exit {
    fn from(error: &PlanError) -> Self {
        match error {
            PlanError::Memory(_) => Self::Internal,
            PlanError::TooFewTokens { .. }
            | PlanError::TooManyTokens { .. }
            | PlanError::CacheType { .. }
            | PlanError::TwoCacheTypes
            | PlanError::QuantizedWithoutFlash => Self::Config,
        }
    }
}

/// The table of what the server's start can meet.
#[cfg(feature = "engine")]
mod start {
    use std::io;

    use super::Exit;
    use crate::engine::{LoadError, NoSuchDevice};
    use crate::http::{KeyError, ListenError};
    use crate::server::selftest::SelfTestError;
    use crate::service::sockets::SocketError;

    impl From<&KeyError> for Exit {
        fn from(error: &KeyError) -> Self {
            match error {
                KeyError::Unreadable { source, .. }
                    if source.kind() == io::ErrorKind::PermissionDenied =>
                {
                    Self::Permission
                }
                KeyError::Unreadable { .. } | KeyError::NoKeyInFile { .. } | KeyError::EmptyKey => {
                    Self::Config
                }
            }
        }
    }

    impl From<&SocketError> for Exit {
        fn from(_: &SocketError) -> Self {
            Self::System
        }
    }

    impl From<&ListenError> for Exit {
        fn from(error: &ListenError) -> Self {
            match error {
                ListenError::Permission { .. } => Self::Permission,
                ListenError::Setting(_) => Self::Config,
                _ => Self::System,
            }
        }
    }

    impl From<&LoadError> for Exit {
        fn from(error: &LoadError) -> Self {
            match error {
                LoadError::Offload { .. } => Self::NoGpu,
                _ => Self::Internal,
            }
        }
    }

    /// Not a mistake in the settings for sure: the GPU may have been there yesterday.
    impl From<&NoSuchDevice> for Exit {
        fn from(_: &NoSuchDevice) -> Self {
            Self::NoGpu
        }
    }

    impl From<&SelfTestError> for Exit {
        fn from(_: &SelfTestError) -> Self {
            Self::Internal
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::model::{ModelFileError, PlanError};

        fn unreadable(kind: io::ErrorKind) -> KeyError {
            KeyError::Unreadable { path: "keys".into(), source: kind.into() }
        }

        #[test]
        fn what_a_start_meets_ends_with_the_code_of_its_kind() {
            for (exit, expected) in [
                (Exit::from(&unreadable(io::ErrorKind::PermissionDenied)), 77),
                (Exit::from(&unreadable(io::ErrorKind::NotFound)), 78),
                (Exit::from(&KeyError::EmptyKey), 78),
                (Exit::from(&ListenError::Setting(String::new())), 78),
                (Exit::from(&ListenError::NotOurs { address: String::new() }), 71),
                (Exit::from(&LoadError::WarmUp(String::new())), 70),
                (Exit::from(&LoadError::Offload { offloaded: 3, asked: 6 }), 69),
                (Exit::from(&NoSuchDevice { asked: "ROCm1".to_owned(), known: vec![] }), 69),
                (Exit::from(&ModelFileError::Directory { path: "m".into(), models: vec![] }), 65),
                (Exit::from(&ModelFileError::NotFound { path: "m".into(), link: None }), 66),
                (Exit::from(&ModelFileError::System { path: "m".into(), cause: "".into() }), 71),
                (Exit::from(&ModelFileError::Permission { path: "m".into() }), 77),
                (Exit::from(&PlanError::TooFewTokens { ctx_size: 1, slots: 2 }), 78),
            ] {
                assert_eq!(exit as u8, expected, "{exit:?}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_settings_end_with_the_codes_of_the_table() {
        for (kind, code) in [
            (ErrorKind::Usage, 64),
            (ErrorKind::Missing, 66),
            (ErrorKind::Unreadable, 77),
            (ErrorKind::Content, 78),
        ] {
            let failure = Failure::from(ConfigError::new(kind, "why"));
            assert_eq!((failure.exit as u8, failure.message.as_str()), (code, "why"));
        }
    }
}
