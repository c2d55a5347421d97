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

/// Memory of the machine, or of the cgroup where that allows less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// All memory, in bytes.
    pub total: u64,
    /// What can be taken without swapping, in bytes.
    pub available: u64,
}

impl Memory {
    /// Reads `proc/meminfo` and the limits of cgroup v2 below `root` (`/` outside of tests).
    /// `None`: they cannot be read, so nothing is known.
    pub fn read(root: &Path) -> Option<Self> {
        let Meminfo { total, available, .. } = Meminfo::read(root)?;
        let machine = Self { total, available };
        Some(cgroup(root).into_iter().fold(machine, |memory, group| Self {
            total: memory.total.min(group.total),
            available: memory.available.min(group.available),
        }))
    }
}

/// The limited groups that this process is in, from its own up to the root.
fn cgroup(root: &Path) -> Vec<Memory> {
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

fn limited(group: &Path) -> Option<Memory> {
    let number = |file: &str| -> Option<u64> {
        fs::read_to_string(group.join(file)).ok()?.trim().parse().ok()
    };
    // `memory.max` is the word `max` where there is no limit.
    let total = number("memory.max")?;
    let used = number("memory.current").unwrap_or(0);
    // Cached file pages count as used, but give way.
    let cached = fs::read_to_string(group.join("memory.stat"))
        .ok()
        .and_then(|stat| {
            let line = stat.lines().find_map(|line| line.strip_prefix("inactive_file "))?;
            line.trim().parse::<u64>().ok()
        })
        .unwrap_or(0);
    Some(Memory { total, available: total.saturating_sub(used.saturating_sub(cached)).min(total) })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    const MEMINFO: (&str, &str) =
        ("proc/meminfo", "MemTotal:  1000 kB\nMemFree: 10 kB\nMemAvailable:   600 kB\n");

    #[test]
    fn without_a_limit_the_machine_counts() {
        let root = root(&[MEMINFO, ("sys/fs/cgroup/memory.max", "max\n")]);
        let memory = Memory::read(root.path()).unwrap();
        assert_eq!(memory, Memory { total: 1_024_000, available: 614_400 });
    }

    #[test]
    fn the_tightest_group_above_the_process_counts() {
        let root = root(&[
            MEMINFO,
            ("proc/self/cgroup", "0::/system.slice/a.service\n"),
            ("sys/fs/cgroup/system.slice/memory.max", "300000\n"),
            ("sys/fs/cgroup/system.slice/memory.current", "200000\n"),
            ("sys/fs/cgroup/system.slice/memory.stat", "anon 1\ninactive_file 50000\n"),
            ("sys/fs/cgroup/system.slice/a.service/memory.max", "max\n"),
        ]);
        let memory = Memory::read(root.path()).unwrap();
        assert_eq!(memory, Memory { total: 300_000, available: 150_000 });
    }

    #[test]
    fn the_machine_counts_whatever_a_group_allows() {
        let meminfo = "MemTotal: 1000 kB\nMemAvailable: 600 kB\nCmaFree: 64 kB\nSwapTotal: 8 kB\n";
        let meminfo = Meminfo::read(root(&[("proc/meminfo", meminfo)]).path()).unwrap();
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
        assert_eq!(Memory::read(root(&[]).path()), None);
    }
}
