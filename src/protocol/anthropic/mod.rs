//! Anthropic's messages. The types are our own: its clients read every field of an answer, and of a
//! request only these few mean anything here.

mod answer;
mod content;
mod messages;
mod stream;
#[cfg(test)]
mod strict;
mod tools;

pub use answer::{Answer, Block, StopReason, Usage, blocks};
pub use messages::{MessagesBody, MessagesCall};
pub use stream::{Head, StreamWriter, write_event};
