//! Which of the devices a model is loaded on.

use super::backend::Device;

/// The word that stands for no GPU at all.
pub const NO_DEVICE: &str = "none";

/// A device was asked for that is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("model.device: there is no GPU {asked:?}; {}", listed(known))]
pub struct NoSuchDevice {
    /// The name.
    pub asked: String,
    /// The names that there are.
    pub known: Vec<String>,
}

fn listed(known: &[String]) -> String {
    match known {
        [] => "this machine has none that this build can use".to_owned(),
        known => format!("there are: {}, and none for the CPU alone", known.join(", ")),
    }
}

/// The GPUs that a model is loaded on: those `asked` for, in that order, or llama.cpp's own choice
/// if none are; no GPU for the word `none`.
pub fn choose_gpus<'a>(
    devices: &'a [Device],
    asked: &[String],
) -> Result<Vec<&'a Device>, NoSuchDevice> {
    match asked {
        [] => Ok(default_gpus(devices)),
        [one] if one == NO_DEVICE => Ok(Vec::new()),
        names => {
            let gpus = || devices.iter().filter(|device| device.is_gpu);
            let find = |name: &String| {
                gpus().find(|device| device.name == *name).ok_or_else(|| NoSuchDevice {
                    asked: name.clone(),
                    known: gpus().map(|device| device.name.clone()).collect(),
                })
            };
            names.iter().map(find).collect()
        }
    }
}

/// Pairs of names of one GPU that two backends of this build drive: one of those in use, and one
/// that is not.
pub fn seen_twice<'a>(devices: &'a [Device], used: &[&'a Device]) -> Vec<(&'a str, &'a str)> {
    let unused = devices
        .iter()
        .filter(|device| device.is_gpu && used.iter().all(|used| used.index != device.index));
    unused
        .filter_map(|other| {
            let same = used.iter().find(|used| is_same(used, other))?;
            Some((same.name.as_str(), other.name.as_str()))
        })
        .collect()
}

/// Backends that tell no place on the bus count as driving the same one if both see an integrated
/// GPU, of which there is one.
fn is_same(a: &Device, b: &Device) -> bool {
    a.backend != b.backend
        && match (&a.pci, &b.pci) {
            (Some(a), Some(b)) => a.eq_ignore_ascii_case(b),
            _ => a.is_integrated && b.is_integrated,
        }
}

/// Whether buffers on these devices are memory of the process. llama.cpp's HIP and CUDA backends
/// ask only whether the variable `GGML_CUDA_ENABLE_UNIFIED_MEMORY` is there.
pub fn is_unified(gpus: &[&Device], variable_is_set: bool) -> bool {
    let one = |device: &&Device| ["ROCm", "CUDA"].contains(&device.backend.as_str());
    variable_is_set && !gpus.is_empty() && gpus.iter().all(one)
}

/// The GPUs that a model is loaded on. llama.cpp takes discrete GPUs before integrated ones, and a GPU
/// that two backends of one binary drive only by the first (`llama.cpp`, the choice of
/// `model->devices`).
pub(super) fn default_gpus(devices: &[Device]) -> Vec<&Device> {
    let first =
        |integrated: bool| devices.iter().find(|d| d.is_gpu && d.is_integrated == integrated);
    let Some(first) = first(false).or_else(|| first(true)) else { return Vec::new() };
    devices
        .iter()
        .filter(|d| d.is_gpu && d.is_integrated == first.is_integrated)
        .filter(|d| d.backend == first.backend)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str, backend: &str, is_gpu: bool, is_integrated: bool) -> Device {
        Device {
            index: 0,
            pci: None,
            name: name.to_owned(),
            description: String::new(),
            backend: backend.to_owned(),
            is_gpu,
            is_integrated,
            memory_total: 0,
            memory_free: 0,
        }
    }

    fn names(devices: &[Device]) -> Vec<&str> {
        default_gpus(devices).iter().map(|d| d.name.as_str()).collect()
    }

    #[test]
    fn a_gpu_that_two_backends_drive_is_used_once() {
        let cpu = device("CPU", "CPU", false, false);
        let rocm = |integrated| device("ROCm0", "ROCm", true, integrated);
        let vulkan = device("Vulkan0", "Vulkan", true, true);
        assert_eq!(names(&[rocm(true), vulkan.clone(), cpu.clone()]), ["ROCm0"]);
        // ROCm may take it for a discrete one.
        assert_eq!(names(&[rocm(false), vulkan.clone(), cpu.clone()]), ["ROCm0"]);
        assert_eq!(names(&[vulkan, cpu.clone()]), ["Vulkan0"]);
        assert_eq!(names(&[cpu]), [""; 0]);
    }

    #[test]
    fn all_gpus_of_one_backend_are_used() {
        let cards = [device("ROCm0", "ROCm", true, false), device("ROCm1", "ROCm", true, false)];
        assert_eq!(names(&cards), ["ROCm0", "ROCm1"]);
    }

    #[test]
    fn devices_are_chosen_by_name() {
        let devices = [
            device("ROCm0", "ROCm", true, true),
            device("Vulkan0", "Vulkan", true, true),
            device("CPU", "CPU", false, false),
        ];
        let choose = |asked: &[&str]| {
            let asked: Vec<String> = asked.iter().map(|&name| name.to_owned()).collect();
            choose_gpus(&devices, &asked)
                .map(|gpus| gpus.iter().map(|gpu| gpu.name.clone()).collect::<Vec<_>>())
                .map_err(|error| error.to_string())
        };
        assert_eq!(choose(&[]), Ok(vec!["ROCm0".to_owned()]));
        assert_eq!(choose(&["Vulkan0"]), Ok(vec!["Vulkan0".to_owned()]));
        assert_eq!(choose(&["none"]), Ok(Vec::new()));
        let listed = "there are: ROCm0, Vulkan0, and none for the CPU alone";
        for unknown in ["Vulkan1", "CPU", "rocm0"] {
            let error = choose(&[unknown]).unwrap_err();
            assert!(error.contains(unknown) && error.contains(listed), "{error}");
        }
        let error = choose_gpus(&devices[2..], &["Vulkan0".to_owned()]).unwrap_err();
        assert!(error.to_string().contains("none that this build can use"), "{error}");
    }

    #[test]
    fn a_gpu_that_two_backends_see_is_told() {
        let at = |device: Device, index, pci: &str| Device {
            index,
            pci: Some(pci.to_owned()),
            ..device
        };
        let rocm = at(device("ROCm0", "ROCm", true, true), 0, "0000:C5:00.0");
        let same = at(device("Vulkan0", "Vulkan", true, true), 1, "0000:c5:00.0");
        let other = at(device("Vulkan1", "Vulkan", true, false), 2, "0000:03:00.0");
        let devices = [rocm, same, other];
        assert_eq!(seen_twice(&devices, &[&devices[0]]), [("ROCm0", "Vulkan0")]);
        assert_eq!(seen_twice(&devices, &[&devices[2]]), []);
    }

    #[test]
    fn unified_memory_is_a_matter_of_hip_and_of_a_variable_that_is_there() {
        let rocm = device("ROCm0", "ROCm", true, true);
        let vulkan = device("Vulkan0", "Vulkan", true, true);
        assert!(is_unified(&[&rocm], true));
        assert!(!is_unified(&[&rocm], false));
        assert!(!is_unified(&[&vulkan], true));
        assert!(!is_unified(&[], true));
    }
}
