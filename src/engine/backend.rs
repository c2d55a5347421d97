//! llama.cpp's process-wide state: initialized once, its log sent to ours, its devices.

use std::ffi::{CStr, c_char, c_void};
use std::sync::OnceLock;

use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::{
    LlamaBackendDeviceType, LogOptions, list_llama_ggml_backend_devices, send_logs_to_tracing,
};
use llama_cpp_sys_2::{ggml_log_callback, ggml_log_level};

use super::allocations::record;

/// A device that ggml can compute on.
#[derive(Debug, Clone)]
pub struct Device {
    /// ggml's number of it.
    pub index: usize,
    /// ggml's name, such as `ROCm0`.
    pub name: String,
    /// The hardware's name.
    pub description: String,
    /// The name of the backend that drives it, such as `ROCm`.
    pub backend: String,
    /// Its place on the bus, such as `0000:c5:00.0`; `None`: it has none, or no backend tells.
    pub pci: Option<String>,
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
            tap_log();
            LlamaBackend::init().map_err(|error| error.to_string())
        })
        .as_ref()
        .map_err(Clone::clone)
}

/// The crate's callback, which makes events of llama.cpp's lines.
static FORWARD: OnceLock<ggml_log_callback> = OnceLock::new();

/// Lets [`record`] see llama.cpp's lines before they are forwarded. The crate keeps its state for
/// llama.cpp to itself, so these lines take that of ggml, whose callback it is, too.
fn tap_log() {
    let (mut callback, mut state) = (None, std::ptr::null_mut());
    // SAFETY: `llama_log_get` writes both values, which the crate has set just before and keeps
    // for ever. No other thread is in llama.cpp yet: this runs once, before it is initialized.
    // Setting llama.cpp's callback sets ggml's as well, which is then put back.
    #[allow(unsafe_code)]
    unsafe {
        llama_cpp_sys_2::llama_log_get(&raw mut callback, &raw mut state);
        let _ = FORWARD.set(callback);
        llama_cpp_sys_2::llama_log_set(Some(tap), state);
        llama_cpp_sys_2::ggml_log_set(callback, state);
    }
}

extern "C" fn tap(level: ggml_log_level, text: *const c_char, state: *mut c_void) {
    if text.is_null() {
        return;
    }
    // SAFETY: llama.cpp passes a NUL-terminated text that lives for this call, and the state that
    // was set with the callback, which is the one that the forwarded callback was set with.
    #[allow(unsafe_code)]
    unsafe {
        record(&CStr::from_ptr(text).to_string_lossy());
        if let Some(Some(forward)) = FORWARD.get() {
            forward(level, text, state);
        }
    }
}

/// The names of the backends of this build, such as `Vulkan`; the last is `CPU`. ggml itself lists
/// only those that have started, and without a driver none of a GPU does.
pub fn backends() -> Vec<String> {
    let built = [
        ("ROCm", cfg!(feature = "hip")),
        ("CUDA", cfg!(feature = "cuda")),
        ("Vulkan", cfg!(feature = "vulkan")),
        ("CPU", true),
    ];
    built.into_iter().filter(|(_, is_in)| *is_in).map(|(name, _)| name.to_owned()).collect()
}

/// A copy of a text of ggml's; `None`: there is none.
#[allow(unsafe_code)]
fn text(pointer: *const c_char) -> Option<String> {
    // SAFETY: ggml's names are NUL-terminated and live as long as the process.
    (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
}

/// The place on the bus of ggml's device with this number.
fn pci(index: usize) -> Option<String> {
    // SAFETY: the number comes from the list of devices, which does not change; all zeros are a
    // valid value of the struct, which ggml fills.
    #[allow(unsafe_code)]
    unsafe {
        let device = llama_cpp_sys_2::ggml_backend_dev_get(index);
        let mut props = std::mem::zeroed();
        llama_cpp_sys_2::ggml_backend_dev_get_props(device, &raw mut props);
        text(props.device_id)
    }
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
            pci: pci(d.index).filter(|id| !id.is_empty()),
            index: d.index,
            name: d.name,
            description: d.description,
            backend: d.backend,
            memory_total: d.memory_total as u64,
            memory_free: d.memory_free as u64,
        })
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
