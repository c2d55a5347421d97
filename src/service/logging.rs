//! The log: lines on stderr, or entries in systemd's journal.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use signal_hook::consts::SIGXFSZ;
use thiserror::Error;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use super::stderr::Stderr;
use super::{journal, stderr};
use crate::config::{LogColors, LogFormat, LogSettings};

/// How long the end of the process waits for the last lines or entries.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Why logging could not be set up, or its level not be changed.
#[derive(Debug, Error)]
pub enum LoggingError {
    /// The filter cannot be parsed.
    #[error("log.level is no filter: {0}; use a level such as info")]
    Filter(#[from] ParseError),
    /// The process has a log already.
    #[error("the log is set up already: {0}")]
    Twice(#[from] TryInitError),
    /// The thread that writes the log cannot be started.
    #[error("the log cannot be written: {0}")]
    Output(io::Error),
    /// The log is gone.
    #[error("the log level cannot be changed: {0}")]
    Level(#[from] reload::Error),
}

/// Changes the level of the running log.
#[derive(Debug, Clone)]
pub struct LogControl {
    filter: reload::Handle<EnvFilter, Registry>,
}

impl LogControl {
    /// Takes effect for all threads at once.
    pub fn set_level(&self, level: &str) -> Result<(), LoggingError> {
        let filter = EnvFilter::try_new(filter(level))?;
        Ok(self.filter.reload(filter)?)
    }
}

/// Sends all events where the settings say, for the rest of the process.
///
/// stdout stays free for results. Call it once, before other threads log.
pub fn init(settings: &LogSettings) -> Result<LogControl, LoggingError> {
    let filter = EnvFilter::try_new(filter(&settings.level))?;
    let (filter, control) = reload::Layer::new(filter);
    let wanted = match settings.format {
        LogFormat::Journald => true,
        LogFormat::Auto => journal::is_stderr(),
        LogFormat::Text | LogFormat::Json => false,
    };
    let journal = wanted.then(journal::layer);
    if !matches!(journal, Some(Ok(_))) {
        stderr::start().map_err(LoggingError::Output)?;
    }
    // A log file that has reached its size limit is like a full disk.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
    if settings.format == LogFormat::Json {
        stderr::use_json();
    }
    let output = match (&settings.format, &journal) {
        // Told apart below, so that the type of the subscriber stays one.
        (_, Some(Ok(_))) => None,
        (LogFormat::Json, _) => Some(
            fmt::layer()
                .json()
                .flatten_event(true)
                .with_current_span(true)
                .with_span_list(false)
                .with_writer(|| Stderr)
                .boxed(),
        ),
        _ => Some(
            fmt::layer()
                .with_ansi(colors(settings.colors))
                .with_target(false)
                .with_writer(|| Stderr)
                .boxed(),
        ),
    };
    let (journal, refused) = match journal {
        Some(Ok(layer)) => (Some(layer), None),
        Some(Err(error)) => (None, Some(error)),
        None => (None, None),
    };
    tracing_subscriber::registry().with(filter).with(output).with(journal).try_init()?;
    if let Some(error) = refused {
        tracing::warn!(
            "the journal cannot be reached: {error}; logging lines to stderr instead (log.format = \"text\" asks for them)"
        );
    }
    Ok(LogControl { filter: control })
}

/// Waits a moment for what has been logged and is not out yet; for the end of the process.
pub fn flush() {
    stderr::flush(FLUSH_TIMEOUT);
    journal::flush(FLUSH_TIMEOUT);
}

/// At `info` llama.cpp writes some 150 lines about a model; they are for `debug`.
fn filter(level: &str) -> String {
    match level {
        "info" => "info,llama-cpp-2=warn".to_owned(),
        other => other.to_owned(),
    }
}

fn colors(setting: LogColors) -> bool {
    match setting {
        LogColors::On => true,
        LogColors::Off => false,
        // https://no-color.org: present and not empty, whatever its value.
        LogColors::Auto => {
            let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            !refused && io::stderr().is_terminal()
        }
    }
}
