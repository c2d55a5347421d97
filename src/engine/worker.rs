//! The engine thread's loop: drain commands, admit, plan, decode, commit, sample, emit.

mod admit;
mod commit;
mod decode;
mod disk;
mod draft;
mod idle;
pub(super) mod memory;
mod park;
mod part;
mod plan;
mod seats;
mod slot;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;

pub(super) use self::disk::DiskState;
pub(super) use self::draft::no_drafts;
pub(super) use self::memory::Rollback;
pub(super) use self::slot::Slot;
use self::slot::{Phase, Work};
use super::cache::{CopyCost, MemoryStore};
use super::handle::{Command, Job, Shared};
use super::sample::Candidates;
use super::schedule::{StepCost, StepKind, Want};
use super::speculate::{Acceptance, RollbackCost};
use super::{FinishReason, GenerationError, GenerationRequest, SlotSnapshot, Token};

/// How often a paused stream's reader is looked at while nothing else runs.
const STALL_POLL: Duration = Duration::from_millis(20);

/// Owns the context and all sequences; lives on the engine thread's stack.
pub(super) struct Worker<'m> {
    pub(super) model: &'m LlamaModel,
    pub(super) context: LlamaContext<'m>,
    pub(super) commands: Receiver<Command>,
    pub(super) shared: Arc<Shared>,
    pub(super) limits: Limits,
    pub(super) slots: Vec<Slot>,
    pub(super) queue: VecDeque<Job>,
    pub(super) cost: StepCost,
    pub(super) batch: LlamaBatch<'static>,
    pub(super) candidates: Candidates,
    pub(super) end_tokens: Arc<[Token]>,
    pub(super) arrivals: u64,
    /// Of the current or last step.
    pub(super) kind: StepKind,
    pub(super) prompt_steps: u64,
    pub(super) draining: Option<Instant>,
    /// No handle is left.
    pub(super) closed: bool,
    /// States that were saved from seats.
    pub(super) memory: MemoryStore,
    pub(super) copies: CopyCost,
    /// What the last checkpoint took.
    pub(super) checkpoint_seconds: f64,
    /// The state of a seat with so many tokens, while requests that arrived together copy it.
    pub(super) copied: Option<(usize, usize, Arc<Vec<u8>>)>,
    /// Steps since streams last sat side by side.
    pub(super) steps_apart: usize,
    /// Conversations whose state was dropped last.
    pub(super) dropped: VecDeque<u64>,
    pub(super) disk: DiskState,
    /// How often repetitions went on in the sequences that have ended.
    pub(super) acceptance: Acceptance,
    pub(super) rollback_cost: RollbackCost,
    /// llama.cpp computed the last step's streams together.
    pub(super) one_pass: bool,
    /// Since when there has been nothing to compute.
    pub(super) idle_since: Option<Instant>,
}

/// Sizes that do not change while the engine runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) n_batch: usize,
    pub(super) n_ubatch: usize,
    pub(super) n_ctx_slot: usize,
    /// A sequence's memory can lose its end without losing all (not so with recurrent layers), also
    /// after its state was put back (not so with layers that see a window).
    pub(super) can_truncate: bool,
    /// How what a draft left behind is taken back; `None`: it cannot be.
    pub(super) rollback: Option<Rollback>,
    /// Tokens of the last step that can be cut off a recurrent state.
    pub(super) rollback_tokens: usize,
    /// The device keeps the newest checkpoint of each sequence.
    pub(super) device_checkpoints: bool,
    /// Most bytes of checkpoints of histories in seats.
    pub(super) checkpoint_bytes: u64,
    /// Tokens of a prompt after which a checkpoint is taken.
    pub(super) checkpoint_every: usize,
}

enum Drained {
    Continue,
    Disconnected,
}

impl Worker<'_> {
    /// Runs until all handles are gone, or a drain is over.
    pub(super) fn run(mut self) {
        loop {
            self.shared.heartbeat.step();
            let drained = self.drain_commands();
            self.drop_cancelled();
            self.end_overdue();
            self.end_at_deadline();
            self.admit();
            let idle = self.queue.is_empty() && self.slots.iter().all(|s| s.work.is_none());
            if idle && (matches!(drained, Drained::Disconnected) || self.draining.is_some()) {
                self.shared.stopped.store(true, Ordering::Release);
                self.leave();
                return;
            }
            self.close_gaps();
            let mut parts = self.plan();
            if !parts.is_empty() {
                self.step(&mut parts);
            }
            self.publish();
        }
    }

    /// Takes what has arrived; waits if there is nothing to compute.
    fn drain_commands(&mut self) -> Drained {
        // The last step may have freed a slot that the queue has work for; a request that nobody
        // waits for must not take it, with the history that it holds.
        self.drop_cancelled();
        self.admit();
        let working = |s: &Slot| s.want() != Want::Nothing;
        if !self.slots.iter().any(working) {
            let waits = self.slots.iter().any(|s| s.work.is_some()) || !self.queue.is_empty();
            if !waits && self.closed {
                return Drained::Disconnected;
            }
            if !waits && self.draining.is_some() {
                // The last request ended: no command will come that this could wait for.
                return Drained::Continue;
            }
            let idle_work = if waits { None } else { self.until_idle_work() };
            self.publish();
            self.shared.heartbeat.idle();
            let first = match idle_work {
                _ if waits => self.commands.recv_timeout(STALL_POLL),
                Some(time) => self.commands.recv_timeout(time),
                None => self.commands.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            self.shared.heartbeat.step();
            match first {
                Ok(command) => self.take(command),
                Err(RecvTimeoutError::Timeout) if waits => return Drained::Continue,
                Err(RecvTimeoutError::Timeout) => self.idle_work(),
                Err(RecvTimeoutError::Disconnected) => return Drained::Disconnected,
            }
        } else {
            self.idle_since = None;
        }
        loop {
            match self.commands.try_recv() {
                Ok(command) => self.take(command),
                Err(TryRecvError::Empty) if self.closed => return Drained::Disconnected,
                Err(TryRecvError::Empty) => return Drained::Continue,
                Err(TryRecvError::Disconnected) => return Drained::Disconnected,
            }
        }
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Close => self.closed = true,
            Command::Disk(event) => self.disk_did(event),
            Command::Submit(jobs) => {
                for job in jobs {
                    if self.draining.is_some() {
                        self.dequeued();
                        job.events.fail(GenerationError::ShuttingDown);
                    } else {
                        self.queue.push_back(job);
                    }
                }
            }
            Command::Drain(deadline) => {
                self.draining = Some(self.draining.map_or(deadline, |d| d.min(deadline)));
                self.refuse_waiting();
            }
        }
    }

    /// Refuses what waits for a slot, but for further choices of a request that runs: its client
    /// may try again, at the server that comes after this one.
    fn refuse_waiting(&mut self) {
        self.admit();
        let running: HashSet<u64> =
            self.slots.iter().filter_map(|s| s.work.as_ref()).map(|w| w.submission).collect();
        retain_waiting(&mut self.queue, &self.shared, |job| {
            let stays = running.contains(&job.submission);
            if !stays {
                job.events.fail(GenerationError::ShuttingDown);
            }
            stays
        });
    }

    fn dequeued(&self) {
        self.shared.waiting.fetch_sub(1, Ordering::AcqRel);
    }

    /// Frees what nobody waits for any more, and what is read too slowly.
    fn drop_cancelled(&mut self) {
        let stall_timeout = self.shared.limits().stream_stall_timeout;
        retain_waiting(&mut self.queue, &self.shared, |job| !job.events.is_cancelled());
        for slot in 0..self.slots.len() {
            let Some(work) = &mut self.slots[slot].work else { continue };
            work.stalled = match (work.events.is_full(), work.stalled) {
                (false, _) => None,
                (true, None) => Some(Instant::now()),
                (true, since) => since,
            };
            let too_slow = work.stalled.is_some_and(|t| t.elapsed() > stall_timeout);
            if too_slow {
                work.events.fail(GenerationError::SlowReader);
            }
            if too_slow || work.events.is_cancelled() {
                self.release(slot);
            }
        }
    }

    /// Ends requests whose own deadline has passed.
    fn end_overdue(&mut self) {
        let now = Instant::now();
        let overdue = |request: &GenerationRequest| request.deadline.is_some_and(|d| d <= now);
        retain_waiting(&mut self.queue, &self.shared, |job| {
            if overdue(&job.request) {
                job.events.fail(GenerationError::DeadlineExceeded);
            }
            !overdue(&job.request)
        });
        for slot in 0..self.slots.len() {
            match &self.slots[slot].work {
                Some(work) if overdue(&work.request) && work.generated > 0 => {
                    self.finish(slot, FinishReason::Length);
                }
                Some(work) if overdue(&work.request) => {
                    work.events.fail(GenerationError::DeadlineExceeded);
                    self.release(slot);
                }
                _ => {}
            }
        }
    }

    fn end_at_deadline(&mut self) {
        if self.draining.is_none_or(|deadline| Instant::now() < deadline) {
            return;
        }
        while let Some(job) = self.queue.pop_front() {
            self.dequeued();
            job.events.fail(GenerationError::ShuttingDown);
        }
        for slot in 0..self.slots.len() {
            if self.slots[slot].work.is_some() {
                self.finish(slot, FinishReason::Shutdown);
            }
        }
    }

    fn finish(&mut self, slot: usize, reason: FinishReason) {
        if let Some(work) = &mut self.slots[slot].work {
            work.finish(slot, reason);
        }
        self.release(slot);
    }

    /// Frees a slot; its sequence stays for the next turn of the conversation.
    fn release(&mut self, slot: usize) {
        let state = &mut self.slots[slot];
        if let Some(work) = state.work.take() {
            if let Some(lookup) = &work.lookup {
                self.acceptance.learn(lookup.acceptance());
            }
            let mut snapshots = self.shared.slots();
            update(&mut snapshots[slot], &work);
            snapshots[slot].processing = false;
        }
    }

    fn publish(&self) {
        let gauges = &self.shared.counters.cache;
        gauges.memory_states.store(self.memory.len() as u64, Ordering::Relaxed);
        gauges.memory_bytes.store(self.memory.bytes(), Ordering::Relaxed);
        gauges.files_refused.store(self.disk.refused(), Ordering::Relaxed);
        let mut snapshots = self.shared.slots();
        for (snapshot, slot) in snapshots.iter_mut().zip(&self.slots) {
            if let Some(work) = &slot.work {
                update(snapshot, work);
            }
            let history = &slot.history;
            snapshot.cached_tokens = history.tokens.len() as u32;
            snapshot.conversation = history.conversation.id;
            snapshot.checkpoints = history.positions().count() as u32;
            snapshot.saved =
                history.on_disk || history.saved.is_some_and(|id| self.memory.get(id).is_some());
        }
    }
}

/// Keeps those of the waiting requests that `stays` is true of, and their number.
fn retain_waiting(queue: &mut VecDeque<Job>, shared: &Shared, stays: impl FnMut(&Job) -> bool) {
    let before = queue.len();
    queue.retain(stays);
    shared.waiting.fetch_sub(before - queue.len(), Ordering::AcqRel);
}

fn update(snapshot: &mut SlotSnapshot, work: &Work) {
    snapshot.prompt_processed = match work.phase {
        Phase::Prompt { read } => read as u32,
        Phase::Generate { .. } => work.request.prompt.len() as u32,
    };
    snapshot.generating = matches!(work.phase, Phase::Generate { .. });
    snapshot.decoded = work.generated;
    snapshot.has_new_line = work.has_new_line;
    (snapshot.drafted, snapshot.accepted) = (work.drafted, work.accepted);
    snapshot.no_draft = work.no_draft;
    snapshot.remaining = work.request.max_tokens.map(|max| max.saturating_sub(work.generated));
}

#[cfg(test)]
mod tests;
