//! Readers of /proc and /sys.

mod cpu;
mod gpu;
mod memory;
mod process;

pub use cpu::physical_cores;
pub use gpu::GpuReading;
pub use memory::{Meminfo, Memory};
pub use process::ProcessUsage;
