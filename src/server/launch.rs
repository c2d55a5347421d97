//! From settings and facts to what the engine loads: GPU, threads, KV types, context.

use std::path::Path;
use std::time::Duration;

use super::caches::cache_params;
use super::exit::{Exit, Failure};
use super::gate::{Passed, pass};
use crate::config::{CACHE_DIRECTORY, Gpu, LimitSettings, Loaded, SelfTest, Speculation};
use crate::engine::{
    self, CacheParams, Device, EmbeddingParams, EngineLimits, LoadParams, NO_DEVICE,
};
use crate::host::{GpuAbsence, GpuPool, gpu_absence, physical_cores};
use crate::model::{
    Budget, EmbeddingSource, EmbeddingSources, Layout, MemoryNeed, Source, UNIFIED_MEMORY,
};

/// What the engine shall load, with what users should know about it.
#[derive(Debug)]
pub(super) struct LaunchPlan {
    pub(super) params: LoadParams,
    /// The model that embeds, beside that one.
    pub(super) embedding: Option<EmbeddingParams>,
    /// The model that ranks.
    pub(super) rerank: Option<EmbeddingParams>,
    /// What it needs.
    pub(super) need: MemoryNeed,
    /// What it may take; `None`: unknown.
    pub(super) budget: Option<Budget>,
    /// Memory of the GPUs of amdgpu, before the load.
    pub(super) pools: Vec<GpuPool>,
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
    others: &EmbeddingSources,
    chat_template: Option<String>,
    devices: &[Device],
) -> Result<LaunchPlan, Failure> {
    let settings = &loaded.settings;
    let (model, context) = (&settings.model, &settings.context);
    let is_set = |key: &str| loaded.origins.is_set(key);
    let gpus = choose(loaded, devices)?;
    let on_gpu = !gpus.is_empty();
    let unified = std::env::var_os(UNIFIED_MEMORY).is_some();
    let Passed { layout, need, budget, pools, mut warnings } =
        pass(loaded, &source.facts, &gpus, unified, others.need(on_gpu), Path::new("/"))?;
    let Layout { shape, context: decided, mut notices } = layout;
    tell_choice(loaded, devices, &gpus, &mut notices, &mut warnings);
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
        gpus: Some(gpus.iter().map(|&gpu| gpu.clone()).collect()),
        gpu_required: model.gpu == Gpu::Required,
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
        rope: context.rope(),
        threads,
        threads_batch: if context.threads_batch == 0 { threads } else { context.threads_batch },
        warmup: model.warmup,
        chat_template,
        speculation: context.speculation == Speculation::Auto,
        rollback_tokens: shape.rollback_tokens,
        step_target: Duration::from_millis(context.step_target_ms.into()),
        queue: limits.queue,
        stream_buffer_bytes: limits.stream_buffer_bytes,
        stream_stall_timeout: limits.stream_stall_timeout,
        cache: CacheParams::default(),
    };
    let mut beside = |model: &EmbeddingSource| {
        let params = embedding_params(model, &params);
        notices.push(format!(
            "{}: up to {} tokens a text, pooling {}, {:.2} GiB planned",
            model.names.first().map_or("", String::as_str),
            params.shape.context,
            params.shape.pooling.name(),
            model.need(on_gpu).total() as f64 / (1_u64 << 30) as f64,
        ));
        params
    };
    let embedding = others.embedding.as_ref().map(&mut beside);
    let rerank = others.rerank.as_ref().map(&mut beside);
    let cache_directory = std::env::var_os(CACHE_DIRECTORY);
    let cache = &settings.cache;
    let (cache, kept, error) =
        cache_params(cache, cache_directory.as_deref(), source, &shape, &params, &gpus);
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
        SelfTest::Startup => gpus.iter().map(|&gpu| gpu.clone()).collect(),
    };
    if model.selftest == SelfTest::Startup && selftest.is_empty() {
        notices.push(
            "model.selftest is \"startup\", but no GPU is used: there is nothing to test"
                .to_owned(),
        );
    }
    Ok(LaunchPlan { params, embedding, rerank, need, budget, pools, selftest, notices, warnings })
}

/// A model beside the one of these parameters, loaded where that one is.
fn embedding_params(model: &EmbeddingSource, chat: &LoadParams) -> EmbeddingParams {
    let EmbeddingSource { source, .. } = model;
    let on_gpu = chat.n_gpu_layers.is_some();
    EmbeddingParams {
        path: source.path.clone(),
        shown_path: source.shown.clone(),
        ftype: source.facts.quantization.unwrap_or("unknown").to_owned(),
        n_gpu_layers: chat.n_gpu_layers,
        gpus: chat.gpus.clone(),
        gpu_required: chat.gpu_required,
        mmap: chat.mmap,
        mlock: chat.mlock,
        shape: model.shape(on_gpu),
        threads: chat.threads_batch,
        warmup: chat.warmup,
        queue: chat.queue,
        planned: model.need(on_gpu),
    }
}

/// The limits that the engine keeps.
pub(super) fn engine_limits(limits: &LimitSettings) -> EngineLimits {
    EngineLimits {
        queue: limits.queue as usize,
        stream_buffer_bytes: usize::try_from(limits.stream_buffer_bytes).unwrap_or(usize::MAX),
        stream_stall_timeout: Duration::from_secs(limits.stream_stall_timeout),
    }
}

/// The GPUs to load on, none for the CPU.
fn choose<'a>(loaded: &Loaded, devices: &'a [Device]) -> Result<Vec<&'a Device>, Failure> {
    let model = &loaded.settings.model;
    if model.gpu == Gpu::Off {
        return Ok(Vec::new());
    }
    let gpus = engine::choose_gpus(devices, &model.device)?;
    if gpus.is_empty() && model.gpu == Gpu::Required {
        let cause = absence(devices).unwrap_or_else(|| unseen().to_string());
        return Err(Failure::new(
            Exit::NoGpu,
            format!(
                "model.gpu is \"required\", but no GPU can be used: {cause}; or set model.gpu to \"auto\" or \"off\""
            ),
        ));
    }
    Ok(gpus)
}

/// What is wrong where the machine shows no GPU of AMD.
fn unseen() -> GpuAbsence {
    let backends: Vec<String> =
        engine::backends().into_iter().filter(|name| name != "CPU").collect();
    if backends.is_empty() { GpuAbsence::NoBackend } else { GpuAbsence::NotSeen { backends } }
}

/// Why the machine's GPU is not among the devices; `None`: it is, or there is none.
fn absence(devices: &[Device]) -> Option<String> {
    if devices.iter().any(|device| device.is_gpu) {
        return None;
    }
    gpu_absence(Path::new("/"), &engine::backends()).map(|absence| absence.to_string())
}

/// What a user should know about the choice of GPUs.
fn tell_choice(
    loaded: &Loaded,
    devices: &[Device],
    gpus: &[&Device],
    notices: &mut Vec<String>,
    warnings: &mut Vec<String>,
) {
    let model = &loaded.settings.model;
    for (used, other) in engine::seen_twice(devices, gpus) {
        notices.push(format!(
            "{other} is the same GPU as {used}, which is used; model.device = [\"{other}\"] chooses it"
        ));
    }
    if model.gpu == Gpu::Off && !model.device.is_empty() && model.device != [NO_DEVICE] {
        warnings.push("model.device is not used: model.gpu is \"off\"".to_owned());
    }
    if model.gpu == Gpu::Auto
        && model.device.is_empty()
        && let Some(cause) = absence(devices)
    {
        warnings.push(format!("THE GPU IS NOT USED, the CPU computes everything: {cause}"));
    }
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
        plan(&loaded, &source, &EmbeddingSources::default(), None, &[]).unwrap()
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
            ("LLAMA_ARG_ROPE_SCALING_TYPE", "yarn"),
            ("LLAMA_ARG_ROPE_SCALE", "4"),
            ("LLAMA_ARG_YARN_ORIG_CTX", "128"),
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
