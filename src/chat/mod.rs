//! Messages to prompt text: pure, without engine or HTTP.

mod conversation;
mod message;
mod template;

pub use conversation::Conversation;
pub use message::{Content, ContentPart, FunctionCall, Message, Role, ToolCall};
pub use template::{CHATML, RenderError, Rendered, Template, TemplateError};
