//! OpenAI's Responses: requests made of items, answers made of items, and streams of typed events.

mod answer;
mod custom_input;
#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, unreachable_pub)]
#[path = "../../../../tests/api/responses/decoder.rs"]
mod decoder;
mod encoder;
mod grammar;
mod items;
mod names;
mod request;
#[cfg(test)]
mod tests;
mod tools;

pub use answer::{Failure, Head, Outcome, ResponseUsage};
pub use encoder::Encoder;
pub use names::ToolNames;
pub use request::{History, MAX_ITEMS, ResponsesBody, ResponsesCall};
