//! What the kernel's amdgpu driver tells about a GPU.

use std::fs;
use std::path::{Path, PathBuf};

/// Files that tell a GPU's power in microwatts.
const POWER_FILES: [&str; 2] = ["power1_average", "power1_input"];
const MICROWATTS: f64 = 1e6;

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
    /// Clock of the shaders, in hertz.
    pub shader_clock: Option<u64>,
    /// Clock of the memory, in hertz.
    pub memory_clock: Option<u64>,
    /// Most power in watts that the driver lets it take.
    pub power_cap: Option<f64>,
    /// Vendor and device on the PCI bus.
    pub pci_id: Option<(u16, u16)>,
}

impl GpuReading {
    /// Reads all GPUs of amdgpu below `root`/sys (`/` outside of tests), by name.
    pub fn read_all(root: &Path) -> Vec<Self> {
        devices(root).into_iter().filter_map(|(name, device)| Self::read(name, &device)).collect()
    }

    /// `None`: the device belongs to another driver.
    fn read(name: String, device: &Path) -> Option<Self> {
        let vram_total = Some(number(&device.join("mem_info_vram_total"))?);
        let sensors = sensors(device);
        let value = |file: &str| number(&sensors.as_ref()?.join(file));
        let sensor = |file: &str, unit: f64| Some(value(file)? as f64 / unit);
        Some(Self {
            name,
            vram_total,
            vram_used: number(&device.join("mem_info_vram_used")),
            gtt_total: number(&device.join("mem_info_gtt_total")),
            gtt_used: number(&device.join("mem_info_gtt_used")),
            busy: number(&device.join("gpu_busy_percent")).map(|percent| percent as f64 / 100.0),
            // Some GPUs tell the average, others the present power.
            power: sensor(POWER_FILES[0], MICROWATTS)
                .or_else(|| sensor(POWER_FILES[1], MICROWATTS)),
            temperature: sensor("temp1_input", 1e3),
            // An APU's sensors do not have the memory's clock.
            shader_clock: value("freq1_input").or_else(|| level(&device.join("pp_dpm_sclk"))),
            memory_clock: value("freq2_input").or_else(|| level(&device.join("pp_dpm_mclk"))),
            power_cap: sensor("power1_cap", 1e6),
            pci_id: pci_number(&device.join("vendor")).zip(pci_number(&device.join("device"))),
        })
    }
}

/// The file that tells a GPU's power, for those who read nothing else, and that often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PowerSensor {
    gpu: String,
    file: PathBuf,
}

impl PowerSensor {
    /// Those of all GPUs of amdgpu below `root`/sys, by the GPU's name.
    pub fn find_all(root: &Path) -> Vec<Self> {
        devices(root)
            .into_iter()
            .filter(|(_, device)| device.join("mem_info_vram_total").exists())
            .filter_map(|(gpu, device)| {
                let sensors = sensors(&device)?;
                let mut files = POWER_FILES.iter().map(|file| sensors.join(file));
                Some(Self { gpu, file: files.find(|file| file.exists())? })
            })
            .collect()
    }

    /// The kernel's name of the GPU, such as `card0`.
    pub fn gpu(&self) -> &str {
        &self.gpu
    }

    /// The power, in watts. `None`: the GPU does not tell it now.
    pub fn watts(&self) -> Option<f64> {
        Some(number(&self.file)? as f64 / MICROWATTS)
    }
}

/// GPUs of all drivers by name, each with its device's directory.
fn devices(root: &Path) -> Vec<(String, PathBuf)> {
    let Ok(entries) = fs::read_dir(root.join("sys/class/drm")) else { return Vec::new() };
    let mut devices: Vec<_> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().into_string().ok()?;
            // `card0` is a GPU, `card0-HDMI-A-1` one of its connectors.
            let number = name.strip_prefix("card")?;
            let is_gpu = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
            is_gpu.then(|| (name, entry.path().join("device")))
        })
        .collect();
    devices.sort();
    devices
}

/// The directory of a device's sensors.
fn sensors(device: &Path) -> Option<PathBuf> {
    Some(fs::read_dir(device.join("hwmon")).ok()?.next()?.ok()?.path())
}

/// The level that is marked in a list such as `0: 400Mhz` and `1: 1000Mhz *`, in hertz.
fn level(path: &Path) -> Option<u64> {
    let levels = fs::read_to_string(path).ok()?;
    let marked = levels.lines().find_map(|line| line.trim_end().strip_suffix('*'))?;
    let megahertz = marked.split_once(':')?.1.trim().strip_suffix("Mhz")?;
    megahertz.parse::<u64>().ok()?.checked_mul(1_000_000)
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
            ("card1/device/hwmon/hwmon5/freq1_input", "2745000000\n"),
            ("card1/device/hwmon/hwmon5/freq1_label", "sclk\n"),
            ("card1/device/pp_dpm_sclk", "0: 600Mhz \n1: 2744Mhz *\n2: 2900Mhz \n"),
            ("card1/device/pp_dpm_mclk", "0: 400Mhz \n1: 800Mhz \n2: 1000Mhz *\n"),
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
            shader_clock: Some(2_745_000_000),
            memory_clock: Some(1_000_000_000),
            power_cap: Some(120.0),
            pci_id: Some((0x1002, 0x1586)),
        };
        assert_eq!(GpuReading::read_all(root.path()), [gpu]);
        let sensors = PowerSensor::find_all(root.path());
        let powers: Vec<_> = sensors.iter().map(|sensor| (sensor.gpu(), sensor.watts())).collect();
        assert_eq!(powers, [("card1", Some(84.021))]);
    }

    #[test]
    fn a_clock_that_no_sensor_tells_is_the_marked_level() {
        let root = tree(&[
            ("card0/device/mem_info_vram_total", "1024\n"),
            ("card0/device/pp_dpm_sclk", "S: 19Mhz *\n0: 600Mhz \n1: 2900Mhz \n"),
            ("card0/device/pp_dpm_mclk", "0: 400Mhz \n1: 1000Mhz \n"),
        ]);
        let gpus = GpuReading::read_all(root.path());
        assert_eq!((gpus[0].shader_clock, gpus[0].memory_clock), (Some(19_000_000), None));
        let root = tree(&[
            ("card0/device/mem_info_vram_total", "1024\n"),
            ("card0/device/pp_dpm_sclk", "*\n"),
            ("card0/device/pp_dpm_mclk", "0: 99999999999999999999Mhz *\n"),
        ]);
        let gpus = GpuReading::read_all(root.path());
        assert_eq!((gpus[0].shader_clock, gpus[0].memory_clock), (None, None));
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
        assert_eq!(PowerSensor::find_all(root.path())[0].watts(), Some(5.5));
        assert_eq!(GpuReading::read_all(Path::new("/nonexistent")), []);
        assert_eq!(PowerSensor::find_all(Path::new("/nonexistent")), []);
    }

    #[test]
    fn a_gpu_of_another_driver_has_no_power_here() {
        let root = tree(&[("card0/device/hwmon/hwmon0/power1_input", "5500000\n")]);
        assert_eq!(GpuReading::read_all(root.path()), []);
        assert_eq!(PowerSensor::find_all(root.path()), []);
    }
}
