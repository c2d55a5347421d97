//! The command line, by running the real binary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "cli/beside.rs"]
mod beside;
#[path = "cli/binary.rs"]
mod binary;
#[path = "cli/cache.rs"]
mod cache;
#[path = "cli/config.rs"]
mod config;
#[path = "cli/doctor.rs"]
mod doctor;
#[cfg(feature = "engine")]
#[path = "cli/gate.rs"]
mod gate;
#[path = "cli/generate.rs"]
mod generate;
#[allow(dead_code)] // the engine's tests use the rest
#[path = "engine/headers.rs"]
mod headers;
#[path = "cli/plan.rs"]
mod plan;
#[path = "cli/usage.rs"]
mod usage;
#[cfg(feature = "engine")]
#[path = "cli/verify_gpu.rs"]
mod verify_gpu;
