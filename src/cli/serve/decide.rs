//! From settings and facts to what the engine loads: GPU, threads, KV types, context.

use std::path::Path;
use std::time::Duration;

use super::layout::{Layout, layout};
use super::run::Failure;
use super::source::Source;
use crate::cli::Exit;
use crate::config::{Gpu, LimitSettings, Loaded};
use crate::engine::{self, Device, EngineLimits, LoadParams};
use crate::host::{Memory, physical_cores};
use crate::model::PlanError;

/// Memory left to the rest of the machine when the default context is chosen.
const RESERVE: u64 = 1 << 30;

/// What the engine shall load, with what people should be told about it.
#[derive(Debug)]
pub(super) struct Decision {
    pub(super) params: LoadParams,
    pub(super) news: Vec<String>,
    pub(super) warnings: Vec<String>,
}

pub(super) fn decide(
    loaded: &Loaded,
    source: &Source,
    chat_template: Option<String>,
    devices: &[Device],
) -> Result<Decision, Failure> {
    let settings = &loaded.settings;
    let (model, context) = (&settings.model, &settings.context);
    let is_set = |key: &str| loaded.origins.is_set(key);
    let gpus = engine::gpus_in_use(devices);
    let on_gpu = match model.gpu {
        Gpu::Required if gpus.is_empty() => return Err(no_gpu()),
        Gpu::Required | Gpu::Auto => !gpus.is_empty(),
        Gpu::Off => false,
    };
    let Layout { shape, context: decided, mut news } =
        layout(loaded, &source.facts, on_gpu, budget(on_gpu, &gpus)).map_err(plan_failure)?;
    let mut warnings = Vec::new();
    // What was chosen for the user is news; what the user chose against advice is a warning.
    if is_set("context.ctx_size") { &mut warnings } else { &mut news }.extend(decided.notices);
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
    Ok(Decision { params, news, warnings })
}

/// The limits that the engine keeps.
pub(super) fn engine_limits(limits: &LimitSettings) -> EngineLimits {
    EngineLimits {
        queue: limits.queue as usize,
        stream_buffer_bytes: usize::try_from(limits.stream_buffer_bytes).unwrap_or(usize::MAX),
        stream_stall_timeout: Duration::from_secs(limits.stream_stall_timeout),
    }
}

/// Bytes that the model and its context may take. GPU and host share one memory on the machines
/// this is for, so the smaller of what both have free counts.
fn budget(on_gpu: bool, gpus: &[&Device]) -> Option<u64> {
    let host = Memory::read(Path::new("/")).map(|m| m.available.saturating_sub(RESERVE));
    if !on_gpu {
        return host;
    }
    let gpu: u64 = gpus.iter().map(|d| d.memory_free).sum();
    let shared = gpus.iter().all(|d| d.is_integrated);
    match host {
        Some(host) if shared => Some(gpu.min(host)),
        _ => Some(gpu),
    }
}

fn plan_failure(error: PlanError) -> Failure {
    Failure { exit_code: error.exit_code(), message: error.to_string() }
}

fn no_gpu() -> Failure {
    let cause = if cfg!(any(feature = "hip", feature = "vulkan")) {
        "no GPU can be used: check that /dev/kfd and /dev/dri/renderD128 exist and that this user is in the groups render and video"
    } else {
        "this build has no GPU backend (cargo features `hip` or `vulkan`)"
    };
    Failure::new(
        Exit::NoGpu,
        format!("model.gpu is \"required\", but {cause}; or set model.gpu to \"auto\" or \"off\""),
    )
}
