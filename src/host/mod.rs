//! Readers of /proc and /sys.

mod cpu;
mod gpu;
mod memory;
mod process;

pub use cpu::physical_cores;
pub use gpu::{GpuReading, PowerSensor};
pub use memory::Memory;
pub use process::ProcessUsage;
