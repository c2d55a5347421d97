//! A saved sequence: its tokens, its state, and what proves that the state is theirs.

use std::sync::Arc;

use twox_hash::XxHash3_128;

use crate::engine::{ConversationId, Token};

/// A sequence's state, outside the context.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Snapshot {
    /// What the state has read.
    pub(crate) tokens: Vec<Token>,
    /// Whose it is.
    pub(crate) conversation: ConversationId,
    /// Up to where a prompt must agree to go on with this conversation.
    pub(crate) anchor: usize,
    /// llama.cpp's bytes of the whole sequence.
    pub(crate) state: Vec<u8>,
    /// Recurrent states at earlier positions, ascending; none for models that can be cut anywhere.
    pub(crate) checkpoints: Vec<Checkpoint>,
    /// How the state shows that it is the one of `tokens`.
    pub(crate) proof: Proof,
}

/// The recurrent part of a sequence's state at a position.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Checkpoint {
    /// Tokens that it has read.
    pub(crate) position: usize,
    /// llama.cpp's bytes.
    pub(crate) state: Arc<Vec<u8>>,
}

/// A token that was computed after a state, and what came out: a state that was restored must give
/// the same.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Proof {
    /// The token at the position after the state's last.
    pub(crate) token: Token,
    /// The most likely tokens after it, best first, with their logits.
    pub(crate) top: Vec<(Token, f32)>,
}

impl Snapshot {
    /// Bytes that it takes in memory.
    pub(crate) fn bytes(&self) -> u64 {
        let checkpoints: usize = self.checkpoints.iter().map(|c| c.state.len()).sum();
        (self.tokens.len() * size_of::<Token>() + self.state.len() + checkpoints) as u64
    }

    /// XXH3 of 128 bits of all that is gone on from: tokens, states and proof.
    pub(crate) fn checksum(&self) -> u128 {
        let mut hash = XxHash3_128::new();
        for token in self.tokens.iter().chain([&self.proof.token]) {
            hash.write(&token.to_le_bytes());
        }
        for (token, logit) in &self.proof.top {
            hash.write(&token.to_le_bytes());
            hash.write(&logit.to_bits().to_le_bytes());
        }
        hash.write(&self.state);
        for checkpoint in &self.checkpoints {
            hash.write(&checkpoint.position.to_le_bytes());
            hash.write(&checkpoint.state);
        }
        hash.finish_128()
    }
}
