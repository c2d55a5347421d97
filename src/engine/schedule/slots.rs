//! Which slot takes a request.

use crate::engine::Token;

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

#[cfg(test)]
mod tests {
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
        // Empty ones: the neighbor, not the first.
        let slots = [idle(&[], 0, 0), idle(&[], 0, 0), idle(&[], 0, 0), busy(9)];
        assert_eq!(choose_slot(&slots, &[7]), Some(2));
        // Histories of about the same age, too; but a fresh one is not given up for it.
        let slots = [idle(&[1], 1, 2), idle(&[2], 1, 5), idle(&[3], 1, 6), busy(12)];
        assert_eq!(choose_slot(&slots, &[7]), Some(2));
        let slots = [idle(&[1], 1, 2), idle(&[2], 1, 5), idle(&[3], 1, 11), busy(12)];
        assert_eq!(choose_slot(&slots, &[7]), Some(1));
    }

    #[test]
    fn eight_requests_at_once_get_neighboring_slots_time_and_again() {
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
}
