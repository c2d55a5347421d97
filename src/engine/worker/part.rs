//! What one slot computes in a step.

use crate::engine::speculate::Draft;

/// One slot's part of a step.
pub(super) struct Part {
    pub(super) slot: usize,
    /// Tokens of a prompt.
    pub(super) share: usize,
    /// Of a stream: what is computed beyond what it needs.
    pub(super) draft: Draft,
    /// Where its tokens begin in the batch.
    pub(super) first: i32,
}
