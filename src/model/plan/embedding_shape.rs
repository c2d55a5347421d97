//! The context of a model that embeds texts, or ranks them.

use super::super::facts::GgufFacts;
use super::super::pooling::Pooling;

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

#[cfg(test)]
mod tests {
    use super::super::tests::coder_next;
    use super::*;

    #[test]
    fn only_the_last_vector_of_a_causal_model_can_be_computed_in_parts() {
        let causal = GgufFacts { n_ctx_train: 32_768, ..coder_next() };
        let encoder = GgufFacts { is_causal: false, n_ctx_train: 512, ..coder_next() };
        for (facts, pooling, asked, context, ubatch) in [
            (&causal, Pooling::Last, 8192, 8192, 512),
            (&causal, Pooling::Last, 256, 256, 256),
            (&causal, Pooling::Mean, 8192, 8192, 8192),
            (&causal, Pooling::Rank, 8192, 8192, 8192),
            (&encoder, Pooling::Last, 8192, 512, 512),
            (&encoder, Pooling::Cls, 0, 1, 1),
            (&causal, Pooling::Last, u32::MAX, 32_768, 512),
        ] {
            let shape = EmbeddingShape::new(facts, pooling, asked, true);
            assert_eq!((shape.context, shape.ubatch), (context, ubatch), "{pooling:?}, {asked}");
        }
    }

    #[test]
    fn a_cpu_computes_long_texts_with_flash_attention_only() {
        let facts = GgufFacts { n_ctx_train: 32_768, ..coder_next() };
        let of = |context, on_gpu| {
            EmbeddingShape::new(&facts, Pooling::Mean, context, on_gpu).flash_attn
        };
        assert_eq!([of(2048, false), of(2049, false), of(64, true)], [false, true, true]);
    }
}
