//! The log: lines on stderr.

use std::io::{self, IsTerminal};

use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{LogColors, LogFormat, LogSettings};

/// Why logging could not be set up.
#[derive(Debug, Error)]
pub enum LoggingError {
    /// The filter cannot be parsed.
    #[error("log.level is no filter: {0}; use a level such as info")]
    Filter(#[from] ParseError),
    /// The process has a log already.
    #[error("the log is set up already: {0}")]
    Twice(#[from] TryInitError),
}

/// Sends all events to stderr as the settings say, for the rest of the process.
///
/// `auto` is text here; stdout stays free for results. Call it once, before other threads log.
pub fn init(settings: &LogSettings) -> Result<(), LoggingError> {
    let filter = EnvFilter::try_new(filter(&settings.level))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match settings.format {
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .finish()
            .try_init()?,
        LogFormat::Text | LogFormat::Auto => {
            builder.with_ansi(colors(settings.colors)).with_target(false).finish().try_init()?;
        }
    }
    Ok(())
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
