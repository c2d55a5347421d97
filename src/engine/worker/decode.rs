//! The loop's fourth phase: a step is computed.

use std::time::Instant;

use llama_cpp_2::DecodeError;
use llama_cpp_2::token::LlamaToken;

use super::Worker;
use super::plan::Part;
use super::slot::Phase;
use crate::engine::handle::add;
use crate::engine::schedule::{self, StepKind};
use crate::engine::{GenerationError, Token};

/// Deeper in a sequence the attention of a token that nobody reads may cost more than a pass.
const SHALLOW: usize = 1024;

impl Worker<'_> {
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
}
