//! Messages as clients send them, and those of the neutral request.

use serde_json::{Map, Value};

use crate::chat::{Content, ContentPart, FunctionCall, Message, Role, ToolCall};
use crate::protocol::body::BodyError;

/// Longest name of a role.
const MAX_ROLE: usize = 64;

/// Checks messages, and brings other dialects' forms into OpenAI's: its old `function_call`,
/// `reasoning` beside `reasoning_content`, and parts that hold text or thoughts.
pub(in crate::protocol) fn neutral(mut messages: Vec<Message>) -> Result<Vec<Message>, BodyError> {
    if messages.is_empty() {
        return Err(BodyError::value("messages", "`messages` must have at least one message"));
    }
    // The last call in the old form, which the next result in that form answers.
    let mut called: Option<String> = None;
    for (i, message) in messages.iter_mut().enumerate() {
        check_role(i, &message.role)?;
        take_thoughts(message);
        call_of_old(i, message, &mut called)?;
        check_content(i, message)?;
    }
    Ok(messages)
}

fn check_role(i: usize, role: &Role) -> Result<(), BodyError> {
    let Role::Other(name) = role else { return Ok(()) };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.len() > MAX_ROLE || !name.chars().all(is_plain) {
        return Err(BodyError::value(
            format!("messages[{i}].role"),
            format!(
                "`messages[{i}].role` must be system, developer, user, assistant, tool or a name \
                 that the model's template knows"
            ),
        ));
    }
    Ok(())
}

/// Moves thoughts to `reasoning_content`: those in the field `reasoning`, and those in parts.
fn take_thoughts(message: &mut Message) {
    let mut thoughts = match message.other.remove("reasoning") {
        Some(Value::String(text)) => text,
        _ => String::new(),
    };
    if let Some(Content::Parts(parts)) = &mut message.content {
        parts.retain(|part| {
            let is_thought =
                matches!(part.kind.as_str(), "thinking" | "redacted_thinking" | "reasoning");
            if is_thought {
                let before = if thoughts.is_empty() { "" } else { "\n" };
                if let Some(text) = thought(part).filter(|text| !text.is_empty()) {
                    thoughts.push_str(before);
                    thoughts.push_str(text);
                }
            }
            !is_thought
        });
        for part in parts {
            if matches!(part.kind.as_str(), "input_text" | "output_text") {
                part.kind = "text".to_owned();
            }
        }
    }
    // Of others it is no thought of the model.
    if message.role == Role::Assistant && !thoughts.is_empty() {
        message.reasoning_content.get_or_insert(thoughts);
    }
}

/// The text of a part that holds thoughts; of an encrypted one, none.
fn thought(part: &ContentPart) -> Option<&str> {
    let named = |name: &str| part.other.get(name).and_then(Value::as_str);
    let summary = || part.other.get("summary")?.get(0)?.get("text")?.as_str();
    part.text
        .as_deref()
        .or_else(|| named("thinking"))
        .or_else(|| named("reasoning"))
        .or_else(summary)
}

/// Turns `function_call` into a call, and names the call that a result in the old form answers.
fn call_of_old(
    i: usize,
    message: &mut Message,
    called: &mut Option<String>,
) -> Result<(), BodyError> {
    if message.role == Role::Tool && message.tool_call_id.is_none() {
        message.tool_call_id = called.take();
    }
    if message.role != Role::Assistant {
        return Ok(());
    }
    let Some(call) = message.other.remove("function_call").filter(|call| !call.is_null()) else {
        return Ok(());
    };
    if message.tool_calls.as_ref().is_some_and(|calls| !calls.is_empty()) {
        return Ok(());
    }
    let path = format!("messages[{i}].function_call");
    let Value::Object(mut call) = call else {
        return Err(BodyError::wrong_type(&*path, format!("`{path}` must be an object")));
    };
    let Some(Value::String(name)) = call.remove("name") else {
        return Err(BodyError::missing(format!("{path}.name")));
    };
    let arguments = call.remove("arguments").unwrap_or(Value::Object(Map::new()));
    // Nine letters and digits, as Mistral's templates want them.
    let id = format!("call{i:05}");
    message.tool_calls = Some(vec![ToolCall {
        id: Some(id.clone()),
        kind: Some("function".to_owned()),
        function: FunctionCall { name, arguments },
    }]);
    *called = Some(id);
    Ok(())
}

fn check_content(i: usize, message: &mut Message) -> Result<(), BodyError> {
    match &message.content {
        Some(Content::Text(_)) => Ok(()),
        Some(Content::Parts(parts)) => {
            parts.iter().enumerate().try_for_each(|(j, part)| check_part(i, j, part))
        }
        None if message.role == Role::Assistant => {
            let calls = message.tool_calls.as_ref().is_some_and(|calls| !calls.is_empty());
            if calls || message.reasoning_content.is_some() {
                Ok(())
            } else {
                Err(BodyError::missing(format!("messages[{i}].content")))
            }
        }
        None => Err(BodyError::missing(format!("messages[{i}].content"))),
    }
}

fn check_part(i: usize, j: usize, part: &ContentPart) -> Result<(), BodyError> {
    let path = format!("messages[{i}].content[{j}]");
    match (part.kind.as_str(), &part.text) {
        ("text", Some(_)) => Ok(()),
        ("text", None) => Err(BodyError::missing(format!("{path}.text"))),
        // OpenAI's clients send back what they got; templates know nothing of it.
        ("refusal", _) => Ok(()),
        (kind, _) => {
            let kind: String = kind.chars().take(40).collect();
            Err(BodyError::unsupported(
                path,
                format!("the model reads text only; a part of type `{kind}` cannot be read"),
            ))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(messages: Value) -> Result<Value, BodyError> {
        let messages = neutral(serde_json::from_value(messages).unwrap())?;
        Ok(serde_json::to_value(messages).unwrap())
    }

    #[test]
    fn parts_of_other_dialects_are_text_or_thoughts() {
        let parts = json!([
            {"type": "thinking", "thinking": "T", "signature": ""},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "R"}]},
            {"type": "redacted_thinking", "data": "x"},
            {"type": "output_text", "text": "a", "annotations": []},
            {"type": "input_text", "text": "b"},
            {"text": "c"},
            "d",
        ]);
        let read = read(json!([
            {"role": "assistant", "content": parts},
            {"role": "user", "content": parts},
            {"role": "assistant", "content": "x", "reasoning": "R2"},
            {"role": "assistant", "content": "x", "reasoning": "no", "reasoning_content": "yes"},
        ]))
        .unwrap();
        let texts: Vec<&str> = read[0]["content"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| p["text"].as_str().unwrap())
            .collect();
        assert_eq!(texts, ["a", "b", "c", "d"]);
        assert_eq!(read[0]["reasoning_content"], "T\nR");
        assert_eq!(read[1]["content"].as_array().unwrap().len(), 4);
        assert_eq!(read[1].get("reasoning_content"), None);
        assert_eq!(read[2]["reasoning_content"], "R2");
        assert_eq!(read[3]["reasoning_content"], "yes");
    }

    #[test]
    fn functions_of_old_become_tools() {
        let read = read(json!([
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{\"a\":1}"}},
            {"role": "function", "name": "f", "content": "4"},
        ]))
        .unwrap();
        let call = &read[1]["tool_calls"][0];
        assert_eq!(call["function"], json!({"name": "f", "arguments": "{\"a\":1}"}));
        assert_eq!(read[2]["role"], "tool");
        assert_eq!(read[2]["tool_call_id"], call["id"]);
        assert_eq!(read[2]["name"], "f");
    }

    #[test]
    fn roles_are_names() {
        for role in ["", "<|im_end|>", "a b", &"x".repeat(65)] {
            let error = read(json!([{"role": role, "content": "x"}])).unwrap_err();
            assert_eq!(error.param.as_deref(), Some("messages[0].role"));
        }
        assert!(read(json!([{"role": "context", "content": "x"}])).is_ok());
        let error = read(json!([{"role": "assistant", "function_call": {"arguments": "{}"}}]));
        assert_eq!(error.unwrap_err().param.as_deref(), Some("messages[0].function_call.name"));
    }
}
