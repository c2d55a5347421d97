//! Readers of /proc and /sys.

mod memory;

pub use memory::Memory;
