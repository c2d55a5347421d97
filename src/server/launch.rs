//! From settings and facts to what the engine loads: GPU, threads, KV types, context.

use std::path::Path;
use std::time::Duration;

use super::exit::{Exit, Failure};
use crate::config::{Gpu, LimitSettings, Loaded};
use crate::engine::{self, Device, EngineLimits, LoadParams};
use crate::host::{Memory, physical_cores};
use crate::model::{GpuMemory, Layout, Source, budget, layout};

/// What the engine shall load, with what users should know about it.
#[derive(Debug)]
pub(super) struct LaunchPlan {
    pub(super) params: LoadParams,
    /// What was chosen for the user, one line each.
    pub(super) notices: Vec<String>,
    /// What the user chose against advice, one line each.
    pub(super) warnings: Vec<String>,
}

pub(super) fn plan(
    loaded: &Loaded,
    source: &Source,
    chat_template: Option<String>,
    devices: &[Device],
) -> Result<LaunchPlan, Failure> {
    let settings = &loaded.settings;
    let (model, context) = (&settings.model, &settings.context);
    let is_set = |key: &str| loaded.origins.is_set(key);
    let gpus = engine::gpus_in_use(devices);
    let on_gpu = match model.gpu {
        Gpu::Required if gpus.is_empty() => return Err(no_gpu()),
        Gpu::Required | Gpu::Auto => !gpus.is_empty(),
        Gpu::Off => false,
    };
    let Layout { shape, context: decided, mut notices } =
        layout(loaded, &source.facts, on_gpu, free_memory(on_gpu, &gpus))?;
    let mut warnings = Vec::new();
    if is_set("context.ctx_size") { &mut warnings } else { &mut notices }.extend(decided.notices);
    if context.parallel > 1 {
        // llama-server's slots share the context; these do not.
        notices.push(format!(
            "{} tokens over {} slots: {} for each conversation",
            decided.ctx_total, context.parallel, decided.per_slot
        ));
    }
    let threads = match context.threads {
        0 => physical_cores(Path::new("/")),
        n => n,
    };
    let limits = engine_limits(&settings.limits);
    let params = LoadParams {
        path: source.path.clone(),
        shown_path: source.shown.clone(),
        ftype: source.facts.quantization.unwrap_or("unknown").to_owned(),
        n_gpu_layers: on_gpu.then_some(model.n_gpu_layers),
        mmap: model.mmap,
        mlock: model.mlock,
        n_ctx: decided.ctx_total,
        slots: context.parallel,
        learned_positions: source.facts.has_learned_positions,
        batch: context.batch,
        ubatch: shape.ubatch,
        flash_attn: shape.flash_attn,
        cache_type_k: shape.cache_type_k,
        cache_type_v: shape.cache_type_v,
        threads,
        threads_batch: if context.threads_batch == 0 { threads } else { context.threads_batch },
        warmup: model.warmup,
        chat_template,
        step_target: Duration::from_millis(context.step_target_ms.into()),
        queue: limits.queue,
        stream_buffer_bytes: limits.stream_buffer_bytes,
        stream_stall_timeout: limits.stream_stall_timeout,
    };
    Ok(LaunchPlan { params, notices, warnings })
}

/// The limits that the engine keeps.
pub(super) fn engine_limits(limits: &LimitSettings) -> EngineLimits {
    EngineLimits {
        queue: limits.queue as usize,
        stream_buffer_bytes: usize::try_from(limits.stream_buffer_bytes).unwrap_or(usize::MAX),
        stream_stall_timeout: Duration::from_secs(limits.stream_stall_timeout),
    }
}

/// Bytes that the model and its context may take.
fn free_memory(on_gpu: bool, gpus: &[&Device]) -> Option<u64> {
    let gpu =
        |device: &&Device| GpuMemory { free: device.memory_free, is_shared: device.is_integrated };
    let gpus: Vec<GpuMemory> = if on_gpu { gpus.iter().map(gpu).collect() } else { Vec::new() };
    budget(Memory::read(Path::new("/")), &gpus)
}

fn no_gpu() -> Failure {
    let cause = if cfg!(any(feature = "hip", feature = "vulkan", feature = "cuda")) {
        "no GPU can be used: check that /dev/kfd and /dev/dri/renderD128 exist and that this user is in the groups render and video"
    } else {
        "this build has no GPU backend (cargo features `hip` or `vulkan`)"
    };
    Failure::new(
        Exit::NoGpu,
        format!("model.gpu is \"required\", but {cause}; or set model.gpu to \"auto\" or \"off\""),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    fn notices(slots: &str) -> Vec<String> {
        let variables = [("LLAMA_ARG_CTX_SIZE", "2048"), ("LLAMA_ARG_N_PARALLEL", slots)];
        let environment = variables.iter().map(|(name, value)| (name.into(), value.into()));
        let sources = Sources { environment: environment.collect(), ..Sources::default() };
        let loaded = load(sources).unwrap();
        let source = Source::open(&loaded.settings.model).unwrap();
        plan(&loaded, &source, None, &[]).unwrap().notices
    }

    #[test]
    fn several_slots_are_told_how_much_each_conversation_gets() {
        let line = "2048 tokens over 2 slots: 1024 for each conversation";
        assert!(notices("2").iter().any(|notice| notice == line), "{:?}", notices("2"));
        assert!(notices("1").iter().all(|notice| !notice.contains("conversation")));
    }
}
