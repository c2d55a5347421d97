//! What a model and its context need.

use serde::Serialize;

use crate::config::CacheType;

use super::super::facts::{GgufFacts, Layer};
use super::compute::compute_buffers;
use super::shape::{CELL_STEP, CacheShape};

/// Bytes that a loaded model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct MemoryNeed {
    /// Weights.
    pub weights: u64,
    /// Keys and values of all slots.
    pub kv: u64,
    /// Recurrent states of all slots, with those of their last tokens that are kept.
    pub recurrent: u64,
    /// Recurrent states of the slots at earlier positions, with the one of each slot that stays on a
    /// GPU.
    pub checkpoints: u64,
    /// Saved states.
    pub host_cache: u64,
    /// Compute buffers, and logits of all slots.
    pub compute: u64,
}

impl MemoryNeed {
    /// The sum.
    pub fn total(&self) -> u64 {
        [self.kv, self.recurrent, self.checkpoints, self.host_cache, self.compute]
            .iter()
            .fold(self.weights, |sum, part| sum.saturating_add(*part))
    }
}

/// Size of a cached value as a fraction: bytes over values of a block.
pub fn bytes_per_value(kind: CacheType) -> (u64, u64) {
    match kind {
        CacheType::F32 => (4, 1),
        CacheType::F16 | CacheType::Bf16 => (2, 1),
        CacheType::Q8_0 => (34, 32),
        CacheType::Q5_1 => (24, 32),
        CacheType::Q5_0 => (22, 32),
        CacheType::Q4_1 => (20, 32),
        CacheType::Q4_0 | CacheType::Iq4_nl => (18, 32),
    }
}

/// Bytes of keys and values that one token takes in all layers.
fn bytes_per_token(facts: &GgufFacts, shape: &CacheShape) -> u64 {
    let row = |values: u64, kind| {
        let (bytes, block) = bytes_per_value(kind);
        values.div_ceil(block).saturating_mul(bytes)
    };
    let widest = facts.layers.iter().map(Layer::values).max().unwrap_or(0);
    facts.layers.iter().fold(0, |sum: u64, layer: &Layer| {
        let keys = u64::from(layer.kv_heads) * u64::from(layer.key_length);
        let keys = row(keys, shape.cache_type_k);
        // Without flash attention values are stored transposed, in all layers as wide as the widest.
        let values = match layer.values() {
            own if own == 0 || shape.flash_attn => own,
            _ => widest,
        };
        let values = row(values, shape.cache_type_v);
        sum.saturating_add(keys).saturating_add(values)
    })
}

/// Bytes of embeddings that are there twice: once to look tokens up, which the CPU does, and once as
/// the output's weights.
fn copied(facts: &GgufFacts, on_gpu: bool) -> u64 {
    if on_gpu || facts.graph.tied_repacked { facts.graph.tied_bytes } else { 0 }
}

/// Bytes of the recurrent states of so many slots.
pub(super) fn recurrent_states(facts: &GgufFacts, slots: u64) -> u64 {
    let values = (facts.recurrent_layers() as u64).saturating_mul(facts.state_values);
    values.saturating_mul(4).saturating_mul(slots)
}

/// What the model needs with `per_slot` tokens of context in each slot.
pub fn memory_need(facts: &GgufFacts, shape: &CacheShape, per_slot: u64) -> MemoryNeed {
    let slots = u64::from(shape.parallel.max(1));
    let cells = per_slot.checked_next_multiple_of(CELL_STEP).unwrap_or(u64::MAX);
    let recurrent = recurrent_states(facts, slots);
    let kept = u64::from(shape.rollback_tokens) + 1;
    let on_device = if shape.keeps_states_on_device(facts) { recurrent } else { 0 };
    MemoryNeed {
        weights: facts
            .tensor_bytes
            .saturating_sub(facts.graph.unused_bytes)
            .saturating_add(copied(facts, shape.on_gpu)),
        kv: bytes_per_token(facts, shape).saturating_mul(cells).saturating_mul(slots),
        recurrent: recurrent.saturating_mul(kept),
        checkpoints: shape.checkpoints.saturating_add(on_device),
        host_cache: shape.host_cache,
        compute: compute_buffers(facts, shape, cells),
    }
}

/// The most tokens per slot that fit into `budget` bytes, a multiple of 256; `None`: not even
/// the least. A model without a KV cache takes any context.
pub fn largest_ctx_per_slot(facts: &GgufFacts, shape: &CacheShape, budget: u64) -> Option<u64> {
    let fits = |steps: u64| memory_need(facts, shape, steps * CELL_STEP).total() <= budget;
    if !fits(1) {
        return None;
    }
    // The need grows with the context: halve the range between what fits and what does not.
    let (mut low, mut high) = (1, u64::from(u32::MAX) / CELL_STEP);
    if fits(high) {
        return Some(high * CELL_STEP);
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if fits(middle) { low = middle } else { high = middle }
    }
    Some(low * CELL_STEP)
}
