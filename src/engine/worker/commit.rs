//! The loop's last phase: what a good decode computed counts; sample and emit.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use llama_cpp_2::token::LlamaToken;

use super::Worker;
use super::part::Part;
use super::slot::{Phase, Slot};
use crate::engine::handle::add;
use crate::engine::sample::{SampleError, logprobs};
use crate::engine::schedule::StepKind;
use crate::engine::{FinishReason, GenerationError, GenerationEvent, OutputToken, Token};

impl Worker<'_> {
    /// After a good decode: the sequences hold the new tokens; then sample and emit.
    pub(super) fn commit(&mut self, parts: &[Part]) {
        for part in parts {
            self.commit_part(part);
        }
        if let [part] = parts
            && self.kind == StepKind::Streams
            && part.draft.tokens.is_empty()
            && self.slots[part.slot].work.is_none()
        {
            self.keep_proof(part.slot, part.first);
        }
    }

    fn commit_part(&mut self, part: &Part) {
        let first = part.first;
        let state = &mut self.slots[part.slot];
        let Some(work) = &mut state.work else { return };
        match work.phase {
            Phase::Generate { .. } => self.commit_stream(part),
            Phase::Prompt { read } => {
                let (tokens, _) = work.next_tokens(part);
                let n = tokens.len();
                state.history.extend(&tokens);
                let next = first + n as i32;
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
                        (token, Some(logprobs(row, token, alternatives as usize)))
                    }));
                }
                if work.request.progress {
                    work.events.send(GenerationEvent::Progress(work.progress(read)));
                }
                let is_marked = work.marks.contains(&read);
                let is_last = work.opening == Some(read);
                let is_read = read == work.request.prompt.len();
                if is_marked {
                    self.take_checkpoint(part.slot, is_last);
                }
                if is_read {
                    self.prompt_done(part.slot, next - 1);
                }
            }
        }
        let longest = &self.shared.counters.longest_sequence;
        longest.fetch_max(self.slots[part.slot].history.tokens.len() as u64, Ordering::Relaxed);
    }

    /// A stream's tokens were computed: samples from the row of each of them, as long as what comes
    /// is what was drafted.
    fn commit_stream(&mut self, part: &Part) {
        let Slot { history, work: Some(work) } = &mut self.slots[part.slot] else { return };
        let Phase::Generate { next } = work.phase else { return };
        let again = std::mem::take(&mut work.again);
        // Before its tokens are told: the last of them may end the text.
        work.drafted += part.draft.tokens.len() as u32;
        add(&self.shared.counters.speculation.drafted_tokens, part.draft.tokens.len());
        history.extend(&again);
        history.extend(&[next]);
        let first = part.first + again.len() as i32;
        let mut stays = 0;
        loop {
            let drafted = part.draft.get(stays);
            self.sample(part.slot, first + stays as i32, drafted);
            let Slot { history, work } = &mut self.slots[part.slot];
            let Some((token, _)) = drafted else { break };
            match work.as_ref().map(|work| work.phase) {
                Some(Phase::Generate { next }) if next == token => history.extend(&[token]),
                _ => break,
            }
            stays += 1;
        }
        self.draft_done(part, stays);
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
            self.begin_drafts(slot);
            self.sample(slot, row, None);
        }
    }

    /// Chooses the next token of a slot from row `row` of the step's outputs, unless the one that was
    /// `drafted` comes in any case.
    fn sample(&mut self, slot: usize, row: i32, drafted: Option<(Token, bool)>) {
        let state = &mut self.slots[slot];
        let held = state.history.tokens.len();
        let Some(work) = &mut state.work else { return };
        let row = self.context.get_logits_ith(row);
        let sampler = &mut work.sampler;
        let thinking = work.thinking.as_mut();
        let forced =
            thinking.and_then(|thinking| thinking.next_forced(|close| sampler.allows(close)));
        let certain = drafted.filter(|&(_, is_certain)| is_certain).map(|(token, _)| token);
        let chosen = match forced.or(certain) {
            Some(token) => work.sampler.take(token).map(|()| token).map_err(SampleError::from),
            None => work.sampler.sample(row, &mut self.candidates),
        };
        let token = match chosen {
            Ok(token) => token,
            Err(SampleError::Forbidden) => {
                work.events.fail(GenerationError::Forbidden);
                return self.release(slot);
            }
            Err(SampleError::Match(error)) => {
                tracing::error!(%error, slot, id = work.request.id, "a grammar could not be kept to");
                work.events.fail(GenerationError::Grammar);
                return self.release(slot);
            }
        };
        state.history.next = Some(token);
        if let Some(lookup) = &mut work.lookup {
            lookup.push(token);
            if let Some(is_right) = work.sampler.kept_to_forced() {
                lookup.observe_forced(is_right);
            }
        }
        if drafted.is_some_and(|(drafted, _)| drafted == token) {
            work.accepted += 1;
            add(&self.shared.counters.speculation.accepted_tokens, 1);
        }
        work.generated += 1;
        work.last_token = Some(Instant::now());
        add(&self.shared.counters.predicted_tokens, 1);
        let vocab = self.model.vocab();
        if vocab.is_eog(LlamaToken(token)) {
            return self.finish(slot, FinishReason::EndOfGeneration);
        }
        let logprobs = work.request.top_logprobs.map(|n| logprobs(row, token, n as usize));
        let visible = work.request.visible.contains(&token);
        let piece = vocab.token_to_piece(LlamaToken(token), visible, None);
        work.has_new_line |= piece.contains(&b'\n');
        if let Some(thinking) = &mut work.thinking {
            thinking.push(&piece);
        }
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
        } else if work.sampler.is_complete() {
            Some(FinishReason::EndOfGeneration)
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
