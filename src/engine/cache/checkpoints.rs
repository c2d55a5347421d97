//! Where recurrent states are kept: a state that cannot be cut can only go back to one of them.

/// Tokens between two states at least, but for the last two borders.
const MIN_SPACING: usize = 16;

/// The farther from the end, the wider apart: states are kept at borders that lie this part of their
/// distance from the end apart. So a long prompt has some dozens, and what a change in it costs is
/// bounded by a part of what lies behind the change.
const SPACING: usize = 8;

/// The positions behind `read`, ascending, at which reading a prompt of `length` tokens stops to
/// keep a state: `first`, where the part ends that other conversations begin with, too; the last two
/// `borders`, since a retried answer or an edited last message goes back to them; the others where
/// they are at least `spacing` tokens apart and not too close for their distance from the end; and at
/// least one in `every` tokens.
pub(crate) fn marks(
    borders: &[usize],
    first: Option<usize>,
    read: usize,
    length: usize,
    spacing: usize,
    every: usize,
) -> Vec<usize> {
    let spacing = spacing.max(MIN_SPACING);
    let every = every.max(spacing);
    let mut marks = Vec::new();
    let mut last = read;
    let inside: Vec<usize> = borders.iter().copied().filter(|&b| b > read && b < length).collect();
    for (i, &border) in inside.iter().enumerate() {
        while border - last > every {
            last += every;
            marks.push(last);
        }
        let gap = spacing.max((length - border) / SPACING);
        let always = i + 2 >= inside.len() || first == Some(border);
        if border > last && (always || border - last >= gap) {
            marks.push(border);
            last = border;
        }
    }
    while length - last > every {
        last += every;
        marks.push(last);
    }
    marks
}

/// Which of the states at `positions`, ascending, is missed least in a history of `length` tokens:
/// the one that leaves the smallest gap for its distance from the end. Repeated, this keeps states
/// whose distances grow exponentially. The last is never given up; `None`: there is no other.
pub(crate) fn thin(positions: &[usize], length: usize) -> Option<usize> {
    let (_, all_but_last) = positions.split_last()?;
    let gap = |i: usize| {
        let before = if i == 0 { 0 } else { positions[i - 1] };
        let distance = length.saturating_sub(positions[i]) + 256;
        (positions[i + 1] - before) as f64 / distance as f64
    };
    (0..all_but_last.len()).min_by(|&a, &b| gap(a).total_cmp(&gap(b)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_last_message_and_the_answer_are_borders_however_short_they_are() {
        assert_eq!(marks(&[3, 370, 426], None, 0, 430, 0, 2048), [370, 426]);
        // Goes on from a history: what lies before it is not read again.
        assert_eq!(marks(&[3, 370, 426, 442, 500], None, 440, 505, 0, 2048), [442, 500]);
        assert_eq!(marks(&[], None, 0, 430, 0, 2048), Vec::<usize>::new());
    }

    #[test]
    fn states_are_kept_at_each_message_near_the_end_and_at_some_far_away() {
        let borders: Vec<usize> = (1..=100).map(|i| i * 50).collect();
        let marks = marks(&borders, None, 0, 5010, 0, 2048);
        assert_eq!(marks[..3], [600, 1100, 1550]);
        assert!(marks.ends_with(&[4700, 4750, 4800, 4850, 4900, 4950, 5000]), "{marks:?}");
        assert!(marks.len() < 30, "{marks:?}");
    }

    #[test]
    fn what_other_conversations_begin_with_ends_at_a_state() {
        assert_eq!(marks(&[8000, 27_900, 28_000], Some(8000), 0, 28_004, 0, 9000)[0], 8000);
        assert_eq!(marks(&[200, 27_900, 28_000], Some(200), 0, 28_004, 0, 9000)[0], 200);
    }

    #[test]
    fn states_that_take_long_to_keep_are_kept_rarely() {
        let borders = [400, 800, 1200, 1600, 1990];
        assert_eq!(marks(&borders, None, 0, 2000, 1000, 2048), [1200, 1600, 1990]);
    }

    #[test]
    fn in_a_long_message_states_are_kept_every_so_often() {
        let borders = [3, 100, 900, 6000, 6200, 6210];
        assert_eq!(marks(&borders, None, 0, 6215, 0, 2048), [900, 2948, 4996, 6000, 6200, 6210]);
        assert_eq!(marks(&[], None, 0, 5000, 0, 2048), [2048, 4096]);
    }

    #[test]
    fn thinning_keeps_states_near_the_end_and_some_far_away() {
        let mut positions: Vec<usize> = (1..=100).map(|i| i * 500).collect();
        while positions.len() > 8 {
            let least = thin(&positions, 50_100).unwrap();
            positions.remove(least);
        }
        assert_eq!(positions.last(), Some(&50_000));
        let distances: Vec<usize> = positions.iter().map(|p| 50_100 - p).collect();
        assert!(distances.windows(2).all(|pair| pair[0] > pair[1]), "{distances:?}");
        assert!(distances[7 - 3] <= 8_000, "{distances:?}");
        assert!(distances[0] >= 16_000, "{distances:?}");
    }

    proptest! {
        #[test]
        fn marks_ascend_between_what_is_read_and_the_end(
            borders in proptest::collection::btree_set(0usize..20_000, 0..40),
            read in 0usize..10_000,
            more in 1usize..10_000,
            every in 1usize..4000,
        ) {
            let borders: Vec<usize> = borders.into_iter().collect();
            let length = read + more;
            let marks = marks(&borders, None, read, length, 0, every);
            let bounds: Vec<usize> =
                [read].into_iter().chain(marks.iter().copied()).chain([length]).collect();
            prop_assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]), "{bounds:?}");
            let most = every.max(MIN_SPACING);
            prop_assert!(bounds.windows(2).all(|pair| pair[1] - pair[0] <= most), "{bounds:?}");
            if let Some(last) = borders.iter().rev().find(|&&b| b > read && b < length) {
                prop_assert!(marks.contains(last));
            }
        }
    }
}
