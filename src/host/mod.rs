//! Readers of /proc and /sys, and the doctor that judges what they read.

mod cpu;
pub mod doctor;
mod driver;
mod fragmentation;
mod gpu;
mod gpu_absence;
mod gpu_clients;
mod gpu_pool;
mod holder;
mod memory;
mod process;
mod service_memory;
#[cfg(test)]
mod tree;

pub use cpu::physical_cores;
pub use driver::{KernelDriver, driver_libraries, kernel_drivers, kernel_release};
pub use fragmentation::free_2mib_blocks;
pub use gpu::{GpuReading, PowerSensor};
pub use gpu_absence::{GpuAbsence, gpu_absence};
pub use gpu_clients::{GpuClient, gpu_clients};
pub use gpu_pool::GpuPool;
pub use holder::{OwnProcess, own_processes};
pub use memory::{CgroupMemory, Meminfo, Memory};
pub use process::ProcessUsage;
pub use service_memory::{ServiceMemory, service_memory};
