//! Readers of /proc and /sys.

mod cpu;
mod driver;
mod gpu;
mod holder;
mod memory;
mod process;

pub use cpu::physical_cores;
pub use driver::{KernelDriver, driver_libraries, kernel_drivers, kernel_release};
pub use gpu::GpuReading;
pub use holder::{OwnProcess, own_processes};
pub use memory::Memory;
pub use process::ProcessUsage;
