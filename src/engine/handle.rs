//! The rest of the program's view of a running engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use llama_cpp_2::sampling::LlamaSampler;

use super::cache::DiskEvent;
use super::heartbeat::Heartbeat;
use super::sample::{Constraints, DrySamplers};
use super::stream::{self, EventSender, GenerationStream};
use super::{
    CacheMiss, CacheSource, GenerationRequest, Grammar, GrammarError, NoDraft, SamplingParams,
    Vocabulary,
};

/// A loaded model that takes requests. Cheap to share; the engine thread ends when the last
/// handle is dropped.
#[derive(Debug)]
pub struct Engine {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) vocabulary: Vocabulary,
    pub(crate) constraints: Constraints,
    pub(crate) facts: ModelFacts,
    pub(crate) thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the engine thread receives.
#[derive(Debug)]
pub(crate) enum Command {
    /// Sequences that arrived together.
    Submit(Vec<Job>),
    /// Let running sequences go on until the instant, then end them; take no new ones.
    Drain(Instant),
    /// What the disk cache did.
    Disk(DiskEvent),
    /// No handle is left.
    Close,
}

/// A request on its way to a slot.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) request: GenerationRequest,
    /// The same for all sequences of one HTTP request. (Its id is the client's to choose.)
    pub(crate) submission: u64,
    pub(crate) events: EventSender,
    pub(crate) submitted: Instant,
    /// Has seen no token; `None`: DRY changes nothing.
    pub(crate) dry: Option<Arc<LlamaSampler>>,
}

/// State that the engine thread writes and others read.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) stopped: AtomicBool,
    pub(crate) waiting: AtomicUsize,
    pub(crate) submissions: AtomicU64,
    pub(crate) counters: EngineCounters,
    pub(crate) slots: Mutex<Vec<SlotSnapshot>>,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) limits: Mutex<EngineLimits>,
    /// Drafts are made whatever they cost.
    pub(crate) always_draft: AtomicBool,
}

/// Bounds that can be changed while the engine runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EngineLimits {
    /// Sequences that may wait for a slot.
    pub queue: usize,
    /// Bytes of output buffered for a client that reads slowly; of requests from now on.
    pub stream_buffer_bytes: usize,
    /// Time such a buffer may stay full before its client is dropped.
    pub stream_stall_timeout: Duration,
}

/// Totals since the engine started. Times in microseconds.
#[derive(Debug, Default)]
#[allow(missing_docs)] // the names are those of /metrics
pub struct EngineCounters {
    pub prompt_tokens: AtomicU64,
    pub prompt_tokens_cached: AtomicU64,
    pub prompt_us: AtomicU64,
    pub predicted_tokens: AtomicU64,
    pub predicted_us: AtomicU64,
    /// Decode calls.
    pub decodes: AtomicU64,
    /// Sum over decode calls of the slots that took part.
    pub busy_slots: AtomicU64,
    /// Longest sequence seen, in tokens.
    pub longest_sequence: AtomicU64,
    pub cache: CacheCounters,
    pub speculation: SpeculationCounters,
}

/// What speculation did.
#[derive(Debug, Default)]
#[allow(missing_docs)] // the names are those of /metrics
pub struct SpeculationCounters {
    /// Drafts made, their tokens, and those of them that came.
    pub drafts: AtomicU64,
    pub drafted_tokens: AtomicU64,
    pub accepted_tokens: AtomicU64,
    /// Sum over steps of the streams that took part.
    pub stream_steps: AtomicU64,
    /// Drafts after which a sequence's state was put back.
    pub restored: AtomicU64,
    /// Of `stream_steps`, those without a draft by the reason.
    pub disabled: AtomicU64,
    pub memory: AtomicU64,
    pub no_match: AtomicU64,
    pub cost: AtomicU64,
    pub streams: AtomicU64,
}

impl SpeculationCounters {
    /// The steps without a draft for this reason.
    pub fn without(&self, reason: NoDraft) -> &AtomicU64 {
        match reason {
            NoDraft::Disabled => &self.disabled,
            NoDraft::Memory => &self.memory,
            NoDraft::NoMatch => &self.no_match,
            NoDraft::Cost => &self.cost,
            NoDraft::Streams => &self.streams,
        }
    }
}

/// What the caches did and hold.
#[derive(Debug, Default)]
#[allow(missing_docs)] // the names are those of /metrics
pub struct CacheCounters {
    /// Requests that went on from a sequence in their own slot, in another, in memory, on disk.
    pub hits_slot: AtomicU64,
    pub hits_sequence: AtomicU64,
    pub hits_memory: AtomicU64,
    pub hits_disk: AtomicU64,
    /// Requests of which nothing was held.
    pub misses: AtomicU64,
    /// States saved to memory, and dropped from it for want of room.
    pub saved: AtomicU64,
    pub dropped: AtomicU64,
    /// Restored states that did not prove to be what they were taken for.
    pub rejected: AtomicU64,
    /// Recurrent states kept, and gone back to.
    pub checkpoints_taken: AtomicU64,
    pub checkpoints_restored: AtomicU64,
    /// Files written, and removed because they could not be read.
    pub files_written: AtomicU64,
    pub files_rejected: AtomicU64,
    /// States that were not written for want of room or of the hour's budget.
    pub files_refused: AtomicU64,
    /// Held now: states in memory and their bytes, bytes of checkpoints, files and their bytes.
    pub memory_states: AtomicU64,
    pub memory_bytes: AtomicU64,
    pub checkpoint_bytes: AtomicU64,
    pub disk_files: AtomicU64,
    pub disk_bytes: AtomicU64,
}

/// Adds to a counter; nothing is ordered by it.
pub(crate) fn add(counter: &AtomicU64, n: usize) {
    counter.fetch_add(n as u64, Ordering::Relaxed);
}

/// What one slot does.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct SlotSnapshot {
    pub id: u32,
    pub processing: bool,
    /// The prompt has been read; tokens are being generated, or were.
    pub generating: bool,
    /// Number of the request it works on, or last worked on; they count from 1.
    pub task: Option<u64>,
    /// The id of the request it works on, or last worked on.
    pub request_id: Option<String>,
    /// Tokens of the current or last prompt.
    pub prompt_tokens: u32,
    /// Of these, read so far (cached ones included).
    pub prompt_processed: u32,
    pub prompt_cached: u32,
    pub decoded: u32,
    /// A line has ended in what was generated.
    pub has_new_line: bool,
    /// Tokens drafted for the current or last request, and those of them that came.
    pub drafted: u32,
    pub accepted: u32,
    /// Why nothing was drafted for its last step.
    pub no_draft: Option<NoDraft>,
    /// Tokens that may still be generated; `None`: unlimited.
    pub remaining: Option<u32>,
    /// Tokens that the slot's KV cache holds.
    pub cached_tokens: u32,
    /// Of the current or last request: where its cached tokens came from, and why not all are.
    pub cache_source: Option<CacheSource>,
    pub cache_miss: Option<CacheMiss>,
    /// The conversation whose history the slot holds; 0: none.
    pub conversation: u64,
    /// Recurrent states kept of it.
    pub checkpoints: u32,
    /// A copy of the history is saved in memory or on disk.
    pub saved: bool,
    /// The parameters of the current or last request.
    pub sampling: Option<SamplingParams>,
}

/// What is known of the loaded model and its context.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct ModelFacts {
    /// The path it was loaded from; `None`: the built-in demo model.
    pub path: Option<std::path::PathBuf>,
    /// `general.name`, if the file has one.
    pub name: Option<String>,
    pub architecture: String,
    /// llama.cpp's name of the file's quantization, such as `Q8_0`.
    pub ftype: String,
    /// Bytes of all tensors.
    pub size: u64,
    pub n_params: u64,
    pub n_embd: u32,
    pub n_vocab: u32,
    pub n_ctx_train: u32,
    /// Context of all slots together.
    pub n_ctx: u32,
    /// Context of one slot: no prompt with its answer can be longer.
    pub n_ctx_slot: u32,
    pub n_slots: u32,
    /// Attention mixed with recurrent layers, or only those: no partial removal from its memory.
    pub recurrent: bool,
    /// The chat template in the file or the settings.
    pub chat_template: Option<String>,
    pub bos_token: Option<String>,
    pub eos_token: Option<String>,
    /// Seconds from the start of loading to the end of warm-up.
    pub load_seconds: f64,
    /// The GPUs that were asked for.
    pub gpus: Vec<super::backend::Device>,
    /// What was allocated, and where the layers are.
    pub allocations: super::allocations::Allocations,
}

/// The queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// `limits.queue` requests are waiting already.
    #[error("the queue is full ({waiting} waiting)")]
    QueueFull {
        /// How many.
        waiting: usize,
    },
    /// The engine has stopped or takes no new work.
    #[error("the engine takes no more requests")]
    Stopped,
}

impl Engine {
    /// Queues sequences that belong to one HTTP request; all are taken or none. Blocking with DRY,
    /// seconds for many sequence breakers.
    pub fn submit(
        &self,
        requests: Vec<GenerationRequest>,
    ) -> Result<Vec<GenerationStream>, SubmitError> {
        if self.shared.stopped.load(Ordering::Acquire) {
            return Err(SubmitError::Stopped);
        }
        let n = requests.len();
        let limits = self.shared.limits();
        // What an idle slot takes does not wait: a queue of 0 is one that is never waited in.
        let idle = self.shared.slots().iter().filter(|slot| !slot.processing).count();
        let limit = limits.queue + idle;
        // A request with several choices is let in whole as long as the queue is not full yet.
        let reserve = |waiting: usize| (waiting < limit).then_some(waiting + n);
        self.shared
            .waiting
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, reserve)
            .map_err(|waiting| SubmitError::QueueFull { waiting })?;
        let submitted = Instant::now();
        let submission = self.shared.submissions.fetch_add(1, Ordering::Relaxed);
        let mut dry_samplers = DrySamplers::new(self.vocabulary.model(), self.facts.n_ctx_slot);
        let (jobs, streams) = requests
            .into_iter()
            .map(|request| {
                let (events, stream) = stream::channel(limits.stream_buffer_bytes);
                let dry = dry_samplers.get(&request.sampling);
                (Job { request, submission, events, submitted, dry }, stream)
            })
            .unzip();
        match self.commands.send(Command::Submit(jobs)) {
            Ok(()) => Ok(streams),
            Err(_) => {
                self.shared.waiting.fetch_sub(n, Ordering::AcqRel);
                Err(SubmitError::Stopped)
            }
        }
    }

    /// Compiles a grammar in llguidance's Lark for [`GenerationRequest::grammar`], or finds it among
    /// those compiled last. Blocking: milliseconds, a quarter of a second more at the first one.
    pub fn compile(&self, lark: &str) -> Result<Grammar, GrammarError> {
        self.constraints.compile(lark)
    }

    /// Takes no new requests; ends the running ones with `FinishReason::Shutdown` at `deadline`.
    pub fn drain(&self, deadline: Instant) {
        // An engine that is gone has nothing to drain.
        let _ = self.commands.send(Command::Drain(deadline));
    }

    /// Blocks until a drained engine has given its memory back. Leaving the process earlier would
    /// tear llama.cpp down under a running thread.
    pub fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic was reported by `on_panic`.
            let _ = thread.join();
        }
    }

    /// How long the engine thread has been in its current step; `None` while it waits for work.
    pub fn busy_for(&self) -> Option<Duration> {
        self.shared.heartbeat.busy_for()
    }

    /// Changes the bounds; what waits or runs already stays.
    pub fn set_limits(&self, limits: EngineLimits) {
        *self.shared.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    /// Text to tokens and back; callable from any thread.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// What is known of the model and its context.
    pub fn facts(&self) -> &ModelFacts {
        &self.facts
    }

    /// Sequences that wait for a slot.
    pub fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::Acquire)
    }

    /// Totals since the start.
    pub fn counters(&self) -> &EngineCounters {
        &self.shared.counters
    }

    /// Makes a draft wherever the text repeats something, whatever that costs. For tests of what
    /// becomes of drafts.
    #[doc(hidden)]
    pub fn always_draft(&self) {
        self.shared.always_draft.store(true, Ordering::Relaxed);
    }

    /// What each slot does.
    pub fn slots(&self) -> Vec<SlotSnapshot> {
        self.shared.slots().clone()
    }
}

impl Drop for Engine {
    /// The disk cache holds the channel open, too.
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Close);
    }
}

impl Shared {
    pub(crate) fn limits(&self) -> EngineLimits {
        // Plain values, replaced whole.
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn slots(&self) -> MutexGuard<'_, Vec<SlotSnapshot>> {
        // Snapshots are replaced whole, so a panicking writer leaves no half-written one.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
