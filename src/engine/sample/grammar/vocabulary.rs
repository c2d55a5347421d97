//! A model's vocabulary as llguidance wants it.

use std::sync::Arc;

use llguidance::toktrie::{ApproximateTokEnv, INVALID_TOKEN, TokEnv, TokRxInfo, TokTrie, TokenId};

use crate::engine::Vocabulary;

/// The bytes of all tokens. Those that have none of their own, which are control tokens mostly, are
/// marked, so that no text is read as one of them.
pub(super) fn tokens(vocabulary: &Vocabulary) -> TokEnv {
    let words: Vec<Vec<u8>> = (0..vocabulary.len() as i32)
        .map(|token| {
            let piece = vocabulary.piece(token, false);
            if !piece.is_empty() {
                return piece;
            }
            let name = vocabulary.piece(token, true);
            if name.is_empty() {
                name
            } else {
                [&[TokTrie::SPECIAL_TOKEN_MARKER], &name[..]].concat()
            }
        })
        .collect();
    let ends: Vec<TokenId> = vocabulary.end_tokens().iter().map(|&t| t as TokenId).collect();
    let first_end = ends.first().copied().unwrap_or(INVALID_TOKEN);
    let trie = TokTrie::from(&TokRxInfo::new(words.len() as u32, first_end), &words);
    let trie = if ends.is_empty() { trie } else { trie.with_eos_tokens(&ends) };
    Arc::new(ApproximateTokEnv::new(trie))
}
