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
}
