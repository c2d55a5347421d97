//! Loading: on the engine's thread, which then goes on to serve.

use std::num::NonZeroU32;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Instant;

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::{LlamaContextParams, LlamaPoolingType};
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;

use super::batch::Limits;
use super::worker::{Worker, compute};
use super::{Command, EmbeddingEngine, EmbeddingParams, Inner, Shared};
use crate::engine::allocations::stop_recording;
use crate::engine::load::{Placement, described, flash_attention, load_model, new_context, spawn};
use crate::engine::{LoadError, ModelFacts, Vocabulary};
use crate::model::{EMBEDDING_SEQUENCES, Pooling};

struct Loaded {
    vocabulary: Vocabulary,
    facts: ModelFacts,
    dimensions: usize,
}

pub(super) fn load(
    params: EmbeddingParams,
    progress: impl FnMut(f32) -> bool + Send + 'static,
    on_panic: impl FnOnce() + Send + 'static,
) -> Result<EmbeddingEngine, LoadError> {
    let started = Instant::now();
    let (ready, loaded) = mpsc::channel();
    let (commands, inbox) = mpsc::channel();
    let shared = Arc::new(Shared::default());
    shared.queue.store(params.queue, Ordering::Relaxed);
    let thread_shared = shared.clone();
    let (pooling, planned) = (params.shape.pooling, params.planned);
    let thread = thread::Builder::new().name("embedding".to_owned());
    let body = move || serve(&params, started, progress, &ready, inbox, thread_shared);
    let thread = spawn(thread, body, on_panic)?;
    let Loaded { vocabulary, facts, dimensions } =
        loaded.recv().map_err(|_| LoadError::Start("it ended while loading".to_owned()))??;
    let thread = Mutex::new(Some(thread));
    let inner = Inner { commands, shared, vocabulary, facts, pooling, dimensions, planned, thread };
    Ok(EmbeddingEngine { inner: Arc::new(inner) })
}

pub(in crate::engine) fn placement(params: &EmbeddingParams) -> Placement<'_> {
    Placement {
        n_gpu_layers: params.n_gpu_layers,
        gpus: params.gpus.as_deref(),
        mmap: params.mmap,
        mlock: params.mlock,
    }
}

/// The thread: model, context and worker live here, each borrowing from the one before.
fn serve(
    params: &EmbeddingParams,
    started: Instant,
    progress: impl FnMut(f32) -> bool + 'static,
    ready: &mpsc::Sender<Result<Loaded, LoadError>>,
    commands: mpsc::Receiver<Command>,
    shared: Arc<Shared>,
) {
    let fail = |error| {
        // The receiver waits for exactly one message.
        let _ = ready.send(Err(error));
    };
    let loaded =
        load_model(&params.path, &placement(params), params.gpu_required, progress, || {
            params.shown_path.as_ref().unwrap_or(&params.path).display().to_string()
        });
    let (backend, model) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => return fail(error),
    };
    let shape = &params.shape;
    let Ok(mut context) = new_context(&model, backend, context_params(params)) else {
        return fail(LoadError::Context { n_ctx: shape.context });
    };
    let mut batch = LlamaBatch::new(context.n_batch() as usize, 1);
    if params.warmup && compute(&mut context, &mut batch, &[&[0]]).is_none() {
        return fail(LoadError::WarmUp("it gave no vector".to_owned()));
    }
    let vocabulary = Vocabulary::new(model.clone());
    let dimensions = match shape.pooling {
        Pooling::Rank => model.n_cls_out() as usize,
        _ => model.n_embd_out().max(0) as usize,
    };
    let facts = facts(params, &model, &context, started);
    let worker = Worker {
        limits: Limits::new(shape.context as usize, EMBEDDING_SEQUENCES as usize),
        context,
        batch,
        commands,
        shared,
        jobs: Default::default(),
        draining: None,
    };
    if ready.send(Ok(Loaded { vocabulary, facts, dimensions })).is_ok() {
        worker.run();
    }
}

pub(in crate::engine) fn context_params(params: &EmbeddingParams) -> LlamaContextParams {
    let shape = &params.shape;
    let threads = i32::try_from(params.threads.max(1)).unwrap_or(i32::MAX);
    LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(shape.context))
        .with_n_seq_max(EMBEDDING_SEQUENCES)
        .with_n_batch(shape.context)
        .with_n_ubatch(shape.ubatch)
        .with_embeddings(true)
        .with_pooling_type(match shape.pooling {
            Pooling::Mean => LlamaPoolingType::Mean,
            Pooling::Cls => LlamaPoolingType::Cls,
            Pooling::Last => LlamaPoolingType::Last,
            Pooling::Rank => LlamaPoolingType::Rank,
        })
        .with_flash_attention_policy(flash_attention(shape.flash_attn))
        .with_n_threads(threads)
        .with_n_threads_batch(threads)
        .with_offload_kqv(params.n_gpu_layers.is_some())
        .with_op_offload(params.n_gpu_layers.is_some())
        // With a stream for each sequence a batch would be cut where its shortest text ends, and
        // the vector of a text made of its last part only.
        .with_kv_unified(true)
        .with_no_perf(true)
}

fn facts(
    params: &EmbeddingParams,
    model: &LlamaModel,
    context: &LlamaContext<'_>,
    started: Instant,
) -> ModelFacts {
    ModelFacts {
        path: params.shown_path.clone(),
        ftype: params.ftype.clone(),
        n_ctx: context.n_ctx(),
        n_ctx_slot: params.shape.context,
        n_slots: EMBEDDING_SEQUENCES,
        gpus: params.gpus.clone().unwrap_or_default(),
        load_seconds: started.elapsed().as_secs_f64(),
        allocations: stop_recording(),
        ..described(model)
    }
}
