//! One comparison of two sides, with all that a report says of it.

use super::compare::{Tolerance, Verdict};
use crate::config::CacheType;

/// Why something could not be computed: one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct VerifyError(pub(super) String);

impl VerifyError {
    pub(super) fn stopped() -> Self {
        Self("told to stop".to_owned())
    }
}

/// Logits of one model and case on two sides.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The model: `built-in`, `moe` or `hybrid`.
    pub model: &'static str,
    /// The type of keys and values in the cache.
    pub cache_type: CacheType,
    /// What was computed.
    pub case: &'static str,
    /// How many tokens of it.
    pub tokens: usize,
    /// The tokens that the prompt would have had on a faster device; `None`: it had all.
    pub shortened_from: Option<usize>,
    /// The time that both sides took, in seconds.
    pub seconds: f64,
    /// How far apart the sides may be.
    pub tolerance: Tolerance,
    /// How far apart they are, or why that is not known.
    pub outcome: Result<Verdict, VerifyError>,
}

impl Comparison {
    /// Whether both sides agree.
    pub fn passed(&self) -> bool {
        matches!(&self.outcome, Ok(verdict) if verdict.passed)
    }
}
