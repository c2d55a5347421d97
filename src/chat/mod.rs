//! Messages to prompt text: pure, without engine or HTTP.

mod conversation;
mod message;
mod template;

pub use conversation::Conversation;
pub use message::{
    Content, ContentPart, FunctionCall, InvalidMessage, Message, Role, ToolCall, validate,
};
pub use template::{CHATML, RenderError, Rendered, Template, TemplateError};
