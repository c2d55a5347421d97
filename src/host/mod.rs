//! Readers of /proc and /sys, and the doctor that judges what they read.

mod cpu;
pub mod doctor;
mod gpu;
mod memory;
mod process;

pub use cpu::physical_cores;
pub use gpu::GpuReading;
pub use memory::{Meminfo, Memory};
pub use process::ProcessUsage;
