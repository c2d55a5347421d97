//! Histories and requests on seats: who sits where, and what has to move for it.

use std::collections::HashSet;
use std::sync::Arc;

use super::Worker;
use super::memory::Part;
use super::slot::{History, Slot};
use crate::engine::GenerationError;
use crate::engine::cache::{Checkpoint, thin};
use crate::engine::schedule::{self, SeatView, Want};

impl Worker<'_> {
    pub(super) fn views(&self) -> Vec<SeatView> {
        let view = |(seat, slot): (usize, &Slot)| slot.view(self.is_saved(seat));
        self.slots.iter().enumerate().map(view).collect()
    }

    /// Whether memory holds all that a seat does.
    pub(super) fn is_saved(&self, seat: usize) -> bool {
        self.slots[seat].history.saved.is_some_and(|id| self.memory.get(id).is_some())
    }

    /// The idle seats that a request may take.
    pub(super) fn open_seats(&self) -> Vec<usize> {
        schedule::open(&self.views())
    }

    /// Empties the seat that costs the least to give up; its history is saved first. `wished`: the
    /// one that the client asks for; `holder`: the one that holds what is to be copied, which stays.
    /// `None`: there is none beside that.
    pub(super) fn free_seat(
        &mut self,
        wished: Option<usize>,
        holder: Option<usize>,
    ) -> Option<usize> {
        let mut open = self.open_seats();
        open.retain(|&seat| Some(seat) != holder);
        let wished = wished.filter(|seat| open.contains(seat));
        let seat = wished.or_else(|| schedule::cheapest(&self.views(), &open))?;
        self.save(seat, false);
        self.forget(seat);
        Some(seat)
    }

    /// Brings the history of an idle seat to one that a request may take.
    pub(super) fn bring(&mut self, seat: usize) -> Option<usize> {
        let open = self.open_seats();
        if open.contains(&seat) {
            return Some(seat);
        }
        let to = schedule::cheapest(&self.views(), &open)?;
        if self.is_saved(to) {
            self.forget(to);
        }
        self.swap(seat, to);
        Some(to)
    }

    /// Copies the first `keep` tokens of a seat's history into an empty one and says how many
    /// arrived.
    pub(super) fn copy(&mut self, from: usize, to: usize, keep: usize) -> usize {
        let length = self.slots[from].history.tokens.len();
        // Requests that arrive together copy the same.
        let copied = self.copied.take().filter(|copied| (copied.0, copied.1) == (from, length));
        let state = match copied {
            Some((_, _, state)) => Some(state),
            None if self.settle(from) => self.state(from, Part::Whole).map(Arc::new),
            None => {
                self.lose(from);
                None
            }
        };
        let Some(state) = state.filter(|state| self.set_state(to, state, Part::Whole)) else {
            self.forget(to);
            return 0;
        };
        let held = &self.slots[from].history;
        let checkpoints: Vec<Checkpoint> =
            held.checkpoints.iter().filter(|c| c.position <= keep).cloned().collect();
        self.slots[to].history = History {
            tokens: held.tokens.clone(),
            anchor: held.anchor,
            conversation: held.conversation,
            checkpoints,
            ..History::default()
        };
        let kept = self.truncate(to, keep);
        self.copied = Some((from, length, state));
        kept
    }

    /// Moves streams until they sit side by side; one whose move takes long, as soon as the steps
    /// apart have cost as much.
    pub(super) fn close_gaps(&mut self) {
        loop {
            let streams: Vec<usize> =
                (0..self.slots.len()).filter(|&i| self.slots[i].want() == Want::Decode).collect();
            let held = |seat: usize| self.slots[seat].history.tokens.len();
            let Some((hole, stream)) = schedule::gap(&streams, held) else {
                self.steps_apart = 0;
                return;
            };
            let drops = self.slots[hole].work.is_none() && self.is_saved(hole);
            let tokens = held(stream) + if drops { 0 } else { held(hole) };
            // Each state is read and written.
            let seconds = 2.0 * self.copies.seconds(tokens);
            if !schedule::pays_to_move(seconds, self.cost.decode_seconds(), self.steps_apart) {
                self.steps_apart += 1;
                return;
            }
            if drops {
                self.forget(hole);
            }
            self.swap(hole, stream);
        }
    }

    pub(super) fn swap_snapshots(&mut self, a: usize, b: usize) {
        let mut snapshots = self.shared.slots();
        snapshots.swap(a, b);
        for seat in [a, b] {
            snapshots[seat].id = seat as u32;
        }
    }

    /// Gives up a request whose sequence is lost.
    pub(super) fn lose(&mut self, seat: usize) {
        if let Some(work) = &self.slots[seat].work {
            work.events.fail(GenerationError::Compute);
        }
        self.forget(seat);
        self.release(seat);
    }

    /// Keeps the bytes of checkpoints below their bound.
    pub(super) fn thin_checkpoints(&mut self) {
        loop {
            let bytes = self.count_checkpoints();
            if bytes <= self.limits.checkpoint_bytes {
                return;
            }
            let most = |slot: &Slot| slot.history.checkpoints.len();
            let Some(slot) = self.slots.iter_mut().max_by_key(|slot| most(slot)) else { return };
            let history = &mut slot.history;
            let positions: Vec<usize> = history.checkpoints.iter().map(|c| c.position).collect();
            match thin(&positions, history.tokens.len()) {
                Some(least) => drop(history.checkpoints.remove(least)),
                // One for each history stays, if it is more than the bound.
                None => return,
            }
        }
    }

    /// Bytes of all checkpoints of histories in seats; several may share one.
    fn count_checkpoints(&self) -> u64 {
        let mut seen = HashSet::new();
        let all = self.slots.iter().flat_map(|slot| &slot.history.checkpoints);
        let bytes = all
            .filter(|checkpoint| seen.insert(Arc::as_ptr(&checkpoint.state)))
            .map(|checkpoint| checkpoint.state.len() as u64)
            .sum();
        let gauge = &self.shared.counters.cache.checkpoint_bytes;
        gauge.store(bytes, std::sync::atomic::Ordering::Relaxed);
        bytes
    }
}
