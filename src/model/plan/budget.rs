//! How much memory a model and its context may take.

use crate::host::Memory;

/// Memory left to the rest of the machine.
const RESERVE: u64 = 1 << 30;

/// Memory of a GPU that a model is loaded on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GpuMemory {
    /// Bytes that are free.
    pub free: u64,
    /// Whether it is the host's memory, as that of an integrated GPU.
    pub is_shared: bool,
}

/// Bytes that the model and its context may take; `None`: unknown. Without GPUs that is what the
/// `host` has free. GPU and host share one memory on the machines this is for, so there the
/// smaller of what both have free counts.
pub fn budget(host: Option<Memory>, gpus: &[GpuMemory]) -> Option<u64> {
    let host = host.map(|memory| memory.available.saturating_sub(RESERVE));
    if gpus.is_empty() {
        return host;
    }
    let gpu = gpus.iter().fold(0, |sum: u64, gpu| sum.saturating_add(gpu.free));
    match host {
        Some(host) if gpus.iter().all(|gpu| gpu.is_shared) => Some(gpu.min(host)),
        _ => Some(gpu),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn gpu(free: u64, is_shared: bool) -> GpuMemory {
        GpuMemory { free, is_shared }
    }

    #[test]
    fn a_shared_memory_is_counted_once_and_a_gpus_own_alone() {
        let host = Some(Memory { total: 128 * GIB, available: 65 * GIB });
        assert_eq!(budget(host, &[]), Some(64 * GIB));
        assert_eq!(budget(host, &[gpu(96 * GIB, true)]), Some(64 * GIB));
        assert_eq!(budget(host, &[gpu(32 * GIB, true)]), Some(32 * GIB));
        assert_eq!(budget(host, &[gpu(96 * GIB, false), gpu(96 * GIB, false)]), Some(192 * GIB));
        assert_eq!(budget(None, &[gpu(GIB, true)]), Some(GIB));
        assert_eq!(budget(None, &[]), None);
    }
}
