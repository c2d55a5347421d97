//! `strixhalo serve`.

use std::process::ExitCode;

use crate::config::{Loaded, Sources};
#[cfg(feature = "engine")]
use crate::server;
#[cfg(not(feature = "engine"))]
use crate::server::Exit;
use crate::server::Failure;
use crate::service::logging::{self, LogControl};

/// Serves with these settings until it is told to stop; SIGHUP reads them from `sources` again.
pub(super) fn run(sources: Sources, loaded: Loaded) -> ExitCode {
    let log = match logging::init(&loaded.settings.log) {
        Ok(log) => log,
        Err(error) => return Failure::from(error).report(),
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
    match server::serve(sources, loaded, log) {
        Ok(exit) => exit.into(),
        Err(failure) => failure.report(),
    }
}

#[cfg(not(feature = "engine"))]
fn serve(_: Sources, _: Loaded, _: LogControl) -> ExitCode {
    let message = "this build has no server; build one with the `engine` feature";
    Failure::new(Exit::Internal, message).report()
}
