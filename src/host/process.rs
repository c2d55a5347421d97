//! The list of processes, and what this one uses.

use std::fs;
use std::path::Path;

use procfs::process::{LimitValue, Process};

/// What this process uses, by the names of Prometheus's client libraries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProcessUsage {
    /// Processor time of all threads, in seconds.
    pub cpu_seconds: f64,
    /// Memory in RAM, in bytes; a model that is mapped counts as far as it is there.
    pub resident_bytes: u64,
    /// Address space, in bytes.
    pub virtual_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// Most that may be open; `None`: there is no limit.
    pub max_fds: Option<u64>,
}

impl ProcessUsage {
    /// Reads proc/self below `root` (`/` outside of tests). `None`: it cannot be read.
    pub fn read(root: &Path) -> Option<Self> {
        let process = Process::new_with_root(root.join("proc/self")).ok()?;
        let stat = process.stat().ok()?;
        let limit = process.limits().ok()?.max_open_files.soft_limit;
        Some(Self {
            cpu_seconds: (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64,
            resident_bytes: stat.rss * procfs::page_size(),
            virtual_bytes: stat.vsize,
            threads: u64::try_from(stat.num_threads).unwrap_or(0),
            open_fds: process.fd_count().ok()? as u64,
            max_fds: match limit {
                LimitValue::Value(most) => Some(most),
                LimitValue::Unlimited => None,
            },
        })
    }
}

/// The numbers of the processes that a folder lists, such as `/proc`, among other things.
pub(super) fn numbers(folder: &Path) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_threads_and_files() {
        let usage = ProcessUsage::read(Path::new("/")).unwrap();
        assert!(usage.resident_bytes > 1 << 20 && usage.virtual_bytes > usage.resident_bytes);
        assert!(usage.threads >= 1 && usage.open_fds >= 3);
        assert!(usage.max_fds.is_none_or(|most| most >= usage.open_fds));
        assert!(usage.cpu_seconds >= 0.0);
        assert_eq!(ProcessUsage::read(Path::new("/nonexistent")), None);
    }
}
