//! What a template can take, found out by rendering a few short conversations with it, so that
//! messages can be given to it in the form that its author thought of.

use serde_json::{Value, json};

/// What a template can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Capabilities {
    /// Content that is a string.
    pub(super) text_content: bool,
    /// Content that is a list of parts.
    pub(super) part_content: bool,
    /// A system message at the start.
    pub(super) system: bool,
    /// A system message after others.
    pub(super) late_system: bool,
    /// A second system message at the start.
    pub(super) repeated_system: bool,
    /// A developer message at the start, as a role of its own: a template that prints any role's
    /// name does not know it.
    pub(super) developer: bool,
    /// A developer message after others.
    pub(super) late_developer: bool,
    /// A developer message behind a system message at the start.
    pub(super) system_developer: bool,
    /// A user message right behind another.
    pub(super) repeated_user: bool,
    /// An assistant message right behind another.
    pub(super) repeated_assistant: bool,
    /// An assistant message before any user message.
    pub(super) leading_assistant: bool,
    /// The result of a call.
    pub(super) tool: bool,
    /// A tool message whose call is not there.
    pub(super) lone_tool: bool,
    /// A call's arguments as an object.
    pub(super) object_arguments: bool,
    /// A call's arguments as text, also text that is not JSON.
    pub(super) text_arguments: bool,
    /// A message with calls whose content is none.
    pub(super) no_content: bool,
}

const MARK: &str = "Mark1";

impl Capabilities {
    /// `render` gives the prompt for messages, or `None` if the template fails on them.
    pub(super) fn probe(render: impl Fn(Value) -> Option<String>) -> Self {
        let renders = |messages| render(messages).is_some_and(|prompt| prompt.contains(MARK));
        let text = json!([{"role": "user", "content": MARK}]);
        let parts = json!([{"role": "user", "content": [{"type": "text", "text": MARK}]}]);
        let as_text = render(text).filter(|prompt| prompt.contains(MARK));
        let as_parts = render(parts).filter(|prompt| prompt.contains(MARK));
        let text_content = as_text.is_some();
        // A template that joins the list to its text prints the list as Python shows it.
        let part_content = as_parts
            .as_ref()
            .is_some_and(|prompt| !prompt.contains("'type'") && !prompt.contains("\"type\""));
        // Without any form that works, text is what the request has most often.
        let text_content = text_content || !part_content;
        let content = |text: &str| match text_content {
            true => json!(text),
            false => json!([{"type": "text", "text": text}]),
        };
        let turn = |role: &str, text: &str| json!({"role": role, "content": content(text)});
        let call = |arguments: Value, content: Value| {
            let function = json!({"name": "tool", "arguments": arguments});
            let calls = json!([{"id": "call12345", "type": "function", "function": function}]);
            let prompt = json!([
                turn("user", "Hi"),
                {"role": "assistant", "content": content, "tool_calls": calls},
                {"role": "tool", "tool_call_id": "call12345", "name": "tool", "content": "Result"},
                turn("assistant", "Yes"),
                turn("user", "Hi"),
            ]);
            render(prompt)
        };
        let object = call(json!({"Mark2": MARK}), json!(""));
        let raw = call(json!("Mark1{"), json!(""));
        // Python's way of printing an object is not JSON: such a template joins text, unless it
        // fails on text.
        let object_arguments =
            object.as_ref().is_some_and(|prompt| !prompt.contains("'Mark2'") || raw.is_none());
        let nothing = call(json!({"Mark2": MARK}), Value::Null);
        let both =
            |messages| render(messages).is_some_and(|p| p.contains(MARK) && p.contains("Be kind."));
        let late = |role: &str| {
            renders(json!([
                turn("system", "Be kind."),
                turn("user", "Hi"),
                turn("assistant", "Yes"),
                turn(role, MARK),
                turn("user", "Hi"),
            ]))
        };
        let leading = |role: &str| {
            both(json!([turn("system", "Be kind."), turn(role, MARK), turn("user", "Hi")]))
        };
        let first = |role: &str| render(json!([turn(role, MARK), turn("user", "Hi")]));
        let as_developer = first("developer").filter(|prompt| prompt.contains(MARK));
        let developer = as_developer.is_some_and(|prompt| {
            first("stranger").is_none_or(|other| other.replace("stranger", "developer") != prompt)
        });
        let lone = json!({"role": "tool", "tool_call_id": "call12345", "content": MARK});
        let shows_result = |prompt: &Option<String>| {
            prompt.as_ref().is_some_and(|prompt| prompt.contains("Result"))
        };
        Self {
            text_content,
            part_content,
            system: renders(json!([turn("system", MARK), turn("user", "Hi")])),
            late_system: late("system"),
            repeated_system: leading("system"),
            developer,
            late_developer: developer && late("developer"),
            system_developer: developer && leading("developer"),
            repeated_user: renders(json!([turn("user", "Hi"), turn("user", MARK)])),
            repeated_assistant: renders(json!([
                turn("user", "Hi"),
                turn("assistant", "Yes"),
                turn("assistant", MARK),
                turn("user", "Hi"),
            ])),
            leading_assistant: renders(json!([turn("assistant", MARK), turn("user", "Hi")])),
            tool: shows_result(&object) || shows_result(&raw),
            lone_tool: renders(json!([
                turn("user", "Hi"),
                turn("assistant", "Yes"),
                lone,
                turn("user", "Hi"),
            ])),
            object_arguments,
            text_arguments: raw.is_some_and(|prompt| prompt.contains("Mark1{")),
            no_content: nothing
                .is_some_and(|prompt| !prompt.contains("None") && !prompt.contains("null")),
        }
    }
}
