//! Which device is verified, with how much memory, and whether it is free to be used.

use std::path::Path;

use crate::engine::{self, Device};
use crate::host::{Memory, OwnProcess, own_processes, physical_cores};
use crate::server::{Exit, Failure};

/// What the command line asks for.
#[derive(Debug, Default)]
pub(super) struct Wanted<'a> {
    pub(super) device: Option<&'a str>,
    /// GiB of memory.
    pub(super) gib: Option<f64>,
}

/// What is verified.
#[derive(Debug)]
pub(super) struct Selected {
    pub(super) devices: Vec<Device>,
    pub(super) device: Device,
    /// Bytes to take.
    pub(super) bytes: u64,
    /// How many are free.
    pub(super) free: u64,
    /// Threads of the CPU.
    pub(super) threads: u32,
}

/// Most bytes that are taken of a CPU's memory unasked: it proves nothing about a GPU.
const MAX_OF_CPU: u64 = 1 << 30;

pub(super) fn select(wanted: &Wanted<'_>) -> Result<Selected, Failure> {
    let root = Path::new("/");
    let devices = engine::devices();
    let device = choose(&devices, wanted.device)?.clone();
    if device.is_gpu {
        is_free(&own_processes(root, std::process::id()))?;
    }
    let free = free_memory(&device, Memory::read(root));
    let bytes = share(&device, free, wanted.gib)?;
    Ok(Selected { devices, device, bytes, free, threads: physical_cores(root) })
}

/// The device of this name, or the GPU that a model would be loaded on.
fn choose<'a>(devices: &'a [Device], name: Option<&str>) -> Result<&'a Device, Failure> {
    let names: Vec<&str> = devices.iter().map(|device| device.name.as_str()).collect();
    let there_are = format!("ggml sees {}", names.join(", "));
    let found = match name {
        Some(name) => devices.iter().find(|device| device.name.eq_ignore_ascii_case(name)),
        None => engine::choose_gpus(devices, &[])?.into_iter().next(),
    };
    found.ok_or_else(|| match name {
        Some(name) => Failure::new(Exit::NoGpu, format!("there is no device {name}: {there_are}")),
        None => Failure::new(
            Exit::NoGpu,
            format!(
                "there is no GPU to verify: {there_are}; --device cpu compares the CPU with itself"
            ),
        ),
    })
}

/// A server of ours holds most of the memory, and would wait for the GPU meanwhile.
fn is_free(processes: &[OwnProcess]) -> Result<(), Failure> {
    // The service may hold it unseen; of another process nothing is said that was not seen.
    let holds = |p: &&OwnProcess| p.holds_gpu.unwrap_or(p.is_unit);
    let Some(process) = processes.iter().find(holds) else { return Ok(()) };
    let pid = process.pid;
    let message = match (process.is_unit, process.holds_gpu) {
        (true, Some(_)) => format!(
            "strixhalo.service (process {pid}) holds the GPU: stop it with `sudo systemctl stop strixhalo`, and its socket `strixhalo.socket` if it has one; start it again afterwards"
        ),
        (true, None) => format!(
            "strixhalo.service (process {pid}) runs, and this user may not see whether it holds the GPU: stop it with `sudo systemctl stop strixhalo`, or run this command as root"
        ),
        (false, _) => {
            format!("process {pid} of strixhalo holds the GPU: stop it with `kill {pid}`")
        }
    };
    Err(Failure::new(Exit::System, message))
}

/// Bytes that the device may give: one that shares this machine's memory, no more than that has.
fn free_memory(device: &Device, memory: Option<Memory>) -> u64 {
    let available = memory.map_or(u64::MAX, |memory| memory.available);
    if device.is_gpu && !device.is_integrated {
        device.memory_free
    } else {
        device.memory_free.min(available)
    }
}

/// How much is taken.
fn share(device: &Device, free: u64, gib: Option<f64>) -> Result<u64, Failure> {
    let Some(gib) = gib else {
        return Ok(if device.is_gpu { free / 2 } else { (free / 2).min(MAX_OF_CPU) });
    };
    if !gib.is_finite() || gib < 0.0 {
        return Err(Failure::new(Exit::Usage, "--allocate takes a number of GiB"));
    }
    let bytes = (gib * (1_u64 << 30) as f64) as u64;
    if bytes > free {
        return Err(Failure::new(
            Exit::System,
            format!(
                "{gib} GiB are more than the {:.1} GiB that are free: taking what does not fit can wedge the GPU's driver until a reboot",
                free as f64 / (1_u64 << 30) as f64
            ),
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn device(name: &str, is_gpu: bool, is_integrated: bool) -> Device {
        Device {
            name: name.to_owned(),
            description: String::new(),
            index: 0,
            backend: name.trim_end_matches('0').to_owned(),
            pci: None,
            is_gpu,
            is_integrated,
            memory_total: 100 << 30,
            memory_free: 80 << 30,
        }
    }

    #[test]
    fn the_gpu_in_use_is_verified_unless_another_device_is_named() {
        let devices = [device("Vulkan0", true, true), device("CPU", false, false)];
        assert_eq!(choose(&devices, None).unwrap().name, "Vulkan0");
        assert_eq!(choose(&devices, Some("cpu")).unwrap().name, "CPU");
        for (devices, name) in [(&devices[1..], None), (&devices[..], Some("ROCm0"))] {
            let failure = choose(devices, name).unwrap_err();
            assert_eq!(failure.exit, Exit::NoGpu);
            assert!(failure.message.contains("CPU"), "{}", failure.message);
        }
    }

    #[test]
    fn while_a_server_of_ours_holds_the_gpu_the_way_to_stop_it_is_told() {
        let process = |is_unit, holds_gpu| OwnProcess { pid: 41, is_unit, holds_gpu };
        for (is_unit, holds_gpu, text) in [
            (true, Some(true), "systemctl stop strixhalo"),
            (true, None, "may not see whether"),
            (false, Some(true), "kill 41"),
        ] {
            let failure = is_free(&[process(is_unit, holds_gpu)]).unwrap_err();
            assert_eq!(failure.exit, Exit::System);
            assert!(failure.message.contains(text), "{}", failure.message);
        }
        let others =
            [process(true, Some(false)), process(false, None), process(false, Some(false))];
        assert!(is_free(&others).is_ok());
    }

    #[test]
    fn no_more_memory_is_taken_than_is_free() {
        let memory = |available| Some(Memory { total: 128 << 30, available, ..Memory::default() });
        let (discrete, shared) = (device("ROCm0", true, false), device("ROCm0", true, true));
        assert_eq!(free_memory(&discrete, memory(8 << 30)), 80 << 30);
        assert_eq!(free_memory(&shared, memory(8 << 30)), 8 << 30);
        assert_eq!(free_memory(&shared, None), 80 << 30);
        assert_eq!(share(&shared, 8 << 30, None).unwrap(), 4 << 30);
        assert_eq!(share(&device("CPU", false, false), 8 << 30, None).unwrap(), 1 << 30);
        assert_eq!(share(&shared, 8 << 30, Some(0.5)).unwrap(), 1 << 29);
        assert_eq!(share(&shared, 8 << 30, Some(8.5)).unwrap_err().exit, Exit::System);
        for wrong in [-1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(share(&shared, 8 << 30, Some(wrong)).unwrap_err().exit, Exit::Usage);
        }
    }
}
