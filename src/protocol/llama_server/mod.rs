//! What only llama-server has: bodies of its own endpoints, and what it adds to OpenAI's answers.

mod timings;
mod tokens;

pub use timings::{Progress, Timings};
pub use tokens::{DetokenizeRequest, TextOrToken, TokenizeContent, TokenizeRequest};
