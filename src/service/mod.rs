//! Logging, metrics, shutdown.
