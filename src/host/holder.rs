//! Which of our own processes hold the GPU. What this user may not read is not guessed.

use std::fs;
use std::path::Path;

use super::process::numbers;
use super::service_memory::service_processes;

/// The name of the binary.
const BINARY: &str = "strixhalo";

/// A process of ours that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnProcess {
    /// Its id.
    pub pid: u32,
    /// Whether it is the service's.
    pub is_unit: bool,
    /// Whether it holds the GPU; `None`: this user may not see that.
    pub holds_gpu: Option<bool>,
}

/// Our processes below `root` (`/` outside of tests) but this one, `own`: those of the service by its
/// control group, others by the name of their program, which is readable for processes of this user.
pub fn own_processes(root: &Path, own: u32) -> Vec<OwnProcess> {
    let of_unit = service_processes(root);
    let mut all: Vec<u32> = numbers(&root.join("proc"))
        .into_iter()
        .filter(|pid| is_ours(root, *pid))
        .chain(of_unit.iter().copied())
        .filter(|pid| *pid != own)
        .collect();
    all.sort_unstable();
    all.dedup();
    let process = |pid: u32| OwnProcess {
        pid,
        is_unit: of_unit.contains(&pid),
        holds_gpu: holds_gpu(root, pid),
    };
    all.into_iter().map(process).collect()
}

fn is_ours(root: &Path, pid: u32) -> bool {
    let process = root.join("proc").join(pid.to_string());
    let comm = fs::read_to_string(process.join("comm")).unwrap_or_default();
    let exe = fs::read_link(process.join("exe")).ok();
    comm.trim() == BINARY
        || exe.is_some_and(|exe| exe.file_name().is_some_and(|name| name == BINARY))
}

/// ROCm's processes are listed for all to see; open files only its own user sees.
fn holds_gpu(root: &Path, pid: u32) -> Option<bool> {
    if root.join("sys/class/kfd/kfd/proc").join(pid.to_string()).exists() {
        return Some(true);
    }
    let files = fs::read_dir(root.join("proc").join(pid.to_string()).join("fd")).ok()?;
    let mut targets = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    let is_gpu = |path: &Path| {
        path == Path::new("/dev/kfd") || path.starts_with("/dev/dri") && is_render(path)
    };
    Some(targets.any(|target| is_gpu(&target)))
}

fn is_render(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("renderD"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    struct Tree(tempfile::TempDir);

    impl Tree {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn file(self, path: &str, text: &str) -> Self {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            self
        }

        fn open(self, pid: u32, target: &str) -> Self {
            let folder = self.0.path().join(format!("proc/{pid}/fd"));
            fs::create_dir_all(&folder).unwrap();
            let number = fs::read_dir(&folder).unwrap().count();
            symlink(target, folder.join(number.to_string())).unwrap();
            self
        }

        fn found(&self) -> Vec<(u32, bool, Option<bool>)> {
            let all = own_processes(self.0.path(), 99);
            all.into_iter().map(|p| (p.pid, p.is_unit, p.holds_gpu)).collect()
        }
    }

    const GROUP: &str = "sys/fs/cgroup/system.slice/strixhalo.service/cgroup.procs";

    #[test]
    fn a_service_on_rocm_is_seen_by_everyone() {
        let tree = Tree::new().file(GROUP, "41\n").file("sys/class/kfd/kfd/proc/41/pasid", "1\n");
        assert_eq!(tree.found(), [(41, true, Some(true))]);
    }

    #[test]
    fn a_service_whose_files_cannot_be_read_is_not_guessed_about() {
        let tree = Tree::new().file(GROUP, "41\n").file("proc/41/comm", "strixhalo\n");
        assert_eq!(tree.found(), [(41, true, None)]);
        let tree = tree.open(41, "/dev/null").open(41, "/dev/dri/card0");
        assert_eq!(tree.found(), [(41, true, Some(false))]);
    }

    #[test]
    fn other_processes_of_ours_count_by_their_program_and_their_files() {
        let tree = Tree::new()
            .file("proc/7/comm", "strixhalo\n")
            .open(7, "/dev/dri/renderD128")
            .file("proc/8/comm", "engine\n")
            .open(8, "/dev/kfd")
            .file("proc/9/comm", "glxgears\n")
            .open(9, "/dev/dri/renderD128")
            .file("proc/99/comm", "strixhalo\n")
            .open(99, "/dev/dri/renderD128")
            .file("proc/self/comm", "strixhalo\n");
        symlink("/nix/store/x/bin/strixhalo", tree.0.path().join("proc/8/exe")).unwrap();
        assert_eq!(tree.found(), [(7, false, Some(true)), (8, false, Some(true))]);
        assert_eq!(own_processes(Path::new("/nonexistent"), 1), []);
    }
}
