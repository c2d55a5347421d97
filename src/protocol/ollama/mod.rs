//! Ollama's API: bodies of its chats and generations, and the lines of its answers.

mod answer;
mod chat;
mod embed;
mod generate;
mod options;
mod show;

pub use answer::{Form, Measures, Said, Writer, nanoseconds};
pub use chat::{OllamaCall, OllamaChatBody};
pub use embed::{EmbedAnswer, EmbedCall, OldEmbeddingsAnswer, OldEmbeddingsCall};
pub use generate::{OllamaGenerateBody, OllamaGenerateCall, OllamaPrompt};
pub use options::OllamaOptions;
pub use show::ShowBody;
