//! `strixhalo serve`.

#[cfg(feature = "engine")]
mod decide;
#[cfg(feature = "engine")]
mod layout;
#[cfg(feature = "engine")]
mod load;
#[cfg(feature = "engine")]
mod reload;
#[cfg(feature = "engine")]
mod run;
#[cfg(feature = "engine")]
mod signals;
#[cfg(feature = "engine")]
mod source;
#[cfg(feature = "engine")]
mod supervise;

use std::process::ExitCode;

use super::Exit;
use crate::config::{Loaded, Sources};
use crate::service::logging::{self, LogControl};
use crate::service::say;

/// Serves with these settings until it is told to stop; SIGHUP reads them from `sources` again.
pub(super) fn run(sources: Sources, loaded: Loaded) -> ExitCode {
    let log = match logging::init(&loaded.settings.log) {
        Ok(log) => log,
        Err(error) => {
            say(&error.to_string());
            return Exit::Config.into();
        }
    };
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let exit = serve(sources, loaded, log);
    logging::flush();
    exit
}

#[cfg(feature = "engine")]
fn serve(sources: Sources, loaded: Loaded, log: LogControl) -> ExitCode {
    match run::serve(sources, loaded, log) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            // Not through the log: this is the command's last word, whatever the log level.
            say(&failure.message);
            ExitCode::from(failure.exit_code)
        }
    }
}

#[cfg(not(feature = "engine"))]
fn serve(_: Sources, _: Loaded, _: LogControl) -> ExitCode {
    say("this build has no server; build one with the `engine` feature");
    Exit::Internal.into()
}
