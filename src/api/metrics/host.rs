//! The process and the GPU.

use super::families::{Families, Sample};
use crate::host::{GpuReading, ProcessUsage};

pub(super) fn add_process(families: &mut Families, usage: Option<ProcessUsage>, started: u64) {
    families.gauge(
        "process_start_time_seconds",
        "Unix time of the process's start.",
        started as f64,
    );
    let Some(usage) = usage else { return };
    families.counter(
        "process_cpu_seconds_total",
        "Processor time of all threads.",
        usage.cpu_seconds,
    );
    families.gauge(
        "process_resident_memory_bytes",
        "Memory of the process in RAM.",
        usage.resident_bytes as f64,
    );
    families.gauge(
        "process_virtual_memory_bytes",
        "Address space of the process.",
        usage.virtual_bytes as f64,
    );
    families.gauge("process_threads", "Threads of the process.", usage.threads as f64);
    families.gauge("process_open_fds", "Open file descriptors.", usage.open_fds as f64);
    let most = usage.max_fds.map_or(f64::INFINITY, |most| most as f64);
    families.gauge("process_max_fds", "Most file descriptors that may be open.", most);
}

/// GPUs of amdgpu; on a machine without one there are no such families.
pub(super) fn add_gpus(families: &mut Families, gpus: &[GpuReading]) {
    type Value = fn(&GpuReading) -> Option<f64>;
    let rows: [(&str, &str, Value); 9] = [
        ("strixhalo_gpu_vram_bytes", "Memory set aside for the GPU.", |gpu| {
            gpu.vram_total.map(|n| n as f64)
        }),
        ("strixhalo_gpu_vram_used_bytes", "Of the memory set aside for the GPU, in use.", |gpu| {
            gpu.vram_used.map(|n| n as f64)
        }),
        ("strixhalo_gpu_gtt_bytes", "System memory that the GPU may use.", |gpu| {
            gpu.gtt_total.map(|n| n as f64)
        }),
        (
            "strixhalo_gpu_gtt_used_bytes",
            "Of the system memory that the GPU may use, in use.",
            |gpu| gpu.gtt_used.map(|n| n as f64),
        ),
        ("strixhalo_gpu_busy_ratio", "Share of time that the GPU works.", |gpu| gpu.busy),
        (
            "strixhalo_gpu_power_watts",
            "Power of the GPU; an APU's is that of the whole package.",
            |gpu| gpu.power,
        ),
        ("strixhalo_gpu_temperature_celsius", "Temperature of the GPU.", |gpu| gpu.temperature),
        ("strixhalo_gpu_shader_clock_hertz", "Clock of the GPU's shaders.", |gpu| {
            gpu.shader_clock.map(|n| n as f64)
        }),
        ("strixhalo_gpu_memory_clock_hertz", "Clock of the GPU's memory.", |gpu| {
            gpu.memory_clock.map(|n| n as f64)
        }),
    ];
    let labels: Vec<_> = gpus.iter().map(|gpu| [("gpu", gpu.name.as_str())]).collect();
    for (name, help, value) in rows {
        let samples: Vec<Sample<'_>> = gpus
            .iter()
            .zip(&labels)
            .filter_map(|(gpu, labels)| Some((labels.as_slice(), value(gpu)?)))
            .collect();
        families.gauges(name, help, &samples);
    }
}
