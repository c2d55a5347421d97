//! What only llama-server has: bodies of its own endpoints, and what it adds to OpenAI's answers.

mod answer;
mod completion;
mod embedding;
mod timings;
mod tokens;

pub use answer::{End, NativeChunk, NativeWriter, Place, Said};
pub use completion::{ExtraFile, Infill, InfillBody, InfillCall, NativeBody, NativeCall};
pub use embedding::{EmbeddingCall, NativeEmbedding};
pub use timings::{Progress, Timings};
pub use tokens::{DetokenizeRequest, TextOrToken, TokenizeContent, TokenizeRequest};
