//! From settings and facts to what the engine loads: GPU, threads, KV types, context.

use std::path::Path;
use std::time::Duration;

use super::caches::cache_params;
use super::exit::{Exit, Failure};
use crate::config::{CACHE_DIRECTORY, Gpu, LimitSettings, Loaded, SelfTest};
use crate::engine::{self, CacheParams, Device, EngineLimits, LoadParams};
use crate::host::{Memory, physical_cores};
use crate::model::{GpuMemory, Layout, Source, budget, layout};

/// What the engine shall load, with what users should know about it.
#[derive(Debug)]
pub(super) struct LaunchPlan {
    pub(super) params: LoadParams,
    /// GPUs that must prove themselves first.
    pub(super) selftest: Vec<Device>,
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
    let mut params = LoadParams {
        path: source.path.clone(),
        shown_path: source.shown.clone(),
        ftype: source.facts.quantization.unwrap_or("unknown").to_owned(),
        n_gpu_layers: on_gpu.then_some(model.n_gpu_layers),
        mmap: model.mmap,
        mlock: model.mlock,
        n_ctx: decided.ctx_total,
        slots: context.parallel,
        learned_positions: source.facts.has_learned_positions,
        has_window: source.facts.has_window,
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
        cache: CacheParams::default(),
    };
    let cache_directory = std::env::var_os(CACHE_DIRECTORY);
    let used = if on_gpu { gpus.as_slice() } else { &[] };
    let cache = &settings.cache;
    let (cache, kept, error) =
        cache_params(cache, cache_directory.as_deref(), source, &shape, &params, used);
    if context.cache_prompt {
        params.cache = cache;
        notices.push(kept);
        warnings.extend(error);
    } else {
        // What is in a slot can be asked for by a request; nobody would look further.
        params.cache = CacheParams { memory_bytes: 0, disk: None, ..cache };
        notices.push("no states are saved: context.cache_prompt is off".to_owned());
    }
    let selftest = match model.selftest {
        SelfTest::Off => Vec::new(),
        SelfTest::Startup => used.iter().map(|&gpu| gpu.clone()).collect(),
    };
    if model.selftest == SelfTest::Startup && selftest.is_empty() {
        notices.push(
            "model.selftest is \"startup\", but no GPU is used: there is nothing to test"
                .to_owned(),
        );
    }
    Ok(LaunchPlan { params, selftest, notices, warnings })
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

    fn plan_of(variables: &[(&str, &str)]) -> LaunchPlan {
        let environment = variables.iter().map(|(name, value)| (name.into(), value.into()));
        let sources = Sources { environment: environment.collect(), ..Sources::default() };
        let loaded = load(sources).unwrap();
        let source = Source::open(&loaded.settings.model).unwrap();
        plan(&loaded, &source, None, &[]).unwrap()
    }

    fn notices(slots: &str) -> Vec<String> {
        plan_of(&[("LLAMA_ARG_CTX_SIZE", "2048"), ("LLAMA_ARG_N_PARALLEL", slots)]).notices
    }

    #[test]
    fn states_on_disk_are_named_by_what_changes_them() {
        let disk = |variables: &[(&str, &str)]| {
            let set = [&[("STRIXHALO_CACHE__DISK_DIR", "/tmp/prompts")], variables].concat();
            plan_of(&set).params.cache.disk
        };
        let key = |variables: &[(&str, &str)]| disk(variables).unwrap().key;
        let usual = key(&[]);
        assert_eq!(key(&[]), usual);
        assert_eq!(key(&[("LLAMA_ARG_CTX_SIZE", "512")]), usual);
        for other in [
            ("LLAMA_ARG_N_PARALLEL", "4"),
            ("LLAMA_ARG_CACHE_TYPE_K", "f16"),
            ("LLAMA_ARG_CACHE_TYPE_V", "f16"),
            ("LLAMA_ARG_FLASH_ATTN", "off"),
            ("LLAMA_ARG_MODEL", "tests/models/tiny-qwen3moe.gguf"),
        ] {
            assert_ne!(key(&[other]), usual, "{other:?}");
        }
        assert_eq!(disk(&[("STRIXHALO_CACHE__DISK_MIB", "0")]), None);
        assert_eq!(plan_of(&[]).params.cache.disk, None);
        assert_eq!(disk(&[]).unwrap().max_bytes, 32 << 30);
    }

    #[test]
    fn several_slots_are_told_how_much_each_conversation_gets() {
        let line = "2048 tokens over 2 slots: 1024 for each conversation";
        assert!(notices("2").iter().any(|notice| notice == line), "{:?}", notices("2"));
        assert!(notices("1").iter().all(|notice| !notice.contains("conversation")));
    }
}
