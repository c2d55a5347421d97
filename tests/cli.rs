//! The command line, by running the real binary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "cli/binary.rs"]
mod binary;
#[path = "cli/cache.rs"]
mod cache;
#[path = "cli/config.rs"]
mod config;
#[path = "cli/generate.rs"]
mod generate;
#[path = "cli/usage.rs"]
mod usage;
#[cfg(feature = "engine")]
#[path = "cli/verify_gpu.rs"]
mod verify_gpu;
