//! The loop's second phase: waiting requests go to idle slots.

use std::sync::Arc;
use std::time::Instant;

use super::Worker;
use super::slot::{Phase, Slot, Work};
use crate::engine::handle::{Job, add};
use crate::engine::sample::Sampler;
use crate::engine::schedule;
use crate::engine::text::TextAssembler;
use crate::engine::thinking::Thinking;
use crate::engine::{GenerationEvent, SlotSnapshot};

impl Worker<'_> {
    /// Gives waiting requests to idle slots, oldest first. One that wants a certain slot waits
    /// for it without holding up the others.
    pub(super) fn admit(&mut self) {
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
                        self.start(slot, job);
                        self.dequeued();
                    }
                }
                None if any => return,
                None => at += 1,
            }
        }
    }

    /// Puts a request into a slot, keeping what the slot already holds of its prompt.
    fn start(&mut self, slot: usize, job: Job) {
        let Job { request, submission, events, submitted, dry } = job;
        self.arrivals += 1;
        let reusable = if request.cache_prompt && request.prompt_logprobs.is_none() {
            let common = schedule::common_prefix(&self.slots[slot].tokens, &request.prompt);
            // The last token's logits are needed, so it is computed in any case.
            common.min(request.prompt.len() - 1)
        } else {
            0
        };
        let cached = self.truncate(slot, reusable);
        let sampler = Sampler::new(
            &request,
            dry.map(Arc::unwrap_or_clone),
            self.model,
            self.limits.n_ctx_slot as u32,
            self.end_tokens.clone(),
        );
        let counters = &self.shared.counters;
        add(&counters.prompt_tokens_cached, cached);
        events.send(GenerationEvent::Started { slot: slot as u32, cached_tokens: cached as u32 });
        self.shared.slots()[slot] = SlotSnapshot {
            id: slot as u32,
            processing: true,
            generating: false,
            task: Some(self.arrivals),
            request_id: Some(request.id.clone()),
            prompt_tokens: request.prompt.len() as u32,
            prompt_processed: cached as u32,
            prompt_cached: cached as u32,
            decoded: 0,
            has_new_line: false,
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
            submission,
            events,
            sampler,
            arrival: self.arrivals,
            thinking: request.thinking.clone().map(Thinking::new),
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
}
