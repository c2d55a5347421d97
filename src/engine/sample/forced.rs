//! The tokens of bytes that a grammar forces.

use llguidance::toktrie::{TokTrie, TokenId, TokenizerEnv};

use crate::engine::Token;

/// Bytes that are looked at for each token wanted: few tokens are longer.
const BYTES_PER_TOKEN: usize = 16;

/// Tokens at the end of a text that what follows may change. More of them can only in theory.
const MAX_OPEN_TOKENS: usize = 4;

/// A token of a text that must come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Forced {
    pub(super) token: Token,
    /// Those that could stand for it: the text's spelling would be another one.
    pub(super) others: Vec<Token>,
}

/// The tokens, at most `max`, that `forced` begins with as the model's tokenizer spells it behind
/// the token `last`. Those at the end that may join what follows are left out, so that the model
/// is free to write the longer token. Empty where the tokenizer does not keep to the bytes.
///
/// `may_follow` tells whether the grammar lets all of these tokens come next.
pub(super) fn spell(
    env: &dyn TokenizerEnv,
    last: Option<TokenId>,
    forced: &[u8],
    max: usize,
    may_follow: impl FnMut(&[TokenId]) -> bool,
) -> Vec<Forced> {
    let trie = env.tok_trie();
    let (text, rest) = forced.split_at(end_of_text(forced, max.saturating_mul(BYTES_PER_TOKEN)));
    let mut tokens = tokenize(env, last, text);
    if trie.decode_raw(&tokens) != text {
        return Vec::new();
    }
    let open = match rest.first() {
        // A control token joins nothing.
        Some(&TokTrie::SPECIAL_TOKEN_MARKER) => 0,
        Some(&next) => open_tokens(trie, &tokens, text, |byte| byte == next),
        None => {
            let mut follow = Followers { trie, tokens: &tokens, may_follow, known: [None; 256] };
            open_tokens(trie, &tokens, text, |byte| follow.may_be(byte))
        }
    };
    tokens.truncate((tokens.len() - open).min(max));
    let mut at = 0;
    let forced = |token: TokenId| {
        let others = beginnings(trie, &forced[at..]).filter(|&other| other != token);
        let others = others.map(|other| other as Token).collect();
        at += trie.token_len(token);
        Forced { token: token as Token, others }
    };
    tokens.into_iter().map(forced).collect()
}

/// The tokens that `text` begins with.
fn beginnings<'a>(trie: &'a TokTrie, text: &'a [u8]) -> impl Iterator<Item = TokenId> + 'a {
    let nodes = text.iter().scan(trie.root(), |node, &byte| {
        *node = trie.child_at_byte(node, byte)?;
        Some(*node)
    });
    nodes.filter_map(|node| node.token_id())
}

/// How many of the bytes are whole characters, of the first `most`.
fn end_of_text(bytes: &[u8], most: usize) -> usize {
    let bytes = &bytes[..most.min(bytes.len())];
    match std::str::from_utf8(bytes) {
        Ok(_) => bytes.len(),
        Err(error) => error.valid_up_to(),
    }
}

/// The tokens of `text` behind `last`, which may change where it is cut.
fn tokenize(env: &dyn TokenizerEnv, last: Option<TokenId>, text: &[u8]) -> Vec<TokenId> {
    let trie = env.tok_trie();
    if let Some(last) = last.filter(|&last| !trie.is_special_token(last)) {
        let joined = [&trie.decode_raw(&[last]), text].concat();
        if let Some((&first, rest)) = env.tokenize_bytes(&joined).split_first()
            && first == last
        {
            return rest.to_vec();
        }
    }
    env.tokenize_bytes(text)
}

/// How many tokens at the end hold bytes with which a longer token begins that goes on with a byte
/// that `may_follow`.
fn open_tokens(
    trie: &TokTrie,
    tokens: &[TokenId],
    text: &[u8],
    mut may_follow: impl FnMut(u8) -> bool,
) -> usize {
    let lengths = tokens.iter().rev().take(MAX_OPEN_TOKENS).map(|&token| trie.token_len(token));
    let longest = trie.max_token_len().saturating_sub(1).min(lengths.clone().sum());
    let mut suffixes = (1..=longest).rev();
    let open = suffixes.find(|&length| {
        let suffix = &text[text.len() - length..];
        trie.child_at_bytes(trie.root(), suffix)
            .is_some_and(|node| trie.node_children(node).any(|child| may_follow(child.byte())))
    });
    let Some(open) = open else { return 0 };
    let ends = lengths.scan(0, |sum, length| {
        *sum += length;
        Some(*sum)
    });
    1 + ends.take_while(|&end| end < open).count()
}

/// The bytes that the grammar lets follow `tokens`.
struct Followers<'a, F> {
    trie: &'a TokTrie,
    tokens: &'a [TokenId],
    may_follow: F,
    known: [Option<bool>; 256],
}

impl<F: FnMut(&[TokenId]) -> bool> Followers<'_, F> {
    fn may_be(&mut self, byte: u8) -> bool {
        let Self { trie, tokens, may_follow, known } = self;
        *known[usize::from(byte)].get_or_insert_with(|| {
            // A byte that no token spells alone is left to the model.
            let token = trie.token_id_at_bytes(&[byte]);
            token.is_none_or(|token| may_follow(&[*tokens, &[token]].concat()))
        })
    }
}

#[cfg(test)]
mod tests {
    use llguidance::toktrie::{ApproximateTokEnv, TokRxInfo};

    use super::*;

    /// All bytes, and these words from 256 on; the longest word that fits comes first.
    fn env(words: &[&str]) -> ApproximateTokEnv {
        let bytes = (0..=255).map(|byte| vec![byte]);
        let words: Vec<_> = bytes.chain(words.iter().map(|w| w.as_bytes().to_vec())).collect();
        ApproximateTokEnv::new(TokTrie::from(&TokRxInfo::new(words.len() as u32, 0), &words))
    }

    fn spelled(
        env: &ApproximateTokEnv,
        last: Option<&str>,
        forced: &[u8],
        followers: &str,
    ) -> Vec<String> {
        let trie = env.tok_trie();
        let last = last.and_then(|last| trie.token_id(last.as_bytes()));
        let may_follow = |tokens: &[TokenId]| {
            let last = trie.decode_raw(&tokens[tokens.len() - 1..]);
            followers.as_bytes().contains(&last[0])
        };
        let tokens = spell(env, last, forced, 16, may_follow);
        tokens.iter().map(|forced| trie.decode_str(&[forced.token as TokenId])).collect()
    }

    #[test]
    fn what_may_join_the_following_text_is_left_to_the_model() {
        let env = env(&["\"na", "me", "\":", " \"", "\"x", ":1", ": \"y"]);
        let key = br#""name": ""#;
        // A string may begin with x, which has a token with the quotation mark.
        assert_eq!(spelled(&env, None, key, "xz"), ["\"na", "me", "\":"]);
        assert_eq!(spelled(&env, None, key, "z"), ["\"na", "me", "\":", " \""]);
        // Two tokens are open: `: "y` would begin inside the first.
        assert_eq!(spelled(&env, None, key, "y"), ["\"na", "me"]);
        assert_eq!(spelled(&env, None, br#""name":"#, "1"), ["\"na", "me"]);
        assert_eq!(spelled(&env, None, br#""name":"#, ""), ["\"na", "me", "\":"]);
    }

    #[test]
    fn bytes_that_are_known_to_follow_close_a_text() {
        let env = env(&["ab", "bc", "é", "bé"]);
        // An unfinished character, which `bé` could hold, and a control token, which it could not.
        assert_eq!(spelled(&env, None, b"ab\xc3", ""), Vec::<String>::new());
        assert_eq!(spelled(&env, None, b"aab\xff[300]", "c"), ["a", "ab"]);
        assert_eq!(spelled(&env, None, b"\xff[300]", ""), Vec::<String>::new());
    }

    #[test]
    fn the_token_before_decides_with_where_a_text_is_cut() {
        let env = env(&["xa", "b"]);
        assert_eq!(spelled(&env, None, b"ab", ""), ["a", "b"]);
        assert_eq!(spelled(&env, Some("b"), b"ab", ""), ["a", "b"]);
        // The tokenizer would have written `xa`, but `x` is there.
        assert_eq!(spelled(&env, Some("x"), b"ab", ""), ["a", "b"]);
    }

    #[test]
    fn no_more_is_spelled_than_is_asked_for() {
        let env = env(&["ab"]);
        let spell = |max| spell(&env, None, "ab".repeat(1000).as_bytes(), max, |_| false);
        assert_eq!(spell(0), []);
        let a = Token::from(b'a');
        assert_eq!(spell(5), vec![Forced { token: 256, others: vec![a] }; 5]);
    }
}
