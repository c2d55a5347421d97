//! What a model that embeds texts, or ranks them, needs.

use super::super::facts::GgufFacts;
use super::super::pooling::Pooling;
use super::memory::{MemoryNeed, memory_need};
use super::shape::CacheShape;
use crate::config::CacheType;

/// Texts that are computed at once at most.
pub const EMBEDDING_SEQUENCES: u32 = 16;

/// Tokens computed at once of a text that need not be computed whole.
const UBATCH: u32 = 512;

/// The longest context in which a CPU computes without flash attention, which is slower there and
/// less exact. The scores of all pairs of tokens take 16 MiB a head for so many.
const MAX_PLAIN_CONTEXT: u32 = 2048;

/// The context of a model that embeds or ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbeddingShape {
    /// Most tokens of one text.
    pub context: u32,
    /// Tokens computed at once.
    pub ubatch: u32,
    /// What becomes of the tokens' vectors.
    pub pooling: Pooling,
    /// Whether flash attention is used.
    pub flash_attn: bool,
    /// Whether a GPU computes.
    pub on_gpu: bool,
}

impl EmbeddingShape {
    /// The shape for texts of up to `context` tokens, at most as many as the model was trained for.
    /// A text is computed whole, as its tokens all see each other or its vector is made of all of
    /// them; only where each token sees those before it and the last one's vector is taken, it can
    /// be computed in parts.
    pub fn new(facts: &GgufFacts, pooling: Pooling, context: u32, on_gpu: bool) -> Self {
        let context = context.clamp(1, facts.n_ctx_train);
        let in_parts = facts.is_causal && pooling == Pooling::Last;
        let ubatch = if in_parts { context.min(UBATCH) } else { context };
        let flash_attn = on_gpu || context > MAX_PLAIN_CONTEXT;
        Self { context, ubatch, pooling, flash_attn, on_gpu }
    }
}

/// What the model needs for texts of the shape's size.
pub fn embedding_need(facts: &GgufFacts, shape: &EmbeddingShape) -> MemoryNeed {
    let cache = CacheShape {
        parallel: 1,
        cache_type_k: CacheType::F16,
        cache_type_v: CacheType::F16,
        ubatch: shape.ubatch,
        flash_attn: shape.flash_attn,
        on_gpu: shape.on_gpu,
        host_cache: 0,
        checkpoints: 0,
    };
    memory_need(facts, &cache, shape.context.into())
}
