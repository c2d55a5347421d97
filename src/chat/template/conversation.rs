//! OpenAI's messages in the form that a template can take.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::arguments;
use super::capabilities::Capabilities;
use super::specials::Specials;
use super::tojson::dump;
use crate::chat::{Content, ContentPart, Message, Role, ToolCall};

/// The messages as JSON for the template. No text is dropped: what the template cannot take where
/// it stands goes into a message that it can take.
pub(super) fn values(
    messages: &[Message],
    can: Capabilities,
    specials: Option<&Specials>,
) -> Vec<Value> {
    let mut out: Vec<Value> = Vec::with_capacity(messages.len());
    // Instructions that must become a part of a user message.
    let mut pending: Option<String> = None;
    let mut calls = Calls::default();
    for (i, message) in messages.iter().enumerate() {
        let answers_a_call = calls.answered_by(message);
        let role = match &message.role {
            Role::System | Role::Developer => {
                let is_leading = messages[..i].iter().all(is_instruction);
                match instruction(message, is_leading.then_some(i), out.first(), can) {
                    Place::Turn(role) => role,
                    Place::First => {
                        let text = message.text();
                        match out.first_mut() {
                            Some(first) => append(first, &text),
                            None => pending = Some(joined(pending, &text)),
                        }
                        continue;
                    }
                }
            }
            Role::Tool if !can.tool || !can.lone_tool && !answers_a_call => "user",
            role => role.name(),
        };
        if let Some(text) = pending.take_if(|_| role != "user") {
            out.push(json!({"role": "user", "content": text_value(text, can)}));
        }
        let mut value = value(message, role, can, specials);
        if let Some(text) = pending.take() {
            prepend(&mut value, &text);
        }
        out.push(value);
    }
    if let Some(text) = pending {
        out.push(json!({"role": "user", "content": text_value(text, can)}));
    }
    alternating(out, can)
}

fn is_instruction(message: &Message) -> bool {
    matches!(message.role, Role::System | Role::Developer)
}

/// Where a system's or developer's text goes.
enum Place {
    /// It is a message of this role.
    Turn(&'static str),
    /// It ends the first message; without one, it begins the first user message.
    First,
}

/// `leading` is the message's index if only such messages stand before it.
fn instruction(
    message: &Message,
    leading: Option<usize>,
    first: Option<&Value>,
    can: Capabilities,
) -> Place {
    let own = match message.role {
        Role::Developer if can.developer => "developer",
        _ => "system",
    };
    let fits = match (leading, own) {
        (Some(0), "system") => can.system,
        (Some(0), _) => true,
        (Some(_), own) => match first.map(|first| (&first["role"], own)) {
            Some((first, "system")) => first == "system" && can.repeated_system,
            Some((first, _)) => first == "system" && can.system_developer,
            None => false,
        },
        (None, "developer") if can.late_developer => true,
        (None, _) if can.late_system => return Place::Turn("system"),
        (None, _) => return Place::Turn("user"),
    };
    if fits { Place::Turn(own) } else { Place::First }
}

/// The calls that a tool message may answer.
#[derive(Default)]
struct Calls<'a> {
    ids: HashSet<&'a str>,
    /// The messages right before are calls and their answers.
    open: bool,
}

impl<'a> Calls<'a> {
    fn answered_by(&mut self, message: &'a Message) -> bool {
        let calls = message.tool_calls.as_deref().unwrap_or_default();
        self.ids.extend(calls.iter().filter_map(|call| call.id.as_deref()));
        if message.role != Role::Tool {
            self.open = !calls.is_empty();
        }
        self.open || message.tool_call_id.as_deref().is_some_and(|id| self.ids.contains(id))
    }
}

/// Joins neighbors of one role, and lets a user begin, where the template insists on turns.
fn alternating(messages: Vec<Value>, can: Capabilities) -> Vec<Value> {
    if can.repeated_user && can.repeated_assistant && can.leading_assistant {
        return messages;
    }
    let mut out: Vec<Value> = Vec::with_capacity(messages.len());
    for mut message in messages {
        let has_calls = |message: &Value| message.get("tool_calls").is_some();
        let is_first = out.iter().all(|before| before["role"] == "system");
        if message["role"] == "assistant" && is_first && !can.leading_assistant {
            out.push(json!({"role": "user", "content": text_value(String::new(), can)}));
        }
        let joins = |last: &Value| match message["role"].as_str() {
            _ if last["role"] != message["role"] => false,
            Some("user") => !can.repeated_user,
            Some("assistant") => !can.repeated_assistant && !has_calls(last),
            _ => false,
        };
        match out.last_mut().filter(|last| joins(last)) {
            None => out.push(message),
            Some(last) => {
                let parts = match message["content"].take() {
                    Value::Array(parts) => parts,
                    text => vec![json!({"text": text})],
                };
                for text in parts.iter().filter_map(|part| part["text"].as_str()) {
                    append(last, text);
                }
                if let (Some(last), Value::Object(message)) = (last.as_object_mut(), message) {
                    let more = message.into_iter().filter(|(key, _)| key != "content");
                    last.extend(more);
                }
            }
        }
    }
    out
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
        if !content.is_empty() && !text.is_empty() {
            content.push_str("\n\n");
        }
        content.push_str(text);
    } else if let Some(content) = message.get_mut("content") {
        *content = text.into();
    }
}

fn prepend(message: &mut Value, text: &str) {
    if let Some(content) = edge_text(message, true) {
        content.insert_str(0, &format!("{text}\n\n"));
    }
}

fn value(message: &Message, role: &str, can: Capabilities, specials: Option<&Specials>) -> Value {
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
                let texts = || parts.iter().map(ContentPart::as_text);
                match specials.is_some_and(|specials| specials.is_across(texts())) {
                    false => texts().map(|text| json!({"type": "text", "text": text})).collect(),
                    // Together they are seen for what they spell.
                    true => text_value(texts().map(str::trim).collect(), can),
                }
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
    let arguments = for_template(&call.function.arguments, can);
    out.insert("function".to_owned(), json!({"name": call.function.name, "arguments": arguments}));
    Value::Object(out)
}

/// Models sometimes write arguments that are no JSON, and clients send them back: the
/// conversation must still render.
fn for_template(sent: &Value, can: Capabilities) -> Value {
    let object = match sent {
        Value::Object(_) => Some(sent.clone()),
        Value::Null => Some(json!({})),
        Value::String(text) if text.trim().is_empty() => Some(json!({})),
        Value::String(text) => arguments::object(text),
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
