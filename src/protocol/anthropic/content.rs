//! Anthropic's messages and content blocks, and those of the neutral request.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::chat::{Content, ContentPart, FunctionCall, Message, Role, ToolCall};
use crate::protocol::body::BodyError;

/// How Claude Code's line about itself begins. It differs in every request, so that no prompt would
/// begin like another one.
const BILLING_HEADER: &str = "x-anthropic-billing-header:";

/// Longest part of an unknown name that an error repeats.
const MAX_NAME_CHARS: usize = 40;

/// A message as sent.
#[derive(Debug, Deserialize)]
pub(super) struct SentMessage {
    role: String,
    content: Option<Value>,
}

/// The neutral messages of a conversation, and where each stands in the request. Results of tools are
/// messages of their own, right behind the calls, as templates want them.
pub(super) fn neutral(
    system: Option<Value>,
    messages: Vec<SentMessage>,
) -> Result<(Vec<Message>, Vec<String>), BodyError> {
    if messages.is_empty() {
        return Err(BodyError::value("messages", "`messages` must have at least one message"));
    }
    let mut all: Vec<Message> = match system {
        None => Vec::new(),
        Some(system) => instructions(system)?.into_iter().collect(),
    };
    let mut places = vec!["system".to_owned(); all.len()];
    for (i, SentMessage { role, content }) in messages.into_iter().enumerate() {
        let path = format!("messages[{i}].content");
        let content = content.ok_or_else(|| BodyError::missing(&*path))?;
        match role.as_str() {
            "user" => user(&path, content, &mut all)?,
            "assistant" => all.push(assistant(&path, content)?),
            // Instructions on the way, which Claude Code sends.
            "system" => all.push(said(Role::System, texts(&path, content)?)),
            _ => {
                let path = format!("messages[{i}].role");
                let message = format!("`{path}` must be \"user\", \"assistant\" or \"system\"");
                return Err(BodyError::value(path, message));
            }
        }
        places.resize(all.len(), format!("messages[{i}]"));
    }
    Ok((all, places))
}

/// The field `system` as a message, without Claude Code's billing header.
fn instructions(system: Value) -> Result<Option<Message>, BodyError> {
    let mut texts = texts("system", system)?;
    texts.retain_mut(|text| {
        if text.trim_start().starts_with(BILLING_HEADER) {
            let head = text.trim_start();
            *text = head.split_once('\n').map_or("", |(_, rest)| rest).trim_start().to_owned();
            return !text.is_empty();
        }
        true
    });
    let is_empty = texts.iter().all(String::is_empty);
    Ok((!is_empty).then(|| said(Role::System, texts)))
}

fn user(path: &str, content: Value, all: &mut Vec<Message>) -> Result<(), BodyError> {
    let mut words = Vec::new();
    let mut results = Vec::new();
    for block in blocks(path, content)? {
        match block.kind.as_str() {
            "text" => words.push(block.text("text")?),
            "tool_result" => results.push(result(block)?),
            _ => return Err(block.refused()),
        }
    }
    let only_results = words.is_empty() && !results.is_empty();
    all.extend(results);
    if !only_results {
        all.push(said(Role::User, words));
    }
    Ok(())
}

/// What a tool returned. The model is told of a failure in the text, as no template has a flag for it.
fn result(mut block: Block) -> Result<Message, BodyError> {
    let path = format!("{}.content", block.path);
    let mut words = match block.fields.shift_remove("content") {
        None => Vec::new(),
        Some(content) => texts(&path, content)?,
    };
    let failed = match block.fields.get("is_error") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(failed)) => *failed,
        Some(_) => {
            let path = format!("{}.is_error", block.path);
            let message = format!("`{path}` must be true or false");
            return Err(BodyError::wrong_type(path, message));
        }
    };
    let says_so = |text: &String| {
        text.lines().next().is_some_and(|line| line.to_ascii_lowercase().contains("error"))
    };
    if failed && !words.first().is_some_and(says_so) {
        match words.first_mut() {
            Some(first) => first.insert_str(0, "Error: "),
            None => words.push("Error".to_owned()),
        }
    }
    let id = block.text("tool_use_id")?;
    Ok(Message { tool_call_id: Some(id), ..said(Role::Tool, words) })
}

fn assistant(path: &str, content: Value) -> Result<Message, BodyError> {
    let mut words = Vec::new();
    let mut thoughts = String::new();
    let mut calls = Vec::new();
    for mut block in blocks(path, content)? {
        match block.kind.as_str() {
            "text" => words.push(block.text("text")?),
            "thinking" => {
                let text = block.text("thinking")?;
                if !thoughts.is_empty() && !text.is_empty() {
                    thoughts.push('\n');
                }
                thoughts.push_str(&text);
            }
            // Encrypted: for the server that wrote it.
            "redacted_thinking" => {}
            "tool_use" => {
                let arguments = block.fields.shift_remove("input").unwrap_or_default();
                calls.push(ToolCall {
                    id: Some(block.text("id")?),
                    kind: Some("function".to_owned()),
                    function: FunctionCall { name: block.text("name")?, arguments },
                });
            }
            _ => return Err(block.refused()),
        }
    }
    Ok(Message {
        reasoning_content: (!thoughts.is_empty()).then_some(thoughts),
        tool_calls: (!calls.is_empty()).then_some(calls),
        ..said(Role::Assistant, words)
    })
}

/// A message of texts. Several of them are parts, as in OpenAI's form.
fn said(role: Role, mut texts: Vec<String>) -> Message {
    let first = if texts.len() > 1 { None } else { Some(texts.pop().unwrap_or_default()) };
    match first {
        Some(text) => Message::new(role, &text),
        None => {
            let parts = texts.into_iter().map(ContentPart::from).collect();
            Message { content: Some(Content::Parts(parts)), ..Message::new(role, "") }
        }
    }
}

/// The texts of a content that can have nothing else.
fn texts(path: &str, content: Value) -> Result<Vec<String>, BodyError> {
    let text = |block: Block| match block.kind.as_str() {
        "text" => block.text("text"),
        _ => Err(block.refused()),
    };
    blocks(path, content)?.into_iter().map(text).collect()
}

/// A content block.
struct Block {
    /// Where it stands, such as `messages[0].content[1]`.
    path: String,
    kind: String,
    fields: Map<String, Value>,
}

/// A content as blocks; a text is one of them.
fn blocks(path: &str, content: Value) -> Result<Vec<Block>, BodyError> {
    let list = match content {
        Value::String(text) => return Ok(vec![Block::of_text(path.to_owned(), text)]),
        Value::Array(list) => list,
        Value::Null => Vec::new(),
        _ => {
            let message = format!("`{path}` must be a string or an array of content blocks");
            return Err(BodyError::wrong_type(path, message));
        }
    };
    let block = |(i, sent)| Block::read(format!("{path}[{i}]"), sent);
    list.into_iter().enumerate().map(block).collect()
}

impl Block {
    fn of_text(path: String, text: String) -> Self {
        let fields = Map::from_iter([("text".to_owned(), Value::String(text))]);
        Self { path, kind: "text".to_owned(), fields }
    }

    fn read(path: String, sent: Value) -> Result<Self, BodyError> {
        let mut fields = match sent {
            Value::Object(fields) => fields,
            Value::String(text) => return Ok(Self::of_text(path, text)),
            _ => {
                let message = format!("`{path}` must be an object");
                return Err(BodyError::wrong_type(path, message));
            }
        };
        match fields.shift_remove("type") {
            Some(Value::String(kind)) => Ok(Self { path, kind, fields }),
            None | Some(Value::Null) => Err(BodyError::missing(format!("{path}.type"))),
            Some(_) => {
                let path = format!("{path}.type");
                let message = format!("`{path}` must be a string");
                Err(BodyError::wrong_type(path, message))
            }
        }
    }

    /// A field that must be a text.
    fn text(&self, name: &str) -> Result<String, BodyError> {
        let path = || format!("{}.{name}", self.path);
        match self.fields.get(name) {
            Some(Value::String(text)) => Ok(text.clone()),
            None | Some(Value::Null) => Err(BodyError::missing(path())),
            Some(_) => Err(BodyError::wrong_type(path(), format!("`{}` must be a string", path()))),
        }
    }

    /// Why this block cannot stand where it does.
    fn refused(&self) -> BodyError {
        let path = format!("{}.type", self.path);
        let kind: String = self.kind.chars().take(MAX_NAME_CHARS).collect();
        match kind.as_str() {
            "image" | "document" => {
                let message =
                    format!("`{path}`: the model reads text only; `{kind}` cannot be read");
                BodyError::unsupported(path, message)
            }
            "text" | "thinking" | "redacted_thinking" | "tool_use" | "tool_result" => {
                let message = format!("`{path}`: a block of type `{kind}` cannot stand here");
                BodyError::value(path, message)
            }
            _ => {
                let message = format!("`{path}`: blocks of type `{kind}` are not known here");
                BodyError::unsupported(path, message)
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(system: Value, messages: Value) -> Result<Value, BodyError> {
        let system = (!system.is_null()).then_some(system);
        let (messages, _) = neutral(system, serde_json::from_value(messages).unwrap())?;
        Ok(serde_json::to_value(messages).unwrap())
    }

    fn text(text: &str) -> Value {
        json!({"type": "text", "text": text, "cache_control": {"type": "ephemeral"}})
    }

    #[test]
    fn an_agents_history_is_that_of_openais_dialect() {
        let call = json!({"type": "tool_use", "id": "toolu_1", "name": "ls", "input": {"a": 1}});
        let thinking = json!({"type": "thinking", "thinking": "T", "signature": ""});
        let result = json!({"type": "tool_result", "tool_use_id": "toolu_1",
            "content": [text("one"), text("two")], "cache_control": {"type": "ephemeral"}});
        let read = read(
            json!([text("Be brief."), text("Be kind.")]),
            json!([
                {"role": "user", "content": [text("List")]},
                {"role": "assistant", "content": [thinking, {"type": "redacted_thinking",
                    "data": "x"}, {"type": "thinking", "thinking": "U"}, text("I look."), call]},
                {"role": "user", "content": [text("Well?"), result]},
                {"role": "system", "content": "Hurry."},
                {"role": "assistant", "content": [call]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1"}]},
            ]),
        )
        .unwrap();
        let part = |text: &str| json!({"type": "text", "text": text});
        let call = json!([{"id": "toolu_1", "type": "function",
            "function": {"name": "ls", "arguments": {"a": 1}}}]);
        assert_eq!(
            read,
            json!([
                {"role": "system", "content": [part("Be brief."), part("Be kind.")]},
                {"role": "user", "content": "List"},
                {"role": "assistant", "content": "I look.", "reasoning_content": "T\nU",
                 "tool_calls": call},
                {"role": "tool", "content": [part("one"), part("two")],
                 "tool_call_id": "toolu_1"},
                {"role": "user", "content": "Well?"},
                {"role": "system", "content": "Hurry."},
                {"role": "assistant", "content": "", "tool_calls": call},
                {"role": "tool", "content": "", "tool_call_id": "toolu_1"},
            ])
        );
    }

    #[test]
    fn the_billing_header_is_dropped_from_the_system_prompt_alone() {
        let header = "x-anthropic-billing-header: cc_version=2.1; cch=0a1b2;";
        let system = |system: Value| {
            let messages = read(system, json!([{"role": "user", "content": header}])).unwrap();
            assert_eq!(messages.as_array().unwrap().last().unwrap()["content"], header);
            messages[0]["content"].clone()
        };
        assert_eq!(system(json!([text(header), text("Be brief.")])), "Be brief.");
        assert_eq!(system(json!(format!("{header}\n\nBe brief."))), "Be brief.");
        assert_eq!(system(json!([text(&format!(" {header}\nBe brief."))])), "Be brief.");
        // Nothing is left: there is no system message.
        assert_eq!(system(json!(header)), header);
        let quoted = format!("It begins with\n{header}");
        assert_eq!(system(json!(quoted)), quoted);
    }

    #[test]
    fn a_failed_tool_says_so_once() {
        let result = |content: Value| {
            let block = json!({"type": "tool_result", "tool_use_id": "t", "is_error": true,
                "content": content});
            let messages = json!([{"role": "user", "content": [block]}]);
            read(Value::Null, messages).unwrap()[0]["content"].clone()
        };
        assert_eq!(result(json!("no such file")), "Error: no such file");
        assert_eq!(result(json!([text("no such file")])), "Error: no such file");
        assert_eq!(result(json!("<tool_use_error>x")), "<tool_use_error>x");
        assert_eq!(result(Value::Null), "Error");
    }

    #[test]
    fn wrong_blocks_name_the_path_of_the_fault() {
        let user = |content: Value| json!([{"role": "user", "content": content}]);
        let image = json!({"type": "image", "source": {"type": "base64", "data": ""}});
        let result =
            |content: Value| json!({"type": "tool_result", "tool_use_id": "t", "content": content});
        for (messages, param, code) in [
            (json!([]), "messages", "invalid_value"),
            (json!([{"role": "user"}]), "messages[0].content", "missing_field"),
            (json!([{"role": "tool", "content": ""}]), "messages[0].role", "invalid_value"),
            (user(json!(5)), "messages[0].content", "invalid_type"),
            (user(json!([5])), "messages[0].content[0]", "invalid_type"),
            (user(json!([{}])), "messages[0].content[0].type", "missing_field"),
            (user(json!([{"type": 5}])), "messages[0].content[0].type", "invalid_type"),
            (user(json!([{"type": "text"}])), "messages[0].content[0].text", "missing_field"),
            (
                user(json!([text("a"), {"type": "video"}])),
                "messages[0].content[1].type",
                "unsupported_value",
            ),
            (user(json!([image])), "messages[0].content[0].type", "unsupported_value"),
            (
                user(json!([result(json!([text("a"), image]))])),
                "messages[0].content[0].content[1].type",
                "unsupported_value",
            ),
            (
                user(json!([{"type": "tool_use", "id": "t", "name": "f", "input": {}}])),
                "messages[0].content[0].type",
                "invalid_value",
            ),
            (
                user(json!([{"type": "tool_result", "content": "x"}])),
                "messages[0].content[0].tool_use_id",
                "missing_field",
            ),
            (
                json!([{"role": "assistant", "content": [{"type": "tool_use", "id": "t"}]}]),
                "messages[0].content[0].name",
                "missing_field",
            ),
        ] {
            let error = read(Value::Null, messages.clone()).unwrap_err();
            assert_eq!((error.param.as_deref(), error.code), (Some(param), code), "{messages}");
        }
        let error = read(json!([image]), user(json!("hi"))).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("system[0].type"));
    }
}
