//! The processors this process may compute on.

use std::collections::BTreeSet;
use std::fs;
use std::num::NonZero;
use std::path::Path;

/// Cores that this process may use: two hardware threads of one core count once, as ggml's
/// kernels fill a core with one thread; affinity and cgroup quotas count as the kernel tells.
pub fn physical_cores(root: &Path) -> u32 {
    let allowed = std::thread::available_parallelism().map_or(1, NonZero::get);
    let cores = distinct_cores(root).unwrap_or(allowed);
    u32::try_from(cores.min(allowed).max(1)).unwrap_or(1)
}

/// Distinct sets of sibling threads below `root`/sys.
fn distinct_cores(root: &Path) -> Option<usize> {
    let cores: BTreeSet<String> = fs::read_dir(root.join("sys/devices/system/cpu"))
        .ok()?
        .filter_map(|entry| {
            fs::read_to_string(entry.ok()?.path().join("topology/thread_siblings_list")).ok()
        })
        .collect();
    (!cores.is_empty()).then_some(cores.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_threads_of_a_core_count_once() {
        let root = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        for (cpu, siblings) in [("cpu0", "0-1\n"), ("cpu1", "0-1\n"), ("cpu2", "2-3\n")] {
            let topology = root.path().join("sys/devices/system/cpu").join(cpu).join("topology");
            fs::create_dir_all(&topology).unwrap_or_else(|error| panic!("{error}"));
            fs::write(topology.join("thread_siblings_list"), siblings)
                .unwrap_or_else(|error| panic!("{error}"));
        }
        assert_eq!(distinct_cores(root.path()), Some(2));
        assert_eq!(distinct_cores(Path::new("/nonexistent")), None);
    }
}
