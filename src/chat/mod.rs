//! Messages to prompt text: pure, without engine or HTTP.

mod message;
mod template;

pub use message::{Content, ContentPart, FunctionCall, Message, Role, ToolCall};
pub use template::{CHATML, RenderError, RenderRequest, Rendered, Template, TemplateError};
