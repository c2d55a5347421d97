//! A model's vocabulary as llguidance wants it.

use std::sync::Arc;

use llguidance::toktrie::{INVALID_TOKEN, TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv};

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
    Arc::new(ModelTokens { trie, vocabulary: vocabulary.clone() })
}

/// The tokens of a model, with its own tokenizer.
struct ModelTokens {
    trie: TokTrie,
    vocabulary: Vocabulary,
}

impl TokenizerEnv for ModelTokens {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    /// Control tokens are not read from text.
    fn tokenize_bytes(&self, s: &[u8]) -> Vec<TokenId> {
        self.trie.tokenize_with_greedy_fallback(s, |text| {
            let tokens = self.vocabulary.tokenize(text, false, false);
            tokens.into_iter().map(|token| token as TokenId).collect()
        })
    }

    /// It is, but then llguidance would forbid all tokens but the tokenizer's own in each mask:
    /// requests that want no tokens forced choose among all that spell the text.
    fn tokenize_is_canonical(&self) -> bool {
        false
    }
}
