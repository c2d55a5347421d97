//! How many tokens are drafted for each running stream: as many as bring the most tokens in a
//! second, none where a stream would be slower than without.

use super::MAX_DRAFT;
use crate::engine::schedule::DecodeCost;

/// Lengths that are compared. With the token before it each is one of the widths whose cost is known.
const LENGTHS: [usize; 12] = [1, 2, 3, 4, 5, 6, 7, 11, 15, 23, 31, 47];

/// A token is drafted if it comes with this chance at least; the best of these is chosen.
const CHANCES: [f64; 4] = [0.7, 0.4, 0.2, 0.08];

/// Less is not worth what measuring may be off by.
const MIN_GAIN: f64 = 1.03;

/// No stream may fall below this share of its speed without drafts.
const MIN_SHARE: f64 = 0.98;

/// What it costs, beside its tokens, that a draft can be taken back. Seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct RollbackCost {
    /// Drafts of so many tokens cost nothing to take back.
    pub(crate) kept: usize,
    /// Before each draft.
    pub(crate) before: f64,
    /// After one that was not taken whole.
    pub(crate) after: f64,
    /// Tokens that stay are computed once more after a rejection.
    pub(crate) again: bool,
}

/// A running stream, as the choice sees it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stream {
    pub(crate) seat: usize,
    /// Tokens that it computes in any case.
    pub(crate) tokens: usize,
    /// Tokens of its draft that come in any case.
    pub(crate) certain: usize,
    /// The chance of each further token to come, if those before it do; as many as may be drafted.
    pub(crate) chances: Vec<f64>,
    pub(crate) rollback: RollbackCost,
}

impl Stream {
    /// Tokens to draft if it is at most `length`, each with a chance of at least `chance`.
    fn length(&self, length: usize, chance: f64) -> usize {
        let more = length.saturating_sub(self.certain);
        let all = self.chances.iter().take(more).scan(1.0, |all, &next| {
            *all *= next;
            Some(*all)
        });
        let more = all.take_while(|&all| all >= chance).count();
        self.certain.min(MAX_DRAFT) + more
    }

    /// The tokens that a draft of this length brings, and the seconds that rolling it back takes, on
    /// average.
    fn expected(&self, length: usize, cost: &DecodeCost) -> (f64, f64) {
        if length == 0 {
            return (1.0, 0.0);
        }
        let mut stays = 1.0;
        let mut tokens = 1.0 + length.min(self.certain) as f64;
        for chance in self.chances.iter().take(length.saturating_sub(self.certain)) {
            stays *= chance;
            tokens += stays;
        }
        if length <= self.rollback.kept {
            return (tokens, 0.0);
        }
        let again = if self.rollback.again { cost.per_token() * tokens } else { 0.0 };
        (tokens, self.rollback.before + (1.0 - stays) * (self.rollback.after + again))
    }
}

/// Tokens to draft for each stream. `streams`: in the order of their seats; `kept`: as for
/// [`passes`].
pub(crate) fn choose(streams: &[Stream], cost: &DecodeCost, kept: usize) -> Vec<usize> {
    let certain: Vec<usize> = streams.iter().map(|s| s.certain.min(MAX_DRAFT)).collect();
    if streams.iter().all(|stream| stream.chances.is_empty()) {
        return certain;
    }
    // What is certain costs less in one step than in several whatever that costs.
    let Some(without) = seconds(streams, &certain, cost, kept) else { return certain };
    let tokens: Vec<f64> = certain.iter().map(|&certain| 1.0 + certain as f64).collect();
    let rate = tokens.iter().sum::<f64>() / without;
    let most = cost.most(streams.len());
    let mut best = (rate * MIN_GAIN, None);
    for chance in CHANCES {
        let mut last = Some(certain.clone());
        for length in LENGTHS.into_iter().take_while(|&length| length < most) {
            let lengths: Vec<usize> = streams.iter().map(|s| s.length(length, chance)).collect();
            if last.as_ref() == Some(&lengths) {
                continue;
            }
            let expected: Vec<(f64, f64)> = streams
                .iter()
                .zip(&lengths)
                .map(|(stream, &length)| stream.expected(length, cost))
                .collect();
            let Some(computing) = seconds(streams, &lengths, cost, kept) else { break };
            let seconds = computing + expected.iter().map(|(_, rollback)| rollback).sum::<f64>();
            let slowest =
                expected.iter().zip(&tokens).map(|((brings, _), without)| brings / without);
            let slowest = slowest.fold(f64::INFINITY, f64::min) * without / seconds;
            let faster = expected.iter().map(|(brings, _)| brings).sum::<f64>() / seconds;
            if faster > best.0 && slowest >= MIN_SHARE {
                best = (faster, Some(lengths.clone()));
            }
            last = Some(lengths);
        }
    }
    best.1.unwrap_or(certain)
}

/// Seconds of a step with drafts of these lengths; `None`: unknown.
fn seconds(streams: &[Stream], lengths: &[usize], cost: &DecodeCost, kept: usize) -> Option<f64> {
    let parts: Vec<(usize, usize)> =
        streams.iter().zip(lengths).map(|(s, &draft)| (s.seat, s.tokens + draft)).collect();
    passes(&parts, kept).into_iter().map(|(streams, tokens)| cost.seconds(streams, tokens)).sum()
}

/// The parts into which llama.cpp splits a step of so many tokens of each seat, in rising order: as
/// many seats side by side as there are, with as many tokens as each of them still has. A part is so
/// many seats and tokens of each. Where recurrent states of the last `kept` tokens are kept, these and
/// the one before them stay together.
pub(crate) fn passes(parts: &[(usize, usize)], kept: usize) -> Vec<(usize, usize)> {
    let mut left: Vec<(usize, usize)> =
        parts.iter().copied().filter(|&(_, tokens)| tokens > 0).collect();
    let mut passes = Vec::new();
    while let Some(&(first, _)) = left.first() {
        let together = left.iter().enumerate().take_while(|(i, part)| part.0 == first + i).count();
        let tokens = left[..together].iter().map(|part| part.1).min().unwrap_or(0);
        let stays = |part: &&(usize, usize)| {
            let rest = part.1 - tokens;
            rest == 0 || kept == 0 || rest > kept
        };
        // If the first one's end would be torn apart, it is computed alone.
        let (together, tokens) = match left[..together].iter().take_while(stays).count() {
            0 => (1, left[0].1),
            together => (together, tokens),
        };
        left[..together].iter_mut().for_each(|part| part.1 -= tokens);
        left.retain(|part| part.1 > 0);
        passes.push((together, tokens));
    }
    passes
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    /// A machine on which a step of `n` tokens takes `base + n * each` milliseconds.
    fn known(base: f64, each: f64, streams: usize) -> DecodeCost {
        let mut cost = DecodeCost::default();
        for _ in 0..30 {
            for tokens in [1, 2, 4, 8, 16, 32, 48] {
                let ms = base + each * (streams * tokens) as f64;
                cost.observe(streams, tokens, Duration::from_secs_f64(ms / 1e3));
            }
        }
        cost
    }

    fn stream(seat: usize, chance: f64) -> Stream {
        let chances = if chance > 0.0 { vec![chance; MAX_DRAFT] } else { Vec::new() };
        Stream { seat, tokens: 1, chances, ..Stream::default() }
    }

    #[test]
    fn a_draft_is_as_long_as_its_chances_pay() {
        let cost = known(24.0, 1.0, 1);
        let length = |chance| choose(&[stream(0, chance)], &cost, 0)[0];
        assert_eq!(length(0.0), 0);
        assert!(length(0.5) < length(0.8) && length(0.8) < length(0.97));
        assert!(length(0.97) >= 15);
        // Where a token costs nearly a step, nothing is drafted that may not come.
        let cost = known(2.0, 20.0, 1);
        assert_eq!(choose(&[stream(0, 0.8)], &cost, 0), [0]);
    }

    #[test]
    fn nothing_is_drafted_before_a_step_was_measured_and_longer_drafts_are_tried_in_turn() {
        let mut cost = DecodeCost::default();
        assert_eq!(choose(&[stream(0, 0.9)], &cost, 0), [0]);
        let mut lengths = Vec::new();
        let mut n = 1;
        for _ in 0..6 {
            cost.observe(1, n, Duration::from_secs_f64(24e-3 + 1e-3 * n as f64));
            lengths.push(choose(&[stream(0, 0.99)], &cost, 0)[0]);
            n = 1 + lengths[lengths.len() - 1];
        }
        assert!(lengths.is_sorted() && lengths[0] <= 3 && lengths[5] >= 23, "{lengths:?}");
    }

    #[test]
    fn a_stream_that_repeats_nothing_is_not_slowed_down_by_another() {
        let mut cost = known(24.0, 1.0, 1);
        for streams in [2, 4] {
            let also = known(24.0, 1.0, streams);
            cost.take_from(&also);
        }
        let two = [stream(0, 0.95), stream(1, 0.0)];
        assert_eq!(choose(&two, &cost, 0), [0, 0], "the weights would be read twice");
        let both = choose(&[stream(0, 0.95), stream(1, 0.95)], &cost, 0);
        assert!(both[0] >= 7 && both[0] == both[1], "{both:?}");
    }

    #[test]
    fn taking_back_a_draft_counts() {
        let cost = known(24.0, 1.0, 1);
        let with = |before, after| {
            let rollback = RollbackCost { before, after, again: true, ..RollbackCost::default() };
            choose(&[Stream { rollback, ..stream(0, 0.8) }], &cost, 0)[0]
        };
        assert!(with(1e-3, 1e-3) > 0);
        assert_eq!(with(0.3, 0.3), 0, "a copy through the host");
        let rollback = RollbackCost { kept: 3, before: 0.3, after: 0.3, again: true };
        let length = choose(&[Stream { rollback, ..stream(0, 0.8) }], &cost, 0)[0];
        assert_eq!(length, 3, "as many as need no copy");
    }

    #[test]
    fn certain_tokens_are_computed_together_whatever_that_costs() {
        let some = Stream { certain: 9, ..stream(0, 0.0) };
        assert_eq!(choose(&[some.clone(), stream(1, 0.0)], &DecodeCost::default(), 0), [9, 0]);
        let cost = known(24.0, 1.0, 1);
        let more = Stream { chances: vec![0.95; 20], ..some };
        assert!(choose(&[more], &cost, 0)[0] > 9);
    }

    #[test]
    fn a_step_is_split_where_seats_have_fewer_tokens() {
        assert_eq!(passes(&[(0, 1), (1, 1), (2, 1)], 0), [(3, 1)]);
        assert_eq!(passes(&[(0, 1), (1, 5), (2, 1), (3, 5)], 0), [(4, 1), (1, 4), (1, 4)]);
        assert_eq!(passes(&[(0, 2), (2, 2)], 0), [(1, 2), (1, 2)]);
        assert_eq!(passes(&[(1, 3), (2, 5), (3, 5)], 0), [(3, 3), (2, 2)]);
        assert!(passes(&[], 0).is_empty());
        // The ends of four tokens stay whole.
        assert_eq!(passes(&[(0, 1), (1, 1), (2, 1)], 3), [(3, 1)]);
        assert_eq!(passes(&[(0, 4), (1, 4), (2, 1)], 3), [(1, 4), (1, 4), (1, 1)]);
        assert_eq!(passes(&[(0, 1), (1, 4), (2, 4)], 3), [(1, 1), (2, 4)]);
        assert_eq!(passes(&[(0, 9), (1, 2)], 3), [(2, 2), (1, 7)]);
    }

    proptest! {
        #[test]
        fn all_tokens_are_computed_and_drafts_are_within_what_there_is(
            parts in proptest::collection::vec((0usize..3, 0usize..9, 0.0..1.0_f64), 1..8),
            base in 0.1..50.0_f64,
            each in 0.01..20.0_f64,
            kept in 0usize..5,
        ) {
            let mut seat = 0;
            let streams: Vec<Stream> = parts.iter().map(|&(gap, more, chance)| {
                seat += 1 + gap;
                Stream { seat, tokens: 1 + gap, chances: vec![chance; more], ..Stream::default() }
            }).collect();
            let mut cost = known(base, each, 1);
            for n in 2..=streams.len() {
                let also = known(base, each, n);
                cost.take_from(&also);
            }
            let lengths = choose(&streams, &cost, kept);
            for (stream, &length) in streams.iter().zip(&lengths) {
                prop_assert!(length <= stream.chances.len());
            }
            let tokens: Vec<(usize, usize)> =
                streams.iter().zip(&lengths).map(|(s, l)| (s.seat, s.tokens + l)).collect();
            let computed: usize = passes(&tokens, kept).iter().map(|(seats, n)| seats * n).sum();
            prop_assert_eq!(computed, tokens.iter().map(|part| part.1).sum::<usize>());
        }
    }
}
