//! What every API that generates is translated into, beside the conversation or prompt.

use std::time::Duration;

use super::logit_bias::Bias;
use super::sampling::Sampling;
use crate::chat::ResponseFormat;

/// Most choices of one prompt.
pub const MAX_CHOICES: u32 = 128;

/// Most alternatives per token. OpenAI stops at 20; evaluations ask llama-server for more.
pub const MAX_ALTERNATIVES: u32 = 1000;

/// The shared fields, checked as far as that needs no model.
#[derive(Debug, Clone)]
pub struct Options {
    /// The model asked for; empty is the same as none.
    pub model: Option<String>,
    /// Answer with server-sent events.
    pub stream: bool,
    /// End the stream with a chunk that has `usage`.
    pub include_usage: bool,
    /// Choices per prompt.
    pub n: u32,
    /// Most tokens per choice; `None`: until the context is full.
    pub max_tokens: Option<u32>,
    /// How tokens are chosen, without `logit_bias`.
    pub sampling: Sampling,
    /// Biases; texts among them become tokens once the model is there.
    pub logit_bias: Vec<Bias>,
    /// Strings that end a generation.
    pub stop: Vec<String>,
    /// Reuse what a slot holds of the prompt.
    pub cache_prompt: bool,
    /// Tokens may be guessed ahead.
    pub speculation: bool,
    /// What the client calls the conversation.
    pub prompt_cache_key: Option<String>,
    /// The client's session, in which it may have several conversations.
    pub session: Option<String>,
    /// A slot's number, which may be beyond the last.
    pub id_slot: Option<u32>,
    /// Report how far the prompt has been read.
    pub progress: bool,
    /// Report token ids.
    pub return_tokens: bool,
    /// Report timings in every chunk.
    pub timings_per_token: bool,
    /// Most milliseconds of generation.
    pub max_predict_ms: Option<u64>,
    /// Silence on a stream after which a comment is sent.
    pub ping_interval: Option<Duration>,
    /// The form of the answer's text.
    pub format: ResponseFormat,
    /// llama-server's way to ask for log probabilities.
    pub n_probs: Option<u32>,
}
