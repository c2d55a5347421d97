//! What the engine does while there is nothing to compute, and before it ends: histories are saved
//! ahead of the need, so that no request has to wait for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Worker;
use super::memory::Part;
use crate::engine::cache::{Saved, Snapshot};
use crate::engine::schedule;

/// A client that goes on at once is not to wait for this.
const BEFORE_MEMORY: Duration = Duration::from_millis(200);

/// It is the next turn's that would have to do without the checkpoint.
const BEFORE_SETTLING: Duration = Duration::from_millis(20);

/// A conversation that goes on within this time is not written to disk in between. What a crash can
/// lose is what was computed since.
const BEFORE_DISK: Duration = Duration::from_secs(5);

/// Shorter histories are computed again sooner than a file is worth it.
const MIN_TOKENS_ON_DISK: usize = 64;

/// Time that the disk gets at the end, if nothing says how much there is.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(20);

/// What is to be done about a seat's history.
enum Work {
    /// A checkpoint is on the device alone.
    Settle(usize),
    ToMemory(usize),
    ToDisk(usize),
}

impl Worker<'_> {
    /// The time until there is something to save; `None`: there is nothing.
    pub(super) fn until_idle_work(&mut self) -> Option<Duration> {
        let since = *self.idle_since.get_or_insert_with(Instant::now);
        let after = match self.find_idle_work()? {
            Work::Settle(_) => BEFORE_SETTLING,
            Work::ToMemory(_) => BEFORE_MEMORY,
            Work::ToDisk(seat) => {
                BEFORE_DISK.max(self.disk.rest(self.state_bytes(seat, Part::Whole)))
            }
        };
        Some(after.saturating_sub(since.elapsed()))
    }

    /// Saves one history.
    pub(super) fn idle_work(&mut self) {
        match self.find_idle_work() {
            Some(Work::Settle(seat)) if !self.settle(seat) => self.forget(seat),
            Some(Work::Settle(_)) | None => {}
            Some(Work::ToMemory(seat)) => {
                self.save(seat, true);
                // Of one that could not be saved nothing better comes by trying again.
                self.slots[seat].history.unsavable = !self.is_saved(seat);
            }
            Some(Work::ToDisk(seat)) => {
                self.write(seat, None);
            }
        }
    }

    fn find_idle_work(&self) -> Option<Work> {
        // The seat that the next new conversation takes, if none is empty.
        let next = schedule::cheapest(&self.views(), &self.open_seats());
        let to_memory = next.filter(|&seat| {
            let history = &self.slots[seat].history;
            self.memory.max_bytes() > 0
                && !self.is_saved(seat)
                && !history.unsavable
                && !history.is_private
                && history.tokens.len() >= super::park::MIN_TOKENS
        });
        let on_device = self.slots.iter().position(|slot| slot.history.on_device.is_some());
        on_device
            .map(Work::Settle)
            .or(to_memory.map(Work::ToMemory))
            .or_else(|| self.unwritten().map(Work::ToDisk))
    }

    /// The seat whose history was used last of those that are not on disk.
    fn unwritten(&self) -> Option<usize> {
        if !self.disk.is_on() {
            return None;
        }
        let of = |seat: usize| &self.slots[seat].history;
        let written = |seat: usize| {
            let history = of(seat);
            let is_short = history.tokens.len() < MIN_TOKENS_ON_DISK;
            history.on_disk || history.tried_disk || history.is_private || is_short
        };
        (0..self.slots.len()).filter(|&seat| !written(seat)).max_by_key(|&seat| of(seat).last_used)
    }

    /// Writes a seat's history to disk. With a `deadline` it waits for earlier writes until then.
    fn write(&mut self, seat: usize, deadline: Option<Instant>) {
        // Whatever becomes of it, it is not tried again until the history has changed.
        self.slots[seat].history.tried_disk = true;
        let in_memory = self.slots[seat].history.saved.and_then(|id| self.memory.get(id).cloned());
        let snapshot = match in_memory.filter(Saved::is_intact) {
            Some(saved) => saved.snapshot,
            None => {
                let Some(snapshot) = self.snapshot(seat, true) else { return };
                // It would have to be made again when the seat is needed.
                if self.memory.has_room(snapshot.bytes()) {
                    let now = self.slots[seat].history.last_used;
                    self.slots[seat].history.saved = self.keep_in_memory(snapshot.clone(), now);
                }
                snapshot
            }
        };
        self.slots[seat].history.on_disk = match deadline {
            Some(deadline) => self.disk.save_waiting(&snapshot, deadline),
            None => self.disk.save(&snapshot),
        };
    }

    /// Writes the state of a history that loses its seat, or may soon, unless that is done.
    pub(super) fn keep_on_disk(&mut self, seat: usize, snapshot: &Arc<Snapshot>) {
        let history = &mut self.slots[seat].history;
        if !history.on_disk && !history.is_private && history.tokens.len() >= MIN_TOKENS_ON_DISK {
            history.on_disk = self.disk.save(snapshot);
        }
    }

    /// The end: what is not on disk yet is written, as far as there is time.
    pub(super) fn leave(&mut self) {
        let deadline = Instant::now() + CLOSE_TIMEOUT;
        let deadline =
            self.draining.map_or(deadline, |drain| drain.max(Instant::now()).min(deadline));
        while let Some(seat) = self.unwritten().filter(|_| Instant::now() < deadline) {
            self.shared.heartbeat.step();
            self.write(seat, Some(deadline));
        }
        self.shared.heartbeat.idle();
        self.disk.close(deadline);
    }
}
