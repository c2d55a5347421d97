//! The context's memory: KV cache and recurrent state of all sequences. No other file changes it,
//! but for `llama_decode` itself.

use llama_cpp_2::context::LlamaContext;

use super::Worker;

/// Forgets all sequences.
pub(in crate::engine) fn clear(context: &mut LlamaContext<'_>) {
    context.clear_kv_cache();
}

impl Worker<'_> {
    /// Shortens a slot's sequence to its first `keep` tokens and says how many it really kept:
    /// memory that cannot be cut is cleared.
    pub(super) fn truncate(&mut self, slot: usize, keep: usize) -> usize {
        let held = self.slots[slot].tokens.len();
        if keep == held && held > 0 {
            return keep;
        }
        let cut = keep > 0
            && self.limits.can_truncate
            && matches!(
                self.context.clear_kv_cache_seq(Some(slot as u32), Some(keep as u32), None),
                Ok(true)
            );
        let kept = if cut { keep } else { 0 };
        if !cut {
            // Removing a whole sequence always succeeds.
            let _ = self.context.clear_kv_cache_seq(Some(slot as u32), None, None);
        }
        self.slots[slot].tokens.truncate(kept);
        kept
    }

    /// Removes what a failed step may have left behind `held` tokens. Memory that cannot be cut
    /// is cleared, which loses the sequence.
    pub(super) fn rewind(&mut self, slot: usize, held: usize) -> usize {
        let seq = slot as u32;
        let cut = self.context.clear_kv_cache_seq(Some(seq), Some(held as u32), None);
        if matches!(cut, Ok(true)) && self.context.kv_cache_seq_pos_max(slot as i32) < held as i32 {
            return held;
        }
        self.truncate(slot, 0)
    }

    /// Removes tokens that only filled a gap from the slot's memory, which holds `held` that count.
    /// Only memory that can be cut is filled.
    pub(super) fn remove_filling(&mut self, slot: usize, held: usize) {
        let _ = self.context.clear_kv_cache_seq(Some(slot as u32), Some(held as u32), None);
    }
}
