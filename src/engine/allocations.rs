//! What llama.cpp really allocated, and where it put the layers. Its C API tells neither; its log
//! does, line by line while a model is loaded.

use std::cell::RefCell;
use std::fmt;

use serde::Serialize;

/// What a buffer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BufferUse {
    /// Weights.
    Weights,
    /// Keys and values of all slots.
    Kv,
    /// Recurrent states of all slots.
    Recurrent,
    /// Intermediate results.
    Compute,
    /// Logits.
    Output,
}

impl BufferUse {
    /// Its name in JSON and as a label, that of the planned part where there is one.
    pub fn key(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::Kv => "kv",
            Self::Recurrent => "recurrent",
            Self::Compute => "compute",
            Self::Output => "output",
        }
    }
}

/// One buffer, or several of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Buffer {
    /// llama.cpp's name of the memory, such as `Vulkan0`, `CPU` or `Vulkan_Host`.
    pub memory: String,
    /// What it is for.
    #[serde(rename = "part")]
    pub used_for: BufferUse,
    /// Bytes, to a hundredth of a MiB.
    pub bytes: u64,
}

/// What was allocated for a model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allocations {
    /// The buffers, in the order in which they were made.
    pub buffers: Vec<Buffer>,
    /// The device of each layer, the output last.
    pub layers: Vec<String>,
}

impl Allocations {
    /// Bytes of all buffers for this use.
    pub fn bytes(&self, used_for: BufferUse) -> u64 {
        let of_kind = self.buffers.iter().filter(|buffer| buffer.used_for == used_for);
        of_kind.map(|buffer| buffer.bytes).fold(0, u64::saturating_add)
    }

    /// Bytes of all buffers.
    pub fn total(&self) -> u64 {
        self.buffers.iter().map(|buffer| buffer.bytes).fold(0, u64::saturating_add)
    }

    /// Where the layers are.
    pub fn placement(&self) -> Placement {
        let mut devices: Vec<String> = Vec::new();
        let on_gpu = self.layers.iter().filter(|device| *device != CPU);
        for device in on_gpu.clone() {
            if !devices.contains(device) {
                devices.push(device.clone());
            }
        }
        let gpu_layers = on_gpu.count();
        if devices.is_empty() {
            devices.push(CPU.to_owned());
        }
        Placement { devices, gpu_layers, layers: self.layers.len() }
    }

    /// Takes a line of llama.cpp's log, such as
    /// `load_tensors:      Vulkan0 model buffer size =   123.45 MiB`.
    fn note(&mut self, line: &str) {
        if let Some((layer, rest)) = line.split_once(" assigned to device ") {
            if layer.starts_with("load_tensors: layer") {
                let device = rest.split(',').next().unwrap_or_default();
                self.layers.push(device.trim().to_owned());
            }
            return;
        }
        let Some((buffer, size)) = line.split_once(" buffer size = ") else { return };
        let bytes = size.trim().strip_suffix(" MiB").and_then(|mib| mib.trim().parse::<f64>().ok());
        let mut words = buffer.split_once(": ").map_or("", |(_, rest)| rest).split_whitespace();
        let (Some(memory), Some(kind), Some(bytes)) = (words.next(), words.next(), bytes) else {
            return;
        };
        // A graph that is reserved anew, and an output that grows, replace what was there.
        let (used_for, adds) = match kind {
            "model" => (BufferUse::Weights, true),
            "KV" => (BufferUse::Kv, true),
            "RS" => (BufferUse::Recurrent, true),
            "compute" => (BufferUse::Compute, false),
            "output" => (BufferUse::Output, false),
            _ => return,
        };
        let bytes = (bytes * f64::from(1 << 20)).round() as u64;
        let same = |buffer: &&mut Buffer| buffer.memory == memory && buffer.used_for == used_for;
        match self.buffers.iter_mut().find(same) {
            Some(buffer) if adds => buffer.bytes = buffer.bytes.saturating_add(bytes),
            Some(buffer) => buffer.bytes = bytes,
            None => self.buffers.push(Buffer { memory: memory.to_owned(), used_for, bytes }),
        }
    }
}

/// The name of the device that is no GPU.
const CPU: &str = "CPU";

/// Where the layers of a model are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The GPUs that compute, or `CPU` alone.
    pub devices: Vec<String>,
    /// Layers on GPUs, the output among them.
    pub gpu_layers: usize,
    /// All layers, and the output.
    pub layers: usize,
}

impl Placement {
    /// The name of the backend, such as `Vulkan`: ggml's names of devices are that and a number.
    pub fn backend(&self) -> &str {
        let name = self.devices.first().map_or(CPU, String::as_str);
        name.trim_end_matches(|c: char| c.is_ascii_digit())
    }
}

/// Such as `49 of 49 layers on Vulkan0`.
impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.gpu_layers == 0 {
            return f.write_str("all layers on the CPU");
        }
        let Self { devices, gpu_layers, layers } = self;
        write!(f, "{gpu_layers} of {layers} layers on {}", devices.join(", "))
    }
}

thread_local! {
    /// What this thread's load has allocated so far; `None`: it loads nothing.
    static LOADING: RefCell<Option<Allocations>> = const { RefCell::new(None) };
}

/// Listens to what llama.cpp says on this thread from now on.
pub(super) fn start_recording() {
    LOADING.set(Some(Allocations::default()));
}

/// What was allocated on this thread so far.
pub(super) fn recorded() -> Allocations {
    LOADING.with_borrow(|loading| loading.clone()).unwrap_or_default()
}

/// What was allocated on this thread since the start of the recording, which ends.
pub(super) fn stop_recording() -> Allocations {
    LOADING.take().unwrap_or_default()
}

/// Takes a line of llama.cpp's log on the thread that it was written on.
pub(super) fn record(line: &str) {
    LOADING.with(|loading| {
        // Nothing is borrowed here, as nothing above logs; a lost line is no reason to panic.
        if let Ok(mut loading) = loading.try_borrow_mut()
            && let Some(allocations) = &mut *loading
        {
            allocations.note(line);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_of_a_load_tells_buffers_and_layers() {
        start_recording();
        for line in [
            "load_tensors: layer   0 assigned to device Vulkan0, is_swa = 0\n",
            "load_tensors: layer   1 assigned to device CPU, is_swa = 0\n",
            "load_tensors: offloaded 6/6 layers to GPU\n",
            "load_tensors:   CPU_Mapped model buffer size =     1.50 MiB\n",
            "load_tensors:      Vulkan0 model buffer size =     2.00 MiB\n",
            "load_tensors:      Vulkan0 model buffer size =     1.00 MiB\n",
            "llama_kv_cache:    Vulkan0 KV buffer size =     8.00 MiB\n",
            "llama_memory_recurrent:        CPU RS buffer size =     0.25 MiB\n",
            "llama_context:        CPU  output buffer size =     0.01 MiB\n",
            "sched_reserve:    Vulkan0 compute buffer size =    10.00 MiB\n",
            "sched_reserve:    Vulkan0 compute buffer size =    12.00 MiB\n",
            "sched_reserve:    Vulkan0 compute buffer size is  12.0000 MiB, matches\n",
            "x buffer size = y MiB\n",
        ] {
            record(line);
        }
        let allocations = stop_recording();
        assert_eq!(allocations.layers, ["Vulkan0", "CPU"]);
        let placement = allocations.placement();
        assert_eq!(placement.to_string(), "1 of 2 layers on Vulkan0");
        assert_eq!(placement.backend(), "Vulkan");
        let on_cpu = Allocations::default().placement();
        assert_eq!(
            (on_cpu.to_string().as_str(), on_cpu.backend()),
            ("all layers on the CPU", "CPU")
        );
        let mib = |used_for| allocations.bytes(used_for) as f64 / f64::from(1 << 20);
        assert_eq!(mib(BufferUse::Weights), 4.5);
        assert_eq!(mib(BufferUse::Kv), 8.0);
        assert_eq!(mib(BufferUse::Recurrent), 0.25);
        assert_eq!(mib(BufferUse::Compute), 12.0);
        assert_eq!(allocations.bytes(BufferUse::Output), 10_486);
        assert_eq!(allocations.buffers.len(), 6);
        record("load_tensors: layer   2 assigned to device CPU, is_swa = 0\n");
        assert_eq!(recorded(), Allocations::default());
    }
}
