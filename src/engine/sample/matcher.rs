//! One sequence's place in its grammar.

use llguidance::Matcher;
use llguidance::toktrie::{SimpleVob, TokenId};

use crate::engine::Token;

/// Which tokens may come next in one sequence.
pub(crate) struct Constraint(Matcher);

/// The tokens that may come next.
pub(super) struct Mask(SimpleVob);

/// Why a grammar could not be followed: one line, for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct MatchError(String);

impl Constraint {
    pub(super) fn new(matcher: Matcher) -> Self {
        Self(matcher)
    }

    /// The same place in the same grammar, sharing nothing: what fails in one stays in one.
    pub(crate) fn copy(&self) -> Self {
        Self(self.0.deep_clone())
    }

    /// Whether `token` may come next. That an end token may is said where the text may end.
    pub(super) fn allows(&mut self, token: Token) -> Result<bool, MatchError> {
        let allowed = self.0.validate_tokens(&[id(token)]).map_err(|e| MatchError::new(&e))?;
        Ok(allowed == 1)
    }

    /// All tokens that may come next; at least one.
    pub(super) fn mask(&mut self) -> Result<Mask, MatchError> {
        self.0.compute_mask().map(Mask).map_err(|error| MatchError::new(&error))
    }

    /// Goes on past `token`, which must be allowed and must not be an end token.
    pub(super) fn take(&mut self, token: Token) -> Result<(), MatchError> {
        self.0.consume_token(id(token)).map_err(|error| MatchError::new(&error))
    }

    /// Whether nothing can follow.
    pub(super) fn is_complete(&self) -> bool {
        self.0.is_stopped() && !self.0.is_error()
    }

    /// Whether the text may end here.
    pub(super) fn may_end(&mut self) -> Result<bool, MatchError> {
        self.0.is_accepting().map_err(|error| MatchError::new(&error))
    }
}

/// llguidance refuses ids outside the vocabulary.
fn id(token: Token) -> TokenId {
    u32::try_from(token).unwrap_or(TokenId::MAX)
}

impl Mask {
    /// Makes the logits of all other tokens negative infinity.
    pub(super) fn apply(&self, row: &mut [f32]) {
        self.0.iter_unset_entries(|token| {
            if let Some(logit) = row.get_mut(token) {
                *logit = f32::NEG_INFINITY;
            }
        });
    }
}

impl MatchError {
    pub(super) fn new(error: &impl ToString) -> Self {
        Self(one_line(error))
    }
}

/// The first line of an error of llguidance: it adds its state or a backtrace in further ones.
pub(super) fn one_line(error: &impl ToString) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
