//! What decides the size of the caches beside the model.

use super::super::facts::GgufFacts;
use crate::config::CacheType;

/// llama.cpp rounds the cells of a sequence up to this.
pub(super) const CELL_STEP: u64 = 256;

/// Everything but the context's length that decides the size of the caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheShape {
    /// Slots.
    pub parallel: u32,
    /// Type of cached keys.
    pub cache_type_k: CacheType,
    /// Type of cached values.
    pub cache_type_v: CacheType,
    /// Tokens computed at once.
    pub ubatch: u32,
    /// Whether flash attention is used.
    pub flash_attn: bool,
    /// Whether a GPU computes.
    pub on_gpu: bool,
    /// Recurrent states of each sequence that are kept beside the last one, to take drafts back.
    pub rollback_tokens: u32,
    /// Bytes for states that are saved in memory.
    pub host_cache: u64,
    /// Bytes of main memory for recurrent states of the sequences in slots, for models that have them.
    pub checkpoints: u64,
}

impl CacheShape {
    /// Whether an earlier recurrent state of each slot stays on the GPU, beside those in main memory.
    pub fn keeps_states_on_device(&self, facts: &GgufFacts) -> bool {
        self.on_gpu && self.checkpoints > 0 && !facts.has_window
    }
}
