//! Readers of /proc and /sys.

mod cpu;
mod memory;

pub use cpu::physical_cores;
pub use memory::Memory;
