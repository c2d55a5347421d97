//! What is drafted for the streams of a step, and what becomes of it.

use std::sync::atomic::Ordering;

use super::Worker;
use super::memory::Rollback;
use super::part::Part;
use super::slot::{Phase, Work};
use crate::engine::handle::add;
use crate::engine::speculate::{Draft, Lookup, MAX_DRAFT, RollbackCost, Stream, choose, passes};
use crate::engine::{NoDraft, Token};

/// Once so many tokens are to be computed again, they are before anything is drafted.
const MAX_AGAIN: usize = 16;

/// Why nothing is drafted for a request whatever its text, where that is so.
pub(in crate::engine) fn no_drafts(
    speculation: bool,
    rollback: Option<Rollback>,
) -> Option<NoDraft> {
    match rollback {
        _ if !speculation => Some(NoDraft::Disabled),
        Some(_) => None,
        None => Some(NoDraft::Memory),
    }
}

impl Worker<'_> {
    /// A prompt was read: its text may be repeated.
    pub(super) fn begin_drafts(&mut self, slot: usize) {
        if let Some(work) = &mut self.slots[slot].work
            && no_drafts(work.request.speculation, self.limits.rollback).is_none()
        {
            work.lookup = Some(Lookup::new(&work.request.prompt, self.acceptance.clone()));
        }
    }

    /// Gives the streams of a step their drafts.
    pub(super) fn draft(&mut self, parts: &mut [Part]) {
        let mut drafts = Vec::with_capacity(parts.len());
        let mut streams = Vec::with_capacity(parts.len());
        for part in parts.iter() {
            let (draft, stream) = self.longest_draft(part.slot, parts.len());
            drafts.push(draft);
            streams.push(stream);
        }
        let lengths = if self.shared.always_draft.load(Ordering::Relaxed) {
            streams.iter().map(|stream| stream.certain + stream.chances.len().min(7)).collect()
        } else {
            choose(&streams, self.cost.by_width(), self.limits.rollback_tokens)
        };
        let loses = |(stream, &length): (&Stream, &usize)| {
            length == stream.certain && !stream.chances.is_empty()
        };
        if streams.iter().zip(&lengths).any(loses) {
            self.cost.by_width_mut().doubt(parts.len());
        }
        let is_alone = parts.len() == 1;
        let kept = self.limits.rollback_tokens;
        let widths: Vec<_> =
            streams.iter().zip(&lengths).map(|(s, n)| (s.seat, s.tokens + n)).collect();
        let one_pass = passes(&widths, kept).len() == 1;
        let drafts = drafts.into_iter().zip(lengths).zip(&streams);
        for (part, ((mut draft, length), stream)) in parts.iter_mut().zip(drafts) {
            draft.tokens.truncate(length);
            // What comes in any case is not taken back.
            if draft.tokens.len() > draft.certain
                && !self.keep_before_draft(part.slot, one_pass && draft.tokens.len() <= kept)
            {
                draft.tokens.truncate(draft.certain);
            }
            let counters = &self.shared.counters.speculation;
            add(&counters.stream_steps, 1);
            let Some(work) = &mut self.slots[part.slot].work else { continue };
            work.no_draft = match &work.lookup {
                _ if !draft.tokens.is_empty() => None,
                None => no_drafts(work.request.speculation, self.limits.rollback),
                Some(_) if stream.chances.is_empty() => Some(NoDraft::NoMatch),
                Some(_) if is_alone => Some(NoDraft::Cost),
                Some(_) => Some(NoDraft::Streams),
            };
            match work.no_draft {
                Some(reason) => add(counters.without(reason), 1),
                None => add(&counters.drafts, 1),
            }
            part.draft = draft;
        }
    }

    /// All that may be drafted for a slot, in a step of so many streams.
    fn longest_draft(&mut self, slot: usize, streams: usize) -> (Draft, Stream) {
        let held = self.slots[slot].history.tokens.len();
        let mut stream = Stream { seat: slot, tokens: 1, ..Stream::default() };
        // Tokens that are computed again must find room beside those of all other slots.
        let all = self.limits.n_batch / self.slots.len();
        let Some(work) = &mut self.slots[slot].work else { return (Draft::default(), stream) };
        stream.tokens += work.again.len();
        let in_context = self.limits.n_ctx_slot.saturating_sub(held + stream.tokens + 1);
        let in_batch = (self.limits.n_ubatch / streams).min(all).saturating_sub(stream.tokens);
        let wanted = work.remaining().map_or(usize::MAX, |left| left.saturating_sub(1));
        let mut room = MAX_DRAFT.min(in_context).min(in_batch).min(wanted);
        let mut tokens = certain(work, room);
        stream.certain = tokens.len();
        if self.limits.rollback == Some(Rollback::Kept) {
            room = room.min(self.limits.rollback_tokens);
        }
        let may_guess = tokens.is_empty() && work.again.len() < MAX_AGAIN;
        let forced = if may_guess { forced(work, room) } else { Vec::new() };
        if let Some(lookup) = work.lookup.as_ref().filter(|_| may_guess) {
            if forced.is_empty() {
                // Nothing is computed behind a token that ends the text.
                let goes_on = |token: &Token| !self.end_tokens.contains(token);
                tokens = lookup.draft(room).into_iter().take_while(goes_on).collect();
                stream.chances =
                    (0..tokens.len()).map_while(|ahead| lookup.chance(ahead)).collect();
            } else {
                stream.chances = vec![lookup.chance_of_forced(); forced.len()];
                tokens = forced;
            }
            stream.rollback = match self.limits.rollback {
                Some(Rollback::Copy) => {
                    let kept = self.limits.rollback_tokens;
                    RollbackCost { kept, again: true, ..self.rollback_cost }
                }
                _ => RollbackCost::default(),
            };
        }
        (Draft { tokens, certain: stream.certain }, stream)
    }

    /// Of a draft the first `stays` tokens came. What was computed behind them is taken back before
    /// anything else uses the sequence.
    pub(super) fn draft_done(&mut self, part: &Part, stays: usize) {
        let drafted = part.draft.tokens.len();
        if stays == drafted {
            // What is drafted next begins later.
            self.slots[part.slot].history.before_draft = None;
            return;
        }
        if self.limits.rollback != Some(Rollback::Cut) && drafted == part.draft.certain {
            // The text has ended inside of what was certain. What the memory holds is the history.
            self.slots[part.slot].history.extend(&part.draft.tokens[stays..]);
            return;
        }
        let lost = self.take_back(part.slot);
        if let Some(work) = &mut self.slots[part.slot].work {
            work.again = lost;
        }
    }
}

impl Work {
    /// Tokens that may still be generated; `None`: any number.
    fn remaining(&self) -> Option<usize> {
        let Phase::Generate { .. } = self.phase else { return Some(0) };
        self.request.max_tokens.map(|max| max.saturating_sub(self.generated) as usize)
    }
}

/// The tokens that must follow a stream's next one, at most `room`: the end of a thought.
fn certain(work: &Work, room: usize) -> Vec<Token> {
    let Some(thinking) = work.thinking.as_ref().filter(|_| work.request.speculation) else {
        return Vec::new();
    };
    thinking.closing().iter().copied().take(room).collect()
}

/// The tokens of a text that must follow a stream's next one, at most `room`.
fn forced(work: &mut Work, room: usize) -> Vec<Token> {
    // A budget may end the thought before the grammar goes on.
    match &work.thinking {
        Some(thinking) if !thinking.is_over() => Vec::new(),
        _ => work.sampler.forced_tokens(room),
    }
}
