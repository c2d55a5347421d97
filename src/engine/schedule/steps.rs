//! What goes into the next step, and how much of which prompt.

use super::cost::TILE;

/// What one slot wants of the next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// Nothing: idle, or its reader is slow.
    Nothing,
    /// One token, to sample the next.
    Decode,
    /// Prompt tokens that have not been read yet, at most `most` of them in a step.
    Prompt {
        remaining: usize,
        most: usize,
        /// Requests are numbered as they arrive.
        arrival: u64,
    },
}

impl Want {
    /// Prompt tokens that have not been read yet.
    pub(crate) fn unread(&self) -> usize {
        match *self {
            Want::Prompt { remaining, .. } => remaining,
            _ => 0,
        }
    }
}

/// What a step computes.
///
/// llama.cpp splits a step into parts in which every sequence has equally many tokens, so a step
/// with both would read all weights twice as well, and would compute one token of each prompt on
/// its own, which costs as much attention as a tile of 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StepKind {
    /// A token of each running stream.
    Streams,
    /// Chunks of prompts.
    Prompts,
}

/// Streams and prompts take turns.
pub(crate) fn kind(wants: &[Want], last: StepKind) -> StepKind {
    let prompts = wants.iter().any(|w| w.unread() > 0);
    let streams = wants.contains(&Want::Decode);
    match (streams, prompts) {
        (true, false) => StepKind::Streams,
        (true, true) if last == StepKind::Prompts => StepKind::Streams,
        _ => StepKind::Prompts,
    }
}

/// One token for each running stream, as far as there is room.
pub(crate) fn plan_streams(wants: &[Want], n_batch: usize) -> Vec<usize> {
    let mut share = vec![0; wants.len()];
    let decodes = |slot: &usize| wants[*slot] == Want::Decode;
    for slot in (0..wants.len()).filter(decodes).take(n_batch) {
        share[slot] = 1;
    }
    share
}

/// Prompt tokens of each slot in the next step, about `budget` in all and at most `n_batch`.
///
/// Half goes to the oldest prompt, so that a long one always moves, and the rest to the one with
/// the fewest tokens left, so that a short prompt need not wait for a long one; what neither takes
/// goes to the others in order of arrival. A budget too small for two efficient halves goes to
/// either in turn: to the oldest in odd steps.
///
/// Chunks are whole tiles, and the last one takes the rest with it: kernels for fewer tokens are
/// slower and round differently, and an answer should not depend on what else was being computed.
pub(crate) fn plan_prompts(
    wants: &[Want],
    mut budget: usize,
    n_batch: usize,
    step: u64,
) -> Vec<usize> {
    let total = budget;
    let mut share = vec![0; wants.len()];
    let mut room = n_batch;
    let mut prompts: Vec<Unread> = wants
        .iter()
        .enumerate()
        .filter_map(|(slot, want)| match *want {
            Want::Prompt { remaining, most, arrival, .. } => {
                Some(Unread { arrival, slot, remaining, most: remaining.min(most) })
            }
            _ => None,
        })
        .collect();
    prompts.sort_unstable_by_key(|p| (p.arrival, p.slot));
    let mut give = |prompt: &Unread, cap: usize| {
        let slot = prompt.slot;
        let (left, want) = (prompt.remaining - share[slot], prompt.most - share[slot]);
        let n = want.min(cap).min(budget).min(room);
        let whole = n - n % TILE;
        let n = if n == want {
            n
        } else if whole > 0 && left == want && left - whole < TILE && left <= room {
            left
        } else {
            whole
        };
        share[slot] += n;
        room -= n;
        budget = budget.saturating_sub(n);
    };
    if let Some(oldest) = prompts.first() {
        give(oldest, for_oldest(prompts.len(), total, step));
    }
    if let Some(shortest) = prompts.iter().min_by_key(|p| (p.remaining, p.arrival)) {
        give(shortest, usize::MAX);
    }
    prompts.iter().for_each(|prompt| give(prompt, usize::MAX));
    if let Some(oldest) = prompts.first()
        && share.iter().all(|&n| n == 0)
    {
        // There is no room for a tile.
        share[oldest.slot] = oldest.most.min(total).min(n_batch);
    }
    share
}

/// A prompt as [`plan_prompts`] sees it.
struct Unread {
    arrival: u64,
    slot: usize,
    /// Tokens.
    remaining: usize,
    /// Tokens that a step may take.
    most: usize,
}

/// Tokens of a budget that are the oldest of `prompts` prompts'.
fn for_oldest(prompts: usize, budget: usize, step: u64) -> usize {
    match (prompts > 1, budget >= 2 * TILE) {
        (false, _) => budget,
        (true, true) => budget.div_ceil(2),
        (true, false) if step % 2 == 1 => budget,
        (true, false) => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prompt(remaining: usize, arrival: u64) -> Want {
        Want::Prompt { remaining, most: usize::MAX, arrival }
    }

    #[test]
    fn a_step_of_streams_leaves_prompts_alone_whose_chunks_would_be_others_then() {
        let wants = [Want::Decode, prompt(500, 2), Want::Decode, Want::Nothing, Want::Decode];
        assert_eq!(plan_streams(&wants, 2048), [1, 0, 1, 0, 1]);
        assert_eq!(plan_streams(&wants, 2), [1, 0, 1, 0, 0]);
    }

    #[test]
    fn streams_and_prompts_take_turns() {
        use StepKind::{Prompts, Streams};
        let both = [Want::Decode, prompt(9, 1), Want::Nothing];
        assert_eq!(kind(&both, Streams), Prompts);
        assert_eq!(kind(&both, Prompts), Streams);
        assert_eq!(kind(&both[..1], Streams), Streams);
        assert_eq!(kind(&both[1..], Prompts), Prompts);
    }

    #[test]
    fn a_short_prompt_overtakes_a_long_one_which_still_moves() {
        assert_eq!(plan_prompts(&[prompt(8000, 1), prompt(20, 2)], 200, 2048, 1), [128, 20]);
        assert_eq!(plan_prompts(&[prompt(8000, 1), prompt(290, 2)], 200, 2048, 1), [64, 128]);
        let both = [prompt(8000, 1), prompt(90, 2)];
        assert_eq!(plan_prompts(&both, 64, 2048, 1), [64, 0]);
        assert_eq!(plan_prompts(&both, 64, 2048, 2), [0, 90], "no rest of 26 is left");
    }

    #[test]
    fn chunks_are_whole_tiles_and_the_last_takes_the_rest() {
        assert_eq!(plan_prompts(&[prompt(301, 1)], 128, 2048, 1), [128]);
        assert_eq!(plan_prompts(&[prompt(173, 1)], 128, 2048, 1), [173]);
        assert_eq!(plan_prompts(&[prompt(301, 1)], 100, 2048, 1), [64]);
        assert_eq!(plan_prompts(&[prompt(173, 1)], 128, 128, 1), [128], "no room in the batch");
        assert_eq!(plan_prompts(&[prompt(173, 1)], 16, 2048, 1), [16], "a slow machine");
        // What a short prompt leaves is no tile for the long one.
        assert_eq!(plan_prompts(&[prompt(301, 1), prompt(20, 2)], 64, 2048, 2), [0, 20]);
    }

    #[test]
    fn a_prompt_with_log_probabilities_takes_small_chunks() {
        let want = Want::Prompt { remaining: 500, most: 32, arrival: 1 };
        assert_eq!(plan_prompts(&[want, prompt(500, 2)], 400, 2048, 1), [32, 320]);
        // It takes little at a time, which does not make it short.
        assert_eq!(
            plan_prompts(&[prompt(8000, 0), want, prompt(100, 2)], 200, 2048, 1),
            [64, 32, 100]
        );
    }

    proptest! {
        #[test]
        fn a_plan_never_exceeds_batch_budget_or_what_is_wanted(
            wants in proptest::collection::vec((0usize..3, 1usize..5000, 1usize..3000), 1..20),
            budget in 1usize..4096,
            batch in 1usize..2048,
            step in 0u64..6,
            last in prop_oneof![Just(StepKind::Streams), Just(StepKind::Prompts)],
        ) {
            let wants: Vec<_> = wants.iter().enumerate().map(|(i, &(kind, remaining, most))| match kind {
                0 => Want::Nothing,
                1 => Want::Decode,
                _ => Want::Prompt { remaining, most, arrival: i as u64 },
            }).collect();
            let kind = kind(&wants, last);
            let shares = match kind {
                StepKind::Streams => plan_streams(&wants, batch),
                StepKind::Prompts => plan_prompts(&wants, budget, batch, step),
            };
            for (share, want) in shares.iter().zip(&wants) {
                match *want {
                    Want::Nothing => prop_assert_eq!(*share, 0),
                    Want::Decode => prop_assert!(*share <= 1),
                    Want::Prompt { remaining, most, .. } => {
                        prop_assert!(*share <= remaining.min(most));
                    }
                }
            }
            let sum = shares.iter().sum::<usize>();
            prop_assert!(sum <= batch);
            // The last chunks of some prompts take their rests with them.
            prop_assert!(kind == StepKind::Streams || sum <= budget + TILE * wants.len());
            if wants.iter().any(|want| *want != Want::Nothing) {
                prop_assert!(shares.iter().any(|&s| s > 0), "something always moves");
            }
        }
    }
}
