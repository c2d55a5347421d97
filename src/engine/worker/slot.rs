//! A slot: one sequence of the context, what it holds, and the request it works on. A sequence id
//! is a seat for a running request and nothing else: histories move.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use llama_cpp_2::context::session::SeqState;

use super::part::Part;
use crate::engine::cache::{Checkpoint, Proof};
use crate::engine::sample::Sampler;
use crate::engine::schedule::{SeatView, Want};
use crate::engine::speculate::Lookup;
use crate::engine::stream::EventSender;
use crate::engine::text::{Assembled, TextAssembler};
use crate::engine::thinking::Thinking;
use crate::engine::{
    ConversationId, FinishReason, GenerationEvent, GenerationRequest, NoDraft, OutputToken,
    PromptProgress, Summary, Timings, Token, TokenLogprobs,
};

/// Prompt tokens per step when each one's logits are wanted: a row is 600 kB for a vocabulary
/// of 150,000.
const PROMPT_LOGPROBS_CHUNK: usize = 32;

/// A seat: a sequence of the context, what it holds, and the request that works on it.
#[derive(Default)]
pub(crate) struct Slot {
    pub(crate) history: History,
    /// The request being worked on.
    pub(crate) work: Option<Work>,
}

/// What a sequence's memory holds.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) tokens: Vec<Token>,
    /// Up to where a prompt must agree to continue this conversation.
    pub(crate) anchor: usize,
    pub(crate) conversation: ConversationId,
    /// Recurrent states at earlier positions, ascending.
    pub(crate) checkpoints: Vec<Checkpoint>,
    /// The newest of them while it is on the device alone.
    pub(crate) on_device: Option<DeviceCheckpoint>,
    /// The recurrent state before the draft that is computed now, or was last. It takes the place of
    /// `on_device`, which is settled before.
    pub(crate) before_draft: Option<DeviceCheckpoint>,
    /// Number of the last request that worked on it; grows over all seats.
    pub(crate) last_used: u64,
    /// Requests that worked on it.
    pub(crate) turns: u32,
    /// The token that was sampled last, and not computed.
    pub(crate) next: Option<Token>,
    /// What came out after the last token, which was computed alone.
    pub(crate) proof: Option<Proof>,
    /// The state in memory that holds all of this.
    pub(crate) saved: Option<u64>,
    /// It is on disk, or will be.
    pub(crate) on_disk: bool,
    /// Writing it was tried.
    pub(crate) tried_disk: bool,
    /// Its request wants nothing kept of it beyond its seat.
    pub(crate) is_private: bool,
    /// It could not be saved.
    pub(crate) unsavable: bool,
}

/// A recurrent state in the device's memory. llama.cpp keeps one for each sequence id, so it is
/// this seat's until the next one is taken there.
#[derive(Debug)]
pub(crate) struct DeviceCheckpoint {
    pub(crate) position: usize,
    pub(crate) state: SeqState,
}

impl History {
    /// Positions of all checkpoints.
    pub(crate) fn positions(&self) -> impl Iterator<Item = usize> {
        let on_device = self.on_device.iter().map(|checkpoint| checkpoint.position);
        self.checkpoints.iter().map(|checkpoint| checkpoint.position).chain(on_device)
    }

    /// A prompt so short that it is computed sooner than a conversation is put away, such as the
    /// request for a title, whose history hardly anybody comes back to.
    pub(crate) fn is_one_off(&self) -> bool {
        const MAX_TOKENS: usize = 1024;
        self.turns <= 1 && self.tokens.len() <= MAX_TOKENS
    }

    /// Tokens were computed behind it.
    pub(crate) fn extend(&mut self, tokens: &[Token]) {
        self.tokens.extend_from_slice(tokens);
        self.changed();
    }

    /// Its end was cut off.
    pub(crate) fn shorten(&mut self, keep: usize) {
        self.tokens.truncate(keep);
        self.changed();
    }

    fn changed(&mut self) {
        (self.next, self.proof, self.saved) = (None, None, None);
        (self.on_disk, self.tried_disk, self.unsavable) = (false, false, false);
    }
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
    /// `None`: nothing is drafted for it.
    pub(crate) lookup: Option<Lookup>,
    /// Tokens that were sampled and computed, and whose state is gone with a draft that was taken
    /// back: they are computed once more.
    pub(crate) again: Vec<Token>,
    /// Tokens drafted, and those of them that came.
    pub(crate) drafted: u32,
    pub(crate) accepted: u32,
    /// Why nothing was drafted for its last step.
    pub(crate) no_draft: Option<NoDraft>,
    pub(crate) prompt_logprobs: Vec<(Token, Option<TokenLogprobs>)>,
    pub(crate) cached: usize,
    /// Positions in the prompt at which a recurrent state is kept, ascending.
    pub(crate) marks: Vec<usize>,
    /// The last of those that are its own: where the answer's opening begins, in most cases.
    pub(crate) opening: Option<usize>,
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
    /// `saved`: the state in memory that its history names is still there.
    pub(crate) fn view(&self, saved: bool) -> SeatView {
        SeatView {
            busy: self.work.is_some(),
            held: self.history.tokens.len(),
            saved,
            one_off: self.history.is_one_off(),
            last_used: self.history.last_used,
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
                remaining: self.stop() - read,
                most: match self.request.prompt_logprobs {
                    Some(_) => PROMPT_LOGPROBS_CHUNK,
                    None => usize::MAX,
                },
                arrival: self.arrival,
            },
        }
    }

    /// Where reading the prompt stops next: at the next mark or at the prompt's end.
    pub(crate) fn stop(&self) -> usize {
        let Phase::Prompt { read } = self.phase else { return self.request.prompt.len() };
        let mark = self.marks.iter().copied().find(|&mark| mark > read);
        mark.unwrap_or(self.request.prompt.len())
    }

    /// The tokens of a part of a step, and from which of them on the logits are wanted.
    pub(super) fn next_tokens(&self, part: &Part) -> (Cow<'_, [Token]>, usize) {
        match &self.phase {
            Phase::Generate { next } => {
                let draft = part.draft.tokens.iter();
                let tokens = self.again.iter().chain([next]).chain(draft);
                (tokens.copied().collect(), self.again.len())
            }
            Phase::Prompt { read } => {
                let end = (*read + part.share).min(self.stop());
                let logits = match self.request.prompt_logprobs {
                    Some(_) => 0,
                    None if end == self.request.prompt.len() => end - read - 1,
                    None => end - read,
                };
                (Cow::Borrowed(&self.request.prompt[*read..end]), logits)
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
            drafted_tokens: self.drafted,
            accepted_tokens: self.accepted,
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
