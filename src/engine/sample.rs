//! How the next token is chosen from a row of logits.

mod chain;
mod dry;
mod logits;

pub(super) use self::chain::{Candidates, Sampler};
pub(super) use self::dry::DrySamplers;
pub(super) use self::logits::logprobs;
