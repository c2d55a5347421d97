//! Messages to prompt text: pure, without engine or HTTP.

mod message;
mod template;

pub use message::{
    Content, ContentPart, FunctionCall, InvalidMessage, Message, Role, ToolCall, validate,
};
pub use template::{CHATML, RenderError, RenderRequest, Rendered, Template, TemplateError};
