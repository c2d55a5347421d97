//! Logging, metrics, shutdown.

pub mod logging;
