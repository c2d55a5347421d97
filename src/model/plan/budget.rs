//! How much memory a model and its context may take, with the numbers that lead to it.

use std::fmt;

use serde::Serialize;

use super::error::{gib, gib_of_tenths, tenths};
use crate::host::{Memory, ServiceMemory};

/// The variable that makes buffers of the GPU memory of the process (hipMallocManaged), whatever its
/// value.
pub const UNIFIED_MEMORY: &str = "GGML_CUDA_ENABLE_UNIFIED_MEMORY";

/// Memory left to the rest of the machine, or of the cgroup.
const RESERVE: u64 = 1 << 30;

/// Memory of a GPU that a model is loaded on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GpuMemory {
    /// Bytes that buffers can lie in.
    pub total: u64,
    /// Of that, free.
    pub free: u64,
    /// Whether it is the host's memory, as that of an integrated GPU.
    pub is_shared: bool,
    /// Whether the kernel calls it GTT: system memory that it lets the GPU use.
    pub is_gtt: bool,
}

/// What was read about the memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryReadings {
    /// The machine's memory; `None`: unknown.
    pub host: Option<Memory>,
    /// The GPUs that the model is loaded on; none: the CPU computes it.
    pub gpus: Vec<GpuMemory>,
    /// Whether buffers of the GPU are memory of the process, as with
    /// `GGML_CUDA_ENABLE_UNIFIED_MEMORY`.
    pub is_unified: bool,
    /// What our own running service would give back; `None`: nothing is to count as free.
    pub service: Option<ServiceMemory>,
}

/// Which memory a model is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Account {
    /// Memory of the process: the CPU computes.
    Cpu,
    /// Memory of the process, though a GPU computes: its driver allocates unified memory, which
    /// the GTT neither bounds nor counts.
    Unified,
    /// Memory of the machine that the GPU shares: bounded by what both have free.
    Shared,
    /// A GPU's own memory.
    Gpu,
}

/// Bytes that a model and its context may take, and the parts that lead to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Budget {
    /// Bytes.
    pub bytes: u64,
    /// Which memory they are taken from.
    pub account: Account,
    /// The machine's part; `None`: unknown, or of no concern.
    pub host: Option<HostBudget>,
    /// The GPU's part; `None`: of no concern.
    pub gpu: Option<GpuBudget>,
    /// What the models beside this one need of it, which is not in `bytes`.
    pub beside: u64,
}

impl Budget {
    /// What is left when models beside this one have taken so many bytes.
    #[must_use]
    pub fn without(self, beside: u64) -> Self {
        let bytes = self.bytes.saturating_sub(beside);
        Self { bytes, beside: self.beside.saturating_add(beside), ..self }
    }
}

/// `available + service - cma_free - reserve = free`, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct HostBudget {
    /// What can be taken without swapping: `MemAvailable`, or what a cgroup's limit leaves where
    /// that is less.
    pub available: u64,
    /// The limit of that cgroup.
    pub cgroup_max: Option<u64>,
    /// Held by our own running service, which counts as free.
    pub service: u64,
    /// `CmaFree`, of which nothing can be taken.
    pub cma_free: u64,
    /// Left to others.
    pub reserve: u64,
    /// The rest.
    pub free: u64,
}

/// `total - used + service = free`, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct GpuBudget {
    /// Whether it is GTT, or memory of the GPU itself.
    pub is_gtt: bool,
    /// What buffers can lie in.
    pub total: u64,
    /// Of that, in use.
    pub used: u64,
    /// Of the used, held by our own running service, which counts as free.
    pub service: u64,
    /// The rest.
    pub free: u64,
}

/// What the model and its context may take; `None`: unknown. GPU and host share one memory on the
/// machines this is for, so there the smaller of what both have free counts. The kernel charges a
/// GPU's buffers to no cgroup.
pub fn budget(read: &MemoryReadings) -> Option<Budget> {
    let service = |of: fn(&ServiceMemory) -> u64| read.service.as_ref().map_or(0, of);
    let in_process = read.gpus.is_empty() || read.is_unified;
    let host = read.host.map(|memory| host_budget(memory, in_process, service(|s| s.resident)));
    if in_process {
        let account = if read.gpus.is_empty() { Account::Cpu } else { Account::Unified };
        return host.map(|host| Budget {
            bytes: host.free,
            account,
            host: Some(host),
            gpu: None,
            beside: 0,
        });
    }
    let gpu = gpu_budget(&read.gpus, service(|s| s.gtt));
    if !read.gpus.iter().all(|gpu| gpu.is_shared) {
        let account = Account::Gpu;
        return Some(Budget { bytes: gpu.free, account, host: None, gpu: Some(gpu), beside: 0 });
    }
    // What the service holds of the GPU is memory of the machine as well.
    let host = host.map(|host| HostBudget {
        service: host.service.saturating_add(gpu.service),
        free: host.free.saturating_add(gpu.service),
        ..host
    });
    let bytes = host.map_or(gpu.free, |host| gpu.free.min(host.free));
    Some(Budget { bytes, account: Account::Shared, host, gpu: Some(gpu), beside: 0 })
}

fn host_budget(memory: Memory, in_process: bool, service: u64) -> HostBudget {
    let cgroup = memory.cgroup.filter(|_| in_process);
    let machine = memory.available.saturating_sub(memory.cma_free);
    let (available, cgroup_max, service, cma_free) = match cgroup {
        // The service has a cgroup of its own.
        Some(group) if group.available < machine => (group.available, Some(group.max), 0, 0),
        _ => (memory.available, None, service, memory.cma_free.min(memory.available)),
    };
    let rest = available.saturating_add(service) - cma_free;
    let reserve = RESERVE.min(rest);
    HostBudget { available, cgroup_max, service, cma_free, reserve, free: rest - reserve }
}

fn gpu_budget(gpus: &[GpuMemory], service: u64) -> GpuBudget {
    let sum = |of: fn(&GpuMemory) -> u64| gpus.iter().map(of).fold(0, u64::saturating_add);
    let total = sum(|gpu| gpu.total);
    let free = sum(|gpu| gpu.free.min(gpu.total)).min(total);
    let used = total - free;
    let service = service.min(used);
    let is_gtt = gpus.iter().all(|gpu| gpu.is_gtt);
    GpuBudget { is_gtt, total, used, service, free: free + service }
}

/// The sum and its parts, such as `60.0 GiB are free (64.0 GiB of GTT, less 4.0 GiB in use)`. The
/// numbers add up as they are printed.
impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} are free (", gib(self.bytes))?;
        match (&self.gpu, &self.host) {
            (Some(gpu), host) if host.is_none_or(|host| gpu.free <= host.free) => gpu.fmt(f)?,
            (_, Some(host)) => host.fmt(f)?,
            (_, None) => f.write_str("unknown")?,
        }
        if self.beside > 0 {
            // Rounded so that the sum is right; models that leave nothing are told as they are.
            let beside = match self.bytes {
                0 => tenths(self.beside),
                bytes => tenths(bytes + self.beside) - tenths(bytes),
            };
            let beside = gib_of_tenths(beside);
            write!(f, ", less {beside} for the models of embedding_model and rerank_model")?;
        }
        if self.account == Account::Unified {
            f.write_str(
                "; with GGML_CUDA_ENABLE_UNIFIED_MEMORY in the environment the model is memory of this process and not of the GTT",
            )?;
        }
        f.write_str(")")
    }
}

/// Such as `26.1 GiB available, less 0.1 GiB of CMA and 1.0 GiB left to the system`.
impl fmt::Display for HostBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [service, cma_free, reserve, free] =
            [self.service, self.cma_free, self.reserve, self.free].map(tenths);
        // The largest number takes what rounding leaves.
        let available = (free + reserve + cma_free).saturating_sub(service);
        write!(f, "{} available", gib_of_tenths(available))?;
        if let Some(max) = self.cgroup_max {
            write!(f, " below this cgroup's limit of {}", gib(max))?;
        }
        if self.service > 0 {
            write!(f, " and {} held by strixhalo.service", gib_of_tenths(service))?;
        }
        f.write_str(", less ")?;
        if self.cma_free > 0 {
            write!(f, "{} of CMA and ", gib_of_tenths(cma_free))?;
        }
        write!(f, "{} left to others", gib_of_tenths(reserve))
    }
}

/// Such as `96.0 GiB of GTT, less 70.0 GiB in use`.
impl fmt::Display for GpuBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_gtt { "GTT" } else { "GPU memory" };
        let [total, service, free] = [self.total, self.service, self.free].map(tenths);
        let used = (total + service).saturating_sub(free);
        write!(f, "{} of {kind}, less {} in use", gib_of_tenths(total), gib_of_tenths(used))?;
        if self.service > 0 {
            write!(f, ", of which strixhalo.service would give {} back", gib_of_tenths(service))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::CgroupMemory;

    const GIB: u64 = 1 << 30;

    fn gpu(total: u64, free: u64, is_shared: bool) -> GpuMemory {
        GpuMemory { total: total * GIB, free: free * GIB, is_shared, is_gtt: is_shared }
    }

    fn host(available: u64) -> Option<Memory> {
        Some(Memory { total: 128 * GIB, available: available * GIB, cma_free: 0, cgroup: None })
    }

    fn bytes(host: Option<Memory>, gpus: &[GpuMemory]) -> Option<u64> {
        let read = MemoryReadings { host, gpus: gpus.to_vec(), ..MemoryReadings::default() };
        budget(&read).map(|budget| budget.bytes)
    }

    #[test]
    fn a_shared_memory_is_counted_once_and_a_gpus_own_alone() {
        assert_eq!(bytes(host(65), &[]), Some(64 * GIB));
        assert_eq!(bytes(host(65), &[gpu(96, 96, true)]), Some(64 * GIB));
        assert_eq!(bytes(host(65), &[gpu(96, 32, true)]), Some(32 * GIB));
        assert_eq!(bytes(host(65), &[gpu(96, 96, false), gpu(96, 96, false)]), Some(192 * GIB));
        assert_eq!(bytes(None, &[gpu(1, 1, true)]), Some(GIB));
        assert_eq!(bytes(None, &[]), None);
    }

    #[test]
    fn memory_of_the_contiguous_allocator_is_not_free() {
        let memory = host(65).map(|memory| Memory { cma_free: 4 * GIB, ..memory });
        assert_eq!(bytes(memory, &[]), Some(60 * GIB));
        assert_eq!(bytes(memory, &[gpu(96, 96, true)]), Some(60 * GIB));
        let all = memory.map(|memory| Memory { cma_free: 70 * GIB, ..memory });
        assert_eq!(bytes(all, &[]), Some(0));
    }

    #[test]
    fn a_cgroup_bounds_the_process_but_no_buffers_of_a_gpu_unless_they_are_unified() {
        let cgroup = Some(CgroupMemory { max: 24 * GIB, available: 23 * GIB });
        let host = host(100).map(|memory| Memory { cgroup, ..memory });
        let read = |gpus: &[GpuMemory], is_unified| {
            let read = MemoryReadings { host, gpus: gpus.to_vec(), is_unified, service: None };
            budget(&read).map(|budget| (budget.bytes / GIB, budget.account))
        };
        let gpus = [gpu(96, 90, true)];
        assert_eq!(read(&[], false), Some((22, Account::Cpu)));
        assert_eq!(read(&gpus, false), Some((90, Account::Shared)));
        assert_eq!(read(&gpus, true), Some((22, Account::Unified)));
    }

    #[test]
    fn what_our_own_service_holds_counts_as_free_where_it_is_asked_for() {
        let service = Some(ServiceMemory { gtt: 80 * GIB, resident: 2 * GIB, pid: 1 });
        let read = |host, gpus: &[GpuMemory]| {
            let gpus = gpus.to_vec();
            budget(&MemoryReadings { host, gpus, is_unified: false, service })
        };
        let shared = read(host(20), &[gpu(96, 10, true)]);
        assert_eq!(shared.map(|budget| budget.bytes / GIB), Some(90));
        let of_host = shared.and_then(|budget| budget.host);
        assert_eq!(of_host.map(|host| (host.service / GIB, host.free / GIB)), Some((82, 101)));
        assert_eq!(read(host(20), &[]).map(|budget| budget.bytes / GIB), Some(21));
    }

    /// All numbers of a text in front of ` GiB`, in tenths.
    fn numbers(text: &str) -> Vec<i64> {
        let before = text.split(" GiB").filter_map(|part| part.split([' ', '(']).next_back());
        before.filter_map(|number| number.replace('.', "").parse().ok()).collect()
    }

    #[test]
    fn the_numbers_that_are_printed_add_up() {
        for odd in [0, 7, 51 << 20, 52 << 20, 300_000_000, 777_777_777] {
            let read = MemoryReadings {
                host: Some(Memory {
                    total: 128 * GIB,
                    available: 65 * GIB + odd,
                    cma_free: odd / 3 + 1,
                    cgroup: None,
                }),
                ..MemoryReadings::default()
            };
            let text = budget(&read).map(|budget| budget.to_string()).unwrap_or_default();
            let found = numbers(&text);
            let [free, available, cma, reserve] = found[..] else { panic!("{text}") };
            assert_eq!(available - cma - reserve, free, "{text}");

            let gtt =
                GpuMemory { total: 96 * GIB + odd / 7, free: 60 * GIB + odd, ..gpu(0, 0, true) };
            let read = MemoryReadings {
                host: read.host.map(|m| Memory { available: 128 * GIB, ..m }),
                gpus: vec![gtt],
                ..read
            };
            let text = budget(&read).map(|budget| budget.to_string()).unwrap_or_default();
            let found = numbers(&text);
            let [free, total, used] = found[..] else { panic!("{text}") };
            assert_eq!(total - used, free, "{text}");

            let beside = odd * 13 + GIB;
            let left = budget(&read).map(|budget| budget.without(beside));
            let text = left.map(|budget| budget.to_string()).unwrap_or_default();
            let found = numbers(&text);
            let [free, total, used, beside] = found[..] else { panic!("{text}") };
            assert_eq!(total - used - beside, free, "{text}");
        }
    }

    #[test]
    fn models_that_leave_nothing_are_told_with_what_they_need() {
        let read = MemoryReadings { host: host(65), ..MemoryReadings::default() };
        let left = budget(&read).map(|budget| budget.without(70 * GIB));
        assert_eq!(
            left.map(|budget| budget.to_string()).unwrap_or_default(),
            "0.0 GiB are free (65.0 GiB available, less 1.0 GiB left to others, less 70.0 GiB for the models of embedding_model and rerank_model)"
        );
    }

    #[test]
    fn unified_memory_is_named() {
        let gpus = vec![gpu(96, 96, true)];
        let read = MemoryReadings { host: host(65), gpus, is_unified: true, service: None };
        let text = budget(&read).map(|budget| budget.to_string()).unwrap_or_default();
        assert!(text.starts_with("64.0 GiB are free (65.0 GiB available, less 1.0 GiB"), "{text}");
        assert!(text.contains("GGML_CUDA_ENABLE_UNIFIED_MEMORY"), "{text}");
    }
}
