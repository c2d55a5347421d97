//! How one sequence's next token is chosen where a grammar may refuse it.

use std::sync::Arc;

use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::sampling::LlamaSampler;

use super::chain::{Candidates, Chain};
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

/// Chooses the tokens of one sequence.
pub(crate) struct Sampler {
    chain: Chain,
    constraint: Option<Constraint>,
    /// Until the first token: what takes the constraint's place unless the model begins with what only
    /// that one allows.
    direct: Option<Constraint>,
    end_tokens: Arc<[Token]>,
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
        Self { chain, constraint, direct, end_tokens }
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
        let token = self.choose(row, candidates)?;
        self.take(token)?;
        Ok(token)
    }

    /// Goes on past a token that was not sampled.
    pub(crate) fn take(&mut self, token: Token) -> Result<(), MatchError> {
        self.chain.accept(token);
        match &mut self.constraint {
            Some(constraint) if !self.end_tokens.contains(&token) => constraint.take(token),
            _ => Ok(()),
        }
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
