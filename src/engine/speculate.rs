//! Speculation: several tokens of a sequence are computed in one step where its text repeats what
//! stands in it already. Decisions are pure; a draft changes when tokens are computed, not which.

mod acceptance;
mod choose;
mod lookup;

pub(super) use self::acceptance::Acceptance;
pub(super) use self::choose::{RollbackCost, Stream, choose, passes};
pub(super) use self::lookup::Lookup;

use super::Token;

/// Most tokens drafted for a sequence in one step.
pub(super) const MAX_DRAFT: usize = 47;

/// Tokens that are taken to follow a sequence's next one, and are computed with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) tokens: Vec<Token>,
    /// So many of the first ones come in any case: they are not sampled. The others stay while they
    /// equal what is sampled from the row before them.
    pub(super) certain: usize,
}

impl Draft {
    /// The token at `index`, and whether it comes in any case; `None`: the draft is over.
    pub(super) fn get(&self, index: usize) -> Option<(Token, bool)> {
        self.tokens.get(index).map(|&token| (token, index < self.certain))
    }
}
