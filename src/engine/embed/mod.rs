//! Models that make vectors of texts, or scores of pairs of them: an engine of their own, with its
//! thread, model and context.

mod batch;
pub(super) mod load;
mod worker;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::backend::Device;
use super::heartbeat::Heartbeat;
use super::{LoadError, ModelFacts, Token, Vocabulary};
use crate::model::{EmbeddingShape, MemoryNeed, Pooling};

/// What is loaded and how; all decisions are made.
#[derive(Debug, Clone)]
pub struct EmbeddingParams {
    /// The file that llama.cpp opens; the first part of a split model.
    pub path: PathBuf,
    /// The path to show.
    pub shown_path: Option<PathBuf>,
    /// llama.cpp's name of the quantization.
    pub ftype: String,
    /// Layers on the GPU; `None`: the GPU is not used at all.
    pub n_gpu_layers: Option<u32>,
    /// The GPUs to use, none for the CPU alone; `None`: llama.cpp chooses.
    pub gpus: Option<Vec<Device>>,
    /// Fewer layers on a GPU than asked for are an error.
    pub gpu_required: bool,
    /// Whether the file is mapped into memory.
    pub mmap: bool,
    /// Whether it is locked there.
    pub mlock: bool,
    /// The context, as it was planned.
    pub shape: EmbeddingShape,
    /// Threads that compute.
    pub threads: u32,
    /// Whether a first batch is computed before the first request.
    pub warmup: bool,
    /// Requests that may wait, beside the one that is computed.
    pub queue: usize,
    /// What it was planned to need of memory.
    pub planned: MemoryNeed,
}

/// What a model has computed since it was loaded.
#[derive(Debug, Default)]
pub struct EmbeddingCounters {
    /// Texts; of a reranker, pairs of a query and a document.
    pub texts: AtomicU64,
    /// Their tokens.
    pub tokens: AtomicU64,
    /// Time that it took, in microseconds.
    pub compute_us: AtomicU64,
}

/// Why texts became no vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EmbeddingError {
    /// A text does not fit into the context.
    #[error("text {index} has {tokens} tokens, more than the context of {context}")]
    TooLong {
        /// Its number in the request, from 0.
        index: usize,
        /// Its tokens.
        tokens: usize,
        /// The most that a text may have.
        context: usize,
    },
    /// A text has no tokens.
    #[error("text {index} has no tokens")]
    Empty {
        /// Its number in the request, from 0.
        index: usize,
    },
    /// A text has a token that the vocabulary has not.
    #[error("text {index} has the token {token}, which is not in the vocabulary")]
    UnknownToken {
        /// The text's number in the request, from 0.
        index: usize,
        /// The token.
        token: Token,
    },
    /// As many requests wait as may.
    #[error("the queue of the embedding model is full")]
    Busy,
    /// The engine takes no new work.
    #[error("the embedding model is shutting down")]
    ShuttingDown,
    /// llama.cpp failed.
    #[error("the embedding model failed to compute the text")]
    Compute,
}

/// A loaded model that makes vectors. Cheap to clone; its thread ends when the last handle is
/// dropped.
#[derive(Debug, Clone)]
pub struct EmbeddingEngine {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
    vocabulary: Vocabulary,
    facts: ModelFacts,
    pooling: Pooling,
    dimensions: usize,
    planned: MemoryNeed,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the thread receives.
enum Command {
    Embed(Job),
    /// Let what was taken go on until the instant, then end it; take nothing new.
    Drain(Instant),
}

/// One request.
struct Job {
    texts: Vec<Vec<Token>>,
    /// Of the texts in order, as far as they are computed.
    vectors: Vec<Vec<f32>>,
    reply: oneshot::Sender<Result<Vec<Vec<f32>>, EmbeddingError>>,
    /// Its place in the queue.
    place: Place,
}

/// A place in the queue, from the submission of a request to its end.
struct Place(Arc<Shared>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, Ordering::AcqRel);
    }
}

/// State that the thread and the handles share.
#[derive(Debug, Default)]
struct Shared {
    stopped: AtomicBool,
    /// Requests that were taken and not answered.
    pending: AtomicUsize,
    queue: AtomicUsize,
    heartbeat: Heartbeat,
    counters: EmbeddingCounters,
}

impl EmbeddingEngine {
    /// Loads a model and starts its thread. Blocks until the model is warm. `progress` is told the
    /// share that has been read, 0 to 1; its `false` gives up. `on_panic` runs if the engine dies
    /// of a defect; requests in flight are lost then.
    pub fn load(
        params: EmbeddingParams,
        progress: impl FnMut(f32) -> bool + Send + 'static,
        on_panic: impl FnOnce() + Send + 'static,
    ) -> Result<Self, LoadError> {
        load::load(params, progress, on_panic)
    }

    /// One vector for each text, not normalized; of a reranker, its scores of each text (one, or as
    /// many as its classifier has outputs). Dropping the future cancels what is not computed yet.
    pub async fn embed(&self, texts: Vec<Vec<Token>>) -> Result<Vec<Vec<f32>>, EmbeddingError> {
        self.check(&texts)?;
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let shared = &self.inner.shared;
        if shared.stopped.load(Ordering::Acquire) {
            return Err(EmbeddingError::ShuttingDown);
        }
        let limit = shared.queue.load(Ordering::Relaxed).saturating_add(1);
        let reserve = |pending: usize| (pending < limit).then_some(pending + 1);
        shared
            .pending
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, reserve)
            .map_err(|_| EmbeddingError::Busy)?;
        let place = Place(shared.clone());
        let (reply, answer) = oneshot::channel();
        let vectors = Vec::with_capacity(texts.len());
        let job = Job { texts, vectors, reply, place };
        if self.inner.commands.send(Command::Embed(job)).is_err() {
            return Err(EmbeddingError::ShuttingDown);
        }
        // An engine that dies of a defect drops the request unanswered.
        answer.await.unwrap_or(Err(EmbeddingError::Compute))
    }

    fn check(&self, texts: &[Vec<Token>]) -> Result<(), EmbeddingError> {
        let context = self.context();
        for (index, text) in texts.iter().enumerate() {
            if text.is_empty() {
                return Err(EmbeddingError::Empty { index });
            }
            if text.len() > context {
                return Err(EmbeddingError::TooLong { index, tokens: text.len(), context });
            }
            let unknown = |token: &&Token| !self.inner.vocabulary.contains(**token);
            if let Some(&token) = text.iter().find(unknown) {
                return Err(EmbeddingError::UnknownToken { index, token });
            }
        }
        Ok(())
    }

    /// Text to tokens; callable from any thread.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.inner.vocabulary
    }

    /// What is known of the model and its context.
    pub fn facts(&self) -> &ModelFacts {
        &self.inner.facts
    }

    /// Values of one vector; of a reranker, scores of one text.
    pub fn dimensions(&self) -> usize {
        self.inner.dimensions
    }

    /// Most tokens of one text.
    pub fn context(&self) -> usize {
        self.inner.facts.n_ctx_slot as usize
    }

    /// What becomes of the tokens' vectors.
    pub fn pooling(&self) -> Pooling {
        self.inner.pooling
    }

    /// What it was planned to need of memory.
    pub fn planned(&self) -> MemoryNeed {
        self.inner.planned
    }

    /// What it has computed.
    pub fn counters(&self) -> &EmbeddingCounters {
        &self.inner.shared.counters
    }

    /// Requests that were taken and not answered.
    pub fn pending(&self) -> usize {
        self.inner.shared.pending.load(Ordering::Acquire)
    }

    /// Changes how many requests may wait; those that wait already stay.
    pub fn set_queue(&self, queue: usize) {
        self.inner.shared.queue.store(queue, Ordering::Relaxed);
    }

    /// How long the thread has been in its current batch; `None` while it waits for work.
    pub fn busy_for(&self) -> Option<Duration> {
        self.inner.shared.heartbeat.busy_for()
    }

    /// Takes no new requests; ends those that run at `deadline`.
    pub fn drain(&self, deadline: Instant) {
        self.inner.shared.stopped.store(true, Ordering::Release);
        // An engine that is gone has nothing to drain.
        let _ = self.inner.commands.send(Command::Drain(deadline));
    }

    /// Blocks until a drained engine has given its memory back. Leaving the process earlier would
    /// tear llama.cpp down under a running thread.
    pub fn join(&self) {
        let thread = self.inner.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic was reported by `on_panic`.
            let _ = thread.join();
        }
    }
}
