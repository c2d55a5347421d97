//! How the next token is chosen from a row of logits.

mod chain;
mod dry;
mod forced;
mod grammar;
mod logits;
mod matcher;
mod sampler;

pub(super) use self::chain::Candidates;
pub(super) use self::dry::DrySamplers;
pub(super) use self::grammar::Constraints;
pub(super) use self::logits::{logprobs, top_k};
pub(super) use self::matcher::Constraint;
pub(super) use self::sampler::{SampleError, Sampler};
