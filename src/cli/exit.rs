//! Exit codes, after sysexits.h, so that systemd and scripts can tell failures apart.

use std::process::ExitCode;

use crate::config::ConfigError;
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
    /// A GPU is required and there is none.
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

/// Prints the error on stderr, a line for each mistake, and gives its exit code.
pub(crate) fn refuse(error: &ConfigError) -> ExitCode {
    for line in error.to_string().lines() {
        say(line);
    }
    ExitCode::from(error.exit_code())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ErrorKind;

    #[test]
    fn errors_of_settings_end_with_the_codes_of_the_table() {
        for (kind, exit) in [
            (ErrorKind::Usage, Exit::Usage),
            (ErrorKind::Missing, Exit::Missing),
            (ErrorKind::Unreadable, Exit::Permission),
            (ErrorKind::Content, Exit::Config),
        ] {
            assert_eq!(ConfigError::new(kind, "").exit_code(), exit as u8);
        }
    }
}
