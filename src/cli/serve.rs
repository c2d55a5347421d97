//! `strixhalo serve`.

#[cfg(feature = "engine")]
mod decide;
#[cfg(feature = "engine")]
mod load;
#[cfg(feature = "engine")]
mod run;
#[cfg(feature = "engine")]
mod source;

use std::process::ExitCode;

use super::Exit;
use crate::config::Loaded;
use crate::service::logging;

/// Serves with these settings until it is told to stop.
pub(super) fn run(loaded: Loaded) -> ExitCode {
    if let Err(error) = logging::init(&loaded.settings.log) {
        eprintln!("strixhalo: {error}");
        return Exit::Config.into();
    }
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    serve(loaded)
}

#[cfg(feature = "engine")]
fn serve(loaded: Loaded) -> ExitCode {
    match run::serve(loaded) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            // Not through the log: this is the command's last word, whatever the log level.
            eprintln!("strixhalo: {}", failure.message);
            ExitCode::from(failure.exit_code)
        }
    }
}

#[cfg(not(feature = "engine"))]
fn serve(_: Loaded) -> ExitCode {
    eprintln!("strixhalo: this build has no server; build one with the `engine` feature");
    Exit::Internal.into()
}
