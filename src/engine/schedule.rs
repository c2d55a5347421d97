//! The scheduler's decisions, apart from their effects: which slot takes a request, what goes
//! into the next step.

mod cost;

pub(crate) use self::cost::StepCost;
use self::cost::TILE;
use super::Token;

/// What the choice of a slot depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SlotView<'a> {
    pub(crate) busy: bool,
    /// Tokens that the slot's sequence holds.
    pub(crate) tokens: &'a [Token],
    /// A prompt that agrees with `tokens` at least up to here goes on with the same conversation
    /// (see [`anchor`]).
    pub(crate) anchor: usize,
    /// Grows with every use.
    pub(crate) last_used: u64,
}

/// Length of the common prefix of two token sequences.
pub(crate) fn common_prefix(a: &[Token], b: &[Token]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

/// How far a prompt must agree with an earlier one to be taken for the same conversation.
///
/// From the second user message on, up to the last one: it may be edited, or its answer generated
/// anew. The first one cannot be told from another conversation's, so all of it must agree, but
/// for the opening of the answer, which is not always repeated in the history.
pub(crate) fn anchor(prompt_len: usize, message_starts: &[usize]) -> usize {
    /// `<|im_start|>assistant\n<think>\n\n</think>\n\n`, with one to spare.
    const ANSWER_OPENING: usize = 8;
    match message_starts {
        [_, .., last] => *last,
        _ => prompt_len.saturating_sub(ANSWER_OPENING).max(prompt_len / 2 + 1).min(prompt_len),
    }
}

/// The idle slot that takes a prompt; `None`: all are busy.
///
/// A slot whose history the prompt continues comes first, as does one that holds nothing but the
/// prompt's beginning: that of a request whose client left while it was read, and now tries again.
/// Any other history is left alone while an empty slot exists, however long the common prefix:
/// agents share a system prompt of 10,000 tokens and differ after it. With none empty, the longest
/// prefix wins, then a slot that was not used for long.
///
/// Slots that are equally good are chosen side by side: llama.cpp computes the sequences of a step
/// together only while their numbers follow one another, and reads all weights anew at each gap.
pub(crate) fn choose_slot(slots: &[SlotView<'_>], prompt: &[Token]) -> Option<usize> {
    let idle: Vec<usize> = (0..slots.len()).filter(|&i| !slots[i].busy).collect();
    let prefix = |i: usize| common_prefix(slots[i].tokens, prompt);
    let goes_on = |i: usize| prefix(i) >= slots[i].anchor.min(slots[i].tokens.len());
    let continued = idle
        .iter()
        .copied()
        .filter(|&i| !slots[i].tokens.is_empty() && goes_on(i))
        .max_by_key(|&i| (prefix(i), std::cmp::Reverse(slots[i].last_used)));
    if continued.is_some() {
        return continued;
    }
    let empty: Vec<usize> = idle.iter().copied().filter(|&i| slots[i].tokens.is_empty()).collect();
    if !empty.is_empty() {
        return side_by_side(slots, &empty);
    }
    // A few tokens in common (`<|im_start|>system`) are no reason to prefer a slot.
    let worth = |i: usize| Some(prefix(i)).filter(|p| p * 10 >= prompt.len()).unwrap_or(0);
    let best = idle.iter().map(|&i| worth(i)).max()?;
    let longest: Vec<usize> = idle.into_iter().filter(|&i| worth(i) == best).collect();
    side_by_side(slots, &not_used_for_long(slots, &longest))
}

/// Those of `candidates` that were last used at least half as long ago as the oldest: between
/// them, age says little about which conversation will come back. The more sequences run, the more
/// lose by a gap between them, and the sooner a slot is old.
fn not_used_for_long(slots: &[SlotView<'_>], candidates: &[usize]) -> Vec<usize> {
    let newest = slots.iter().map(|s| s.last_used).max().unwrap_or(0);
    let age = |i: usize| newest - slots[i].last_used;
    let oldest = candidates.iter().map(|&i| age(i)).max().unwrap_or(0);
    let part = match slots.iter().filter(|s| s.busy).count() {
        0 | 1 => 2,
        busy => busy as u64 + 2,
    };
    candidates.iter().copied().filter(|&i| age(i) * part >= oldest).collect()
}

/// The candidate that lies nearest to a busy slot; of equals, the one that was not used for the
/// longest time.
fn side_by_side(slots: &[SlotView<'_>], candidates: &[usize]) -> Option<usize> {
    let distance = |i: usize| {
        let busy = slots.iter().enumerate().filter(|(_, s)| s.busy);
        busy.map(|(b, _)| b.abs_diff(i)).min().unwrap_or(0)
    };
    candidates.iter().copied().min_by_key(|&i| (distance(i), slots[i].last_used))
}

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

/// The slots between those of a step (in rising order) that should take part in it with a token
/// of no use, so that llama.cpp computes the step in one pass.
///
/// Sequences whose numbers do not follow one another are computed apart, and each pass reads all
/// weights. A token more is cheaper than a pass, but many are not. A token of a prompt that is
/// being read would do as well, but its next chunks would begin elsewhere, and round differently.
pub(crate) fn fillers(slots: &[usize]) -> Vec<usize> {
    const MOST: usize = 2;
    let gaps = slots.windows(2).map(|pair| pair[0] + 1..pair[1]);
    gaps.filter(|gap| gap.len() <= MOST).flatten().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn idle(tokens: &[Token], anchor: usize, last_used: u64) -> SlotView<'_> {
        SlotView { busy: false, tokens, anchor, last_used }
    }

    #[test]
    fn a_conversation_returns_to_its_slot() {
        let slots = [idle(&[], 0, 0), idle(&[1, 2, 3, 4], 2, 1), idle(&[9, 9], 0, 2)];
        assert_eq!(choose_slot(&slots, &[1, 2, 3, 4, 5]), Some(1));
    }

    #[test]
    fn an_edited_last_message_stays_in_its_slot() {
        let slots = [idle(&[], 0, 0), idle(&[1, 2, 3, 4], 2, 1)];
        assert_eq!(choose_slot(&slots, &[1, 2, 7, 8]), Some(1));
    }

    #[test]
    fn the_first_message_of_a_conversation_must_agree_whole() {
        assert_eq!(anchor(100, &[40]), 92);
        assert_eq!(anchor(9, &[0]), 5);
        assert_eq!(anchor(1, &[]), 1);
        assert_eq!(anchor(100, &[0, 40]), 40);
    }

    #[test]
    fn a_shared_system_prompt_does_not_take_over_a_history_while_a_slot_is_empty() {
        let slots = [idle(&[1, 2, 3, 4, 5, 6], 4, 1), idle(&[], 0, 0)];
        assert_eq!(choose_slot(&slots, &[1, 2, 3, 7, 8]), Some(1));
    }

    #[test]
    fn a_prompt_whose_reading_was_broken_off_goes_on_where_it_stopped() {
        let slots = [idle(&[], 0, 0), idle(&[1, 2, 3], 9, 1)];
        assert_eq!(choose_slot(&slots, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]), Some(1));
    }

    #[test]
    fn without_an_empty_slot_the_longest_prefix_wins_then_the_oldest() {
        let slots = [idle(&[1, 2, 9], 3, 5), idle(&[1, 9, 9], 3, 1), idle(&[4], 1, 3)];
        assert_eq!(choose_slot(&slots, &[1, 2, 3]), Some(0));
        assert_eq!(choose_slot(&slots, &[7, 7, 7]), Some(1));
    }

    #[test]
    fn busy_slots_are_never_chosen() {
        let busy = SlotView { busy: true, ..idle(&[1, 2], 1, 0) };
        assert_eq!(choose_slot(&[busy], &[1, 2]), None);
        assert_eq!(choose_slot(&[busy, idle(&[5], 1, 9)], &[1, 2]), Some(1));
    }

    #[test]
    fn busy_slots_lie_side_by_side_where_nothing_is_lost_by_it() {
        let busy = |last_used| SlotView { busy: true, ..idle(&[1], 1, last_used) };
        // Empty ones: the neighbour, not the first.
        let slots = [idle(&[], 0, 0), idle(&[], 0, 0), idle(&[], 0, 0), busy(9)];
        assert_eq!(choose_slot(&slots, &[7]), Some(2));
        // Histories of about the same age, too; but a fresh one is not given up for it.
        let slots = [idle(&[1], 1, 2), idle(&[2], 1, 5), idle(&[3], 1, 6), busy(12)];
        assert_eq!(choose_slot(&slots, &[7]), Some(2));
        let slots = [idle(&[1], 1, 2), idle(&[2], 1, 5), idle(&[3], 1, 11), busy(12)];
        assert_eq!(choose_slot(&slots, &[7]), Some(1));
    }

    #[test]
    fn eight_requests_at_once_get_neighbouring_slots_time_and_again() {
        let mut last_used = [0; 16];
        let mut now = 0;
        let mut gaps = 0;
        let mut choose = |busy: &mut Vec<usize>| {
            let view = |(i, &last_used): (usize, &u64)| SlotView {
                busy: busy.contains(&i),
                tokens: if last_used == 0 { &[] } else { &[1] },
                anchor: 1,
                last_used,
            };
            let views: Vec<_> = last_used.iter().enumerate().map(view).collect();
            let slot = choose_slot(&views, &[2]).unwrap();
            now += 1;
            last_used[slot] = now;
            busy.push(slot);
        };
        for round in 0..18 {
            if round % 3 == 0 {
                (0..2).for_each(|_| choose(&mut Vec::new()));
            }
            let mut busy = Vec::new();
            (0..8).for_each(|_| choose(&mut busy));
            busy.sort_unstable();
            gaps += busy[7] - busy[0] - 7;
        }
        assert!(gaps <= 5, "{gaps} gaps in 18 rounds");
    }

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
    fn small_gaps_between_slots_are_filled_and_large_ones_are_not() {
        assert_eq!(fillers(&[0, 1, 3, 6, 10]), [2, 4, 5]);
        assert!(fillers(&[4]).is_empty());
        assert!(fillers(&[]).is_empty());
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
