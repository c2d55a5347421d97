//! Messages to prompt text, and output back to messages: pure, without engine or HTTP.

pub mod constraint;
mod conversation;
mod json_text;
mod message;
pub mod output;
mod template;
mod tools;

pub use conversation::{Conversation, Reasoning, ReasoningFormat};
pub use message::{Content, ContentPart, FunctionCall, Message, Role, ToolCall};
pub use template::{CHATML, RenderError, Rendered, Template, TemplateError};
pub use tools::{ResponseFormat, Tool, ToolChoice, Tools};
