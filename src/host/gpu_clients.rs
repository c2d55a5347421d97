//! Which processes hold memory of a GPU.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::process::numbers;

/// A process that holds memory of GPUs that amdgpu drives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuClient {
    /// Its number.
    pub pid: u32,
    /// Its name, as the kernel keeps it: at most 15 characters; empty if it has ended.
    pub name: String,
    /// Bytes, GTT and VRAM together.
    pub bytes: u64,
}

/// The processes below `root`/proc and `root`/sys, the largest first. The compute driver lists all
/// that use it; what others hold is seen only of processes that this one may look into.
pub fn gpu_clients(root: &Path) -> Vec<GpuClient> {
    let mut held = compute_memory(root);
    for pid in numbers(&root.join("proc")) {
        let graphics = drm_memory(root, pid);
        if graphics > 0 {
            // The compute driver's buffers are those of a DRM client, too.
            held.entry(pid).and_modify(|bytes| *bytes = graphics.max(*bytes)).or_insert(graphics);
        }
    }
    let name = |pid: u32| fs::read_to_string(root.join(format!("proc/{pid}/comm")));
    let mut clients: Vec<GpuClient> = held
        .into_iter()
        .filter(|(_, bytes)| *bytes > 0)
        .map(|(pid, bytes)| GpuClient {
            pid,
            name: name(pid).unwrap_or_default().trim_end().to_owned(),
            bytes,
        })
        .collect();
    clients.sort_by_key(|client| std::cmp::Reverse(client.bytes));
    clients
}

/// Bytes that one process holds of all GPUs.
pub(super) fn gpu_memory_of(root: &Path, pid: u32) -> u64 {
    let compute = compute_memory_of(&root.join(KFD).join(pid.to_string()));
    compute.max(drm_memory(root, pid))
}

/// Where the compute driver lists its processes.
const KFD: &str = "sys/class/kfd/kfd/proc";

fn compute_memory(root: &Path) -> BTreeMap<u32, u64> {
    let folder = root.join(KFD);
    numbers(&folder)
        .into_iter()
        .map(|pid| (pid, compute_memory_of(&folder.join(pid.to_string()))))
        .collect()
}

/// The sum of `vram_<GPU>`, which on an APU counts what lies in the GTT as well.
fn compute_memory_of(process: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(process) else { return 0 };
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            entry.file_name().to_str()?.strip_prefix("vram_")?;
            fs::read_to_string(entry.path()).ok()?.trim().parse::<u64>().ok()
        })
        .fold(0, u64::saturating_add)
}

/// What the clients of amdgpu among a process's open files hold; one that several files lead to
/// counts once.
fn drm_memory(root: &Path, pid: u32) -> u64 {
    let Ok(entries) = fs::read_dir(root.join(format!("proc/{pid}/fdinfo"))) else { return 0 };
    let mut clients = BTreeMap::new();
    for entry in entries.filter_map(Result::ok) {
        let Ok(text) = fs::read_to_string(entry.path()) else { continue };
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.strip_prefix(':')?.trim())
        };
        if field("drm-driver") != Some("amdgpu") {
            continue;
        }
        let client =
            (field("drm-pdev").map(str::to_owned), field("drm-client-id").map(str::to_owned));
        let held = ["drm-memory-gtt", "drm-memory-vram"]
            .iter()
            .filter_map(|name| size(field(name)?))
            .fold(0, u64::saturating_add);
        clients.insert(client, held);
    }
    clients.values().copied().fold(0, u64::saturating_add)
}

/// Such as `4096 KiB`.
fn size(text: &str) -> Option<u64> {
    let (number, unit) = text.split_once(' ').unwrap_or((text, ""));
    let shift = match unit.trim() {
        "" => 0,
        "KiB" => 10,
        "MiB" => 20,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tree::tree;

    /// What two files of one client, and one of another, tell.
    const DISPLAY: &str = "pos:\t0\nflags:\t02100002\ndrm-driver:\tamdgpu\ndrm-client-id:\t7\n\
        drm-pdev:\t0000:c5:00.0\ndrm-memory-vram:\t2048 KiB\ndrm-memory-gtt: \t1024 KiB\n";
    const OTHER: &str = "drm-driver:\tamdgpu\ndrm-client-id:\t8\ndrm-pdev:\t0000:c5:00.0\n\
        drm-memory-vram:\t0\ndrm-memory-gtt:\t1 MiB\n";

    #[test]
    fn who_holds_memory_is_named_the_largest_first_and_nothing_counts_twice() {
        let root = tree(&[
            ("sys/class/kfd/kfd/proc/900/vram_4711", "91268055040\n"),
            ("sys/class/kfd/kfd/proc/900/vram_4712", "1000\n"),
            ("sys/class/kfd/kfd/proc/900/sdma_4711", "5\n"),
            ("sys/class/kfd/kfd/proc/901/vram_4711", "0\n"),
            ("proc/900/comm", "llama-server\n"),
            ("proc/900/fdinfo/12", "drm-driver:\tamdgpu\ndrm-memory-gtt:\t89129937 KiB\n"),
            ("proc/901/comm", "idle\n"),
            ("proc/1500/comm", "gnome-shell\n"),
            ("proc/1500/fdinfo/3", DISPLAY),
            ("proc/1500/fdinfo/4", DISPLAY),
            ("proc/1500/fdinfo/5", OTHER),
            ("proc/1500/fdinfo/6", "pos:\t0\n"),
            ("proc/1600/fdinfo/6", "drm-driver:\ti915\ndrm-memory-gtt:\t1 MiB\n"),
        ]);
        let client = |pid, name: &str, bytes| GpuClient { pid, name: name.to_owned(), bytes };
        assert_eq!(
            gpu_clients(root.path()),
            [client(900, "llama-server", 91_269_055_488), client(1500, "gnome-shell", 4 << 20)]
        );
        assert_eq!(gpu_memory_of(root.path(), 1500), 4 << 20);
        assert_eq!(gpu_clients(Path::new("/nonexistent")), []);
    }

    #[test]
    fn sizes_have_units() {
        let sizes = ["12", "1 KiB", "3 MiB", "1 GiB", "x KiB"].map(size);
        assert_eq!(sizes, [Some(12), Some(1024), Some(3 << 20), None, None]);
    }
}
