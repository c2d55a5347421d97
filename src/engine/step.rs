//! The loop's other phases: plan a step, decode it, commit it, sample, emit.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use llama_cpp_2::DecodeError;
use llama_cpp_2::token::LlamaToken;

use super::handle::add;
use super::schedule::{self, StepKind, Want};
use super::slot::{Phase, Slot};
use super::worker::Worker;
use super::{FinishReason, GenerationError, GenerationEvent, OutputToken, Token, logits};

/// One slot's part of a step.
pub(super) struct Part {
    slot: usize,
    /// Tokens.
    share: usize,
    /// Where its tokens begin in the batch.
    first: i32,
}

/// Deeper in a sequence the attention of a token that nobody reads may cost more than a pass.
const SHALLOW: usize = 1024;

impl Worker<'_> {
    pub(super) fn plan(&mut self) -> Vec<Part> {
        let wants: Vec<_> = self.slots.iter().map(Slot::want).collect();
        self.kind = schedule::kind(&wants, self.kind);
        let shares = match self.kind {
            StepKind::Streams => schedule::plan_streams(&wants, self.limits.n_batch),
            StepKind::Prompts => {
                self.prompt_steps += 1;
                let has_streams = wants.contains(&Want::Decode);
                let budget = self.cost.prefill_tokens(has_streams).min(self.limits.n_batch);
                schedule::plan_prompts(&wants, budget, self.limits.n_batch, self.prompt_steps)
            }
        };
        let part = |(slot, share)| Part { slot, share, first: 0 };
        shares.into_iter().enumerate().filter(|&(_, share)| share > 0).map(part).collect()
    }

    /// Computes the parts of a step; if they fail together, each alone, so that a sequence that
    /// cannot be computed takes no other with it.
    pub(super) fn step(&mut self, parts: &mut [Part]) {
        match self.decode(parts) {
            Ok(()) => self.commit(parts),
            Err(error) if parts.len() == 1 => self.give_up(parts[0].slot, &error),
            Err(error) => {
                tracing::warn!(%error, sequences = parts.len(), "a step failed; trying each alone");
                for part in parts.iter_mut() {
                    // Part of the failed step may sit in memory.
                    let held = self.slots[part.slot].tokens.len();
                    if self.rewind(part.slot, held) < held {
                        self.give_up(part.slot, &error);
                        continue;
                    }
                    let alone = std::slice::from_mut(part);
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

    fn decode(&mut self, parts: &mut [Part]) -> Result<(), DecodeError> {
        let slots: Vec<usize> = parts.iter().map(|part| part.slot).collect();
        let fillers = self.fillers(parts);
        self.batch.clear();
        let mut decoding = 0;
        let mut prompt = 0;
        let mut filler = fillers.iter().peekable();
        for part in parts.iter_mut() {
            while let Some(&slot) = filler.next_if(|&&slot| slot < part.slot) {
                let tokens = &self.slots[slot].tokens;
                self.fill(slot, tokens.last().copied(), tokens.len())?;
            }
            part.first = self.batch.n_tokens();
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
        let decoded = self.context.decode(&mut self.batch);
        for &slot in &fillers {
            self.remove_filling(slot, self.slots[slot].tokens.len());
        }
        decoded?;
        // Without this a GPU's time would be counted to whoever reads the logits first.
        self.context.synchronize();
        let took = start.elapsed();
        tracing::trace!(decoding, prompt, ?slots, ?fillers, ms = took.as_secs_f64() * 1e3, "step");
        if decoding > 0 {
            self.cost.observe_decode(took);
        } else {
            self.cost.observe_prefill(prompt, took);
        }
        let counters = &self.shared.counters;
        add(&counters.decodes, 1);
        add(&counters.busy_slots, slots.len());
        let us = took.as_micros() as usize;
        let prompt_us = us * prompt / (prompt + decoding).max(1);
        add(&counters.prompt_us, prompt_us);
        add(&counters.predicted_us, us - prompt_us);
        add(&counters.prompt_tokens, prompt);
        Ok(())
    }

    /// The slots that take part in a step for the streams' sake (see [`schedule::fillers`]).
    fn fillers(&self, parts: &[Part]) -> Vec<usize> {
        if !self.limits.can_truncate || self.kind == StepKind::Prompts {
            return Vec::new();
        }
        let slots: Vec<usize> = parts.iter().map(|part| part.slot).collect();
        let mut fillers = schedule::fillers(&slots);
        let tokens: usize = parts.iter().map(|part| part.share).sum();
        fillers.truncate(self.limits.n_batch.saturating_sub(tokens));
        // The attention of a token deep in a history may cost more than a pass.
        let held = |slot: usize| self.slots[slot].tokens.len();
        let deepest = slots.iter().map(|&slot| held(slot)).max().unwrap_or(0).max(SHALLOW);
        fillers.retain(|&slot| held(slot) <= deepest && held(slot) < self.limits.n_ctx_slot);
        fillers
    }

    /// Puts a token into the batch whose result nobody reads; any will do.
    fn fill(
        &mut self,
        slot: usize,
        token: Option<Token>,
        position: usize,
    ) -> Result<(), DecodeError> {
        self.batch
            .add(LlamaToken(token.unwrap_or(0)), position as i32, &[slot as i32], false)
            .map_err(|_| DecodeError::NoKvCacheSlot)
    }

    /// Removes such tokens from the slot's memory, which holds `held` that count. Only memory that
    /// can be cut is filled.
    fn remove_filling(&mut self, slot: usize, held: usize) {
        let _ = self.context.clear_kv_cache_seq(Some(slot as u32), Some(held as u32), None);
    }

    /// After a good decode: the sequences hold the new tokens; then sample and emit.
    fn commit(&mut self, parts: &[Part]) {
        for part in parts {
            self.commit_part(part);
        }
    }

    fn commit_part(&mut self, part: &Part) {
        let first = part.first;
        let state = &mut self.slots[part.slot];
        let Some(work) = &mut state.work else { return };
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
}
