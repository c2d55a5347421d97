//! What the kernel's amdgpu driver tells about a GPU.

use std::fs;
use std::path::Path;

/// One GPU. What this kernel or GPU does not tell is `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GpuReading {
    /// The kernel's name, such as `card0`.
    pub name: String,
    /// Memory set aside for the GPU, in bytes.
    pub vram_total: Option<u64>,
    /// Of that, in use.
    pub vram_used: Option<u64>,
    /// System memory that the GPU may use, in bytes.
    pub gtt_total: Option<u64>,
    /// Of that, in use.
    pub gtt_used: Option<u64>,
    /// Share of time at work, from 0 to 1.
    pub busy: Option<f64>,
    /// Power in watts; an APU's is that of the whole package.
    pub power: Option<f64>,
    /// Temperature in degrees Celsius.
    pub temperature: Option<f64>,
    /// Most power in watts that the driver lets it take.
    pub power_cap: Option<f64>,
    /// Vendor and device on the PCI bus.
    pub pci_id: Option<(u16, u16)>,
}

impl GpuReading {
    /// Reads all GPUs of amdgpu below `root`/sys (`/` outside of tests), by name.
    pub fn read_all(root: &Path) -> Vec<Self> {
        let Ok(entries) = fs::read_dir(root.join("sys/class/drm")) else { return Vec::new() };
        let mut gpus: Vec<Self> = entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let name = entry.file_name().into_string().ok()?;
                // `card0` is a GPU, `card0-HDMI-A-1` one of its connectors.
                let number = name.strip_prefix("card")?;
                if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
                    return None;
                }
                Self::read(name, &entry.path().join("device"))
            })
            .collect();
        gpus.sort_by(|a, b| a.name.cmp(&b.name));
        gpus
    }

    /// `None`: the device belongs to another driver.
    fn read(name: String, device: &Path) -> Option<Self> {
        let vram_total = Some(number(&device.join("mem_info_vram_total"))?);
        let sensors = fs::read_dir(device.join("hwmon"))
            .ok()
            .and_then(|mut monitors| monitors.next()?.ok())
            .map(|monitor| monitor.path());
        let sensor = |file: &str, unit: f64| {
            let value = number(&sensors.as_ref()?.join(file))?;
            Some(value as f64 / unit)
        };
        Some(Self {
            name,
            vram_total,
            vram_used: number(&device.join("mem_info_vram_used")),
            gtt_total: number(&device.join("mem_info_gtt_total")),
            gtt_used: number(&device.join("mem_info_gtt_used")),
            busy: number(&device.join("gpu_busy_percent")).map(|percent| percent as f64 / 100.0),
            // Some GPUs tell the average, others the present power.
            power: sensor("power1_average", 1e6).or_else(|| sensor("power1_input", 1e6)),
            temperature: sensor("temp1_input", 1e3),
            power_cap: sensor("power1_cap", 1e6),
            pci_id: pci_number(&device.join("vendor")).zip(pci_number(&device.join("device"))),
        })
    }
}

/// A file with one number. A GPU that sleeps answers some of them with an error.
fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Such as `0x1002`.
fn pci_number(path: &Path) -> Option<u16> {
    u16::from_str_radix(fs::read_to_string(path).ok()?.trim().strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join("sys/class/drm").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn a_strix_halo_is_read_with_its_units() {
        let root = tree(&[
            ("card1/device/mem_info_vram_total", "536870912\n"),
            ("card1/device/mem_info_vram_used", "155648000\n"),
            ("card1/device/mem_info_gtt_total", "128849018880\n"),
            ("card1/device/mem_info_gtt_used", "91268055040\n"),
            ("card1/device/gpu_busy_percent", "97\n"),
            ("card1/device/hwmon/hwmon5/power1_average", "84021000\n"),
            ("card1/device/hwmon/hwmon5/temp1_input", "61000\n"),
            ("card1/device/hwmon/hwmon5/power1_cap", "120000000\n"),
            ("card1/device/vendor", "0x1002\n"),
            ("card1/device/device", "0x1586\n"),
            ("card1-HDMI-A-1/status", "disconnected\n"),
            ("card0/device/vendor", "0x10de\n"),
            ("renderD128/dev", "226:128\n"),
        ]);
        let gpu = GpuReading {
            name: "card1".to_owned(),
            vram_total: Some(536_870_912),
            vram_used: Some(155_648_000),
            gtt_total: Some(128_849_018_880),
            gtt_used: Some(91_268_055_040),
            busy: Some(0.97),
            power: Some(84.021),
            temperature: Some(61.0),
            power_cap: Some(120.0),
            pci_id: Some((0x1002, 0x1586)),
        };
        assert_eq!(GpuReading::read_all(root.path()), [gpu]);
    }

    #[test]
    fn what_cannot_be_read_is_absent() {
        let root = tree(&[
            ("card0/device/mem_info_vram_total", "1024\n"),
            ("card0/device/gpu_busy_percent", "\n"),
            ("card0/device/hwmon/hwmon0/power1_input", "5500000\n"),
        ]);
        let gpus = GpuReading::read_all(root.path());
        assert_eq!(gpus.len(), 1);
        assert_eq!((gpus[0].busy, gpus[0].temperature, gpus[0].gtt_used), (None, None, None));
        assert_eq!(gpus[0].power, Some(5.5));
        assert_eq!(GpuReading::read_all(Path::new("/nonexistent")), []);
    }
}
