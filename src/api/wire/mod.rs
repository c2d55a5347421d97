//! Requests and answers as they travel: pure data and its checks, without engine or HTTP, so
//! that it also builds (and is fuzzed) where llama.cpp does not.

mod answer;
mod bias;
mod body;
mod chat;
mod completion;
mod options;
mod sampling;
mod stop;
pub mod tokens;
#[cfg(test)]
mod wild;

pub use answer::*;
pub use bias::{Bias, BiasTarget};
pub use body::{BodyError, FromJson, Integer, object_text, parse};
pub use chat::{ChatBody, ChatCall, Conversation};
pub use completion::{CompletionBody, CompletionCall, MAX_SEQUENCES, Prompt, PromptPiece};
pub use options::{MAX_ALTERNATIVES, MAX_CHOICES, Options};
