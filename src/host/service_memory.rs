//! What our own running service holds.

use std::fs;
use std::path::Path;

use super::gpu_clients::gpu_memory_of;

/// Where systemd lists the unit's processes.
const PROCESSES: &str = "sys/fs/cgroup/system.slice/strixhalo.service/cgroup.procs";

/// Memory that is free again once the service has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceMemory {
    /// Bytes of the GPU's memory, GTT and VRAM together.
    pub gtt: u64,
    /// Bytes in RAM that no file backs. Mapped files count as available already.
    pub resident: u64,
    /// The number of its main process.
    pub pid: u32,
}

/// The memory of `strixhalo.service` below `root` (`/` outside of tests); `None`: it does not run.
pub fn service_memory(root: &Path) -> Option<ServiceMemory> {
    let pids = service_processes(root);
    let sum = |each: fn(&Path, u32) -> u64| {
        pids.iter().map(|pid| each(root, *pid)).fold(0, u64::saturating_add)
    };
    Some(ServiceMemory { gtt: sum(gpu_memory_of), resident: sum(resident), pid: *pids.first()? })
}

/// The numbers of the processes of `strixhalo.service`, its main one first; none: it does not run.
pub(super) fn service_processes(root: &Path) -> Vec<u32> {
    let text = fs::read_to_string(root.join(PROCESSES)).unwrap_or_default();
    text.lines().filter_map(|line| line.trim().parse().ok()).collect()
}

fn resident(root: &Path, pid: u32) -> u64 {
    let Ok(status) = fs::read_to_string(root.join(format!("proc/{pid}/status"))) else { return 0 };
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kib.checked_mul(1024)
    };
    ["RssAnon:", "RssShmem:"].iter().filter_map(|name| field(name)).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tree::tree;

    #[test]
    fn the_services_own_memory_is_found_by_its_cgroup() {
        let root = tree(&[
            ("sys/fs/cgroup/system.slice/strixhalo.service/cgroup.procs", "900\n"),
            ("sys/class/kfd/kfd/proc/900/vram_4711", "91268055040\n"),
            (
                "proc/900/status",
                "Name:\tstrixhalo\nVmRSS:\t 3000 kB\nRssAnon:\t    2000 kB\nRssFile:\t 900 kB\nRssShmem:\t 100 kB\n",
            ),
        ]);
        let memory = ServiceMemory { gtt: 91_268_055_040, resident: 2100 << 10, pid: 900 };
        assert_eq!(service_memory(root.path()), Some(memory));
    }

    #[test]
    fn a_service_that_does_not_run_holds_nothing() {
        assert_eq!(service_memory(Path::new("/nonexistent")), None);
        let stopped = [("sys/fs/cgroup/system.slice/strixhalo.service/cgroup.procs", "")];
        assert_eq!(service_memory(tree(&stopped).path()), None);
    }
}
