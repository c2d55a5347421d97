//! How one sequence's next token is chosen where a grammar may refuse it.

use std::collections::VecDeque;
use std::sync::Arc;

use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::sampling::LlamaSampler;

use super::chain::{Candidates, Chain};
use super::forced::Forced;
use super::matcher::{Constraint, MatchError};
use crate::engine::{GenerationRequest, Token};

/// Why there is no next token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SampleError {
    /// The grammar could not be followed.
    #[error(transparent)]
    Match(#[from] MatchError),
    /// The request forbids what its grammar allows.
    #[error("all tokens that the grammar allows are forbidden")]
    Forbidden,
}

/// Most forced tokens that are looked for at once.
const MAX_FORCED: usize = 64;

/// A forced text is spelled as the tokenizer does, unless the model finds the first token of another
/// spelling so many times as likely: then that is how it was taught, and what it goes on from.
const LIKELIER: f32 = 1e6;

/// Chooses the tokens of one sequence.
pub(crate) struct Sampler {
    chain: Chain,
    constraint: Option<Constraint>,
    /// Until the first token: what takes the constraint's place unless the model begins with what only
    /// that one allows.
    direct: Option<Constraint>,
    end_tokens: Arc<[Token]>,
    /// The token that came last.
    last: Option<Token>,
    /// The request may be given forced tokens.
    forwards: bool,
    /// Tokens of a text that must come next; `None`: they were not looked for behind the last token.
    /// Each counts in however many steps they come: what is computed together must not change them.
    forced: Option<VecDeque<Forced>>,
    kept_to_forced: Option<bool>,
}

impl Sampler {
    /// `dry`: the DRY sampler, if these parameters use one; `n_ctx` bounds how far samplers look
    /// back.
    pub(crate) fn new(
        request: &GenerationRequest,
        dry: Option<LlamaSampler>,
        model: &LlamaModel,
        n_ctx: u32,
        end_tokens: Arc<[Token]>,
    ) -> Self {
        let mut chain = Chain::new(&request.sampling, dry, model, n_ctx, &end_tokens);
        chain.read_prompt(&request.prompt);
        let constraint = request.grammar.as_ref().map(|grammar| grammar.start.copy());
        let direct = request.direct_grammar.as_ref().map(|grammar| grammar.start.copy());
        let last = request.prompt.last().copied();
        let forwards = forwards(request, &chain);
        Self {
            chain,
            constraint,
            direct,
            end_tokens,
            last,
            forwards,
            forced: None,
            kept_to_forced: None,
        }
    }

    /// The seed in use: the request's, or the one drawn for it.
    pub(crate) fn seed(&self) -> u32 {
        self.chain.seed()
    }

    /// Chooses the next token from a row of logits. After an error there is nothing to go on with.
    pub(crate) fn sample(
        &mut self,
        row: &[f32],
        candidates: &mut Candidates,
    ) -> Result<Token, SampleError> {
        let token = match self.forced().front() {
            Some(forced) if forced.is_likely(row) => forced.token,
            _ => self.choose(row, candidates)?,
        };
        self.take(token)?;
        Ok(token)
    }

    /// Goes on past a token that was not sampled.
    pub(crate) fn take(&mut self, token: Token) -> Result<(), MatchError> {
        self.chain.accept(token);
        self.last = Some(token);
        let expected = self.forced.as_mut().and_then(VecDeque::pop_front);
        self.kept_to_forced = expected.map(|expected| expected.token == token);
        if self.kept_to_forced != Some(true) || self.forced.as_ref().is_some_and(VecDeque::is_empty)
        {
            self.forced = None;
        }
        match &mut self.constraint {
            Some(constraint) if !self.end_tokens.contains(&token) => constraint.take(token),
            _ => Ok(()),
        }
    }

    /// The tokens that come next unless the model would much rather spell their text, which must
    /// come, in others; at most `max`. None where a choice that the request can see would be left
    /// out.
    pub(crate) fn forced_tokens(&mut self, max: usize) -> Vec<Token> {
        self.forced().iter().take(max).map(|forced| forced.token).collect()
    }

    /// Whether the last token was the forced one; `None`: none was.
    pub(crate) fn kept_to_forced(&self) -> Option<bool> {
        self.kept_to_forced
    }

    fn forced(&mut self) -> &VecDeque<Forced> {
        let Self { constraint, direct, last, forwards, forced, .. } = self;
        forced.get_or_insert_with(|| match constraint {
            // The first token decides which constraint holds.
            Some(constraint) if *forwards && direct.is_none() => {
                constraint.forced(*last, MAX_FORCED).into()
            }
            _ => VecDeque::new(),
        })
    }

    /// Whether the grammar lets all of `tokens` come next.
    pub(crate) fn allows(&mut self, tokens: &[Token]) -> bool {
        // An error comes again with the next choice.
        let allows = |constraint: &mut Constraint| constraint.allows(tokens).unwrap_or(false);
        self.constraint.as_mut().is_none_or(allows)
    }

    /// Whether the grammar lets nothing follow.
    pub(crate) fn is_complete(&self) -> bool {
        self.constraint.as_ref().is_some_and(Constraint::is_complete)
    }

    /// A mask takes a hundred times as long as the question about one token, and a model that was
    /// told of a format mostly keeps to it: so the mask is made once a choice is refused. What is
    /// chosen from the masked row then falls to the tokens as if it had been masked at first: of
    /// tokens that are allowed with probability Z in all, one of probability p gets
    /// p + (1 - Z) p / Z = p / Z.
    fn choose(&mut self, row: &[f32], candidates: &mut Candidates) -> Result<Token, SampleError> {
        let Some(constraint) = &mut self.constraint else {
            // Where all is forbidden none is better than another.
            return Ok(self.chain.draw(row, None, candidates).unwrap_or(0));
        };
        let own = match self.chain.learns() || constraint.wants_mask() {
            true => None,
            false => self.chain.draw(row, None, candidates),
        };
        let mut is_allowed = match own {
            Some(token) => constraint.allows(&[token])?,
            None => false,
        };
        if let Some(mut direct) = self.direct.take() {
            let goes_on = match own {
                Some(token) => direct.allows(&[token])?,
                None => false,
            };
            // Only a token that `direct` does not allow, and the grammar does, begins a thought.
            if goes_on || !is_allowed {
                *constraint = direct;
                is_allowed = goes_on;
            }
        }
        if let Some(token) = own.filter(|_| is_allowed) {
            return Ok(token);
        }
        let mask = constraint.mask()?;
        if let Some(token) = self.chain.draw(row, Some(&mask), candidates) {
            return Ok(token);
        }
        match self.end_tokens.first() {
            Some(&end) if constraint.may_end()? => Ok(end),
            _ => Err(SampleError::Forbidden),
        }
    }
}

impl Forced {
    /// Whether no other spelling is far likelier by a row of logits.
    fn is_likely(&self, row: &[f32]) -> bool {
        let of = |token: Token| row.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY);
        let most = of(self.token) + LIKELIER.ln();
        self.others.iter().all(|&other| of(other) <= most)
    }
}

/// Whether a request gets forced tokens without a choice. Not where it would see that none was made:
/// a bias may forbid a token that spells the text, a log probability belongs to a choice, and
/// penalties, DRY and mirostat go by which tokens the text was chosen in.
fn forwards(request: &GenerationRequest, chain: &Chain) -> bool {
    request.speculation
        && request.sampling.logit_bias.is_empty()
        && request.top_logprobs.is_none()
        && !chain.follows_tokens()
        && !chain.learns()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spelling_stands_unless_another_is_far_likelier() {
        let forced = Forced { token: 1, others: vec![0, 3] };
        assert!(forced.is_likely(&[6.0, 0.0, 50.0, -1.0]), "the third spells another text");
        assert!(forced.is_likely(&[0.0, 0.0, 0.0, 13.0]));
        assert!(!forced.is_likely(&[0.0, 0.0, 0.0, 15.0]));
        assert!(Forced { token: 1, others: Vec::new() }.is_likely(&[9.0, 0.0]));
    }
}
