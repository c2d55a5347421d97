//! Prompt lookup: where a sequence's last tokens stood before in its own prompt and output, what
//! followed there is taken to follow again.

use super::acceptance::{Acceptance, Class};
use crate::engine::Token;

/// Earlier places that are compared for each length of beginnings.
const MAX_PLACES: usize = 16;

/// Matches are not followed farther back.
const MAX_MATCH: usize = 64;

/// A match so long is not given up for another.
const LONG_MATCH: usize = 16;

/// Behind the end of a match that was at least [`MIN_ANCHOR`] tokens long, so many of its tokens are
/// searched for the place where the text goes on after an edit.
const EDIT: usize = 24;
const MIN_ANCHOR: usize = 6;

/// So many tokens after the end of a match it is forgotten.
const MAX_AWAY: usize = 12;

/// No place.
const NONE: u32 = u32::MAX;

/// A sequence's text, and the place in it that the text is repeating now. Each token costs a few
/// look-ups in tables, whatever the text's length.
#[derive(Debug)]
pub(crate) struct Lookup {
    text: Vec<Token>,
    /// Of the longest beginnings first.
    tables: [Table; 2],
    at: Option<Place>,
    /// The place behind the end of the last long match, and the tokens since.
    left: Option<(usize, usize)>,
    acceptance: Acceptance,
}

/// Where the text is taken to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    /// Of the token that is taken to come next.
    next: usize,
    /// Tokens before it that equal the last ones of the text.
    matched: usize,
}

impl Lookup {
    /// `acceptance`: how often matches went on so far, in other sequences.
    pub(crate) fn new(prompt: &[Token], acceptance: Acceptance) -> Self {
        let table = |n| Table::new(n, prompt.len());
        let mut lookup = Self {
            text: Vec::with_capacity(prompt.len() + 256),
            tables: [table(4), table(2)],
            at: None,
            left: None,
            acceptance,
        };
        for &token in prompt {
            lookup.append(token);
        }
        lookup.at = lookup.longest();
        lookup
    }

    /// How often matches went on in this sequence.
    pub(crate) fn acceptance(&self) -> &Acceptance {
        &self.acceptance
    }

    /// A token was added to the text.
    pub(crate) fn push(&mut self, token: Token) {
        if let Some((_, away)) = &mut self.left {
            *away += 1;
        }
        self.at = match self.at {
            Some(place) => {
                let is_right = self.text[place.next] == token;
                self.acceptance.observe(Class::of(place.matched), is_right);
                if !is_right && place.matched >= MIN_ANCHOR {
                    self.left = Some((place.next, 0));
                }
                is_right.then(|| Place {
                    next: place.next + 1,
                    matched: (place.matched + 1).min(MAX_MATCH),
                })
            }
            None => None,
        };
        self.append(token);
        if self.at.is_none_or(|place| place.matched < LONG_MATCH) {
            let matched = self.at.map_or(0, |place| place.matched);
            if let Some(longest) = self.longest().filter(|longest| longest.matched > matched) {
                self.at = Some(longest);
            }
        }
        if self.at.is_none() {
            self.at = self.after_edit(token);
        }
        if self.at.is_some_and(|place| place.matched >= MIN_ANCHOR) {
            self.left = None;
        }
    }

    /// The chance that the token `ahead` places behind the next one is right, if those before it are;
    /// `None`: nothing is repeated.
    pub(crate) fn chance(&self, ahead: usize) -> Option<f64> {
        let place = self.at?;
        Some(self.acceptance.chance(Class::of(place.matched + ahead)))
    }

    /// The chance that a token of a text that must come is the one that spells it.
    pub(crate) fn chance_of_forced(&self) -> f64 {
        self.acceptance.chance(Class::FORCED)
    }

    /// A token of a text that must come was, or was not, the one that was expected.
    pub(crate) fn observe_forced(&mut self, is_right: bool) {
        self.acceptance.observe(Class::FORCED, is_right);
    }

    /// What is taken to come next, at most `n` tokens; none if nothing is repeated.
    pub(crate) fn draft(&self, n: usize) -> Vec<Token> {
        let Some(place) = self.at else { return Vec::new() };
        let mut draft: Vec<Token> = Vec::with_capacity(n);
        for i in 0..n {
            // What is repeated may reach up to the text's end, and go on with itself.
            let beyond = (place.next + i).checked_sub(self.text.len());
            draft.push(beyond.map_or_else(|| self.text[place.next + i], |i| draft[i]));
        }
        draft
    }

    fn append(&mut self, token: Token) {
        for table in &mut self.tables {
            table.add(&self.text);
        }
        self.text.push(token);
    }

    /// The place before which the most of the last tokens stand; the latest of several.
    fn longest(&self) -> Option<Place> {
        let mut best: Option<Place> = None;
        for table in &self.tables {
            for next in table.places(&self.text).take(MAX_PLACES) {
                let matched = self.common(next);
                if matched >= table.n && best.is_none_or(|best| matched > best.matched) {
                    best = Some(Place { next, matched });
                }
            }
            if best.is_some() {
                break;
            }
        }
        best
    }

    /// Tokens before `place` that equal the last ones of the text.
    fn common(&self, place: usize) -> usize {
        let before = self.text[..place].iter().rev();
        let same = before.zip(self.text.iter().rev()).take(MAX_MATCH);
        same.take_while(|(a, b)| a == b).count()
    }

    /// Where the text goes on after `token`, which differs from what a long match had: behind the
    /// same token a little later there, else behind the token that it stands for.
    fn after_edit(&self, token: Token) -> Option<Place> {
        let (from, away) = self.left?;
        if away > MAX_AWAY {
            return None;
        }
        let end = (from + EDIT).min(self.text.len() - 1);
        let found = self.text[from..end].iter().position(|&there| there == token);
        match found {
            Some(after) => Some(Place { next: from + after + 1, matched: 1 }),
            None if away == 0 && from + 1 < end => Some(Place { next: from + 1, matched: 0 }),
            None => None,
        }
    }
}

/// The places behind each sequence of `n` tokens, the latest first.
#[derive(Debug)]
struct Table {
    n: usize,
    /// The latest place, by hash.
    heads: Vec<u32>,
    /// The place before, by place.
    previous: Vec<u32>,
}

impl Table {
    fn new(n: usize, length: usize) -> Self {
        let size = (length + 1024).next_power_of_two().min(1 << 18);
        Self { n, heads: vec![NONE; size], previous: Vec::with_capacity(length + 256) }
    }

    fn slot(&self, last: &[Token]) -> usize {
        const PRIME: u64 = 0x9E37_79B9_7F4A_7C15;
        let hash = last.iter().fold(0_u64, |hash, &token| {
            (hash.rotate_left(23) ^ u64::from(token.unsigned_abs())).wrapping_mul(PRIME)
        });
        (hash >> 40) as usize & (self.heads.len() - 1)
    }

    /// The place behind all of `text` is about to be filled.
    fn add(&mut self, text: &[Token]) {
        let place = text.len() as u32;
        let last = text.len().checked_sub(self.n).map(|from| &text[from..]);
        let previous = match last {
            Some(last) => {
                let slot = self.slot(last);
                std::mem::replace(&mut self.heads[slot], place)
            }
            None => NONE,
        };
        self.previous.push(previous);
    }

    /// Places behind tokens that may be the last ones of `text`.
    fn places(&self, text: &[Token]) -> impl Iterator<Item = usize> {
        let first = text.len().checked_sub(self.n).map_or(NONE, |from| {
            let slot = self.slot(&text[from..]);
            self.heads[slot]
        });
        let some = |place: u32| (place != NONE).then_some(place as usize);
        std::iter::successors(some(first), move |&place| some(self.previous[place]))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lookup(text: &[Token]) -> Lookup {
        Lookup::new(text, Acceptance::default())
    }

    #[test]
    fn what_followed_the_same_tokens_before_is_drafted() {
        let text = lookup(&[1, 2, 3, 4, 5, 9, 1, 2]);
        assert_eq!(text.draft(3), [3, 4, 5]);
        assert!(lookup(&[1, 2, 3]).draft(3).is_empty());
        assert!(lookup(&[]).draft(3).is_empty());
        assert_eq!(lookup(&[7]).chance(0), None);
    }

    #[test]
    fn a_longer_match_is_preferred_to_a_later_one() {
        let text = lookup(&[1, 2, 3, 4, 50, 8, 3, 4, 60, 9, 1, 2, 3, 4]);
        assert_eq!(text.draft(1), [50]);
        // Of equally long ones the later.
        assert_eq!(lookup(&[3, 4, 50, 8, 3, 4, 60, 9, 3, 4]).draft(1), [60]);
    }

    #[test]
    fn a_text_that_repeats_itself_goes_on_with_itself() {
        assert_eq!(lookup(&[1, 2, 3, 1, 2, 3, 1, 2]).draft(7), [3, 1, 2, 3, 1, 2, 3]);
        assert_eq!(lookup(&[5, 5, 5, 5]).draft(4), [5, 5, 5, 5]);
    }

    #[test]
    fn after_an_edit_the_text_is_taken_up_again() {
        let text: Vec<Token> = (0..40).collect();
        let begun = || {
            let mut all = text.clone();
            all.extend([90, 0, 1, 2, 3, 4, 5, 6, 7]);
            lookup(&all)
        };
        let mut replaced = begun();
        assert_eq!(replaced.draft(2), [8, 9]);
        replaced.push(77);
        assert_eq!(replaced.draft(2), [9, 10], "one token stands for another");
        let mut inserted = begun();
        [77, 8].into_iter().for_each(|token| inserted.push(token));
        assert_eq!(inserted.draft(2), [9, 10]);
        let mut removed = begun();
        removed.push(12);
        assert_eq!(removed.draft(2), [13, 14]);
        // Far away it is another text.
        (100..150).for_each(|token| removed.push(token));
        removed.push(14);
        assert!(removed.draft(2).is_empty());
    }

    #[test]
    fn longer_matches_go_on_more_often() {
        let text: Vec<Token> = (0..100).chain(0..50).collect();
        let long = lookup(&text);
        assert!(long.chance(0) > lookup(&[1, 2, 3, 1, 2]).chance(0));
        assert!(long.chance(9) >= long.chance(0));
    }

    #[test]
    fn a_long_text_is_read_and_followed_quickly() {
        // Two tokens only: every place looks like many others.
        let text: Vec<Token> = (0..200_000).map(|i| i32::from(i % 17 == 3)).collect();
        let start = std::time::Instant::now();
        let mut lookup = lookup(&text);
        for i in 0..10_000 {
            lookup.push(i32::from(i % 13 == 5));
        }
        assert!(start.elapsed().as_millis() < 2000, "{:?}", start.elapsed());
    }

    proptest! {
        #[test]
        fn a_draft_is_what_followed_an_earlier_place(
            text in proptest::collection::vec(0..4, 0..200),
            more in proptest::collection::vec(0..4, 0..100),
            n in 0usize..20,
        ) {
            let mut lookup = lookup(&text);
            more.iter().for_each(|&token| lookup.push(token));
            let all: Vec<Token> = text.into_iter().chain(more).collect();
            prop_assert_eq!(&lookup.text, &all);
            let draft = lookup.draft(n);
            if let Some(place) = lookup.at {
                prop_assert!(place.next < all.len());
                prop_assert_eq!(draft.len(), n);
                let whole: Vec<Token> = all.iter().copied().chain(draft.iter().copied()).collect();
                prop_assert_eq!(&draft[..], &whole[place.next..place.next + n]);
                let before = &all[..place.next];
                prop_assert!(before.len() >= place.matched);
                prop_assert!(before.ends_with(&all[all.len() - place.matched..]));
            } else {
                prop_assert!(draft.is_empty());
                prop_assert_eq!(lookup.chance(0), None);
            }
            let chance = lookup.chance(0);
            prop_assert!(chance.is_none_or(|chance| (0.0..=1.0).contains(&chance)));
        }

        #[test]
        fn a_text_of_different_tokens_that_comes_again_is_found(
            length in 4usize..300,
            from in 0usize..200,
        ) {
            let text: Vec<Token> = (0..length as Token).collect();
            let from = from % (length - 3);
            let mut lookup = lookup(&text);
            lookup.push(1000);
            (from..from + 2).for_each(|token| lookup.push(token as Token));
            prop_assert_eq!(lookup.draft(1), [from as Token + 2]);
        }
    }
}
