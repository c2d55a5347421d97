//! A slot: one sequence of the context, what it holds, and the request it works on.

use std::time::{Duration, Instant};

use crate::engine::sample::Sampler;
use crate::engine::schedule::{SlotView, Want};
use crate::engine::stream::EventSender;
use crate::engine::text::{Assembled, TextAssembler};
use crate::engine::thinking::Thinking;
use crate::engine::{
    FinishReason, GenerationEvent, GenerationRequest, OutputToken, PromptProgress, Summary,
    Timings, Token, TokenLogprobs,
};

/// Prompt tokens per step when each one's logits are wanted: a row is 600 kB for a vocabulary
/// of 150,000.
const PROMPT_LOGPROBS_CHUNK: usize = 32;

/// One sequence of the context.
#[derive(Default)]
pub(crate) struct Slot {
    /// The tokens that the sequence's memory holds.
    pub(crate) tokens: Vec<Token>,
    /// Up to where a prompt must agree to continue this sequence's conversation.
    pub(crate) anchor: usize,
    /// Number of the last request it took; grows over all slots.
    pub(crate) last_used: u64,
    /// The request being worked on.
    pub(crate) work: Option<Work>,
}

/// A request being worked on.
pub(crate) struct Work {
    pub(crate) request: GenerationRequest,
    /// Of its [`Job`](crate::engine::handle::Job).
    pub(crate) submission: u64,
    pub(crate) events: EventSender,
    pub(crate) sampler: Sampler,
    pub(crate) arrival: u64,
    pub(crate) phase: Phase,
    pub(crate) text: TextAssembler<OutputToken>,
    /// Of a request with a budget.
    pub(crate) thinking: Option<Thinking>,
    pub(crate) prompt_logprobs: Vec<(Token, Option<TokenLogprobs>)>,
    pub(crate) cached: usize,
    pub(crate) queued_for: Duration,
    pub(crate) started: Instant,
    pub(crate) prompt_done: Option<Instant>,
    pub(crate) last_token: Option<Instant>,
    pub(crate) generated: u32,
    pub(crate) has_new_line: bool,
    /// Since when its reader's buffer is full.
    pub(crate) stalled: Option<Instant>,
}

/// What a request's next step needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The prompt has been read up to here.
    Prompt { read: usize },
    /// This token was sampled and is to be decoded.
    Generate { next: Token },
}

impl Slot {
    pub(crate) fn view(&self) -> SlotView<'_> {
        SlotView {
            busy: self.work.is_some(),
            tokens: &self.tokens,
            anchor: self.anchor,
            last_used: self.last_used,
        }
    }

    pub(crate) fn want(&self) -> Want {
        match &self.work {
            Some(work) if work.stalled.is_none() => work.want(),
            _ => Want::Nothing,
        }
    }
}

impl Work {
    fn want(&self) -> Want {
        match self.phase {
            Phase::Generate { .. } => Want::Decode,
            Phase::Prompt { read } => Want::Prompt {
                remaining: self.request.prompt.len() - read,
                most: match self.request.prompt_logprobs {
                    Some(_) => PROMPT_LOGPROBS_CHUNK,
                    None => usize::MAX,
                },
                arrival: self.arrival,
            },
        }
    }

    /// The tokens of a share of a step, and whether the logits of all of them are wanted.
    pub(crate) fn next_tokens(&self, share: usize) -> (&[Token], bool) {
        match &self.phase {
            Phase::Generate { next } => (std::slice::from_ref(next), true),
            Phase::Prompt { read } => {
                let end = (*read + share).min(self.request.prompt.len());
                (&self.request.prompt[*read..end], self.request.prompt_logprobs.is_some())
            }
        }
    }

    pub(crate) fn timings(&self) -> Timings {
        let now = Instant::now();
        let prompt_end = self.prompt_done.unwrap_or(now);
        let read = match self.phase {
            Phase::Prompt { read } => read,
            Phase::Generate { .. } => self.request.prompt.len(),
        };
        Timings {
            cached_tokens: self.cached as u32,
            prompt_tokens: read.saturating_sub(self.cached) as u32,
            prompt_time: prompt_end - self.started,
            predicted_tokens: self.generated,
            predicted_time: self.last_token.unwrap_or(prompt_end) - prompt_end,
            queue_time: self.queued_for,
        }
    }

    pub(crate) fn progress(&self, read: usize) -> PromptProgress {
        PromptProgress {
            total: self.request.prompt.len() as u32,
            cached: self.cached as u32,
            processed: read as u32,
            elapsed: self.started.elapsed(),
        }
    }

    /// Emits what the text assembler released.
    pub(crate) fn emit(&self, out: Assembled<OutputToken>) {
        if !out.text.is_empty() || !out.tokens.is_empty() {
            self.events.send(GenerationEvent::Output {
                text: out.text,
                tokens: out.tokens,
                timings: self.timings(),
            });
        }
    }

    /// Tells the end; what was held back comes out first unless a stop string was found.
    pub(crate) fn finish(&mut self, slot: usize, finish: FinishReason) {
        if !matches!(finish, FinishReason::StopString(_)) {
            let rest = self.text.finish();
            self.emit(rest);
        }
        self.events.send(GenerationEvent::Done(Summary {
            finish,
            timings: self.timings(),
            slot: slot as u32,
            seed: self.sampler.seed(),
        }));
    }
}
