//! The one neutral request: what every API's chat is translated into, and a template rendered with.

use serde_json::{Map, Value};

use super::{Message, Tools};

/// A conversation and how its prompt is made.
#[derive(Debug, Clone, Default)]
pub struct Conversation {
    /// The messages.
    pub messages: Vec<Message>,
    /// The tools' definitions in OpenAI's form, which the template shows.
    pub tools: Vec<Value>,
    /// The same tools, and how the model may call them.
    pub tool_use: Tools,
    /// Ends the prompt with the assistant's opening, so that the model answers.
    pub add_generation_prompt: bool,
    /// The last message is the assistant's and shall be continued, not closed. Without effect
    /// on a message of another role or one that calls tools.
    pub continue_final_message: bool,
    /// Further variables for the template, such as `enable_thinking`.
    pub kwargs: Map<String, Value>,
    /// How the answer's thoughts are told apart and bounded.
    pub reasoning: Reasoning,
}

/// What becomes of the model's thoughts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reasoning {
    /// Where they stand in the answer.
    pub format: ReasoningFormat,
    /// Most tokens of the thinking block, which is closed then; `None`: no limit.
    pub budget: Option<u32>,
}

/// Where the model's thoughts stand in the answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReasoningFormat {
    /// Apart from the content, in `reasoning_content`.
    #[default]
    Auto,
    /// In the content, with their tags.
    None,
}
