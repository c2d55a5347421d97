//! The engine thread's loop: drain commands, admit, plan, decode, commit, sample, emit.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use llama_cpp_2::DecodeError;
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;

use super::handle::{Command, Job, Shared};
use super::pace::Pace;
use super::sampler::{Candidates, Sampler};
use super::schedule::{self, Want};
use super::slot::{Phase, Slot, Work};
use super::text::TextAssembler;
use super::{
    FinishReason, GenerationError, GenerationEvent, OutputToken, SlotSnapshot, Token, logits,
};

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
    pub(super) pace: Pace,
    pub(super) batch: LlamaBatch<'static>,
    pub(super) candidates: Candidates,
    pub(super) end_tokens: Vec<Token>,
    pub(super) arrivals: u64,
    pub(super) draining: Option<Instant>,
}

/// Sizes that do not change while the engine runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) n_batch: usize,
    pub(super) n_ctx_slot: usize,
    /// A sequence's memory can lose its end without losing all (not so with recurrent layers).
    pub(super) can_truncate: bool,
    pub(super) stall_timeout: Duration,
}

/// One slot's part of a step.
struct Part {
    slot: usize,
    share: usize,
}

enum Drained {
    Continue,
    Disconnected,
}

impl Worker<'_> {
    /// Runs until all handles are gone, or a drain is over.
    pub(super) fn run(mut self) {
        loop {
            let drained = self.drain_commands();
            self.drop_cancelled();
            self.end_at_deadline();
            self.admit();
            let idle = self.queue.is_empty() && self.slots.iter().all(|s| s.work.is_none());
            if idle && (matches!(drained, Drained::Disconnected) || self.draining.is_some()) {
                self.shared.stopped.store(true, Ordering::Release);
                return;
            }
            let parts = self.plan();
            if !parts.is_empty() {
                self.step(&parts);
            }
            self.publish();
        }
    }

    /// Takes what has arrived; waits if there is nothing to compute.
    fn drain_commands(&mut self) -> Drained {
        // The last step may have freed a slot that the queue has work for.
        self.admit();
        let working = |s: &Slot| s.want() != Want::Nothing;
        if !self.slots.iter().any(working) {
            let waits = self.slots.iter().any(|s| s.work.is_some()) || !self.queue.is_empty();
            let first = if waits {
                self.commands.recv_timeout(STALL_POLL)
            } else {
                self.commands.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            match first {
                Ok(command) => self.take(command),
                Err(RecvTimeoutError::Timeout) => return Drained::Continue,
                Err(RecvTimeoutError::Disconnected) => return Drained::Disconnected,
            }
        }
        loop {
            match self.commands.try_recv() {
                Ok(command) => self.take(command),
                Err(TryRecvError::Empty) => return Drained::Continue,
                Err(TryRecvError::Disconnected) => return Drained::Disconnected,
            }
        }
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Submit(jobs) => {
                for job in jobs {
                    if self.draining.is_some() {
                        self.dequeued();
                        job.events.fail(GenerationError::Stopped);
                    } else {
                        self.queue.push_back(job);
                    }
                }
            }
            Command::Drain(deadline) => {
                self.draining = Some(self.draining.map_or(deadline, |d| d.min(deadline)));
            }
        }
    }

    fn dequeued(&self) {
        self.shared.waiting.fetch_sub(1, Ordering::AcqRel);
    }

    /// Frees what nobody waits for any more, and what is read too slowly.
    fn drop_cancelled(&mut self) {
        let before = self.queue.len();
        self.queue.retain(|job| !job.events.is_cancelled());
        self.shared.waiting.fetch_sub(before - self.queue.len(), Ordering::AcqRel);
        for slot in 0..self.slots.len() {
            let Some(work) = &mut self.slots[slot].work else { continue };
            work.stalled = match (work.events.is_full(), work.stalled) {
                (false, _) => None,
                (true, None) => Some(Instant::now()),
                (true, since) => since,
            };
            let too_slow = work.stalled.is_some_and(|t| t.elapsed() > self.limits.stall_timeout);
            if too_slow {
                work.events.fail(GenerationError::SlowReader);
            }
            if too_slow || work.events.is_cancelled() {
                self.release(slot);
            }
        }
    }

    fn end_at_deadline(&mut self) {
        if self.draining.is_none_or(|deadline| Instant::now() < deadline) {
            return;
        }
        while let Some(job) = self.queue.pop_front() {
            self.dequeued();
            job.events.fail(GenerationError::Stopped);
        }
        for slot in 0..self.slots.len() {
            if self.slots[slot].work.is_some() {
                self.finish(slot, FinishReason::Shutdown);
            }
        }
    }

    /// Gives waiting requests to idle slots, oldest first. One that wants a certain slot waits
    /// for it without holding up the others.
    fn admit(&mut self) {
        let mut at = 0;
        while at < self.queue.len() {
            let request = &self.queue[at].request;
            let views: Vec<_> = self.slots.iter().map(Slot::view).collect();
            let chosen = match request.id_slot {
                // llama-server takes any number modulo its slots.
                Some(id) => {
                    let id = id as usize % views.len();
                    (!views[id].busy).then_some(id)
                }
                None => schedule::choose_slot(&views, &request.prompt),
            };
            let any = request.id_slot.is_none();
            match chosen {
                Some(slot) => {
                    if let Some(job) = self.queue.remove(at) {
                        self.dequeued();
                        self.start(slot, job);
                    }
                }
                None if any => return,
                None => at += 1,
            }
        }
    }

    /// Puts a request into a slot, keeping what the slot already holds of its prompt.
    fn start(&mut self, slot: usize, job: Job) {
        let Job { request, events, submitted } = job;
        self.arrivals += 1;
        let reusable = if request.cache_prompt && request.prompt_logprobs.is_none() {
            let common = schedule::common_prefix(&self.slots[slot].tokens, &request.prompt);
            // The last token's logits are needed, so it is computed in any case.
            common.min(request.prompt.len() - 1)
        } else {
            0
        };
        let cached = self.truncate(slot, reusable);
        let mut sampler = Sampler::new(
            &request.sampling,
            self.model,
            self.limits.n_ctx_slot as u32,
            &self.end_tokens,
        );
        sampler.read_prompt(&request.prompt);
        let counters = &self.shared.counters;
        add(&counters.prompt_tokens_cached, cached);
        events.send(GenerationEvent::Started { slot: slot as u32, cached_tokens: cached as u32 });
        self.shared.slots()[slot] = SlotSnapshot {
            id: slot as u32,
            processing: true,
            request_id: Some(request.id.clone()),
            prompt_tokens: request.prompt.len() as u32,
            prompt_processed: cached as u32,
            prompt_cached: cached as u32,
            decoded: 0,
            remaining: request.max_tokens,
            cached_tokens: cached as u32,
            sampling: Some(request.sampling.clone()),
        };
        let state = &mut self.slots[slot];
        state.last_used = self.arrivals;
        state.anchor = schedule::anchor(request.prompt.len(), &request.message_starts);
        state.work = Some(Work {
            text: TextAssembler::new(request.stop.clone()),
            phase: Phase::Prompt { read: cached },
            events,
            sampler,
            arrival: self.arrivals,
            prompt_logprobs: Vec::new(),
            cached,
            queued_for: submitted.elapsed(),
            started: Instant::now(),
            prompt_done: None,
            last_token: None,
            generated: 0,
            has_new_line: false,
            stalled: None,
            request,
        });
    }

    /// Shortens a slot's sequence to its first `keep` tokens and says how many it really kept:
    /// memory that cannot be cut is cleared.
    fn truncate(&mut self, slot: usize, keep: usize) -> usize {
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

    fn plan(&self) -> Vec<Part> {
        let wants: Vec<_> = self.slots.iter().map(Slot::want).collect();
        let decoding = wants.iter().filter(|w| **w == Want::Decode).count();
        let budget = self.pace.prompt_budget(decoding, self.limits.n_batch);
        schedule::plan(&wants, budget, self.limits.n_batch)
            .into_iter()
            .enumerate()
            .filter(|&(_, share)| share > 0)
            .map(|(slot, share)| Part { slot, share })
            .collect()
    }

    /// Computes the parts of a step; if they fail together, each alone, so that a sequence that
    /// cannot be computed takes no other with it.
    fn step(&mut self, parts: &[Part]) {
        match self.decode(parts) {
            Ok(()) => self.commit(parts),
            Err(error) if parts.len() == 1 => self.give_up(parts[0].slot, &error),
            Err(error) => {
                tracing::warn!(%error, sequences = parts.len(), "a step failed; trying each alone");
                for part in parts {
                    // Part of the failed step may sit in memory.
                    let held = self.slots[part.slot].tokens.len();
                    if self.rewind(part.slot, held) < held {
                        self.give_up(part.slot, &error);
                        continue;
                    }
                    let alone = std::slice::from_ref(part);
                    match self.decode(alone) {
                        Ok(()) => self.commit(alone),
                        Err(error) => self.give_up(part.slot, &error),
                    }
                }
            }
        }
    }

    /// Removes what a failed step may have left behind `held` tokens. Memory that cannot be cut
    /// is cleared, which loses the sequence.
    fn rewind(&mut self, slot: usize, held: usize) -> usize {
        let seq = slot as u32;
        let cut = self.context.clear_kv_cache_seq(Some(seq), Some(held as u32), None);
        if matches!(cut, Ok(true)) && self.context.kv_cache_seq_pos_max(slot as i32) < held as i32 {
            return held;
        }
        self.truncate(slot, 0)
    }

    fn give_up(&mut self, slot: usize, error: &DecodeError) {
        tracing::error!(%error, slot, "a request could not be computed");
        if let Some(work) = &self.slots[slot].work {
            work.events.fail(match error {
                DecodeError::NoKvCacheSlot => GenerationError::NoRoom,
                _ => GenerationError::Compute,
            });
        }
        self.truncate(slot, 0);
        self.release(slot);
    }

    fn decode(&mut self, parts: &[Part]) -> Result<(), DecodeError> {
        self.batch.clear();
        let mut decoding = 0;
        let mut prompt = 0;
        for part in parts {
            let state = &self.slots[part.slot];
            let Some(work) = &state.work else { continue };
            let (tokens, all_logits) = work.next_tokens(part.share);
            let completes = match work.phase {
                Phase::Generate { .. } => {
                    decoding += 1;
                    true
                }
                Phase::Prompt { read } => {
                    prompt += tokens.len();
                    read + tokens.len() == work.request.prompt.len()
                }
            };
            for (i, &token) in tokens.iter().enumerate() {
                let position = (state.tokens.len() + i) as i32;
                let logits = all_logits || (completes && i + 1 == tokens.len());
                let seq = [part.slot as i32];
                // The batch was made for `n_batch` tokens and the plan keeps to that.
                if self.batch.add(LlamaToken(token), position, &seq, logits).is_err() {
                    return Err(DecodeError::NoKvCacheSlot);
                }
            }
        }
        let start = Instant::now();
        self.context.decode(&mut self.batch)?;
        // Without this a GPU's time would be counted to whoever reads the logits first.
        self.context.synchronize();
        let took = start.elapsed();
        self.pace.observe(decoding, prompt, took);
        let counters = &self.shared.counters;
        add(&counters.decodes, 1);
        add(&counters.busy_slots, parts.len());
        let us = took.as_micros() as usize;
        let prompt_us = us * prompt / (prompt + decoding).max(1);
        add(&counters.prompt_us, prompt_us);
        add(&counters.predicted_us, us - prompt_us);
        add(&counters.prompt_tokens, prompt);
        Ok(())
    }

    /// After a good decode: the sequences hold the new tokens; then sample and emit.
    fn commit(&mut self, parts: &[Part]) {
        let mut output = 0;
        for part in parts {
            output = self.commit_part(part, output);
        }
    }

    /// `first` is the batch index of the part's first token; returns the next part's.
    fn commit_part(&mut self, part: &Part, first: i32) -> i32 {
        let state = &mut self.slots[part.slot];
        let Some(work) = &mut state.work else { return first };
        let (tokens, _) = work.next_tokens(part.share);
        let n = tokens.len();
        state.tokens.extend_from_slice(tokens);
        let next = first + n as i32;
        let counters = &self.shared.counters;
        counters.longest_sequence.fetch_max(state.tokens.len() as u64, Ordering::Relaxed);
        match work.phase {
            Phase::Generate { .. } => self.sample(part.slot, next - 1),
            Phase::Prompt { read } => {
                let read = read + n;
                work.phase = Phase::Prompt { read };
                if let Some(alternatives) = work.request.prompt_logprobs {
                    let context = &self.context;
                    let prompt = &work.request.prompt;
                    if work.prompt_logprobs.is_empty() {
                        work.prompt_logprobs.push((prompt[0], None));
                    }
                    // Logits at one token are about the next.
                    let about = (read - n + 1..=read).filter_map(|i| prompt.get(i));
                    work.prompt_logprobs.extend((first..).zip(about).map(|(i, &token)| {
                        let row = context.get_logits_ith(i);
                        (token, Some(logits::logprobs(row, token, alternatives as usize)))
                    }));
                }
                if work.request.progress {
                    work.events.send(GenerationEvent::Progress(work.progress(read)));
                }
                if read == work.request.prompt.len() {
                    self.prompt_done(part.slot, next - 1);
                }
            }
        }
        next
    }

    fn prompt_done(&mut self, slot: usize, row: i32) {
        let Some(work) = &mut self.slots[slot].work else { return };
        work.prompt_done = Some(Instant::now());
        if work.request.prompt_logprobs.is_some() {
            let all = std::mem::take(&mut work.prompt_logprobs);
            work.events.send(GenerationEvent::PromptLogprobs(all));
        }
        work.events.send(GenerationEvent::PromptDone);
        if work.request.max_tokens == Some(0) {
            self.finish(slot, FinishReason::Length);
        } else {
            self.sample(slot, row);
        }
    }

    /// Chooses the next token of a slot from row `row` of the step's outputs.
    fn sample(&mut self, slot: usize, row: i32) {
        let held = self.slots[slot].tokens.len();
        let Some(work) = &mut self.slots[slot].work else { return };
        let row = self.context.get_logits_ith(row);
        let token = work.sampler.sample(row, &mut self.candidates);
        work.generated += 1;
        work.last_token = Some(Instant::now());
        add(&self.shared.counters.predicted_tokens, 1);
        let vocab = self.model.vocab();
        if vocab.is_eog(LlamaToken(token)) {
            return self.finish(slot, FinishReason::EndOfGeneration);
        }
        let logprobs = work.request.top_logprobs.map(|n| logits::logprobs(row, token, n as usize));
        let piece = vocab.token_to_piece(LlamaToken(token), false, None);
        work.has_new_line |= piece.contains(&b'\n');
        let mut out = work.text.push(OutputToken { id: token, logprobs }, &piece);
        let stop = out.stop.take();
        work.emit(out);
        let out_of_time = work.has_new_line
            && work
                .request
                .max_predict_ms
                .is_some_and(|ms| work.timings().predicted_time >= Duration::from_millis(ms));
        let finish = if let Some(stop) = stop {
            Some(FinishReason::StopString(stop))
        } else if work.request.max_tokens.is_some_and(|max| work.generated >= max) || out_of_time {
            Some(FinishReason::Length)
        } else if held + 1 >= self.limits.n_ctx_slot {
            // As llama-server counts: prompt and answer together are never more than the context.
            Some(FinishReason::ContextFull)
        } else {
            None
        };
        match finish {
            Some(reason) => self.finish(slot, reason),
            None => work.phase = Phase::Generate { next: token },
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
            update(&mut self.shared.slots()[slot], &work, state.tokens.len());
            self.shared.slots()[slot].processing = false;
        }
    }

    fn publish(&self) {
        let mut snapshots = self.shared.slots();
        for (snapshot, slot) in snapshots.iter_mut().zip(&self.slots) {
            if let Some(work) = &slot.work {
                update(snapshot, work, slot.tokens.len());
            }
        }
    }
}

fn update(snapshot: &mut SlotSnapshot, work: &Work, held: usize) {
    snapshot.prompt_processed = match work.phase {
        Phase::Prompt { read } => read as u32,
        Phase::Generate { .. } => work.request.prompt.len() as u32,
    };
    snapshot.decoded = work.generated;
    snapshot.remaining = work.request.max_tokens.map(|max| max.saturating_sub(work.generated));
    snapshot.cached_tokens = held as u32;
}

fn add(counter: &AtomicU64, n: usize) {
    counter.fetch_add(n as u64, Ordering::Relaxed);
}
