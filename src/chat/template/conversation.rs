//! OpenAI's messages in the form that a template can take.

use serde_json::{Map, Value, json};

use super::capabilities::Capabilities;
use super::tojson::dump;
use crate::chat::{Content, Message, Role, ToolCall};

/// The messages as values for the template.
pub(super) fn values(messages: &[Message], can: Capabilities, keeps_developer: bool) -> Vec<Value> {
    let mut out: Vec<Value> = Vec::with_capacity(messages.len());
    // Text of system messages that must become a part of a user message.
    let mut pending: Option<String> = None;
    for message in messages {
        let mut role = role_name(message.role, keeps_developer);
        if role == "system" {
            let is_first = out.is_empty() && pending.is_none();
            if is_first && !can.system || !is_first && !can.late_system && !can.repeated_user {
                let text = message.content.as_ref().map(Content::text).unwrap_or_default();
                // Behind a user message it ends that one, otherwise it begins the next.
                match out.last_mut().filter(|last| last["role"] == "user" && !is_first) {
                    Some(last) => append(last, &text),
                    None => pending = Some(joined(pending, &text)),
                }
                continue;
            }
            if !is_first && !can.late_system {
                role = "user";
            }
        }
        if let Some(text) = pending.take_if(|_| role != "user") {
            out.push(json!({"role": "user", "content": text_value(text, can)}));
        }
        let mut value = value(message, role, can);
        if let Some(text) = pending.take() {
            prepend(&mut value, &text);
        }
        out.push(value);
    }
    if let Some(text) = pending {
        out.push(json!({"role": "user", "content": text_value(text, can)}));
    }
    out
}

fn role_name(role: Role, keeps_developer: bool) -> &'static str {
    match role {
        Role::Developer if keeps_developer => "developer",
        Role::System | Role::Developer => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool | Role::Function => "tool",
    }
}

fn joined(before: Option<String>, text: &str) -> String {
    match before {
        Some(before) => format!("{before}\n\n{text}"),
        None => text.to_owned(),
    }
}

fn text_value(text: String, can: Capabilities) -> Value {
    if can.text_content { Value::String(text) } else { json!([{"type": "text", "text": text}]) }
}

/// The string in which a message's text begins (`from_start`) or ends.
pub(super) fn edge_text(message: &mut Value, from_start: bool) -> Option<&mut String> {
    match message.get_mut("content")? {
        Value::String(text) => Some(text),
        Value::Array(parts) => {
            let part = if from_start { parts.first_mut() } else { parts.last_mut() };
            match part?.get_mut("text")? {
                Value::String(text) => Some(text),
                _ => None,
            }
        }
        _ => None,
    }
}

fn append(message: &mut Value, text: &str) {
    if let Some(content) = edge_text(message, false) {
        content.push_str("\n\n");
        content.push_str(text);
    }
}

fn prepend(message: &mut Value, text: &str) {
    if let Some(content) = edge_text(message, true) {
        content.insert_str(0, &format!("{text}\n\n"));
    }
}

fn value(message: &Message, role: &str, can: Capabilities) -> Value {
    let mut out = Map::new();
    out.insert("role".to_owned(), role.into());
    let calls = message.tool_calls.as_deref().filter(|calls| !calls.is_empty());
    out.insert(
        "content".to_owned(),
        match &message.content {
            None if calls.is_some() && can.no_content => Value::Null,
            None => text_value(String::new(), can),
            Some(Content::Parts(parts))
                if can.part_content && role == "user" && parts.len() > 1 =>
            {
                parts.iter().map(|part| json!({"type": "text", "text": part.as_text()})).collect()
            }
            Some(content) => text_value(content.text(), can),
        },
    );
    if let Some(reasoning) = &message.reasoning_content {
        out.insert("reasoning_content".to_owned(), reasoning.as_str().into());
    }
    if let Some(calls) = calls {
        out.insert(
            "tool_calls".to_owned(),
            calls.iter().map(|call| call_value(call, can)).collect(),
        );
    }
    if let Some(id) = &message.tool_call_id {
        out.insert("tool_call_id".to_owned(), id.as_str().into());
    }
    if let Some(name) = &message.name {
        out.insert("name".to_owned(), name.as_str().into());
    }
    for (key, value) in &message.other {
        out.entry(key.as_str()).or_insert_with(|| value.clone());
    }
    Value::Object(out)
}

fn call_value(call: &ToolCall, can: Capabilities) -> Value {
    let mut out = Map::new();
    if let Some(id) = &call.id {
        out.insert("id".to_owned(), id.as_str().into());
    }
    out.insert("type".to_owned(), call.kind.as_deref().unwrap_or("function").into());
    let arguments = arguments(&call.function.arguments, can);
    out.insert("function".to_owned(), json!({"name": call.function.name, "arguments": arguments}));
    Value::Object(out)
}

/// Models sometimes write arguments that are no JSON, and clients send them back: the
/// conversation must still render.
fn arguments(sent: &Value, can: Capabilities) -> Value {
    let object = match sent {
        Value::Object(_) => Some(sent.clone()),
        Value::Null => Some(json!({})),
        Value::String(text) if text.trim().is_empty() => Some(json!({})),
        Value::String(text) => serde_json::from_str(text).ok().filter(Value::is_object),
        _ => None,
    };
    match (object, sent) {
        (Some(object), _) if can.object_arguments => object,
        (Some(_), Value::String(text)) if !text.trim().is_empty() => text.as_str().into(),
        (Some(object), _) => dump(&object).unwrap_or_else(|_| object.to_string()).into(),
        (None, sent) if can.text_arguments => match sent {
            Value::String(_) => sent.clone(),
            _ => sent.to_string().into(),
        },
        (None, sent) => json!({"arguments": sent}),
    }
}
