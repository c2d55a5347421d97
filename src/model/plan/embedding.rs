//! What a model that embeds texts, or ranks them, needs.

use super::super::facts::GgufFacts;
use super::compute::embedding_buffers;
use super::embedding_shape::EmbeddingShape;
use super::memory::{MemoryNeed, memory_need};
use super::shape::CacheShape;
use crate::config::CacheType;

/// What the model needs for texts of the shape's size.
pub fn embedding_need(facts: &GgufFacts, shape: &EmbeddingShape) -> MemoryNeed {
    let cache = CacheShape {
        parallel: 1,
        cache_type_k: CacheType::F16,
        cache_type_v: CacheType::F16,
        ubatch: shape.ubatch,
        flash_attn: shape.flash_attn,
        on_gpu: shape.on_gpu,
        rollback_tokens: 0,
        host_cache: 0,
        checkpoints: 0,
    };
    let need = memory_need(facts, &cache, shape.context.into());
    MemoryNeed { compute: embedding_buffers(facts, shape), ..need }
}
