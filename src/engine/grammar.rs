//! What a sequence's output may be limited to.

use std::fmt;

use super::Token;

/// A compiled grammar of one loaded model. Cheap to clone; every sequence reads it from its start.
#[derive(Clone)]
pub struct Grammar {
    #[cfg(feature = "engine")]
    pub(super) start: std::sync::Arc<super::sample::Constraint>,
}

impl Grammar {
    /// Whether a text of it can begin without the tokens `forbidden`. Blocking: milliseconds.
    pub fn can_begin_without(&self, forbidden: &[Token]) -> bool {
        // An error comes again with the first token.
        #[cfg(feature = "engine")]
        let can_begin = self.start.copy().leaves(forbidden).unwrap_or(true);
        #[cfg(not(feature = "engine"))]
        let can_begin = forbidden.is_empty();
        can_begin
    }
}

impl fmt::Debug for Grammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grammar").finish_non_exhaustive()
    }
}

/// Why a grammar cannot be used. One line each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    /// It has a mistake, asks for what is not supported, or is too large or too involved: the
    /// sender's to change.
    #[error("{0}")]
    Invalid(String),
    /// Too many are being compiled already: another time it may work.
    #[error("too many grammars are being compiled")]
    Busy,
    /// The server's fault.
    #[error("{0}")]
    Internal(String),
}
