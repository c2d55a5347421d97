//! Why a GPU that this machine has is not used.

use std::fmt;
use std::fs;
use std::path::Path;

use rustix::fs::{Access, access};

/// The vendor of the GPUs that this is about.
const AMD: &str = "0x1002";

/// Class codes of displays and other GPUs on the PCI bus begin like this.
const DISPLAY: &str = "0x03";

/// What keeps a GPU from being used. Its text names the cause and what would help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GpuAbsence {
    /// The kernel's driver amdgpu has not taken it.
    NoDriver {
        /// Its place on the bus.
        pci: String,
    },
    /// A device node is missing.
    NoNode {
        /// Its path.
        path: String,
    },
    /// This process may not open a device node.
    NoPermission {
        /// Its path.
        path: String,
    },
    /// This build computes on the CPU only.
    NoBackend,
    /// The nodes are there, and no backend of this build found a device behind them.
    NotSeen {
        /// The backends.
        backends: Vec<String>,
    },
}

impl fmt::Display for GpuAbsence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDriver { pci } => write!(
                f,
                "no driver has taken the GPU {pci}: load the kernel module amdgpu, and see `dmesg` if it is loaded"
            ),
            Self::NoNode { path } => write!(
                f,
                "{path} does not exist: load the kernel module amdgpu with compute support, or pass the device into this container"
            ),
            Self::NoPermission { path } => write!(
                f,
                "no permission on {path}: this user has to be in the groups render and video, and a service needs DeviceAllow= for it"
            ),
            Self::NoBackend => {
                write!(f, "this build has no GPU backend (cargo features `hip` or `vulkan`)")
            }
            Self::NotSeen { backends } => write!(
                f,
                "{} found no device: the user-space driver is missing or of another version, or a variable such as HIP_VISIBLE_DEVICES, GGML_VK_VISIBLE_DEVICES or VK_DRIVER_FILES hides it",
                backends.join(" and ")
            ),
        }
    }
}

/// Why no GPU can be used by a build with these `backends` (`CPU` does not count), as far as
/// `root`/sys and `root`/dev tell; nothing is opened. To be asked where ggml sees no GPU. `None`:
/// there is no GPU of AMD.
pub fn gpu_absence(root: &Path, backends: &[String]) -> Option<GpuAbsence> {
    let may_open = |path: &Path| access(path, Access::READ_OK | Access::WRITE_OK).is_ok();
    absence(root, backends, may_open)
}

fn absence(
    root: &Path,
    backends: &[String],
    may_open: impl Fn(&Path) -> bool,
) -> Option<GpuAbsence> {
    let gpus = gpus(root);
    let first = gpus.first()?;
    if gpus.iter().all(|gpu| !gpu.has_driver) {
        return Some(GpuAbsence::NoDriver { pci: first.pci.clone() });
    }
    let backends: Vec<String> = backends.iter().filter(|name| *name != "CPU").cloned().collect();
    if backends.is_empty() {
        return Some(GpuAbsence::NoBackend);
    }
    let render = render_node(root).unwrap_or_else(|| "/dev/dri/renderD128".to_owned());
    let compute = backends.iter().any(|name| name == "ROCm").then(|| "/dev/kfd".to_owned());
    for path in compute.into_iter().chain([render]) {
        let node = root.join(path.trim_start_matches('/'));
        if !node.exists() {
            return Some(GpuAbsence::NoNode { path });
        }
        if !may_open(&node) {
            return Some(GpuAbsence::NoPermission { path });
        }
    }
    Some(GpuAbsence::NotSeen { backends })
}

struct PciGpu {
    pci: String,
    has_driver: bool,
}

/// AMD's GPUs on the bus, by their place.
fn gpus(root: &Path) -> Vec<PciGpu> {
    let Ok(entries) = fs::read_dir(root.join("sys/bus/pci/devices")) else { return Vec::new() };
    let mut gpus: Vec<PciGpu> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let is = |file: &str, beginning: &str| {
                fs::read_to_string(path.join(file)).is_ok_and(|text| text.starts_with(beginning))
            };
            (is("vendor", AMD) && is("class", DISPLAY)).then(|| PciGpu {
                pci: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                has_driver: path.join("driver").exists(),
            })
        })
        .collect();
    gpus.sort_by(|a, b| a.pci.cmp(&b.pci));
    gpus
}

/// The first node for computing without a display.
fn render_node(root: &Path) -> Option<String> {
    let entries = fs::read_dir(root.join("dev/dri")).ok()?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let first = names.filter(|name| name.starts_with("renderD")).min()?;
    Some(format!("/dev/dri/{first}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tree::tree;

    const GPU: [(&str, &str); 3] = [
        ("sys/bus/pci/devices/0000:c5:00.0/vendor", "0x1002\n"),
        ("sys/bus/pci/devices/0000:c5:00.0/class", "0x030000\n"),
        ("sys/bus/pci/devices/0000:c5:00.0/driver/bind", ""),
    ];
    const NODES: [(&str, &str); 2] = [("dev/kfd", ""), ("dev/dri/renderD128", "")];

    fn reason(files: &[(&str, &str)], backends: &[&str], closed: &str) -> Option<String> {
        let root = tree(files);
        let backends: Vec<String> = backends.iter().map(|&name| name.to_owned()).collect();
        let may_open = |path: &Path| closed.is_empty() || !path.ends_with(closed);
        absence(root.path(), &backends, may_open).map(|absence| absence.to_string())
    }

    #[test]
    fn the_cause_is_named_that_comes_first_on_the_way_to_a_gpu() {
        let all = [&GPU[..], &NODES[..]].concat();
        for (files, backends, closed, expected) in [
            (&GPU[..2], &["ROCm", "CPU"][..], "", "no driver has taken the GPU 0000:c5:00.0"),
            (&all, &["CPU"], "", "no GPU backend"),
            (&GPU, &["ROCm", "CPU"], "", "/dev/kfd does not exist"),
            (&GPU, &["Vulkan", "CPU"], "", "/dev/dri/renderD128 does not exist"),
            (&all, &["ROCm", "CPU"], "kfd", "no permission on /dev/kfd"),
            (&all, &["ROCm", "CPU"], "renderD128", "no permission on /dev/dri/renderD128"),
            (&all, &["Vulkan", "CPU"], "kfd", "Vulkan found no device"),
            (&all, &["ROCm", "Vulkan", "CPU"], "", "ROCm and Vulkan found no device"),
        ] {
            let reason = reason(files, backends, closed).unwrap_or_default();
            assert!(reason.contains(expected), "{expected}: {reason}");
        }
    }

    #[test]
    fn without_a_gpu_of_amd_nothing_is_amiss() {
        assert_eq!(reason(&NODES, &["Vulkan"], ""), None);
        let other = [
            ("sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n"),
            ("sys/bus/pci/devices/0000:01:00.0/class", "0x030000\n"),
            ("sys/bus/pci/devices/0000:02:00.0/vendor", "0x1002\n"),
            ("sys/bus/pci/devices/0000:02:00.0/class", "0x0c0330\n"),
        ];
        assert_eq!(reason(&other, &["Vulkan"], ""), None);
        assert_eq!(gpu_absence(Path::new("/nonexistent"), &[]), None);
    }
}
