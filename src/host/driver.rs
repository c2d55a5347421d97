//! Which drivers a GPU is used through: the kernel's, and the libraries that this process has loaded.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A graphics card and the kernel's driver of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelDriver {
    /// The kernel's name, such as `card0`.
    pub card: String,
    /// The driver's name, such as `amdgpu`.
    pub driver: String,
    /// Its version, which only drivers have that do not come with the kernel.
    pub version: Option<String>,
    /// Address on the PCI bus.
    pub address: Option<String>,
}

/// The cards below `root`/sys (`/` outside of tests), by name.
pub fn kernel_drivers(root: &Path) -> Vec<KernelDriver> {
    let Ok(entries) = fs::read_dir(root.join("sys/class/drm")) else { return Vec::new() };
    let mut all: Vec<KernelDriver> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let card = entry.file_name().into_string().ok()?;
            // `card0-HDMI-A-1` is a connector.
            if !card.strip_prefix("card")?.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            let text = fs::read_to_string(entry.path().join("device/uevent")).ok()?;
            let value = |key: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(key))?;
                line.strip_prefix('=').map(str::to_owned)
            };
            let driver = value("DRIVER")?;
            let version = line(&root.join("sys/module").join(&driver).join("version"));
            Some(KernelDriver { card, driver, version, address: value("PCI_SLOT_NAME") })
        })
        .collect();
    all.sort_by(|a, b| a.card.cmp(&b.card));
    all
}

/// The kernel's release, such as `6.17.0`.
pub fn kernel_release(root: &Path) -> Option<String> {
    line(&root.join("proc/sys/kernel/osrelease"))
}

/// Beginnings of the names of libraries that drive GPUs. Their files' names or folders tell versions.
const LIBRARIES: [&str; 6] =
    ["libvulkan", "libamdhip64", "libhsa-runtime64", "librocblas", "libhipblas", "libcuda"];

/// Libraries that drive GPUs and that this process has loaded, from `root`/proc.
pub fn driver_libraries(root: &Path) -> Vec<String> {
    let maps = fs::read_to_string(root.join("proc/self/maps")).unwrap_or_default();
    let paths: BTreeSet<&str> = maps
        .lines()
        .filter_map(|line| line.find('/').map(|at| &line[at..]))
        .filter(|path| {
            let name = path.rsplit('/').next().unwrap_or_default();
            LIBRARIES.iter().any(|library| name.starts_with(library))
        })
        .collect();
    paths.into_iter().map(str::to_owned).collect()
}

fn line(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::host::tree::tree;

    #[test]
    fn cards_have_their_driver_and_a_version_where_it_has_one() {
        let root = tree(&[
            (
                "sys/class/drm/card1/device/uevent",
                "DRIVER=amdgpu\nPCI_CLASS=30000\nPCI_SLOT_NAME=0000:c5:00.0\n",
            ),
            ("sys/class/drm/card0/device/uevent", "DRIVER=simple-framebuffer\n"),
            ("sys/class/drm/card1-DP-1/status", "connected\n"),
            ("sys/module/amdgpu/version", "6.12.12\n"),
            ("proc/sys/kernel/osrelease", "6.17.0-14-generic\n"),
        ]);
        let all = kernel_drivers(root.path());
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].driver.as_str(), &all[0].address), ("simple-framebuffer", &None));
        assert_eq!(all[1].version.as_deref(), Some("6.12.12"));
        assert_eq!(all[1].address.as_deref(), Some("0000:c5:00.0"));
        assert_eq!(kernel_release(root.path()).unwrap(), "6.17.0-14-generic");
        assert_eq!(
            (kernel_drivers(Path::new("/none")), kernel_release(Path::new("/none"))),
            (vec![], None)
        );
    }

    #[test]
    fn libraries_are_named_once() {
        let root = tree(&[(
            "proc/self/maps",
            "7f-80 r--p 0 fe:00 1                          /opt/rocm/lib/libamdhip64.so.6.4.60401\n\
             80-81 r-xp 0 fe:00 1                          /opt/rocm/lib/libamdhip64.so.6.4.60401\n\
             81-82 r-xp 0 fe:00 2                          /nix/store/x-mesa-25.2.1/lib/libvulkan_radeon.so\n\
             82-83 r-xp 0 fe:00 3                          /usr/lib/libc.so.6\n\
             83-84 rw-p 0 00:00 0                          [heap]\n",
        )]);
        assert_eq!(
            driver_libraries(root.path()),
            [
                "/nix/store/x-mesa-25.2.1/lib/libvulkan_radeon.so",
                "/opt/rocm/lib/libamdhip64.so.6.4.60401"
            ]
        );
    }
}
