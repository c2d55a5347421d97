//! Requests and answers as they travel: pure data and its checks, without engine or HTTP, so
//! that it also builds (and is fuzzed) where llama.cpp does not. One folder for each API.

pub mod anthropic;
mod body;
mod embedding;
pub mod llama_server;
mod logit_bias;
pub mod ollama;
pub mod openai;
mod options;
mod prompt;
#[cfg(test)]
mod properties;
pub mod rerank;
mod response_format;
mod sampling;
mod session;
mod speculation;
mod stop;
mod thinking;

pub use body::{BodyError, FromJson, Integer, Object, parse};
pub use embedding::{EmbeddingText, EmbeddingTexts, normalize, shorten};
pub use logit_bias::{Bias, BiasTarget};
pub use options::{MAX_ALTERNATIVES, MAX_CHOICES, Options};
pub use prompt::{MAX_SEQUENCES, Prompt, PromptPiece};
pub use sampling::Sampling;

/// A token id as clients send and get it.
pub type Token = i32;
