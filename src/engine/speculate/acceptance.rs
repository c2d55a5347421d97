//! How often what is repeated goes on, as seen.

/// Matches by their length: the longer one is, the more often it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Class(usize);

const CLASSES: usize = 9;

impl Class {
    /// No match: a text that a grammar forces, in the tokenizer's own tokens.
    pub(crate) const FORCED: Self = Self(8);

    /// Of a match of so many tokens.
    pub(crate) fn of(matched: usize) -> Self {
        Self(match matched {
            0..=3 => matched,
            4..=5 => 4,
            6..=9 => 5,
            10..=20 => 6,
            _ => 7,
        })
    }
}

/// What is taken for granted before anything is seen.
const PRIOR: [f64; CLASSES] = [0.3, 0.3, 0.3, 0.45, 0.6, 0.75, 0.85, 0.93, 0.97];

/// What is seen now counts for so much at least.
const MIN_WEIGHT: f64 = 0.05;

/// What was seen before counts like so many of these at first.
const TRUST: f64 = 6.0;

/// How often the token that a match leads to came, by the match's length. Every token counts that a
/// match led to, drafted or not: so it is known when drafting would pay again.
#[derive(Debug, Clone)]
pub(crate) struct Acceptance {
    chance: [f64; CLASSES],
    seen: [f64; CLASSES],
}

impl Default for Acceptance {
    fn default() -> Self {
        Self { chance: PRIOR, seen: [TRUST; CLASSES] }
    }
}

impl Acceptance {
    pub(crate) fn chance(&self, Class(class): Class) -> f64 {
        self.chance[class]
    }

    pub(crate) fn observe(&mut self, Class(class): Class, is_right: bool) {
        self.seen[class] += 1.0;
        let weight = (1.0 / self.seen[class]).max(MIN_WEIGHT);
        self.chance[class] += (f64::from(u8::from(is_right)) - self.chance[class]) * weight;
    }

    /// Learns from a sequence that has ended what the next ones begin with.
    pub(crate) fn learn(&mut self, of: &Self) {
        const WEIGHT: f64 = 0.2;
        for (class, chance) in self.chance.iter_mut().enumerate() {
            if of.seen[class] > TRUST {
                *chance += (of.chance[class] - *chance) * WEIGHT;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_follow_what_is_seen_by_the_length_of_the_match() {
        let mut acceptance = Acceptance::default();
        for i in 0..200 {
            acceptance.observe(Class::of(2), i % 10 == 0);
            acceptance.observe(Class::of(40), true);
        }
        assert!(acceptance.chance(Class::of(2)) < 0.2);
        assert!(acceptance.chance(Class::of(25)) > 0.99);
        assert_eq!(acceptance.chance(Class::of(4)), PRIOR[4]);
        let mut next = Acceptance::default();
        next.learn(&acceptance);
        assert!(next.chance(Class::of(2)) < PRIOR[2]);
        assert_eq!(next.chance(Class::of(4)), PRIOR[4]);
        // The next sequence is as open as this one was.
        (0..20).for_each(|_| next.observe(Class::of(2), true));
        assert!(next.chance(Class::of(2)) > 0.5);
    }
}
