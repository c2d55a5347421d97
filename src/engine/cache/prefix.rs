//! How much of a prompt each history holds, and which of them saves the most time.

use crate::engine::{ConversationId, Token};

/// Tokens that are compared at once.
const BLOCK: usize = 32;

/// Length of the common prefix of two token sequences.
pub(crate) fn common_prefix(a: &[Token], b: &[Token]) -> usize {
    let blocks = a.chunks_exact(BLOCK).zip(b.chunks_exact(BLOCK));
    let same = blocks.take_while(|(x, y)| x == y).count() * BLOCK;
    same + a[same..].iter().zip(&b[same..]).take_while(|(x, y)| x == y).count()
}

/// What a history holds of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Match {
    /// Tokens that both begin with.
    pub(crate) common: usize,
    /// Tokens after which the prompt can be read on from this history.
    pub(crate) usable: usize,
}

/// Compares a history with a prompt. All but the prompt's last token can be taken from it, whose
/// logits are needed. A state that cannot be cut (`can_cut`) is usable at its end and at its
/// `checkpoints`.
pub(crate) fn matching(
    history: &[Token],
    checkpoints: impl Iterator<Item = usize>,
    prompt: &[Token],
    can_cut: bool,
) -> Match {
    let common = common_prefix(history, prompt).min(prompt.len().saturating_sub(1));
    let usable = if can_cut || common == history.len() {
        common
    } else {
        checkpoints.filter(|&position| position <= common).max().unwrap_or(0)
    };
    Match { common, usable }
}

/// A history that a prompt could go on from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<P> {
    /// Where it is.
    pub(crate) place: P,
    /// What it holds of the prompt.
    pub(crate) held: Match,
    /// Seconds until the prompt can be read on.
    pub(crate) seconds: f64,
}

/// The candidate that saves the most time; `None`: computing everything is faster.
/// `computing(n)`: the seconds that the first `n` tokens take.
pub(crate) fn best<P: Copy>(
    candidates: &[Candidate<P>],
    computing: impl Fn(usize) -> f64,
) -> Option<Candidate<P>> {
    let gain = |c: &Candidate<P>| computing(c.held.usable) - c.seconds;
    let better = |a: &&Candidate<P>, b: &&Candidate<P>| {
        gain(a).total_cmp(&gain(b)).then(a.held.usable.cmp(&b.held.usable))
    };
    let useful = candidates.iter().filter(|c| c.held.usable > 0);
    useful.max_by(better).filter(|c| c.seconds == 0.0 || gain(c) > 0.0).copied()
}

impl ConversationId {
    /// Whether a prompt of this conversation may be read on from a history of another.
    pub(crate) fn may_use(self, history: Self) -> bool {
        self.owner == history.owner
    }

    /// Whether a prompt goes on with a history, which then has no other use, rather than sharing
    /// its beginning: it `agrees` up to the history's anchor, and no client names them differently.
    /// One name is not enough: agents use it for the request for a title, too.
    pub(crate) fn goes_on(self, history: Self, agrees: bool) -> bool {
        agrees && !(self.named && history.named && self.id != history.id)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(usable: usize, seconds: f64) -> Candidate<usize> {
        Candidate { place: usable, held: Match { common: usable, usable }, seconds }
    }

    #[test]
    fn a_longer_prefix_wins_unless_getting_it_takes_longer_than_computing_it() {
        let chosen = |candidates: &[Candidate<usize>]| {
            best(candidates, |n| n as f64 / 100.0).map(|c| c.place)
        };
        assert_eq!(chosen(&[at(100, 0.0), at(500, 1.0)]), Some(500));
        assert_eq!(chosen(&[at(100, 0.0), at(500, 4.5)]), Some(100));
        assert_eq!(chosen(&[at(500, 6.0)]), None);
        assert_eq!(chosen(&[at(0, 0.0)]), None);
    }

    #[test]
    fn a_state_that_cannot_be_cut_is_usable_at_its_end_and_at_checkpoints() {
        let matched = |prompt: &[Token], can_cut| {
            matching(&[1, 2, 3, 4, 5, 6], [2, 4].into_iter(), prompt, can_cut).usable
        };
        assert_eq!(matched(&[1, 2, 3, 4, 5, 9], true), 5);
        assert_eq!(matched(&[1, 2, 3, 4, 5, 9], false), 4);
        assert_eq!(matched(&[1, 2, 3, 9], false), 2);
        assert_eq!(matched(&[1, 9], false), 0);
        assert_eq!(matched(&[1, 2, 3, 4, 5, 6, 7], false), 6);
        // The last token of a prompt is computed in any case.
        assert_eq!(matched(&[1, 2, 3, 4, 5, 6], true), 5);
        assert_eq!(matched(&[1, 2, 3, 4, 5, 6], false), 4);
    }

    proptest! {
        #[test]
        fn a_common_prefix_is_as_long_as_a_token_by_token_comparison_says(
            shared in proptest::collection::vec(0..3, 0..200),
            a in proptest::collection::vec(0..3, 0..50),
            b in proptest::collection::vec(0..3, 0..50),
        ) {
            let a: Vec<Token> = shared.iter().copied().chain(a).collect();
            let b: Vec<Token> = shared.iter().copied().chain(b).collect();
            let slow = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
            prop_assert_eq!(common_prefix(&a, &b), slow);
        }

        #[test]
        fn what_is_usable_is_common_and_leaves_a_token_to_compute(
            history in proptest::collection::vec(0..2, 1..80),
            prompt in proptest::collection::vec(0..2, 1..80),
            checkpoints in proptest::collection::btree_set(1usize..80, 0..8),
            can_cut in any::<bool>(),
        ) {
            let positions = checkpoints.iter().copied().filter(|&p| p <= history.len());
            let Match { common, usable } = matching(&history, positions, &prompt, can_cut);
            prop_assert!(usable <= common && common < prompt.len());
            prop_assert_eq!(&history[..common], &prompt[..common]);
            let at_checkpoint = checkpoints.contains(&usable);
            prop_assert!(can_cut || usable == 0 || usable == history.len() || at_checkpoint);
        }
    }
}
