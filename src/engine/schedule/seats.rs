//! Which seats running requests take. llama.cpp computes the sequences of a step together only while
//! their numbers follow one another, and reads all weights anew at each gap: running requests sit
//! side by side.

/// A stream is moved at once if that takes no longer than so many steps, which it will run in most
/// cases.
const MOVE_STEPS: usize = 16;

/// What the choice of a seat depends on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SeatView {
    pub(crate) busy: bool,
    /// Tokens that it holds.
    pub(crate) held: usize,
    /// What it holds is saved elsewhere, too.
    pub(crate) saved: bool,
    /// What it holds is hardly ever come back to.
    pub(crate) one_off: bool,
    /// Grows with every use.
    pub(crate) last_used: u64,
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

/// The idle seats that a request may take: those between running ones, else those beside them, else
/// all.
pub(crate) fn open(seats: &[SeatView]) -> Vec<usize> {
    let idle = |range: std::ops::Range<usize>| -> Vec<usize> {
        range.filter(|&i| i < seats.len() && !seats[i].busy).collect()
    };
    let first = seats.iter().position(|seat| seat.busy);
    let last = seats.iter().rposition(|seat| seat.busy);
    let (Some(first), Some(last)) = (first, last) else { return idle(0..seats.len()) };
    let between = idle(first..last);
    if !between.is_empty() {
        return between;
    }
    let mut beside = idle(first.saturating_sub(1)..first);
    beside.extend(idle(last + 1..last + 2));
    beside
}

/// The seat among `open` ones whose history costs the least to give up: an empty one, then one
/// that is saved, then one that hardly anybody comes back to, then one that was not used for long.
pub(crate) fn cheapest(seats: &[SeatView], open: &[usize]) -> Option<usize> {
    let cost = |&i: &usize| {
        let seat = &seats[i];
        (seat.held > 0, seat.held > 0 && !seat.saved, !seat.one_off, seat.last_used)
    };
    open.iter().copied().min_by_key(cost)
}

/// A seat between those of `streams` (in rising order) that takes no part in a step, and the stream
/// that should be moved there: the outer one with fewer tokens. `None`: they sit side by side.
pub(crate) fn gap(streams: &[usize], held: impl Fn(usize) -> usize) -> Option<(usize, usize)> {
    let (&first, &last) = (streams.first()?, streams.last()?);
    let hole = streams.windows(2).find(|pair| pair[0] + 1 < pair[1]).map(|pair| pair[0] + 1)?;
    Some((hole, if held(first) < held(last) { first } else { last }))
}

/// Whether to move a stream to the others now. Streams apart read all weights once more in each step:
/// after as many steps as the move takes, it would have cost no more to move it at first.
pub(crate) fn pays_to_move(move_seconds: f64, step_seconds: f64, steps_apart: usize) -> bool {
    move_seconds <= steps_apart.max(MOVE_STEPS) as f64 * step_seconds
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seats(busy: &[usize], n: usize) -> Vec<SeatView> {
        let seat = |i| SeatView { busy: busy.contains(&i), ..SeatView::default() };
        (0..n).map(seat).collect()
    }

    #[test]
    fn the_first_message_of_a_conversation_must_agree_whole() {
        assert_eq!(anchor(100, &[40]), 92);
        assert_eq!(anchor(9, &[0]), 5);
        assert_eq!(anchor(1, &[]), 1);
        assert_eq!(anchor(100, &[0, 40]), 40);
    }

    #[test]
    fn running_requests_sit_side_by_side() {
        assert_eq!(open(&seats(&[], 3)), [0, 1, 2]);
        assert_eq!(open(&seats(&[1], 4)), [0, 2]);
        assert_eq!(open(&seats(&[0, 1], 4)), [2]);
        assert_eq!(open(&seats(&[2, 3], 4)), [1]);
        assert_eq!(open(&seats(&[0, 3], 4)), [1, 2]);
        assert!(open(&seats(&[0, 1], 2)).is_empty());
    }

    #[test]
    fn an_empty_seat_is_taken_before_a_saved_history_and_that_before_an_old_one() {
        let held = |saved, one_off, last_used| SeatView {
            held: 100,
            saved,
            one_off,
            last_used,
            ..SeatView::default()
        };
        let all = [
            held(false, false, 1),
            held(false, false, 2),
            held(false, true, 3),
            held(true, false, 4),
            SeatView::default(),
        ];
        let order: Vec<usize> = (1..=5)
            .rev()
            .map(|n| {
                let open: Vec<usize> = (0..n).collect();
                cheapest(&all, &open).unwrap()
            })
            .collect();
        assert_eq!(order, [4, 3, 2, 0, 0]);
        assert_eq!(cheapest(&all, &[]), None);
    }

    #[test]
    fn a_gap_is_closed_by_the_shorter_of_the_outer_streams() {
        let held = |seat: usize| [500, 10, 10, 20, 400][seat];
        assert_eq!(gap(&[0, 1, 2], held), None);
        assert_eq!(gap(&[3], held), None);
        assert_eq!(gap(&[0, 2, 3], held), Some((1, 3)));
        assert_eq!(gap(&[3, 4], held), None);
        assert_eq!(gap(&[1, 4], held), Some((2, 1)));
    }

    #[test]
    fn a_large_stream_is_moved_once_the_steps_apart_have_cost_as_much() {
        assert!(pays_to_move(0.3, 0.025, 0));
        assert!(!pays_to_move(1.0, 0.025, 0) && !pays_to_move(1.0, 0.025, 39));
        assert!(pays_to_move(1.0, 0.025, 40));
    }

    proptest! {
        #[test]
        fn requests_that_come_and_go_leave_no_gap_once_it_is_closed(
            changes in proptest::collection::vec((any::<bool>(), 0usize..8), 0..60),
        ) {
            let mut busy: Vec<usize> = Vec::new();
            for (comes, which) in changes {
                if comes {
                    let views = seats(&busy, 8);
                    busy.extend(cheapest(&views, &open(&views)));
                } else if !busy.is_empty() {
                    busy.remove(which % busy.len());
                }
                busy.sort_unstable();
                while let Some((hole, stream)) = gap(&busy, |seat| seat) {
                    busy.retain(|&seat| seat != stream);
                    busy.push(hole);
                    busy.sort_unstable();
                }
                prop_assert!(busy.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{busy:?}");
            }
        }
    }
}
