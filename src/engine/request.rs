//! What the engine is asked for.

use std::sync::Arc;
use std::time::Instant;

use super::{Grammar, Token};
use crate::config::{SamplerKind, SamplingSettings};

/// One sequence to generate. Several choices of one request are several of these.
#[derive(Debug, Clone)]
pub struct GenerationRequest {
    /// Identifies the HTTP request in logs and in `/slots`.
    pub id: String,
    /// The prompt; never empty, shorter than a slot's context, all ids inside the vocabulary.
    pub prompt: Vec<Token>,
    /// Positions in `prompt` at which user messages begin, ascending; they tell a conversation
    /// that goes on from another one with the same beginning.
    pub message_starts: Vec<usize>,
    /// Positions in `prompt` at which a later prompt of the same conversation may begin to differ,
    /// ascending: where messages begin, and where the opening of the answer does.
    pub borders: Vec<usize>,
    /// Which conversation it belongs to.
    pub conversation: ConversationId,
    /// Most tokens to generate; `None`: until the context is full. 0 reads the prompt only.
    pub max_tokens: Option<u32>,
    /// How tokens are chosen.
    pub sampling: SamplingParams,
    /// What the output must follow; the sequence ends where nothing can follow.
    pub grammar: Option<Grammar>,
    /// The same without a block of thoughts before it. It takes the place of `grammar` unless the
    /// model's own first token is one that only `grammar` allows: where a mask decides, thoughts
    /// that the model did not mean to begin would take the place of the answer.
    pub direct_grammar: Option<Grammar>,
    /// Bounds the tokens that the model thinks for.
    pub thinking: Option<ThinkingBudget>,
    /// Control tokens whose names appear in the text; the others are left out. Those that end a
    /// sequence never appear.
    pub visible: Arc<[Token]>,
    /// Generation ends before any of these appears in the text.
    pub stop: Vec<String>,
    /// Report each token's log probability and this many alternatives.
    pub top_logprobs: Option<u32>,
    /// Report those of the prompt's tokens as well (`echo` with `logprobs`), with this many
    /// alternatives.
    pub prompt_logprobs: Option<u32>,
    /// Reuse what a slot holds of this prompt.
    pub cache_prompt: bool,
    /// Tokens may be guessed ahead, if the engine was loaded for it.
    pub speculation: bool,
    /// Emit `GenerationEvent::Progress` while the prompt is read.
    pub progress: bool,
    /// The slot to use, if it matters to the client.
    pub id_slot: Option<u32>,
    /// Milliseconds of generation after which the sequence ends with `FinishReason::Length`;
    /// checked once a line has ended, as llama-server does.
    pub max_predict_ms: Option<u64>,
    /// When the sequence ends with `FinishReason::Length` whatever it does, or is given up if it
    /// has generated nothing.
    pub deadline: Option<Instant>,
}

/// Which conversation a sequence belongs to. 0 stands for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ConversationId {
    /// Hash of its name: what the client calls it, else its first messages.
    pub id: u64,
    /// The client named it, so another name is another conversation however alike they are.
    pub named: bool,
    /// The conversation that this one was begun by, as an agent begins a sub-agent's.
    pub parent: u64,
    /// Hash of the API key that may use it; 0: any may.
    pub owner: u64,
}

/// When a block of thoughts is ended for the model. Thoughts stand at the beginning of the output
/// and end at the first `ends`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThinkingBudget {
    /// Tokens inside the block after which it is closed; 0 closes it at once.
    pub tokens: u32,
    /// What the model is made to write then. These count as generated.
    pub close: Arc<[Token]>,
    /// The text that begins the block where it is not `open`; white space may stand before it.
    pub begins: String,
    /// The text that ends the block. Tags that are control tokens must be among the `visible`.
    pub ends: String,
    /// The prompt has begun the block.
    pub open: bool,
}

/// How tokens are chosen: the settings' values, overlaid with the request's.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // the meanings stand at `SamplingSettings`
pub struct SamplingParams {
    pub temperature: f32,
    pub top_k: u32,
    pub top_p: f32,
    pub min_p: f32,
    pub typical_p: f32,
    pub top_n_sigma: f32,
    pub xtc_probability: f32,
    pub xtc_threshold: f32,
    pub dynatemp_range: f32,
    pub dynatemp_exponent: f32,
    pub repeat_last_n: i32,
    pub repeat_penalty: f32,
    pub frequency_penalty: f32,
    pub presence_penalty: f32,
    pub dry_multiplier: f32,
    pub dry_base: f32,
    pub dry_allowed_length: i32,
    pub dry_penalty_last_n: i32,
    pub dry_sequence_breakers: Vec<String>,
    pub mirostat: u8,
    pub mirostat_tau: f32,
    pub mirostat_eta: f32,
    pub samplers: Vec<SamplerKind>,
    /// Samplers never leave fewer candidates than this.
    pub min_keep: u32,
    /// Added to the logits of these tokens; negative infinity forbids one. Shared by the choices of
    /// a request, as it may be as long as the vocabulary.
    pub logit_bias: Arc<[(Token, f32)]>,
    /// End-of-generation tokens are never chosen.
    pub ignore_eos: bool,
    /// `None`: a random seed.
    pub seed: Option<u32>,
}

impl SamplingParams {
    /// Whether DRY changes anything with these parameters.
    pub fn uses_dry(&self) -> bool {
        self.samplers.contains(&SamplerKind::Dry)
            && self.mirostat == 0
            && self.dry_multiplier > 0.0
            && self.dry_base >= 1.0
            && self.dry_penalty_last_n != 0
    }
}

impl From<&SamplingSettings> for SamplingParams {
    fn from(s: &SamplingSettings) -> Self {
        Self {
            temperature: s.temperature,
            top_k: s.top_k,
            top_p: s.top_p,
            min_p: s.min_p,
            typical_p: s.typical_p,
            top_n_sigma: s.top_n_sigma,
            xtc_probability: s.xtc_probability,
            xtc_threshold: s.xtc_threshold,
            dynatemp_range: s.dynatemp_range,
            dynatemp_exponent: s.dynatemp_exponent,
            repeat_last_n: s.repeat_last_n,
            repeat_penalty: s.repeat_penalty,
            frequency_penalty: s.frequency_penalty,
            presence_penalty: s.presence_penalty,
            dry_multiplier: s.dry_multiplier,
            dry_base: s.dry_base,
            dry_allowed_length: s.dry_allowed_length,
            dry_penalty_last_n: s.dry_penalty_last_n,
            dry_sequence_breakers: s.dry_sequence_breakers.clone(),
            mirostat: s.mirostat,
            mirostat_tau: s.mirostat_tau,
            mirostat_eta: s.mirostat_eta,
            samplers: s.samplers.clone(),
            min_keep: 0,
            logit_bias: Arc::default(),
            ignore_eos: false,
            seed: u32::try_from(s.seed).ok(),
        }
    }
}
