//! `strixhalo serve`.

use std::process::ExitCode;

use super::Exit;
use crate::config::Loaded;
use crate::service::logging;

/// Serves with these settings until it is told to stop.
pub(super) fn run(loaded: Loaded) -> ExitCode {
    if let Err(error) = logging::init(&loaded.settings.log) {
        eprintln!("strixhalo: {error}");
        return Exit::Internal.into();
    }
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    for entry in loaded.changed() {
        tracing::info!("setting {} = {} ({})", entry.key, entry.value, entry.origin);
    }
    eprintln!("strixhalo: this build has no server; build one with the `engine` feature");
    Exit::Internal.into()
}
