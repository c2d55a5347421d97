//! One sequence's place in its grammar.

use llguidance::Matcher;
use llguidance::toktrie::{SimpleVob, TokTrie, TokenId};

use super::forced::{self, Forced};
use crate::engine::Token;

/// Longest error, characters: some name all special tokens or the whole expression.
const MAX_MESSAGE: usize = 300;

/// Most tokens between two masks. llguidance bounds the work that it does for a token, but what is
/// left of it is filled up by a mask only: a sequence that is never refused would use it up.
const MOST_UNMASKED: u32 = 8;

/// Most bytes that are forced at once. What goes on longer takes llguidance to its bounds, which is a
/// tenth of a second of the engine thread each time.
const MAX_FORCED_BYTES: usize = 4096;

/// Which tokens may come next in one sequence.
pub(crate) struct Constraint {
    matcher: Matcher,
    /// Tokens since the last mask.
    unmasked: u32,
    /// More is forced than is looked at.
    is_endless: bool,
}

/// The tokens that may come next.
pub(super) struct Mask(SimpleVob);

/// Why a grammar could not be followed: one line, for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct MatchError(String);

impl Constraint {
    pub(super) fn new(matcher: Matcher) -> Self {
        Self { matcher, unmasked: 0, is_endless: false }
    }

    /// The same place in the same grammar, sharing nothing: what fails in one stays in one.
    pub(crate) fn copy(&self) -> Self {
        let Self { matcher, unmasked, is_endless } = self;
        Self { matcher: matcher.deep_clone(), unmasked: *unmasked, is_endless: *is_endless }
    }

    /// Whether all of `tokens` may come next. That an end token may is said where the text may end.
    pub(super) fn allows(&mut self, tokens: &[Token]) -> Result<bool, MatchError> {
        let ids: Vec<TokenId> = tokens.iter().copied().map(id).collect();
        let allowed = self.matcher.validate_tokens(&ids).map_err(|e| MatchError::new(&e))?;
        Ok(allowed == ids.len())
    }

    /// Whether it is time for a mask.
    pub(super) fn wants_mask(&self) -> bool {
        self.unmasked >= MOST_UNMASKED
    }

    /// All tokens that may come next; at least one.
    pub(super) fn mask(&mut self) -> Result<Mask, MatchError> {
        self.unmasked = 0;
        self.matcher.compute_mask().map(Mask).map_err(|error| MatchError::new(&error))
    }

    /// Whether a token beside `forbidden` may come next, or the text may end.
    pub(crate) fn leaves(&mut self, forbidden: &[Token]) -> Result<bool, MatchError> {
        let Mask(mut allowed) = self.mask()?;
        for &token in forbidden {
            allowed.disallow_token(id(token));
        }
        Ok(!allowed.is_zero() || self.may_end()?)
    }

    /// Goes on past `token`, which must be allowed and must not be an end token.
    pub(super) fn take(&mut self, token: Token) -> Result<(), MatchError> {
        self.unmasked += 1;
        self.matcher.consume_token(id(token)).map_err(|error| MatchError::new(&error))
    }

    /// Tokens that must come next behind the token `last`, at most `max`: the tokenizer's own for
    /// the bytes that the grammar forces.
    pub(super) fn forced(&mut self, last: Option<Token>, max: usize) -> Vec<Forced> {
        let Ok(env) = self.matcher.tok_env() else { return Vec::new() };
        if self.is_endless || !self.leaves_one_byte(env.tok_trie()) {
            return Vec::new();
        }
        // llguidance forces all that it can at once: what that takes of its bounds is a copy's.
        let mut ahead = self.matcher.deep_clone();
        let bytes = ahead.compute_ff_bytes();
        if bytes.len() > MAX_FORCED_BYTES {
            self.is_endless = true;
            return Vec::new();
        }
        let may_follow = |tokens: &[TokenId]| {
            ahead.validate_tokens(tokens).is_ok_and(|allowed| allowed == tokens.len())
        };
        forced::spell(&*env, last.map(id), &bytes, max, may_follow)
    }

    /// Whether there is one byte that may come next. Where there are more, two are found soon.
    fn leaves_one_byte(&mut self, trie: &TokTrie) -> bool {
        let likely = b"a \"01-\n{[<";
        let others = (0..=u8::MAX).filter(|byte| !likely.contains(byte));
        let tokens = likely.iter().copied().chain(others);
        let allowed = tokens
            .filter_map(|byte| trie.token_id_at_bytes(&[byte]))
            .filter(|&token| self.matcher.validate_tokens(&[token]).is_ok_and(|n| n == 1));
        allowed.take(2).count() == 1
    }

    /// Whether nothing can follow.
    pub(super) fn is_complete(&self) -> bool {
        self.matcher.is_stopped() && !self.matcher.is_error()
    }

    /// Whether the text may end here.
    pub(super) fn may_end(&mut self) -> Result<bool, MatchError> {
        self.matcher.is_accepting().map_err(|error| MatchError::new(&error))
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

/// An error of llguidance in one line: it adds its state or a backtrace in further ones. What a regular
/// expression's parser says stands behind the expression.
pub(super) fn one_line(error: &impl ToString) -> String {
    let text = error.to_string();
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let reason = lines.find(|line| line.starts_with("error: ")).filter(|_| first.ends_with(':'));
    let line = [first, " ", reason.unwrap_or_default()].concat();
    line.trim_end().chars().take(MAX_MESSAGE).collect()
}

#[cfg(test)]
mod tests {
    use llguidance::ParserFactory;
    use llguidance::api::TopLevelGrammar;
    use llguidance::toktrie::ApproximateTokEnv;

    use super::*;

    #[test]
    fn output_that_is_never_refused_may_be_long() {
        let mut factory = ParserFactory::new_simple(&ApproximateTokEnv::single_byte_env()).unwrap();
        factory.quiet().limits_mut().step_lexer_fuel = 10_000;
        let lark = "start: /[a-z]{1,30000}/".to_owned();
        let parser = factory.create_parser(TopLevelGrammar::from_lark(lark));
        let start = Constraint::new(Matcher::new(parser));
        let run = |masks: bool| -> Result<(), MatchError> {
            let mut constraint = start.copy();
            constraint.mask()?;
            for _ in 0..20_000 {
                if masks && constraint.wants_mask() {
                    constraint.mask()?;
                }
                if !constraint.allows(&[i32::from(b'a')])? {
                    constraint.mask()?;
                    return Err(MatchError::new(&"refused"));
                }
                constraint.take(i32::from(b'a'))?;
            }
            Ok(())
        };
        run(false).expect_err("the bounds are spent");
        run(true).expect("they are renewed");
    }

    #[test]
    fn an_error_is_one_line() {
        assert_eq!(one_line(&"too large\n<state>\nerror: x"), "too large");
        let regex = "invalid regex: regex parse error:\n    (?=a)\n    ^^^\nerror: look-around";
        assert_eq!(one_line(&regex), "invalid regex: regex parse error: error: look-around");
        assert_eq!(one_line(&""), "");
        assert_eq!(one_line(&"é".repeat(2000)).chars().count(), MAX_MESSAGE);
    }
}
