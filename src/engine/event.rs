//! What the engine tells about a running request.

use std::time::Duration;

use super::Token;

/// One message of a `GenerationStream`. Order: `Started`, any `Progress`, `PromptLogprobs` if
/// asked for, `PromptDone`, any `Output`, then one `Done`. `Failed` may end it at any point.
#[derive(Debug, Clone)]
pub enum GenerationEvent {
    /// A slot has taken the request.
    Started {
        /// The slot's number.
        slot: u32,
        /// Prompt tokens that need no computing.
        cached_tokens: u32,
        /// Where those came from; `None`: there are none.
        source: Option<CacheSource>,
        /// Why not all but the prompt's end are cached; `None`: they are.
        miss: Option<CacheMiss>,
    },
    /// Part of the prompt has been read.
    Progress(PromptProgress),
    /// Log probabilities of all prompt tokens; the first token's is unknown (`None`).
    PromptLogprobs(Vec<(Token, Option<TokenLogprobs>)>),
    /// The whole prompt has been read.
    PromptDone,
    /// New text, with the tokens that it came from. Text may be empty (a token that ends inside
    /// a character or a possible stop string); it arrives with a later event.
    Output {
        /// Text whose bytes are whole characters and cannot be part of a stop string.
        text: String,
        /// The tokens generated since the last event, except those of a stop string.
        tokens: Vec<OutputToken>,
        /// The timings so far.
        timings: Timings,
    },
    /// The sequence is complete.
    Done(Summary),
    /// The sequence was given up.
    Failed(GenerationError),
}

/// Where a sequence that begins like a prompt was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CacheSource {
    /// In the slot that takes the request.
    Slot,
    /// In another slot.
    Sequence,
    /// Among the states saved in memory.
    Memory,
    /// Among the states saved on disk.
    Disk,
}

/// Why a prompt, or a part of it, was computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CacheMiss {
    /// The request or the settings say so.
    Disabled,
    /// The request wants log probabilities of its prompt.
    Logprobs,
    /// No prompt began like it.
    New,
    /// It was held, and given up for want of room.
    Dropped,
    /// It differs from what is held before its end.
    Changed,
    /// What was held of it did not prove to be its state.
    Rejected,
}

/// How far the prompt has been read. Tokens; `elapsed` since reading began.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct PromptProgress {
    pub total: u32,
    pub cached: u32,
    pub processed: u32,
    pub elapsed: Duration,
}

/// One generated token.
#[derive(Debug, Clone)]
pub struct OutputToken {
    /// Its id.
    pub id: Token,
    /// Its log probability and the alternatives, if asked for.
    pub logprobs: Option<TokenLogprobs>,
}

/// The model's log probability of a token and of the most likely tokens in its place, before
/// any sampler changed them.
#[derive(Debug, Clone)]
pub struct TokenLogprobs {
    /// Natural logarithm of the probability.
    pub logprob: f32,
    /// The most likely tokens, best first.
    pub top: Vec<(Token, f32)>,
}

/// Counts and times of one sequence, as llama-server's `timings`.
#[derive(Debug, Clone, Copy, Default)]
#[allow(missing_docs)]
pub struct Timings {
    pub cached_tokens: u32,
    /// Prompt tokens computed, without the cached ones.
    pub prompt_tokens: u32,
    pub prompt_time: Duration,
    pub predicted_tokens: u32,
    pub predicted_time: Duration,
    pub queue_time: Duration,
    /// Tokens drafted by speculation, and those of them that came.
    pub drafted_tokens: u32,
    pub accepted_tokens: u32,
}

/// Why no tokens were drafted for a stream in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoDraft {
    /// The request or the settings say so.
    Disabled,
    /// The model's memory cannot be taken back to where a draft fails.
    Memory,
    /// Its text repeats nothing.
    NoMatch,
    /// What a draft would bring is less than it costs.
    Cost,
    /// Other streams would be slowed down.
    Streams,
}

/// How a sequence ended.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Why it ended.
    pub finish: FinishReason,
    /// Counts and times.
    pub timings: Timings,
    /// The slot that computed it.
    pub slot: u32,
    /// The seed that was used.
    pub seed: u32,
}

/// Why a sequence ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended it.
    EndOfGeneration,
    /// This stop string would have appeared.
    StopString(String),
    /// `max_tokens`, `max_predict_ms` or the deadline was reached.
    Length,
    /// The slot's context is full.
    ContextFull,
    /// The server is shutting down.
    Shutdown,
}

/// Why a sequence was given up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenerationError {
    /// llama.cpp failed on this sequence's tokens.
    #[error("the model could not compute this request")]
    Compute,
    /// The next token that the grammar allows could not be found within its bounds.
    #[error("the output could not be kept to the requested format")]
    Grammar,
    /// The request forbids all tokens that its grammar allows next.
    #[error("`logit_bias` forbids every token that the requested format allows next")]
    Forbidden,
    /// No memory for this sequence beside the running ones.
    #[error("no room in the KV cache beside the running requests")]
    NoRoom,
    /// The client did not read for too long.
    #[error("the client read too slowly")]
    SlowReader,
    /// The deadline passed before anything was generated.
    #[error("the request took longer than it may")]
    DeadlineExceeded,
    /// It waited when the server was told to stop, or could not start before the drain ended.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The engine ended.
    #[error("the engine has stopped")]
    Stopped,
}
