//! Loading a model: on the engine thread, which then goes on to serve it.

use std::num::NonZeroU32;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use llama_cpp_2::LlamaContextLoadError;
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::{KvCacheType, LlamaContextParams, RopeScalingType};
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::token::LlamaToken;

use super::allocations::{
    Allocations, Placement as Placed, recorded, start_recording, stop_recording,
};
use super::backend::{Device, backend};
use super::cache::{CacheParams, CopyCost, Disk, DiskParams, MemoryStore};
use super::handle::{Command, Engine, EngineLimits, ModelFacts, Shared};
use super::sample::{Candidates, Constraints};
use super::schedule::{StepCost, StepKind};
use super::speculate::{Acceptance, RollbackCost};
use super::worker::{DiskState, Limits, Rollback, Slot, Worker, memory, no_drafts};
use super::{SlotSnapshot, Vocabulary};
use crate::config::{CacheType, Rope, RopeScaling};

/// Stack of the engine thread. Grammars recurse, if less than where they are compiled.
const STACK: usize = 64 << 20;

/// What is loaded and how; all decisions are made.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // the meanings stand at the settings of the same names
pub struct LoadParams {
    /// The file that llama.cpp opens; the first part of a split model.
    pub path: PathBuf,
    /// The path to show; `None`: the built-in model.
    pub shown_path: Option<PathBuf>,
    /// llama.cpp's name of the quantization.
    pub ftype: String,
    /// Layers on the GPU; `None`: the GPU is not used at all.
    pub n_gpu_layers: Option<u32>,
    /// The GPUs to use, none for the CPU alone; `None`: llama.cpp chooses.
    pub gpus: Option<Vec<Device>>,
    /// Fewer layers on a GPU than asked for are an error.
    pub gpu_required: bool,
    pub mmap: bool,
    pub mlock: bool,
    /// Tokens of all slots together.
    pub n_ctx: u32,
    pub slots: u32,
    /// No position past the trained context can be computed.
    pub learned_positions: bool,
    /// Layers see a window of the tokens only: a state that was put back cannot be cut.
    pub has_window: bool,
    pub batch: u32,
    pub ubatch: u32,
    pub flash_attn: bool,
    pub cache_type_k: CacheType,
    pub cache_type_v: CacheType,
    pub rope: Rope,
    pub threads: u32,
    pub threads_batch: u32,
    pub warmup: bool,
    /// Used instead of the model's own.
    pub chat_template: Option<String>,
    /// Tokens may be guessed ahead, of requests that allow it.
    pub speculation: bool,
    /// Recurrent states of each sequence that llama.cpp is asked to keep beside the last one, to take
    /// drafts back.
    pub rollback_tokens: u32,
    pub step_target: Duration,
    pub queue: usize,
    pub stream_buffer_bytes: usize,
    pub stream_stall_timeout: Duration,
    pub cache: CacheParams,
}

/// Why a model could not be loaded. One line each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// llama.cpp refused the file.
    #[error(
        "llama.cpp cannot load {0}: its log above says why (an architecture it does not know, damaged data or too little memory)"
    )]
    Model(String),
    /// Not all layers are where a GPU is required to compute them.
    #[error(
        "model.gpu is \"required\", but only {offloaded} of the {asked} layers asked for are on a GPU: llama.cpp's log at level debug says why; or set model.gpu to \"auto\""
    )]
    Offload {
        /// Layers on a GPU, the output among them.
        offloaded: usize,
        /// Layers that should be there.
        asked: usize,
    },
    /// There was no memory for the context, or a setting it cannot work with.
    #[error(
        "no context of {n_ctx} tokens could be made: too little memory, or a KV cache type this model cannot use; try a smaller --ctx-size"
    )]
    Context {
        /// Tokens of all slots together.
        n_ctx: u32,
    },
    /// The warm-up decode failed.
    #[error("the model was loaded, but its first decode failed: {0}")]
    WarmUp(String),
    /// llama.cpp or the thread could not be started.
    #[error("the engine could not start: {0}")]
    Start(String),
}

/// Loads a model and starts its engine thread. Blocks until the model is warm. `progress` is
/// told the share that has been read, 0 to 1; its `false` gives up. `on_panic` runs if the engine dies of a defect;
/// requests in flight are lost then.
pub fn load(
    params: LoadParams,
    progress: impl FnMut(f32) -> bool + Send + 'static,
    on_panic: impl FnOnce() + Send + 'static,
) -> Result<Engine, LoadError> {
    let started = Instant::now();
    let (ready, loaded) = mpsc::channel();
    let (commands, inbox) = mpsc::channel();
    let limits = EngineLimits {
        queue: params.queue,
        stream_buffer_bytes: params.stream_buffer_bytes,
        stream_stall_timeout: params.stream_stall_timeout,
    };
    let shared = Arc::new(Shared { limits: Mutex::new(limits), ..Shared::default() });
    *shared.slots() =
        (0..params.slots).map(|id| SlotSnapshot { id, ..SlotSnapshot::default() }).collect();
    let thread_shared = shared.clone();
    let to_engine = commands.clone();
    let thread = thread::Builder::new().name("engine".to_owned()).stack_size(STACK);
    let body = move || {
        serve(&params, started, progress, &ready, (to_engine, inbox), thread_shared);
    };
    let thread = spawn(thread, body, on_panic)?;
    let (vocabulary, facts) =
        loaded.recv().map_err(|_| LoadError::Start("it ended while loading".to_owned()))??;
    let thread = Mutex::new(Some(thread));
    let constraints = Constraints::new(vocabulary.clone());
    Ok(Engine { commands, shared, vocabulary, constraints, facts, thread })
}

/// Starts the thread of an engine; `on_panic` runs if `body` dies of a defect.
pub(super) fn spawn(
    thread: thread::Builder,
    body: impl FnOnce() + Send + 'static,
    on_panic: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, LoadError> {
    let body = move || {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_err() {
            on_panic();
        }
    };
    thread.spawn(body).map_err(|error| LoadError::Start(error.to_string()))
}

type Loaded = Result<(Vocabulary, ModelFacts), LoadError>;

/// The engine thread: model, context and worker live here, each borrowing from the one before.
fn serve(
    params: &LoadParams,
    started: Instant,
    progress: impl FnMut(f32) -> bool + 'static,
    ready: &mpsc::Sender<Loaded>,
    (to_engine, commands): (mpsc::Sender<Command>, mpsc::Receiver<Command>),
    shared: Arc<Shared>,
) {
    let fail = |error| {
        // The receiver waits for exactly one message.
        let _ = ready.send(Err(error));
    };
    let loaded =
        load_model(&params.path, &placement(params), params.gpu_required, progress, || {
            shown(params)
        });
    let (backend, model) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => return fail(error),
    };
    let Ok(mut context) = new_context(&model, backend, context_params(params)) else {
        return fail(LoadError::Context { n_ctx: params.n_ctx });
    };
    let write_bytes_per_hour = params.cache.disk.as_ref().map_or(0, |d| d.write_bytes_per_hour);
    let disk = params.cache.disk.as_ref().and_then(|disk| open_disk(disk, to_engine));
    let can_truncate = !model.is_recurrent() && !model.is_hybrid() && !params.has_window;
    let mut batch = LlamaBatch::new(context.n_batch() as usize, 1);
    let rollback_tokens = match rollback_tokens(params, &mut context, &model, &mut batch) {
        Ok(tokens) => tokens,
        Err(error) => return fail(LoadError::WarmUp(error)),
    };
    let rollback = rollback(params, &model, rollback_tokens);
    tell_rollback(params, rollback, rollback_tokens);
    let mut worker = Worker {
        limits: Limits {
            n_batch: context.n_batch() as usize,
            n_ubatch: context.n_ubatch() as usize,
            n_ctx_slot: n_ctx_slot(params, &model, &context) as usize,
            can_truncate,
            rollback,
            rollback_tokens: rollback_tokens as usize,
            // Rows of a quantized KV cache would not be copied whole there.
            device_checkpoints: params.n_gpu_layers.is_some()
                && !params.has_window
                && params.cache.checkpoint_bytes > 0,
            checkpoint_bytes: params.cache.checkpoint_bytes,
            checkpoint_every: params.cache.checkpoint_every as usize,
        },
        batch,
        model: &model,
        context,
        commands,
        shared,
        slots: (0..params.slots).map(|_| Slot::default()).collect(),
        queue: Default::default(),
        cost: StepCost::new(params.step_target, params.ubatch as usize),
        candidates: Candidates::new(),
        end_tokens: Arc::default(),
        arrivals: 0,
        kind: StepKind::Streams,
        prompt_steps: 0,
        draining: None,
        closed: false,
        memory: MemoryStore::new(params.cache.memory_bytes),
        copies: CopyCost::default(),
        checkpoint_seconds: 0.0,
        copied: None,
        steps_apart: 0,
        dropped: Default::default(),
        disk: DiskState::new(disk, write_bytes_per_hour),
        acceptance: Acceptance::default(),
        rollback_cost: RollbackCost::default(),
        one_pass: false,
        idle_since: None,
    };
    worker.count_files();
    for slot in worker.shared.slots().iter_mut() {
        slot.no_draft = no_drafts(params.speculation, rollback);
    }
    if params.warmup
        && let Err(error) = warm_up(&mut worker.context, &model, &mut worker.batch)
    {
        return fail(LoadError::WarmUp(error));
    }
    let facts = facts(params, &model, &worker.context, started.elapsed());
    let vocabulary = Vocabulary::new(model.clone());
    worker.end_tokens = vocabulary.end_tokens().into();
    if ready.send(Ok((vocabulary, facts))).is_ok() {
        worker.run();
    }
}

/// The disk cache; without it the server works all the same.
fn open_disk(params: &DiskParams, to_engine: mpsc::Sender<Command>) -> Option<Disk> {
    // A receiver that is gone needs to hear of nothing.
    let tell = move |event| drop(to_engine.send(Command::Disk(event)));
    Disk::open(params, tell)
        .inspect_err(|error| {
            let directory = params.directory.display();
            tracing::warn!("no prompts are kept on disk: {directory} cannot be used: {error}");
        })
        .ok()
}

fn shown(params: &LoadParams) -> String {
    match &params.shown_path {
        Some(path) => path.display().to_string(),
        None => "the built-in model".to_owned(),
    }
}

/// Loads the model at `path`, which an error calls by the name of `shown`, and checks that its layers
/// are where they shall be. Allocations are recorded from here on.
pub(super) fn load_model(
    path: &Path,
    placement: &Placement<'_>,
    gpu_required: bool,
    progress: impl FnMut(f32) -> bool + 'static,
    shown: impl FnOnce() -> String,
) -> Result<(&'static LlamaBackend, Arc<LlamaModel>), LoadError> {
    let backend = backend().map_err(LoadError::Start)?;
    let model_params = placement.model_params(progress).map_err(LoadError::Start)?;
    start_recording();
    let model = LlamaModel::load_from_file(backend, path, &model_params)
        .map_err(|_| LoadError::Model(shown()))?;
    placement.check(&recorded().placement(), gpu_required)?;
    Ok((backend, Arc::new(model)))
}

/// Where the weights go.
pub(super) struct Placement<'a> {
    pub(super) n_gpu_layers: Option<u32>,
    pub(super) gpus: Option<&'a [Device]>,
    pub(super) mmap: bool,
    pub(super) mlock: bool,
}

pub(super) fn placement(params: &LoadParams) -> Placement<'_> {
    Placement {
        n_gpu_layers: params.n_gpu_layers,
        gpus: params.gpus.as_deref(),
        mmap: params.mmap,
        mlock: params.mlock,
    }
}

impl Placement<'_> {
    pub(super) fn model_params(
        &self,
        progress: impl FnMut(f32) -> bool + 'static,
    ) -> Result<LlamaModelParams, String> {
        let model_params = LlamaModelParams::default()
            .with_n_gpu_layers(self.n_gpu_layers.unwrap_or(0))
            .with_use_mmap(self.mmap)
            .with_use_mlock(self.mlock)
            .with_progress_callback(progress);
        let Some(gpus) = self.gpus else { return Ok(model_params) };
        let indices: Vec<usize> = gpus.iter().map(|gpu| gpu.index).collect();
        model_params.with_devices(&indices).map_err(|error| error.to_string())
    }

    /// Whether the layers are where they were asked for.
    fn check(&self, placed: &Placed, gpu_required: bool) -> Result<(), LoadError> {
        let asked = self.n_gpu_layers.map_or(0, |asked| placed.layers.min(asked as usize));
        if gpu_required && placed.gpu_layers < asked {
            return Err(LoadError::Offload { offloaded: placed.gpu_layers, asked });
        }
        Ok(())
    }
}

/// Makes a context. Two at once are not safe to make in one process, so each waits for the one
/// before.
pub(super) fn new_context<'m>(
    model: &'m LlamaModel,
    backend: &LlamaBackend,
    params: LlamaContextParams,
) -> Result<LlamaContext<'m>, LlamaContextLoadError> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    // The lock guards no data that a panic could leave half-written.
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    model.new_context(backend, params)
}

pub(super) fn context_params(params: &LoadParams) -> LlamaContextParams {
    let threads = |n: u32| i32::try_from(n.max(1)).unwrap_or(i32::MAX);
    LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(params.n_ctx))
        .with_n_seq_max(params.slots)
        .with_n_batch(params.batch)
        .with_n_ubatch(params.ubatch)
        .with_flash_attention_policy(flash_attention(params.flash_attn))
        .with_type_k(kv_type(params.cache_type_k))
        .with_type_v(kv_type(params.cache_type_v))
        .with_rope_scaling_type(match params.rope.scaling {
            RopeScaling::Model => RopeScalingType::Unspecified,
            RopeScaling::None => RopeScalingType::None,
            RopeScaling::Linear => RopeScalingType::Linear,
            RopeScaling::Yarn => RopeScalingType::Yarn,
        })
        .with_rope_freq_base(params.rope.freq_base)
        .with_rope_freq_scale(params.rope.freq_scale)
        .with_yarn_orig_ctx(params.rope.yarn_orig_ctx)
        .with_yarn_ext_factor(params.rope.yarn_ext_factor)
        .with_yarn_attn_factor(params.rope.yarn_attn_factor)
        .with_yarn_beta_slow(params.rope.yarn_beta_slow)
        .with_yarn_beta_fast(params.rope.yarn_beta_fast)
        .with_n_rs_seq(params.rollback_tokens)
        .with_n_threads(threads(params.threads))
        .with_n_threads_batch(threads(params.threads_batch))
        .with_offload_kqv(params.n_gpu_layers.is_some())
        .with_op_offload(params.n_gpu_layers.is_some())
        // A stream of its own for each sequence: attention then reads one sequence's cells only.
        .with_kv_unified(false)
        // A window's cache that forgets could not be cut, and histories are reused.
        .with_swa_full(true)
        .with_no_perf(true)
}

/// llama.cpp's name of using flash attention or not.
pub(super) fn flash_attention(is_on: bool) -> llama_cpp_sys_2::llama_flash_attn_type {
    if is_on {
        llama_cpp_sys_2::LLAMA_FLASH_ATTN_TYPE_ENABLED
    } else {
        llama_cpp_sys_2::LLAMA_FLASH_ATTN_TYPE_DISABLED
    }
}

/// llama.cpp's name of a cache type.
pub(super) fn kv_type(kind: CacheType) -> KvCacheType {
    match kind {
        CacheType::F32 => KvCacheType::F32,
        CacheType::F16 => KvCacheType::F16,
        CacheType::Bf16 => KvCacheType::BF16,
        CacheType::Q8_0 => KvCacheType::Q8_0,
        CacheType::Q4_0 => KvCacheType::Q4_0,
        CacheType::Q4_1 => KvCacheType::Q4_1,
        CacheType::Iq4_nl => KvCacheType::IQ4_NL,
        CacheType::Q5_0 => KvCacheType::Q5_0,
        CacheType::Q5_1 => KvCacheType::Q5_1,
    }
}

/// Tokens of a slot. llama.cpp rounds the context up.
fn n_ctx_slot(params: &LoadParams, model: &LlamaModel, context: &LlamaContext<'_>) -> u32 {
    let slot = context.n_ctx() / params.slots;
    if params.learned_positions { slot.min(model.n_ctx_train()) } else { slot }
}

/// Tokens of the last step that can be cut off a recurrent state. llama.cpp keeps none, and does not
/// say so, where it does not know how to: it is tried.
fn rollback_tokens(
    params: &LoadParams,
    context: &mut LlamaContext<'_>,
    model: &LlamaModel,
    batch: &mut LlamaBatch<'_>,
) -> Result<u32, String> {
    let is_recurrent = model.is_recurrent() || model.is_hybrid();
    if !is_recurrent || params.rollback_tokens == 0 {
        return Ok(0);
    }
    decode(context, model, batch, 0..2)?;
    let is_cut = memory::remove(context, 0, 1);
    memory::clear(context);
    Ok(if is_cut { params.rollback_tokens } else { 0 })
}

/// How drafts are taken back.
fn rollback(params: &LoadParams, model: &LlamaModel, kept: u32) -> Option<Rollback> {
    if !params.speculation {
        return None;
    }
    let is_recurrent = model.is_recurrent() || model.is_hybrid();
    match (is_recurrent, params.has_window, params.n_gpu_layers.is_some()) {
        (false, ..) => Some(Rollback::Cut),
        // A window would be copied with it.
        (true, true, _) => None,
        // There is room for it where checkpoints are kept.
        (true, false, true) if params.cache.checkpoint_bytes == 0 => {
            (kept > 0).then_some(Rollback::Kept)
        }
        (true, false, _) => Some(Rollback::Copy),
    }
}

/// Says which way is taken, since what drafts cost depends on it.
fn tell_rollback(params: &LoadParams, rollback: Option<Rollback>, kept: u32) {
    let copied = "the recurrent state is copied where it is";
    let way = match rollback {
        _ if !params.speculation => "off".to_owned(),
        Some(Rollback::Cut) => "what is drafted in vain is cut off".to_owned(),
        Some(Rollback::Kept) => {
            format!("drafts are as long as llama.cpp keeps states: {kept} tokens")
        }
        Some(Rollback::Copy) if kept == 0 => format!("before a draft {copied}"),
        Some(Rollback::Copy) => {
            format!("of {kept} tokens llama.cpp keeps states; before a longer draft {copied}")
        }
        None => "off: recurrent states cannot be copied (they see a window, or none may be kept)"
            .to_owned(),
    };
    tracing::info!("speculation: {way}");
}

/// Decodes twice, several tokens and one, so that the first request finds kernels, buffers and
/// threads in place.
fn warm_up(
    context: &mut LlamaContext<'_>,
    model: &LlamaModel,
    batch: &mut LlamaBatch<'_>,
) -> Result<(), String> {
    let several = 2.min(context.n_batch() as i32);
    decode(context, model, batch, 0..several)?;
    decode(context, model, batch, several..several + 1)?;
    memory::clear(context);
    Ok(())
}

/// Computes a token at these positions of the first sequence.
fn decode(
    context: &mut LlamaContext<'_>,
    model: &LlamaModel,
    batch: &mut LlamaBatch<'_>,
    positions: Range<i32>,
) -> Result<(), String> {
    let vocab = model.vocab();
    let token = [vocab.bos(), vocab.eos()].into_iter().find(|t| t.0 >= 0).unwrap_or(LlamaToken(0));
    batch.clear();
    let last = positions.end - 1;
    for position in positions {
        batch.add(token, position, &[0], position == last).map_err(|error| error.to_string())?;
    }
    context.decode(batch).map_err(|error| error.to_string())?;
    context.synchronize();
    Ok(())
}

fn facts(
    params: &LoadParams,
    model: &LlamaModel,
    context: &LlamaContext<'_>,
    took: Duration,
) -> ModelFacts {
    let template = || model.meta_val_str("tokenizer.chat_template").ok();
    ModelFacts {
        path: params.shown_path.clone(),
        ftype: params.ftype.clone(),
        n_ctx: context.n_ctx(),
        n_ctx_slot: n_ctx_slot(params, model, context),
        n_slots: params.slots,
        chat_template: params.chat_template.clone().or_else(template),
        load_seconds: took.as_secs_f64(),
        gpus: params.gpus.clone().unwrap_or_default(),
        allocations: stop_recording(),
        ..described(model)
    }
}

/// What a model's file says; the rest is empty.
pub(super) fn described(model: &LlamaModel) -> ModelFacts {
    let vocab = model.vocab();
    let text = |token: LlamaToken| {
        (token.0 >= 0)
            .then(|| String::from_utf8_lossy(&vocab.token_to_piece(token, true, None)).into_owned())
    };
    let named =
        |token: &str| model.meta_val_str(&format!("tokenizer.ggml.{token}_token_id")).is_ok();
    ModelFacts {
        path: None,
        name: model.meta_val_str("general.name").ok(),
        architecture: model.meta_val_str("general.architecture").unwrap_or_default(),
        ftype: String::new(),
        size: model.size(),
        n_params: model.n_params(),
        n_embd: model.n_embd().max(0) as u32,
        n_vocab: vocab.n_tokens().max(0) as u32,
        n_ctx_train: model.n_ctx_train(),
        n_ctx: 0,
        n_ctx_slot: 0,
        n_slots: 0,
        recurrent: model.is_recurrent() || model.is_hybrid(),
        chat_template: None,
        // Without these llama.cpp guesses: a template would print some ordinary token.
        bos_token: named("bos").then(|| text(vocab.bos())).flatten(),
        eos_token: named("eos").then(|| text(vocab.eos())).flatten(),
        load_seconds: 0.0,
        gpus: Vec::new(),
        allocations: Allocations::default(),
    }
}
