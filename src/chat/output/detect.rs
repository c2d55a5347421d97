//! Which format a model writes, found out by rendering with its template.

use std::sync::Arc;

use serde_json::json;

use super::format::PLAIN;
use super::{End, Event, FORMATS, Format, Opening, Parser};
use crate::chat::{Conversation, FunctionCall, Message, Role, Tool, ToolCall};

const TOOL: &str = "made_up_tool";
const KEY: &str = "made_up_key";
const VALUE: &str = "made up value";
const THOUGHT: &str = "Made up thought.";

/// The format in whose form a template writes a call that the history holds: what the template
/// writes, the model was trained on. `render` gives the prompt of a conversation, or `None` if the
/// template fails on it. `None`: the template shows neither calls nor thoughts.
pub fn detect(render: impl Fn(&Conversation) -> Option<String>) -> Option<&'static Format> {
    let user = || Message::new(Role::User, "Hi");
    let opened = conversation(vec![user()], true);
    let opened = render(&opened).unwrap_or_default();
    let call = ToolCall {
        id: Some("call12345".to_owned()),
        kind: Some("function".to_owned()),
        function: FunctionCall { name: TOOL.to_owned(), arguments: json!({KEY: VALUE}) },
    };
    let calling = Message { tool_calls: Some(vec![call]), ..Message::new(Role::Assistant, "") };
    let result = Message {
        tool_call_id: Some("call12345".to_owned()),
        name: Some(TOOL.to_owned()),
        ..Message::new(Role::Tool, "Result")
    };
    let called = render(&conversation(vec![user(), calling.clone(), result], true))
        .or_else(|| render(&conversation(vec![user(), calling], false)))
        .unwrap_or_default();
    // Without what comes before the answer: descriptions of tools, with examples of calls.
    let plain = conversation(vec![user(), Message::new(Role::Assistant, VALUE)], false);
    let plain = render(&plain).unwrap_or_default();
    let begin = common(&called, &plain);
    // The two may share the beginning of a tag.
    let tag = called[..begin].rfind('<').unwrap_or(begin);
    FORMATS
        .iter()
        .find(|format| reads(format, &called[begin..]) || reads(format, &called[tag..]))
        .or_else(|| thinks(&render, &opened).then_some(&PLAIN))
}

fn conversation(messages: Vec<Message>, add_generation_prompt: bool) -> Conversation {
    let parameters = json!({
        "type": "object",
        "properties": {KEY: {"type": "string", "description": "A key."}},
        "required": [KEY],
    });
    let function = json!({"name": TOOL, "description": "A tool.", "parameters": parameters});
    Conversation {
        messages,
        tools: vec![json!({"type": "function", "function": function})],
        add_generation_prompt,
        ..Conversation::default()
    }
}

/// Bytes at the beginning of both texts.
fn common(a: &str, b: &str) -> usize {
    let mut same = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    while !a.is_char_boundary(same) {
        same -= 1;
    }
    same
}

/// Whether the made-up call is read from `text`.
fn reads(format: &'static Format, text: &str) -> bool {
    // A parser does without it, but a template does not.
    if format.section.is_some_and(|(open, _)| !text.contains(open)) {
        return false;
    }
    let tool = Tool {
        name: TOOL.to_owned(),
        parameters: json!({"properties": {KEY: {"type": "string"}}}),
        strict: false,
        path: String::new(),
        schema_field: "parameters",
    };
    let mut parser = Parser::new(format, Arc::new([tool]), Opening::Text);
    let mut events = parser.push(text);
    events.extend(parser.finish(End::Model));
    let mut arguments = String::new();
    let mut is_whole = false;
    for event in &events {
        match event {
            Event::Arguments { index: 0, fragment } => arguments.push_str(fragment),
            Event::CallEnd { index: 0 } => is_whole = true,
            _ => {}
        }
    }
    let value = serde_json::from_str::<serde_json::Value>(&arguments);
    is_whole && value.is_ok_and(|value| value == json!({KEY: VALUE}))
}

/// Whether the template opens a thinking block, writes one, or takes one out of a history.
fn thinks(render: &impl Fn(&Conversation) -> Option<String>, opened: &str) -> bool {
    let (open, close) = PLAIN.think;
    let turn = |answer: Message| {
        let messages =
            vec![Message::new(Role::User, "Hi"), answer, Message::new(Role::User, "Hi again")];
        render(&conversation(messages, true))
    };
    let thought = |text: &str| Message {
        reasoning_content: Some(text.to_owned()),
        ..Message::new(Role::Assistant, VALUE)
    };
    let written =
        render(&conversation(vec![Message::new(Role::User, "Hi"), thought(THOUGHT)], false));
    let in_text = Message::new(Role::Assistant, &format!("{open}\n{THOUGHT}\n{close}\n\n{VALUE}"));
    Opening::of(&PLAIN, opened) == Opening::Thinking
        || opened.trim_end().ends_with(close)
        || written.is_some_and(|text| text.contains(open) && text.contains(THOUGHT))
        || turn(in_text).is_some_and(|text| text.contains(VALUE) && !text.contains(THOUGHT))
}
