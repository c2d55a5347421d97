//! Messages as OpenAI's chat API has them.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said; assistants that only call tools may say nothing. `null` is an empty text, as
    /// for llama-server.
    #[serde(default, deserialize_with = "text_or_null")]
    pub content: Option<Content>,
    /// The assistant's thoughts in an earlier turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// Tools that the assistant called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Vec<ToolCall>>,
    /// The call that a tool message answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// The name of the speaker or tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Fields that some template may know.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

fn text_or_null<'de, D: Deserializer<'de>>(json: D) -> Result<Option<Content>, D::Error> {
    let content = Option::<Content>::deserialize(json)?;
    Ok(Some(content.unwrap_or_else(|| Content::Text(String::new()))))
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Role {
    System,
    Developer,
    User,
    Assistant,
    Tool,
    /// OpenAI's legacy role for function results.
    Function,
}

/// A message's content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// Plain text.
    Text(String),
    /// Typed parts.
    Parts(Vec<ContentPart>),
}

/// A part of a message's content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContentPart {
    /// `text`, or a kind that this server cannot read.
    #[serde(rename = "type")]
    pub kind: String,
    /// The text, if `kind` is `text`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What other kinds carry.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A call of a tool in the history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `function`.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// What was called.
    pub function: FunctionCall,
}

/// A function's name and arguments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunctionCall {
    /// Its name.
    pub name: String,
    /// JSON text as OpenAI sends it, or the object itself.
    #[serde(default)]
    pub arguments: Value,
}

impl Content {
    /// The text; parts are joined by line breaks.
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Parts(parts) => {
                parts.iter().map(ContentPart::as_text).collect::<Vec<_>>().join("\n")
            }
        }
    }
}

impl ContentPart {
    /// The part's text; a refusal is the text that the assistant refused with.
    pub fn as_text(&self) -> &str {
        match &self.text {
            Some(text) => text,
            None => self.other.get("refusal").and_then(Value::as_str).unwrap_or_default(),
        }
    }
}

/// What is wrong with a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct InvalidMessage {
    /// Path of the field, such as `messages[0].content[1].text`.
    pub path: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// Checks what types alone do not say, for a model that reads text only.
pub fn validate(messages: &[Message]) -> Result<(), InvalidMessage> {
    let invalid =
        |path: String, message: &str| InvalidMessage { path, message: message.to_owned() };
    if messages.is_empty() {
        return Err(invalid("messages".to_owned(), "must have at least one message"));
    }
    for (index, message) in messages.iter().enumerate() {
        let at = format!("messages[{index}]");
        match &message.content {
            Some(Content::Parts(parts)) => validate_parts(&at, parts)?,
            Some(Content::Text(_)) => {}
            None if matches!(message.role, Role::Assistant) => {}
            None => {
                return Err(invalid(
                    format!("{at}.content"),
                    "is required: a string or an array of text parts",
                ));
            }
        }
        for (index, call) in message.tool_calls.iter().flatten().enumerate() {
            let at = format!("{at}.tool_calls[{index}].function");
            if call.function.name.is_empty() {
                return Err(invalid(format!("{at}.name"), "must not be empty"));
            }
            if !matches!(call.function.arguments, Value::String(_) | Value::Object(_) | Value::Null)
            {
                return Err(invalid(
                    format!("{at}.arguments"),
                    "must be a string of JSON or an object",
                ));
            }
        }
    }
    Ok(())
}

fn validate_parts(at: &str, parts: &[ContentPart]) -> Result<(), InvalidMessage> {
    for (index, part) in parts.iter().enumerate() {
        let at = format!("{at}.content[{index}]");
        let known = matches!(part.kind.as_str(), "text" | "input_text" | "output_text" | "refusal");
        if !known {
            return Err(InvalidMessage {
                path: format!("{at}.type"),
                message: format!(
                    "`{:.40}` cannot be read: this model takes parts of type `text` only",
                    part.kind
                ),
            });
        }
        let is_refusal =
            part.kind == "refusal" && part.other.get("refusal").is_some_and(Value::is_string);
        if part.text.is_none() && !is_refusal {
            return Err(InvalidMessage {
                path: format!("{at}.text"),
                message: "is required in a part of type `text`".to_owned(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn check(messages: Value) -> Result<(), String> {
        let messages: Vec<Message> = serde_json::from_value(messages).unwrap();
        validate(&messages).map_err(|error| error.to_string())
    }

    #[test]
    fn messages_that_clients_send_are_valid() {
        let arguments = serde_json::json!(["{}", {}, "", "{not json", null]);
        let calls: Vec<Value> = arguments
            .as_array()
            .unwrap()
            .iter()
            .map(|arguments| serde_json::json!({"function": {"name": "f", "arguments": arguments}}))
            .collect();
        let messages = serde_json::json!([
            {"role": "developer", "content": [{"type": "text", "text": "a", "cache_control": {}}]},
            {"role": "user", "content": "b"},
            {"role": "assistant", "content": null, "tool_calls": calls},
            {"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]},
            {"role": "tool", "content": [{"type": "text", "text": "c"}], "tool_call_id": "1"},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        ]);
        assert_eq!(check(messages), Ok(()));
    }

    #[test]
    fn what_cannot_be_read_is_named_by_its_path() {
        for (messages, start) in [
            (serde_json::json!([]), "messages: "),
            (serde_json::json!([{"role": "user"}]), "messages[0].content: "),
            (serde_json::json!([{"role": "tool", "tool_call_id": "1"}]), "messages[0].content: "),
            (
                serde_json::json!([{"role": "user", "content": [{"type": "text"}]}]),
                "messages[0].content[0].text: ",
            ),
            (
                serde_json::json!([{"role": "user", "content": "a"}, {"role": "user", "content": [
                    {"type": "text", "text": "b"}, {"type": "image_url", "image_url": {}}]}]),
                "messages[1].content[1].type: `image_url`",
            ),
            (
                serde_json::json!([{"role": "assistant", "tool_calls": [
                    {"function": {"name": "f", "arguments": 5}}]}]),
                "messages[0].tool_calls[0].function.arguments: ",
            ),
            (
                serde_json::json!([{"role": "assistant", "tool_calls": [
                    {"function": {"name": "", "arguments": "{}"}}]}]),
                "messages[0].tool_calls[0].function.name: ",
            ),
        ] {
            let error = check(messages).unwrap_err();
            assert!(error.starts_with(start), "{error}");
        }
    }
}
