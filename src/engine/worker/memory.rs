//! The context's memory: KV cache and recurrent state of all sequences. No other file changes it,
//! but for `llama_decode` itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::session::LlamaStateSeqFlags;

use super::Worker;
use super::slot::{DeviceCheckpoint, History};
use crate::engine::Token;
use crate::engine::cache::Checkpoint;
use crate::engine::handle::add;

/// Forgets all sequences.
pub(in crate::engine) fn clear(context: &mut LlamaContext<'_>) {
    context.clear_kv_cache();
}

/// Removes what a sequence holds from this position on; false: its memory cannot be cut there.
pub(in crate::engine) fn remove(context: &mut LlamaContext<'_>, sequence: u32, from: u32) -> bool {
    matches!(context.clear_kv_cache_seq(Some(sequence), Some(from), None), Ok(true))
}

/// Which part of a sequence's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    /// What no cut can take back alone: the recurrent state, the windows of layers that see one.
    Recurrent,
}

impl Part {
    fn flags(self) -> LlamaStateSeqFlags {
        match self {
            Self::Whole => LlamaStateSeqFlags::empty(),
            Self::Recurrent => LlamaStateSeqFlags::PARTIAL_ONLY,
        }
    }
}

/// How a sequence's memory is taken back to where a draft failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Rollback {
    /// Its end is cut off.
    Cut,
    /// To one of the recurrent states that llama.cpp keeps of the last tokens, and no further.
    Kept,
    /// To one of those, or else to a copy of the recurrent state from before the draft, where the
    /// model's memory is.
    Copy,
}

impl Worker<'_> {
    /// Forgets what a seat holds.
    pub(super) fn forget(&mut self, seat: usize) {
        // Removing a whole sequence always succeeds.
        let _ = self.context.clear_kv_cache_seq(Some(seat as u32), None, None);
        self.slots[seat].history = History::default();
        self.copied.take_if(|copied| copied.0 == seat);
    }

    /// Shortens a seat's history to its first `keep` tokens and says how many it really kept: a
    /// state that cannot be cut goes back to a checkpoint at just that position, or is lost.
    pub(super) fn truncate(&mut self, seat: usize, keep: usize) -> usize {
        let held = self.slots[seat].history.tokens.len();
        if keep == held && held > 0 {
            return keep;
        }
        self.copied.take_if(|copied| copied.0 == seat);
        if keep == 0 || !(self.go_back(seat, keep) && self.cut(seat, keep)) {
            self.forget(seat);
            return 0;
        }
        let history = &mut self.slots[seat].history;
        history.shorten(keep);
        history.checkpoints.retain(|checkpoint| checkpoint.position <= keep);
        history.on_device.take_if(|checkpoint| checkpoint.position > keep);
        history.before_draft = None;
        keep
    }

    /// Puts a recurrent state back to the checkpoint at `position`.
    fn go_back(&mut self, seat: usize, position: usize) -> bool {
        if self.limits.can_truncate {
            return true;
        }
        let history = &self.slots[seat].history;
        add(&self.shared.counters.cache.checkpoints_restored, 1);
        if let Some(newest) = history.on_device.as_ref().filter(|c| c.position == position) {
            return self.context.state_seq_set(&newest.state, seat as i32).is_ok();
        }
        let at = |checkpoint: &&Checkpoint| checkpoint.position == position;
        let Some(checkpoint) = history.checkpoints.iter().find(at).cloned() else { return false };
        self.set_state(seat, &checkpoint.state, Part::Recurrent)
    }

    /// Removes what a seat's memory holds from `position` on.
    pub(super) fn cut(&mut self, seat: usize, position: usize) -> bool {
        let cut = self.context.clear_kv_cache_seq(Some(seat as u32), Some(position as u32), None);
        matches!(cut, Ok(true))
            && self.context.kv_cache_seq_pos_max(seat as i32) + 1 == position as i32
    }

    /// Makes sure that a draft behind a seat's history can be taken back; false: it cannot. `is_kept`:
    /// llama.cpp keeps the states of all its tokens.
    pub(super) fn keep_before_draft(&mut self, seat: usize, is_kept: bool) -> bool {
        match self.limits.rollback {
            Some(Rollback::Cut) => return true,
            Some(_) if is_kept => return true,
            Some(Rollback::Copy) => {}
            Some(Rollback::Kept) | None => return false,
        }
        let history = &self.slots[seat].history;
        let position = history.tokens.len();
        if history.before_draft.as_ref().is_some_and(|kept| kept.position == position) {
            return true;
        }
        // The copy takes the place of the seat's newest checkpoint.
        if !self.settle(seat) {
            self.lose(seat);
            return false;
        }
        let start = Instant::now();
        let flags = LlamaStateSeqFlags::PARTIAL_ONLY | LlamaStateSeqFlags::ON_DEVICE;
        let state = self.context.state_seq_get(seat as i32, flags).ok();
        self.context.synchronize();
        average(&mut self.rollback_cost.before, start.elapsed());
        let history = &mut self.slots[seat].history;
        history.before_draft = state.map(|state| DeviceCheckpoint { position, state });
        history.before_draft.is_some()
    }

    /// Takes a seat's memory back to the end of its history, behind which the end of a draft was
    /// computed in the last step, or to the history before that draft: the tokens that are lost then
    /// are returned.
    pub(super) fn take_back(&mut self, seat: usize) -> Vec<Token> {
        let held = self.slots[seat].history.tokens.len();
        if self.limits.rollback == Some(Rollback::Cut) {
            if !self.cut(seat, held) {
                tracing::error!(seat, "a draft could not be taken back");
                self.lose(seat);
            }
            return Vec::new();
        }
        // Only what the last step computed is kept, which is where the draft was. A further pass of the
        // step may have moved the state, and that moves the last one only.
        let computed = (self.context.kv_cache_seq_pos_max(seat as i32) + 1) as usize;
        let is_kept = self.one_pass && computed <= held + self.limits.rollback_tokens;
        if is_kept && self.cut(seat, held) {
            self.slots[seat].history.before_draft = None;
            return Vec::new();
        }
        let start = Instant::now();
        let checkpoint = self.slots[seat].history.before_draft.take();
        let Some(checkpoint) = checkpoint.filter(|c| c.position <= held) else {
            self.lose(seat);
            return Vec::new();
        };
        let position = checkpoint.position;
        let is_set = self.context.state_seq_set(&checkpoint.state, seat as i32).is_ok();
        if !(is_set && self.cut(seat, position)) {
            tracing::error!(seat, "a draft could not be taken back");
            self.lose(seat);
            return Vec::new();
        }
        self.context.synchronize();
        let cost = &mut self.rollback_cost;
        average(&mut cost.after, start.elapsed());
        add(&self.shared.counters.speculation.restored, 1);
        let history = &mut self.slots[seat].history;
        let lost = history.tokens.split_off(position);
        history.shorten(position);
        history.next = lost.first().copied();
        history.before_draft = Some(checkpoint);
        lost
    }

    /// Removes what a failed step may have left behind `held` tokens. Memory that cannot be cut
    /// is cleared, which loses the sequence.
    pub(super) fn rewind(&mut self, seat: usize, held: usize) -> usize {
        let cut = self.context.clear_kv_cache_seq(Some(seat as u32), Some(held as u32), None);
        if matches!(cut, Ok(true)) && self.context.kv_cache_seq_pos_max(seat as i32) < held as i32 {
            return held;
        }
        self.truncate(seat, 0)
    }

    /// The state of a seat's sequence as llama.cpp writes it; `None`: it failed to.
    #[allow(unsafe_code)]
    pub(super) fn state(&mut self, seat: usize, part: Part) -> Option<Vec<u8>> {
        let start = Instant::now();
        let size = self.state_bytes(seat, part);
        if size == 0 {
            return None;
        }
        let mut bytes = room_for(size);
        // SAFETY: the buffer has room for `size` bytes, which is what llama.cpp says that it writes
        // of this sequence with these flags; nothing was computed in between. It tells how many it
        // has written, and only those count as initialized.
        let written = unsafe {
            let written =
                self.context.state_seq_get_data_ext(bytes.as_mut_ptr(), seat as i32, part.flags());
            bytes.set_len(written.min(size));
            written
        };
        let took = start.elapsed();
        match part {
            Part::Whole => {
                self.copies.observe(size, self.slots[seat].history.tokens.len(), took);
            }
            Part::Recurrent => {
                self.copies.observe_fixed(size);
                self.checkpoint_seconds = took.as_secs_f64();
            }
        }
        (written == size).then_some(bytes)
    }

    /// The bytes of the state of a seat's sequence; 0: llama.cpp cannot write it.
    pub(super) fn state_bytes(&self, seat: usize, part: Part) -> usize {
        self.context.state_seq_get_size_ext(seat as i32, part.flags())
    }

    /// Puts a state that [`Self::state`] gave into a seat's sequence.
    #[allow(unsafe_code)]
    pub(super) fn set_state(&mut self, seat: usize, bytes: &[u8], part: Part) -> bool {
        // SAFETY: the bytes were written by llama.cpp for a context of the same model and layout,
        // in this process or, with checksum and key verified, in an earlier one. llama.cpp checks
        // every length against the buffer's end, the shapes, and the room in the sequence, and
        // answers 0 where they do not fit.
        unsafe { self.context.state_seq_set_data_ext(bytes, seat as i32, part.flags()) }
    }

    /// Keeps the recurrent state of a seat's sequence as it is now; `newest`: on the device, where
    /// there is one, until it is settled. An earlier one that is there alone is lost then.
    pub(super) fn take_checkpoint(&mut self, seat: usize, newest: bool) {
        let history = &mut self.slots[seat].history;
        let position = history.tokens.len();
        let is_kept = history.positions().any(|kept| kept == position);
        if self.limits.can_truncate || position == 0 || is_kept {
            return;
        }
        let counters = &self.shared.counters.cache;
        if newest && self.limits.device_checkpoints {
            let flags = LlamaStateSeqFlags::PARTIAL_ONLY | LlamaStateSeqFlags::ON_DEVICE;
            history.before_draft = None;
            history.on_device = self
                .context
                .state_seq_get(seat as i32, flags)
                .ok()
                .map(|state| DeviceCheckpoint { position, state });
            add(&counters.checkpoints_taken, 1);
        } else if let Some(state) = self.state(seat, Part::Recurrent) {
            add(&self.shared.counters.cache.checkpoints_taken, 1);
            self.add_checkpoint(seat, position, state);
        }
    }

    fn add_checkpoint(&mut self, seat: usize, position: usize, state: Vec<u8>) {
        let checkpoints = &mut self.slots[seat].history.checkpoints;
        let at = checkpoints.partition_point(|checkpoint| checkpoint.position < position);
        checkpoints.insert(at, Checkpoint { position, state: Arc::new(state) });
        self.thin_checkpoints();
    }

    /// Copies the checkpoint that is on the device alone into memory. The way there is through the
    /// sequence's own state, which is put back. Whether the sequence is still whole.
    pub(super) fn settle(&mut self, seat: usize) -> bool {
        let Some(newest) = self.slots[seat].history.on_device.take() else { return true };
        let Some(now) = self.state(seat, Part::Recurrent) else { return true };
        let is_there = self.context.state_seq_set(&newest.state, seat as i32).is_ok();
        let state = if is_there { self.state(seat, Part::Recurrent) } else { None };
        if !self.set_state(seat, &now, Part::Recurrent) {
            return false;
        }
        if let Some(state) = state {
            self.add_checkpoint(seat, newest.position, state);
        }
        true
    }

    /// Exchanges what two seats hold, and the requests that they work on. A state that cannot be
    /// put back is lost with its request.
    pub(super) fn swap(&mut self, a: usize, b: usize) {
        let [of_a, of_b] = [a, b].map(|seat| {
            let is_held = !self.slots[seat].history.tokens.is_empty();
            (is_held && self.settle(seat)).then(|| self.state(seat, Part::Whole)).flatten()
        });
        self.copied = None;
        for seat in [a, b] {
            let _ = self.context.clear_kv_cache_seq(Some(seat as u32), None, None);
            // It is the seat's, not the history's.
            self.slots[seat].history.before_draft = None;
        }
        self.slots.swap(a, b);
        self.swap_snapshots(a, b);
        for (seat, state) in [(a, of_b), (b, of_a)] {
            let is_held = !self.slots[seat].history.tokens.is_empty();
            if is_held && !state.is_some_and(|state| self.set_state(seat, &state, Part::Whole)) {
                tracing::error!(seat, "a sequence could not be moved");
                self.lose(seat);
            }
        }
    }
}

/// Empty memory for a state of so many bytes. The kernel clears each page when it is first written,
/// which takes several times as long as the copy: all cores have a part in it.
fn room_for(bytes: usize) -> Vec<u8> {
    /// Fewer are cleared before a thread has started.
    const MIN_PART: usize = 8 << 20;
    const PAGE: usize = 4096;
    let mut room = Vec::with_capacity(bytes);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let part = bytes.div_ceil(cores).max(MIN_PART);
    if part < bytes {
        std::thread::scope(|scope| {
            for part in room.spare_capacity_mut().chunks_mut(part) {
                let touch = move || {
                    part.chunks_mut(PAGE).for_each(|page| {
                        page[0].write(0);
                    });
                };
                // A part that no thread takes is cleared by the copy.
                let _ =
                    std::thread::Builder::new().name("clear".to_owned()).spawn_scoped(scope, touch);
            }
        });
    }
    room
}

/// Learns a time in seconds; 0 before the first one.
fn average(seconds: &mut f64, took: Duration) {
    let took = took.as_secs_f64();
    *seconds += (took - *seconds) * if *seconds == 0.0 { 1.0 } else { 0.2 };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_empty_and_large_enough_whether_threads_clear_it_or_not() {
        for bytes in [1, 5000, (8 << 20) + 1, 40 << 20] {
            let room = room_for(bytes);
            assert!(room.is_empty() && room.capacity() >= bytes);
        }
    }
}
