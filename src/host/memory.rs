//! How much memory there is, and how much this process may still take.

use std::fs;
use std::path::Path;

/// Memory of the machine, in bytes, whatever a cgroup allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meminfo {
    /// All that the system sees.
    pub total: u64,
    /// What can be taken without swapping.
    pub available: u64,
    /// Free memory of the contiguous allocator, which counts as available and is not for everyone.
    pub cma_free: u64,
    /// Swap space.
    pub swap_total: u64,
    /// Of that, free.
    pub swap_free: u64,
}

impl Meminfo {
    /// Reads `proc/meminfo` below `root` (`/` outside of tests).
    pub fn read(root: &Path) -> Option<Self> {
        let meminfo = fs::read_to_string(root.join("proc/meminfo")).ok()?;
        let field = |name: &str| {
            let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
            let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
            kib.checked_mul(1024)
        };
        Some(Self {
            total: field("MemTotal:")?,
            available: field("MemAvailable:")?,
            cma_free: field("CmaFree:").unwrap_or(0),
            swap_total: field("SwapTotal:").unwrap_or(0),
            swap_free: field("SwapFree:").unwrap_or(0),
        })
    }
}

/// Memory of the machine, and what cgroups leave of it to this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// All memory of the machine, in bytes.
    pub total: u64,
    /// What can be taken without swapping (`MemAvailable`), in bytes.
    pub available: u64,
    /// Free pages of the contiguous allocator (`CmaFree`), in bytes: they count as available, but
    /// no memory that stays in place, such as a GPU's, can be taken from them.
    pub cma_free: u64,
    /// The tightest limit of a cgroup that this process is in.
    pub cgroup: Option<CgroupMemory>,
}

/// What a cgroup with a limit allows. The kernel does not charge a GPU's buffers to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CgroupMemory {
    /// The limit (`memory.max`), in bytes.
    pub max: u64,
    /// What can still be taken below it, in bytes.
    pub available: u64,
}

impl Memory {
    /// Reads `proc/meminfo` and the limits of cgroup v2 below `root` (`/` outside of tests).
    /// `None`: they cannot be read, so nothing is known.
    pub fn read(root: &Path) -> Option<Self> {
        let Meminfo { total, available, cma_free, .. } = Meminfo::read(root)?;
        let cgroup = cgroups(root).into_iter().min_by_key(|group| group.available);
        Some(Self { total, available, cma_free, cgroup })
    }
}

/// The limited groups that this process is in, from its own up to the root.
fn cgroups(root: &Path) -> Vec<CgroupMemory> {
    let Ok(text) = fs::read_to_string(root.join("proc/self/cgroup")) else { return Vec::new() };
    let Some(own) = text.lines().find_map(|line| line.strip_prefix("0::/")) else {
        return Vec::new();
    };
    // A path outside of this process's cgroup namespace begins with `..`.
    if own.split('/').any(|part| part == "..") {
        return Vec::new();
    }
    Path::new(own)
        .ancestors()
        .filter_map(|group| limited(&root.join("sys/fs/cgroup").join(group)))
        .collect()
}

fn limited(group: &Path) -> Option<CgroupMemory> {
    let number = |file: &str| -> Option<u64> {
        fs::read_to_string(group.join(file)).ok()?.trim().parse().ok()
    };
    // `memory.max` is the word `max` where there is no limit.
    let max = number("memory.max")?;
    let used = number("memory.current").unwrap_or(0);
    // Cached file pages count as used, but give way.
    let cached = fs::read_to_string(group.join("memory.stat"))
        .ok()
        .and_then(|stat| {
            let line = stat.lines().find_map(|line| line.strip_prefix("inactive_file "))?;
            line.trim().parse::<u64>().ok()
        })
        .unwrap_or(0);
    Some(CgroupMemory { max, available: max.saturating_sub(used.saturating_sub(cached)) })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::host::tree::tree;

    const MEMINFO: (&str, &str) = (
        "proc/meminfo",
        "MemTotal:  1000 kB\nMemFree: 10 kB\nMemAvailable:   600 kB\nCmaFree:    20 kB\n",
    );

    #[test]
    fn without_a_limit_the_machine_counts() {
        let root = tree(&[MEMINFO, ("sys/fs/cgroup/memory.max", "max\n")]);
        let memory = Memory::read(root.path()).unwrap();
        let expected =
            Memory { total: 1_024_000, available: 614_400, cma_free: 20_480, cgroup: None };
        assert_eq!(memory, expected);
    }

    #[test]
    fn the_tightest_group_above_the_process_counts() {
        let root = tree(&[
            MEMINFO,
            ("proc/self/cgroup", "0::/system.slice/a.service\n"),
            ("sys/fs/cgroup/system.slice/memory.max", "300000\n"),
            ("sys/fs/cgroup/system.slice/memory.current", "200000\n"),
            ("sys/fs/cgroup/system.slice/memory.stat", "anon 1\ninactive_file 50000\n"),
            ("sys/fs/cgroup/system.slice/a.service/memory.max", "max\n"),
        ]);
        let memory = Memory::read(root.path()).unwrap();
        assert_eq!(memory.cgroup, Some(CgroupMemory { max: 300_000, available: 150_000 }));
    }

    #[test]
    fn the_machine_counts_whatever_a_group_allows() {
        let meminfo = "MemTotal: 1000 kB\nMemAvailable: 600 kB\nCmaFree: 64 kB\nSwapTotal: 8 kB\n";
        let meminfo = Meminfo::read(tree(&[("proc/meminfo", meminfo)]).path()).unwrap();
        let expected = Meminfo {
            total: 1_024_000,
            available: 614_400,
            cma_free: 65_536,
            swap_total: 8192,
            swap_free: 0,
        };
        assert_eq!(meminfo, expected);
    }

    #[test]
    fn without_meminfo_nothing_is_known() {
        assert_eq!(Memory::read(tree(&[]).path()), None);
    }
}
