//! The loop's fourth phase: a step is computed.

use std::time::Instant;

use llama_cpp_2::DecodeError;
use llama_cpp_2::token::LlamaToken;

use super::Worker;
use super::part::Part;
use super::slot::Phase;
use crate::engine::GenerationError;
use crate::engine::handle::add;
use crate::engine::speculate::{Draft, passes};

impl Worker<'_> {
    /// Computes the parts of a step; if they fail together, each alone and without a draft, so that a
    /// sequence that cannot be computed takes no other with it.
    pub(super) fn step(&mut self, parts: &mut [Part]) {
        match self.decode(parts) {
            Ok(()) => self.commit(parts),
            Err(error) if parts.len() == 1 && parts[0].draft == Draft::default() => {
                self.give_up(parts[0].slot, &error);
            }
            Err(error) => {
                tracing::warn!(%error, sequences = parts.len(), "a step failed; trying each alone");
                // What it wrote cannot be told from the states that llama.cpp keeps.
                let is_lost =
                    self.limits.rollback_tokens > 0 && !matches!(error, DecodeError::NoKvCacheSlot);
                for part in parts.iter_mut() {
                    // Part of the failed step may sit in memory.
                    let held = self.slots[part.slot].history.tokens.len();
                    if is_lost || self.rewind(part.slot, held) < held {
                        self.give_up(part.slot, &error);
                        continue;
                    }
                    part.draft = Draft::default();
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
        self.forget(slot);
        self.release(slot);
    }

    fn decode(&mut self, parts: &mut [Part]) -> Result<(), DecodeError> {
        let slots: Vec<usize> = parts.iter().map(|part| part.slot).collect();
        self.batch.clear();
        let mut decoding = 0;
        let mut widths = Vec::new();
        let mut prompt = 0;
        for part in parts.iter_mut() {
            part.first = self.batch.n_tokens();
            let state = &self.slots[part.slot];
            let Some(work) = &state.work else { continue };
            let (tokens, logits_from) = work.next_tokens(part);
            match work.phase {
                Phase::Generate { .. } => {
                    decoding += tokens.len();
                    widths.push((part.slot, tokens.len()));
                }
                Phase::Prompt { .. } => prompt += tokens.len(),
            }
            for (i, &token) in tokens.iter().enumerate() {
                let position = (state.history.tokens.len() + i) as i32;
                let seq = [part.slot as i32];
                // The batch was made for `n_batch` tokens and the plan keeps to that.
                if self.batch.add(LlamaToken(token), position, &seq, i >= logits_from).is_err() {
                    return Err(DecodeError::NoKvCacheSlot);
                }
            }
        }
        let passes = passes(&widths, self.limits.rollback_tokens);
        self.one_pass = passes.len() == 1 && prompt == 0;
        let start = Instant::now();
        self.context.decode(&mut self.batch)?;
        // Without this a GPU's time would be counted to whoever reads the logits first.
        self.context.synchronize();
        let took = start.elapsed();
        tracing::trace!(decoding, prompt, ?slots, ms = took.as_secs_f64() * 1e3, "step");
        if decoding > 0 {
            self.cost.observe_decode(took);
            if let [(streams, tokens)] = passes[..] {
                self.cost.by_width_mut().observe(streams, tokens, took);
            }
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
}
