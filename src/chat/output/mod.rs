//! What a model says, as reasoning, text and tool calls.

mod buffer;
mod call;
mod detect;
mod format;
mod harmony;
mod json;
mod named;
mod object;
mod parser;
mod schema;
mod tagged;
#[cfg(test)]
mod trace;

pub use detect::detect;
pub use format::{Call, FORMATS, Format, Tagged};
pub use parser::Parser;
pub use schema::Kinds;

/// Where an output begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// In text.
    Text,
    /// In a thinking block that the prompt has opened.
    Thinking,
}

impl Opening {
    /// Where the output begins that a model of `format` writes behind `prompt`.
    pub fn of(format: &Format, prompt: &str) -> Self {
        match prompt.trim_end().ends_with(format.think.0.trim_end()) {
            true => Self::Thinking,
            false => Self::Text,
        }
    }
}

/// How an output ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The model ended it.
    Model,
    /// It was cut: the length, a stop string, a shutdown.
    Cut,
}

/// A part of an output. Texts are never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Thoughts.
    Reasoning(String),
    /// Text of the answer.
    Text(String),
    /// A call begins; before its arguments. Calls count from 0.
    Call {
        /// Its number.
        index: usize,
        /// The function.
        name: String,
    },
    /// A piece of a call's arguments, which are JSON together; it ends neither inside an escape
    /// nor inside a surrogate pair.
    Arguments {
        /// The call's number.
        index: usize,
        /// The piece.
        fragment: String,
    },
    /// The call's arguments are a whole JSON object.
    CallEnd {
        /// Its number.
        index: usize,
    },
    /// The output ended, or went wrong, inside the call: its arguments are a beginning.
    CallCut {
        /// Its number.
        index: usize,
    },
}

#[cfg(test)]
mod tests;
