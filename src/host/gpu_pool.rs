//! Where a GPU of amdgpu takes its memory from.

use std::fs;
use std::path::Path;

use super::GpuReading;

/// The memory that buffers of a GPU lie in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuPool {
    /// Its place on the bus, such as `0000:c5:00.0`.
    pub pci: Option<String>,
    /// Whether it is system memory (GTT), not memory set aside (VRAM).
    pub is_gtt: bool,
    /// Bytes.
    pub total: u64,
    /// Of that, in use.
    pub used: u64,
}

impl GpuPool {
    /// The pools of all GPUs below `root`/sys. The driver places the buffers of an APU in the
    /// larger of its two.
    pub fn read_all(root: &Path) -> Vec<Self> {
        let pool = |gpu: GpuReading| {
            let gtt = gpu.gtt_total.zip(gpu.gtt_used);
            let vram = gpu.vram_total.zip(gpu.vram_used);
            let is_gtt = gtt.map(|(total, _)| total) >= vram.map(|(total, _)| total);
            let (total, used) = if is_gtt { gtt } else { vram }?;
            Some(Self { pci: address(root, &gpu.name), is_gtt, total, used })
        };
        GpuReading::read_all(root).into_iter().filter_map(pool).collect()
    }
}

/// The place on the bus of the GPU with the kernel's name `card`.
fn address(root: &Path, card: &str) -> Option<String> {
    let event = root.join("sys/class/drm").join(card).join("device/uevent");
    let text = fs::read_to_string(event).ok()?;
    text.lines().find_map(|line| line.strip_prefix("PCI_SLOT_NAME=")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tree::tree;

    #[test]
    fn the_larger_of_gtt_and_vram_is_where_buffers_lie() {
        let card = |gtt: &str, vram: &str| {
            let device = "sys/class/drm/card1/device";
            let files = [
                (format!("{device}/uevent"), "DRIVER=amdgpu\nPCI_SLOT_NAME=0000:c5:00.0\n"),
                (format!("{device}/mem_info_gtt_total"), gtt),
                (format!("{device}/mem_info_gtt_used"), "20"),
                (format!("{device}/mem_info_vram_total"), vram),
                (format!("{device}/mem_info_vram_used"), "10"),
            ];
            let files: Vec<(&str, &str)> =
                files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
            GpuPool::read_all(tree(&files).path())
        };
        let pool = |is_gtt, total, used| GpuPool {
            pci: Some("0000:c5:00.0".to_owned()),
            is_gtt,
            total,
            used,
        };
        assert_eq!(card("1000", "500"), [pool(true, 1000, 20)]);
        assert_eq!(card("1000", "5000"), [pool(false, 5000, 10)]);
        assert_eq!(card("x", "5000"), [pool(false, 5000, 10)]);
    }
}
