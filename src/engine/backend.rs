//! llama.cpp's process-wide state: initialized once, its log sent to ours, its devices.

use std::ffi::CStr;
use std::sync::OnceLock;

use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::{
    LlamaBackendDeviceType, LogOptions, list_llama_ggml_backend_devices, send_logs_to_tracing,
};

/// A device that ggml can compute on.
#[derive(Debug, Clone)]
pub struct Device {
    /// ggml's name, such as `ROCm0`.
    pub name: String,
    /// The hardware's name.
    pub description: String,
    /// The name of the backend that drives it, such as `ROCm`.
    pub backend: String,
    /// Whether it is a GPU, integrated ones included.
    pub is_gpu: bool,
    /// Whether it is a GPU that shares its memory with the CPU.
    pub is_integrated: bool,
    /// Bytes of memory.
    pub memory_total: u64,
    /// Bytes of memory that are free now.
    pub memory_free: u64,
}

/// llama.cpp's process-wide state, initialized at the first call.
pub(super) fn backend() -> Result<&'static LlamaBackend, String> {
    static BACKEND: OnceLock<Result<LlamaBackend, String>> = OnceLock::new();
    BACKEND
        .get_or_init(|| {
            send_logs_to_tracing(LogOptions::default());
            LlamaBackend::init().map_err(|error| error.to_string())
        })
        .as_ref()
        .map_err(Clone::clone)
}

/// The devices that ggml sees.
pub fn devices() -> Vec<Device> {
    // Devices register when the backend starts; without one there are none.
    if backend().is_err() {
        return Vec::new();
    }
    list_llama_ggml_backend_devices()
        .into_iter()
        .map(|d| Device {
            is_gpu: matches!(
                d.device_type,
                LlamaBackendDeviceType::Gpu | LlamaBackendDeviceType::IntegratedGpu
            ),
            is_integrated: d.device_type == LlamaBackendDeviceType::IntegratedGpu,
            name: d.name,
            description: d.description,
            backend: d.backend,
            memory_total: d.memory_total as u64,
            memory_free: d.memory_free as u64,
        })
        .collect()
}

/// The GPUs that a model is loaded on. llama.cpp takes discrete GPUs before integrated ones, and a GPU
/// that two backends of one binary drive only by the first (`llama.cpp`, the choice of
/// `model->devices`).
pub fn gpus_in_use(devices: &[Device]) -> Vec<&Device> {
    let first =
        |integrated: bool| devices.iter().find(|d| d.is_gpu && d.is_integrated == integrated);
    let Some(first) = first(false).or_else(|| first(true)) else { return Vec::new() };
    devices
        .iter()
        .filter(|d| d.is_gpu && d.is_integrated == first.is_integrated)
        .filter(|d| d.backend == first.backend)
        .collect()
}

/// What ggml was compiled for, such as `CPU : AVX2 = 1 | AVX512 = 1`.
pub fn system_info() -> String {
    // SAFETY: llama.cpp returns a NUL-terminated string in static storage that only later calls
    // of the same function change; it is copied before this returns and called at start only.
    #[allow(unsafe_code)]
    let text = unsafe { CStr::from_ptr(llama_cpp_sys_2::llama_print_system_info()) };
    text.to_string_lossy().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str, backend: &str, is_gpu: bool, is_integrated: bool) -> Device {
        Device {
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
        gpus_in_use(devices).iter().map(|d| d.name.as_str()).collect()
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
}
