//! The model's chat template, rendered as its authors' tools render it.

use serde_json::{Map, Value};

use super::Message;

/// A parsed chat template.
#[derive(Debug)]
pub struct Template {
    source: String,
}

/// What a template is rendered with.
#[derive(Debug, Clone, Default)]
pub struct RenderRequest<'a> {
    /// The conversation.
    pub messages: &'a [Message],
    /// OpenAI's tool definitions as sent.
    pub tools: &'a [Value],
    /// Ends the prompt with the assistant's opening, so that the model answers.
    pub add_generation_prompt: bool,
    /// The last message is the assistant's and shall be continued, not closed.
    pub continue_final_message: bool,
    /// Further variables, such as `enable_thinking`.
    pub kwargs: Map<String, Value>,
}

/// A rendered prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub prompt: String,
    /// Byte offsets in `prompt` at which user messages begin, ascending.
    pub message_starts: Vec<usize>,
}

/// The template is not valid Jinja, or uses what we do not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(pub String);

/// The template refused the messages or failed on them; the text is the template's own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RenderError(pub String);

impl Template {
    /// Parses `source`. `bos` and `eos` are the model's tokens as text.
    pub fn new(
        source: &str,
        _bos: Option<&str>,
        _eos: Option<&str>,
    ) -> Result<Self, TemplateError> {
        Ok(Self { source: source.to_owned() })
    }

    /// The template's text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Renders a conversation. Blocking; bounded by fuel.
    pub fn render(&self, _request: &RenderRequest<'_>) -> Result<Rendered, RenderError> {
        Err(RenderError(String::new()))
    }
}
