//! Histories leave the context and come back: saved with what proves them, and proved when they are
//! restored.

use std::sync::Arc;

use llama_cpp_2::token::LlamaToken;

use super::Worker;
use super::memory::Part;
use super::slot::History;
use crate::engine::Token;
use crate::engine::cache::{Checkpoint, Match, Proof, Saved, Snapshot, common_prefix, thin};
use crate::engine::handle::add;
use crate::engine::sample::top_k;

/// Logits that are kept as a state's proof.
const PROOF_LOGITS: usize = 8;

/// How far a logit may be off after a restore. The same state gives the same logits to the bit on
/// one machine; the state of another text is off by whole units.
const TOLERANCE: f32 = 0.05;

/// Fewer tokens are computed again sooner than they are put away.
pub(super) const MIN_TOKENS: usize = 16;

/// Conversations whose state was dropped, remembered to say so when they come back.
const MAX_DROPPED: usize = 1024;

/// Checkpoints that a saved state has in any case; more of them take no more memory than the state.
const MIN_CHECKPOINTS: usize = 4;

/// A state that was put back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Restored {
    /// Tokens of the prompt that need no computing.
    pub(super) cached: usize,
    /// Tokens of the prompt that the seat holds: the proof's token may be the prompt's next.
    pub(super) read: usize,
}

impl Restored {
    /// So many tokens are held, and none was computed for it.
    pub(super) fn exactly(kept: usize) -> Self {
        Self { cached: kept, read: kept }
    }
}

impl Worker<'_> {
    /// Saves what a seat holds to memory, unless that is done or not worth it. With `stays` the
    /// seat goes on holding it, else its end may be lost.
    pub(super) fn save(&mut self, seat: usize, stays: bool) {
        let history = &self.slots[seat].history;
        if self.is_saved(seat) || history.tokens.len() < MIN_TOKENS || history.is_private {
            return;
        }
        // Counting them looks at every cell of the sequence.
        let bytes = self.state_bytes(seat, Part::Whole) as u64;
        let fits = bytes <= self.memory.max_bytes();
        if !fits && (!self.disk.is_on() || history.on_disk) {
            return;
        }
        // Before the memory for the new one is taken.
        if fits {
            let dropped = self.memory.make_room(bytes);
            self.count_dropped(&dropped);
        }
        let Some(snapshot) = self.snapshot(seat, stays) else { return };
        self.keep_on_disk(seat, &snapshot);
        let now = self.slots[seat].history.last_used;
        self.slots[seat].history.saved = self.keep_in_memory(snapshot, now);
    }

    /// Puts a state into the memory store, and counts what has to go for it.
    pub(super) fn keep_in_memory(&mut self, snapshot: Arc<Snapshot>, now: u64) -> Option<u64> {
        let (id, dropped) = self.memory.insert(snapshot, now)?;
        add(&self.shared.counters.cache.saved, 1);
        self.count_dropped(&dropped);
        Some(id)
    }

    /// Counts states that had to go, and remembers whose they were.
    fn count_dropped(&mut self, dropped: &[Saved]) {
        add(&self.shared.counters.cache.dropped, dropped.len());
        self.dropped.extend(dropped.iter().map(|gone| gone.snapshot.conversation.id));
        while self.dropped.len() > MAX_DROPPED {
            self.dropped.pop_front();
        }
    }

    /// Keeps what came out after the last token of a history that can be cut, from row `row` of a step
    /// that computed that token alone: a proof at no cost, if the state is saved without the token.
    pub(super) fn keep_proof(&mut self, seat: usize, row: i32) {
        let is_on = self.memory.max_bytes() > 0 || self.disk.is_on();
        let history = &mut self.slots[seat].history;
        if let Some(&token) = history.tokens.last()
            && self.limits.can_truncate
            && is_on
        {
            let mut top = Vec::new();
            top_k(self.context.get_logits_ith(row), PROOF_LOGITS, &mut top);
            history.proof = Some(Proof { token, top });
        }
    }

    /// What a seat holds, with its proof.
    pub(super) fn snapshot(&mut self, seat: usize, stays: bool) -> Option<Arc<Snapshot>> {
        if self.slots[seat].history.tokens.len() >= self.limits.n_ctx_slot {
            // The proof needs room for a token.
            let room = self.limits.n_ctx_slot - 1;
            if !self.limits.can_truncate || self.truncate(seat, room) < room {
                return None;
            }
        }
        if !self.settle(seat) {
            self.forget(seat);
            return None;
        }
        let history = &self.slots[seat].history;
        if let Some(proof) = history.proof.clone() {
            let length = history.tokens.len() - 1;
            let tokens = history.tokens[..length].to_vec();
            let (conversation, anchor) = (history.conversation, history.anchor.min(length));
            let state = self.state(seat, Part::Whole)?;
            let checkpoints = Vec::new();
            let snapshot = Snapshot { tokens, conversation, anchor, state, checkpoints, proof };
            return Some(Arc::new(snapshot));
        }
        let length = history.tokens.len();
        let token = history.next.or(history.tokens.last().copied())?;
        let state = self.state(seat, Part::Whole)?;
        let undo = stays && !self.limits.can_truncate;
        let recurrent = if undo { self.state(seat, Part::Recurrent) } else { None };
        let is_computed = self.compute_one(seat, token, length);
        let mut top = Vec::new();
        if is_computed {
            top_k(self.context.get_logits_ith(0), PROOF_LOGITS, &mut top);
        }
        if stays {
            let recurrent = recurrent.as_deref();
            let is_back = !undo
                || recurrent.is_some_and(|bytes| self.set_state(seat, bytes, Part::Recurrent));
            if !(is_back && self.cut(seat, length)) {
                self.forget(seat);
            }
        }
        let history = &self.slots[seat].history;
        is_computed.then(|| {
            Arc::new(Snapshot {
                tokens: history.tokens.clone(),
                conversation: history.conversation,
                // A prompt that was not read to its end is shorter than what its anchor is about.
                anchor: history.anchor.min(length),
                checkpoints: some_of(&history.checkpoints, length, state.len()),
                state,
                proof: Proof { token, top },
            })
        })
    }

    /// Puts a saved state into an empty seat, proves it, and goes back to where the prompt leaves
    /// it. `None`: it is not the state that it was taken for; the seat is empty then.
    pub(super) fn restore(
        &mut self,
        seat: usize,
        snapshot: &Snapshot,
        prompt: &[Token],
        held: Match,
    ) -> Option<Restored> {
        let length = snapshot.tokens.len();
        let Proof { token, ref top } = snapshot.proof;
        let is_set = length < self.limits.n_ctx_slot
            && common_prefix(&snapshot.tokens, prompt) >= held.usable
            && self.set_state(seat, &snapshot.state, Part::Whole);
        // A state may hold the proof's token, which is then cut off to be computed again.
        let saved = self.context.kv_cache_seq_pos_max(seat as i32) + 1;
        let is_proved = is_set
            && (!self.limits.can_truncate || self.cut(seat, length))
            && self.context.kv_cache_seq_pos_max(seat as i32) + 1 == length as i32
            && self.compute_one(seat, token, length)
            && agrees(self.context.get_logits_ith(0), top);
        if !is_proved {
            self.forget(seat);
            return None;
        }
        self.slots[seat].history = History {
            tokens: snapshot.tokens.clone(),
            anchor: snapshot.anchor,
            conversation: snapshot.conversation,
            checkpoints: snapshot.checkpoints.clone(),
            turns: 1,
            ..History::default()
        };
        let goes_on = held.usable == length;
        if goes_on && prompt.get(length) == Some(&token) && length + 1 < prompt.len() {
            self.slots[seat].history.extend(&[token]);
            let cached = length + usize::from(saved > length as i32);
            return Some(Restored { cached, read: length + 1 });
        }
        let kept = if goes_on {
            // Only a whole state that is put back once more ends where it did.
            let is_back = if self.limits.can_truncate {
                self.cut(seat, length)
            } else {
                self.set_state(seat, &snapshot.state, Part::Whole)
            };
            if !is_back {
                self.forget(seat);
            }
            self.slots[seat].history.tokens.len()
        } else {
            self.truncate(seat, held.usable)
        };
        self.thin_checkpoints();
        Some(Restored::exactly(kept))
    }

    /// Computes a token behind a seat's history in a step of its own, whose only row of logits is
    /// then the context's.
    fn compute_one(&mut self, seat: usize, token: Token, position: usize) -> bool {
        self.batch.clear();
        let added =
            self.batch.add(LlamaToken(token), position as i32, &[seat as i32], true).is_ok();
        let computed = added && self.context.decode(&mut self.batch).is_ok();
        self.context.synchronize();
        computed
    }
}

/// The checkpoints of a history of `length` tokens that are saved with its state of so many bytes.
fn some_of(checkpoints: &[Checkpoint], length: usize, bytes: usize) -> Vec<Checkpoint> {
    let mut kept = checkpoints.to_vec();
    let size = |kept: &[Checkpoint]| kept.iter().map(|c| c.state.len()).sum::<usize>();
    while kept.len() > MIN_CHECKPOINTS && size(&kept) > bytes {
        let positions: Vec<usize> = kept.iter().map(|c| c.position).collect();
        match thin(&positions, length) {
            Some(least) => drop(kept.remove(least)),
            None => break,
        }
    }
    kept
}

/// Whether a row of logits is the one that a proof was made of.
fn agrees(row: &[f32], top: &[(Token, f32)]) -> bool {
    let same = |&(token, logit): &(Token, f32)| {
        row.get(token as usize).is_some_and(|now| (now - logit).abs() <= TOLERANCE)
    };
    !top.is_empty() && top.iter().all(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_agrees_with_the_same_logits_and_with_no_others() {
        let row = [1.0, 5.0, -2.0, 4.0];
        assert!(agrees(&row, &[(1, 5.0), (3, 4.01)]));
        assert!(!agrees(&row, &[(1, 5.0), (3, 4.2)]));
        assert!(!agrees(&row, &[(9, 5.0)]), "a token of another vocabulary");
        assert!(!agrees(&[f32::NAN; 4], &[(1, 5.0)]));
        assert!(!agrees(&row, &[]), "no proof is none");
    }
}
