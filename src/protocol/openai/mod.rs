//! OpenAI's chat, completions and Responses, with llama-server's additions to their fields.

mod answer;
mod chat;
mod completion;
mod embeddings;
mod messages;
mod options;
pub mod responses;
mod tools;

pub use answer::*;
pub use chat::{ChatBody, ChatCall};
pub use completion::{CompletionBody, CompletionCall};
pub(super) use embeddings::dimensions;
pub use embeddings::{EmbeddingUsage, EmbeddingsAnswer, EmbeddingsCall, Encoding};
pub(super) use messages::neutral;
pub(super) use options::RawOptions;
pub(super) use tools::ToolFields;
