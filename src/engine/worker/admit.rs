//! The loop's second phase: waiting requests get seats, with the history that saves them the most
//! work.

use std::sync::Arc;
use std::time::Instant;

use super::Worker;
use super::draft::no_drafts;
use super::park::Restored;
use super::slot::{Phase, Work};
use crate::engine::cache::{Candidate, Match, Snapshot, best, common_prefix, marks, matching};
use crate::engine::handle::{Job, add};
use crate::engine::sample::Sampler;
use crate::engine::schedule::{self, TILE};
use crate::engine::text::TextAssembler;
use crate::engine::thinking::Thinking;
use crate::engine::{CacheMiss, CacheSource, GenerationEvent, GenerationRequest, SlotSnapshot};

/// Where a history is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Seat(usize),
    Memory(u64),
    Disk(u64),
}

/// What becomes of a waiting request.
enum Decision {
    /// It starts now, from this history if any.
    Start(Option<Candidate<Place>>),
    /// It waits until this entry has been read from disk.
    Read(u64),
    /// It waits until a running request has read their common beginning, as far as this position
    /// of its seat.
    Wait { seat: usize, position: usize },
}

/// Where a request starts.
struct Start {
    seat: usize,
    restored: Restored,
    source: Option<CacheSource>,
    miss: Option<CacheMiss>,
}

impl Worker<'_> {
    /// Gives waiting requests seats, oldest first.
    pub(super) fn admit(&mut self) {
        let mut at = 0;
        // What is read from disk and not used lies in memory: no more of it than there are seats.
        let idle = self.slots.iter().filter(|slot| slot.work.is_none()).count();
        let mut wanted = Vec::new();
        while at < self.queue.len() && self.slots.iter().any(|slot| slot.work.is_none()) {
            match self.decide(&self.queue[at].request) {
                Decision::Start(from) => {
                    let Some(job) = self.queue.remove(at) else { break };
                    self.start(job, from);
                    self.dequeued();
                }
                Decision::Read(id) => {
                    if self.disk.waiting() < idle {
                        self.disk.read(id);
                    }
                    wanted.push(id);
                    at += 1;
                }
                Decision::Wait { seat, position } => {
                    self.mark(seat, position);
                    at += 1;
                }
            }
        }
        self.copied = None;
        if at == self.queue.len() {
            self.disk.forget_read(&wanted);
        }
    }

    /// The history that a request starts from, or that it waits for one.
    fn decide(&self, request: &GenerationRequest) -> Decision {
        if !request.cache_prompt || request.prompt_logprobs.is_some() {
            return Decision::Start(None);
        }
        let computing = |tokens| self.cost.prefill_seconds(tokens);
        let from = best(&self.candidates(request), computing);
        let have = from.map_or(0, |from| from.held.usable);
        // A running request may be about to compute more of it.
        let ahead = self.slots.iter().enumerate().filter_map(|(seat, slot)| {
            let work = slot.work.as_ref()?;
            let Phase::Prompt { read } = work.phase else { return None };
            let ours = request.conversation.may_use(work.request.conversation);
            let common = common_prefix(&work.request.prompt, &request.prompt);
            let shared = common.min(request.prompt.len() - 1);
            (ours && shared > read && shared >= have + TILE).then_some((seat, shared))
        });
        match ahead.max_by_key(|&(_, shared)| shared) {
            Some((seat, position))
                if computing(position) - computing(have) > 2.0 * self.copies.seconds(position) =>
            {
                Decision::Wait { seat, position }
            }
            _ => match from.map(|from| from.place) {
                Some(Place::Disk(id)) if !self.disk.has_read(id) => Decision::Read(id),
                _ => Decision::Start(from),
            },
        }
    }

    /// All histories that begin like a request's prompt.
    fn candidates(&self, request: &GenerationRequest) -> Vec<Candidate<Place>> {
        let can_cut = self.limits.can_truncate;
        let (prompt, who) = (&request.prompt, request.conversation);
        let copy = |tokens: usize| self.copies.seconds(tokens);
        let seats = self.slots.iter().enumerate().filter_map(|(seat, slot)| {
            let history = &slot.history;
            if history.tokens.is_empty() || !who.may_use(history.conversation) {
                return None;
            }
            let held = self.held_by(seat, request);
            let stays = slot.work.is_some() || !self.goes_on(seat, request, held);
            let seconds = if stays { 2.0 * copy(history.tokens.len()) } else { 0.0 };
            Some(Candidate { place: Place::Seat(seat), held, seconds })
        });
        let saved = self.memory.iter().filter_map(|saved| {
            let snapshot = &saved.snapshot;
            if !who.may_use(snapshot.conversation) {
                return None;
            }
            let checkpoints = snapshot.checkpoints.iter().map(|c| c.position);
            let held = matching(&snapshot.tokens, checkpoints, prompt, can_cut);
            let seconds = copy(snapshot.tokens.len()) + self.cost.decode_seconds();
            Some(Candidate { place: Place::Memory(saved.id), held, seconds })
        });
        let on_disk = self.disk.entries().filter_map(|entry| {
            let fits = entry.tokens.len() < self.limits.n_ctx_slot;
            if !fits || !who.may_use(entry.conversation) {
                return None;
            }
            let checkpoints = entry.checkpoints.iter().copied();
            let held = matching(&entry.tokens, checkpoints, prompt, can_cut);
            let read =
                if self.disk.has_read(entry.id) { 0.0 } else { self.disk.seconds(entry.bytes) };
            let seconds = read + copy(entry.tokens.len()) + self.cost.decode_seconds();
            Some(Candidate { place: Place::Disk(entry.id), held, seconds })
        });
        seats.chain(saved).chain(on_disk).collect()
    }

    /// What a seat holds of a request's prompt.
    fn held_by(&self, seat: usize, request: &GenerationRequest) -> Match {
        let history = &self.slots[seat].history;
        let can_cut = self.limits.can_truncate;
        matching(&history.tokens, history.positions(), &request.prompt, can_cut)
    }

    /// Whether a request goes on with the conversation that an idle seat holds.
    fn goes_on(&self, seat: usize, request: &GenerationRequest, held: Match) -> bool {
        let history = &self.slots[seat].history;
        let agrees = held.common >= history.anchor.min(history.tokens.len());
        request.conversation.goes_on(history.conversation, agrees)
    }

    /// Lets a seat that reads a prompt stop at a position, for others that begin alike.
    fn mark(&mut self, seat: usize, position: usize) {
        if self.limits.can_truncate {
            return;
        }
        if let Some(work) = &mut self.slots[seat].work
            && let Err(at) = work.marks.binary_search(&position)
        {
            work.marks.insert(at, position);
        }
    }

    /// Puts a request into a seat.
    fn start(&mut self, job: Job, from: Option<Candidate<Place>>) {
        self.arrivals += 1;
        let Some(Start { seat, restored, source, miss }) = self.take_seat(&job.request, from)
        else {
            // There is an idle seat, so one can be taken.
            return job.events.fail(crate::engine::GenerationError::NoRoom);
        };
        let Job { request, submission, events, submitted, dry } = job;
        let Restored { cached, read } = restored;
        let now = self.arrivals;
        if request.conversation.parent != 0 {
            self.touch_parent(request.conversation.parent, now);
        }
        let length = request.prompt.len();
        let marks = if self.limits.can_truncate {
            Vec::new()
        } else {
            if read > 0 {
                self.take_checkpoint(seat, false);
            }
            let spacing = self.checkpoint_spacing();
            let first = request.message_starts.first().copied();
            let every = self.limits.checkpoint_every;
            marks(&request.borders, first, read, length, spacing, every)
        };
        let sampler = Sampler::new(
            &request,
            dry.map(Arc::unwrap_or_clone),
            self.model,
            self.limits.n_ctx_slot as u32,
            self.end_tokens.clone(),
        );
        add(&self.shared.counters.prompt_tokens_cached, cached);
        self.count_hit(source);
        events.send(GenerationEvent::Started {
            slot: seat as u32,
            cached_tokens: cached as u32,
            source,
            miss,
        });
        let no_draft = no_drafts(request.speculation, self.limits.rollback);
        self.shared.slots()[seat] = SlotSnapshot {
            id: seat as u32,
            processing: true,
            generating: false,
            task: Some(now),
            request_id: Some(request.id.clone()),
            prompt_tokens: length as u32,
            prompt_processed: read as u32,
            prompt_cached: cached as u32,
            decoded: 0,
            has_new_line: false,
            drafted: 0,
            accepted: 0,
            no_draft,
            remaining: request.max_tokens,
            cached_tokens: read as u32,
            cache_source: source,
            cache_miss: miss,
            conversation: request.conversation.id,
            checkpoints: 0,
            saved: false,
            sampling: Some(request.sampling.clone()),
        };
        let state = &mut self.slots[seat];
        let history = &mut state.history;
        history.last_used = now;
        history.turns = if cached > 0 { history.turns + 1 } else { 1 };
        history.anchor = schedule::anchor(length, &request.message_starts);
        history.conversation = request.conversation;
        history.is_private = !request.cache_prompt;
        state.work = Some(Work {
            text: TextAssembler::new(request.stop.clone()),
            phase: Phase::Prompt { read },
            submission,
            events,
            sampler,
            arrival: now,
            thinking: request.thinking.clone().map(Thinking::new),
            lookup: None,
            again: Vec::new(),
            drafted: 0,
            accepted: 0,
            no_draft,
            prompt_logprobs: Vec::new(),
            cached,
            opening: marks.last().copied(),
            marks,
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

    /// Tokens between two checkpoints, so that reading them takes twice as long as keeping one.
    fn checkpoint_spacing(&self) -> usize {
        (2.0 * self.checkpoint_seconds / self.cost.prefill_seconds(1)) as usize
    }

    /// Finds a seat and puts into it what is held of the prompt.
    fn take_seat(
        &mut self,
        request: &GenerationRequest,
        from: Option<Candidate<Place>>,
    ) -> Option<Start> {
        let wished = request.id_slot.map(|id| id as usize % self.slots.len());
        let Some(Candidate { place, held, .. }) = from else {
            let seat = self.free_seat(wished, None)?;
            let miss = Some(self.why_not(request, None));
            return Some(Start { seat, restored: Restored::exactly(0), source: None, miss });
        };
        match place {
            Place::Seat(holder) => {
                let is_idle = self.slots[holder].work.is_none();
                let length = self.slots[holder].history.tokens.len();
                let takes_over = is_idle && self.goes_on(holder, request, held);
                let seat = if takes_over {
                    self.bring(holder)?
                } else if is_idle && self.is_better_saved(holder) {
                    // It is left in memory, and read on in its seat.
                    self.save(holder, true);
                    self.bring(holder)?
                } else {
                    match self.free_seat(None, Some(holder)) {
                        Some(seat) => {
                            let usable = self.held_by(holder, request).usable;
                            let kept = self.copy(holder, seat, usable);
                            let restored = Restored::exactly(kept);
                            let (source, found) = (CacheSource::Sequence, (held, length));
                            return Some(self.started(request, seat, restored, source, found));
                        }
                        None => self.bring(holder)?,
                    }
                };
                // Saving another may have thinned its checkpoints.
                let usable = self.held_by(seat, request).usable;
                let kept = self.truncate(seat, usable);
                let restored = Restored::exactly(kept);
                Some(self.started(request, seat, restored, CacheSource::Slot, (held, length)))
            }
            Place::Memory(id) => {
                // Freeing a seat may push it out of the store.
                let saved = self.memory.get(id)?.clone();
                let seat = self.free_seat(wished, None)?;
                self.memory.touch(id, self.arrivals);
                let snapshot = &saved.snapshot;
                let restored = if saved.is_intact() {
                    self.restored(request, seat, snapshot, held, CacheSource::Memory)
                } else {
                    self.reject(snapshot, "its bytes have changed in memory");
                    None
                };
                restored.or_else(|| {
                    self.memory.remove(id);
                    self.take_another(request)
                })
            }
            Place::Disk(id) => {
                let snapshot = self.disk.take_read(id)?;
                let seat = self.free_seat(wished, None)?;
                self.disk.touch(id);
                // Its checksum was compared when it was read.
                let restored = self.restored(request, seat, &snapshot, held, CacheSource::Disk);
                if restored.is_none() {
                    self.disk.remove(id);
                    return self.take_another(request);
                }
                if self.memory.has_room(snapshot.bytes()) {
                    self.keep_in_memory(snapshot, self.arrivals);
                }
                restored
            }
        }
    }

    /// Puts a saved state into an empty seat; `None`: it did not prove to be what it was taken for.
    fn restored(
        &mut self,
        request: &GenerationRequest,
        seat: usize,
        snapshot: &Snapshot,
        held: Match,
        source: CacheSource,
    ) -> Option<Start> {
        let Some(restored) = self.restore(seat, snapshot, &request.prompt, held) else {
            self.reject(snapshot, "it did not give the logits that it was saved with");
            return None;
        };
        Some(self.started(request, seat, restored, source, (held, snapshot.tokens.len())))
    }

    /// Counts a saved state that is not what it was taken for, and says so.
    fn reject(&self, snapshot: &Snapshot, cause: &str) {
        add(&self.shared.counters.cache.rejected, 1);
        tracing::warn!(tokens = snapshot.tokens.len(), "a saved state is dropped: {cause}");
    }

    /// Starts from what else is held of a prompt, after a state that was rejected and is gone.
    fn take_another(&mut self, request: &GenerationRequest) -> Option<Start> {
        let candidates: Vec<_> = self
            .candidates(request)
            .into_iter()
            .filter(|candidate| !matches!(candidate.place, Place::Disk(_)))
            .collect();
        let from = best(&candidates, |tokens| self.cost.prefill_seconds(tokens));
        let start = self.take_seat(request, from)?;
        Some(Start { miss: Some(CacheMiss::Rejected), ..start })
    }

    /// `found`: what the history held of the prompt, and its length.
    fn started(
        &self,
        request: &GenerationRequest,
        seat: usize,
        restored: Restored,
        source: CacheSource,
        found: (Match, usize),
    ) -> Start {
        let source = (restored.cached > 0).then_some(source);
        let (held, length) = found;
        let nearly_all = held.common == length || held.common + 1 >= request.prompt.len();
        let miss = match source {
            Some(_) if nearly_all => None,
            _ => Some(self.why_not(request, Some(held))),
        };
        Start { seat, restored, source, miss }
    }

    /// Why a prompt, or a part of it, has to be computed.
    fn why_not(&self, request: &GenerationRequest, held: Option<Match>) -> CacheMiss {
        if request.prompt_logprobs.is_some() {
            CacheMiss::Logprobs
        } else if !request.cache_prompt {
            CacheMiss::Disabled
        } else if held.is_some_and(|held| held.common > 0) {
            CacheMiss::Changed
        } else if self.dropped.contains(&request.conversation.id) {
            CacheMiss::Dropped
        } else {
            CacheMiss::New
        }
    }

    /// Whether sharing the history of an idle seat costs less if the seat's own is put into memory:
    /// there is no empty seat beside it.
    fn is_better_saved(&self, holder: usize) -> bool {
        let others = self.open_seats().into_iter().filter(|&seat| seat != holder);
        let is_free = |seat: usize| {
            let history = &self.slots[seat].history;
            history.tokens.is_empty() || self.is_saved(seat)
        };
        self.memory.max_bytes() > 0 && !others.into_iter().any(is_free)
    }

    fn count_hit(&self, source: Option<CacheSource>) {
        let counters = &self.shared.counters.cache;
        match source {
            Some(CacheSource::Slot) => add(&counters.hits_slot, 1),
            Some(CacheSource::Sequence) => add(&counters.hits_sequence, 1),
            Some(CacheSource::Memory) => add(&counters.hits_memory, 1),
            Some(CacheSource::Disk) => add(&counters.hits_disk, 1),
            None => add(&counters.misses, 1),
        }
    }

    /// A conversation that another was begun from is in use, too.
    fn touch_parent(&mut self, parent: u64, now: u64) {
        self.memory.touch_conversation(parent, now);
        for slot in self.slots.iter_mut().filter(|s| s.history.conversation.id == parent) {
            slot.history.last_used = now;
        }
    }
}
