//! The items of a request as messages.
//!
//! Items that one turn of the assistant is made of (thoughts, a text, calls) become one message, as
//! in the chat API, so that both render to the same prompt.

use serde_json::{Map, Value, json};

use super::custom_input;
use super::names::ToolNames;
use crate::chat::{Content, ContentPart, FunctionCall, Message, Role, ToolCall};
use crate::protocol::body::BodyError;

/// Messages, and where each stands in the request.
#[derive(Debug, Default)]
pub(super) struct Turns<'a> {
    pub(super) messages: Vec<Message>,
    /// Paths of the items that the messages begin with.
    pub(super) places: Vec<String>,
    names: Option<&'a ToolNames>,
    /// The last message is an assistant's, which further items may become a part of.
    open: bool,
}

/// An item's fields.
#[derive(Clone, Copy)]
struct Item<'a, 'p> {
    fields: &'a Map<String, Value>,
    path: &'p str,
}

impl<'a> Item<'a, '_> {
    fn at(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    fn given(&self, name: &str) -> Option<&'a Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    fn text(&self, name: &str) -> Result<Option<&'a str>, BodyError> {
        match self.given(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(wrong_type(&self.at(name), "a string")),
        }
    }

    fn required(&self, name: &str) -> Result<&'a str, BodyError> {
        self.text(name)?.ok_or_else(|| BodyError::missing(self.at(name)))
    }

    fn list(&self, name: &str) -> Result<&'a [Value], BodyError> {
        match self.given(name) {
            None => Ok(&[]),
            Some(Value::Array(list)) => Ok(list),
            Some(_) => Err(wrong_type(&self.at(name), "an array")),
        }
    }
}

pub(super) fn wrong_type(path: &str, wanted: &str) -> BodyError {
    BodyError::wrong_type(path, format!("`{path}` must be {wanted}"))
}

/// The id of an item that stands for one of an earlier response.
pub(super) fn reference(item: &Value) -> Option<&str> {
    let kind = item.get("type").filter(|kind| !kind.is_null());
    let is_bare = kind.is_none() && item.get("role").is_none();
    let is_reference = kind.is_some_and(|kind| kind == "item_reference") || is_bare;
    item.get("id").filter(|_| is_reference)?.as_str()
}

impl<'a> Turns<'a> {
    /// `names`: those that the model knows the tools by.
    pub(super) fn new(names: &'a ToolNames) -> Self {
        Self { names: Some(names), ..Self::default() }
    }

    /// Adds a message of a text.
    pub(super) fn say(&mut self, role: Role, text: &str, path: &str) {
        self.push(Message::new(role, text), path);
    }

    /// Adds an item, which stands at `path`.
    pub(super) fn add(&mut self, item: &Value, path: &str) -> Result<(), BodyError> {
        let Value::Object(fields) = item else { return Err(wrong_type(path, "an object")) };
        let item = Item { fields, path };
        match item.text("type")? {
            Some("message") => self.message(item),
            None if fields.contains_key("role") => self.message(item),
            None => Err(BodyError::missing(item.at("type"))),
            Some("reasoning") => self.reasoning(item),
            Some("function_call") => {
                let arguments = match item.given("arguments") {
                    None => return Err(BodyError::missing(item.at("arguments"))),
                    Some(arguments @ (Value::String(_) | Value::Object(_))) => arguments.clone(),
                    Some(_) => return Err(wrong_type(&item.at("arguments"), "a string")),
                };
                self.call(item, arguments)
            }
            Some("custom_tool_call") => {
                let input = item.required("input")?;
                self.call(item, json!({custom_input::PARAMETER: input}))
            }
            Some("function_call_output" | "custom_tool_call_output") => self.output(item),
            Some(kind) => Err(BodyError::unsupported(
                item.at("type"),
                format!("`{}`: items of type `{}` cannot be read", item.at("type"), short(kind)),
            )),
        }
    }

    fn push(&mut self, message: Message, path: &str) {
        self.open = message.role == Role::Assistant;
        self.messages.push(message);
        self.places.push(path.to_owned());
    }

    /// The assistant's message that an item becomes a part of: the last one if it `takes` it.
    fn turn(&mut self, path: &str, takes: impl Fn(&Message) -> bool) -> Option<&mut Message> {
        if !(self.open && self.messages.last().is_some_and(takes)) {
            self.push(Message::new(Role::Assistant, ""), path);
        }
        self.messages.last_mut()
    }

    fn message(&mut self, item: Item<'_, '_>) -> Result<(), BodyError> {
        let role = match item.required("role")? {
            "system" => Role::System,
            "developer" => Role::Developer,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            _ => {
                let path = item.at("role");
                let message = format!("`{path}` must be system, developer, user or assistant");
                return Err(BodyError::value(path, message));
            }
        };
        let content = match item.given("content") {
            Some(_) => content(item, "content")?,
            None => return Err(BodyError::missing(item.at("content"))),
        };
        if role == Role::Assistant {
            if let Some(turn) = self.turn(item.path, is_only_thoughts) {
                turn.content = Some(content);
            }
        } else {
            self.push(Message { content: Some(content), ..Message::new(role, "") }, item.path);
        }
        Ok(())
    }

    /// Thoughts, whole or as a summary; encrypted ones are those of other servers.
    fn reasoning(&mut self, item: Item<'_, '_>) -> Result<(), BodyError> {
        let texts = |name: &str| {
            let parts = item.list(name)?.iter().enumerate();
            let texts = parts.map(|(i, part)| {
                let path = item.at(&format!("{name}[{i}]"));
                let Value::Object(fields) = part else {
                    return Err(wrong_type(&path, "an object"));
                };
                Item { fields, path: &path }.required("text")
            });
            Ok(texts.collect::<Result<Vec<_>, _>>()?.join("\n"))
        };
        let whole = texts("content")?;
        let thoughts = if whole.is_empty() { texts("summary")? } else { whole };
        if thoughts.is_empty() {
            return Ok(());
        }
        if let Some(turn) = self.turn(item.path, is_only_thoughts) {
            let all = turn.reasoning_content.get_or_insert_default();
            if !all.is_empty() {
                all.push('\n');
            }
            all.push_str(&thoughts);
        }
        Ok(())
    }

    fn call(&mut self, item: Item<'_, '_>, arguments: Value) -> Result<(), BodyError> {
        let id = item.required("call_id")?.to_owned();
        let name = item.required("name")?;
        let namespace = item.text("namespace")?;
        let name = self.names.map_or(name.to_owned(), |names| names.shown(namespace, name));
        if let Some(turn) = self.turn(item.path, |_| true) {
            turn.tool_calls.get_or_insert_default().push(ToolCall {
                id: Some(id),
                kind: Some("function".to_owned()),
                function: FunctionCall { name, arguments },
            });
        }
        Ok(())
    }

    fn output(&mut self, item: Item<'_, '_>) -> Result<(), BodyError> {
        let id = item.required("call_id")?.to_owned();
        let content = match item.given("output") {
            Some(_) => content(item, "output")?,
            None => return Err(BodyError::missing(item.at("output"))),
        };
        let content = Some(content);
        let tool_call_id = Some(id);
        self.push(Message { content, tool_call_id, ..Message::new(Role::Tool, "") }, item.path);
        Ok(())
    }
}

/// Whether an assistant's message has no text and no calls yet.
fn is_only_thoughts(message: &Message) -> bool {
    message.tool_calls.is_none() && message.text().is_empty()
}

/// A text, or parts of text.
fn content(item: Item<'_, '_>, name: &str) -> Result<Content, BodyError> {
    let parts = match item.given(name) {
        Some(Value::String(text)) => return Ok(Content::Text(text.clone())),
        Some(Value::Array(parts)) => parts,
        _ => return Err(wrong_type(&item.at(name), "a string or an array of typed parts")),
    };
    let part = |(i, part): (usize, &Value)| {
        let path = item.at(&format!("{name}[{i}]"));
        let fields = match part {
            Value::String(text) => return Ok(ContentPart::from(text.clone())),
            Value::Object(fields) => fields,
            _ => return Err(wrong_type(&path, "an object")),
        };
        let part = Item { fields, path: &path };
        let text = match part.text("type")?.unwrap_or("text") {
            "input_text" | "output_text" | "text" => part.required("text")?,
            "refusal" => part.required("refusal")?,
            kind => {
                let path = part.at("type");
                let kind = short(kind);
                let message =
                    format!("the model reads text only; a part of type `{kind}` cannot be read");
                return Err(BodyError::unsupported(path, message));
            }
        };
        Ok(ContentPart::from(text.to_owned()))
    };
    let parts: Result<_, BodyError> = parts.iter().enumerate().map(part).collect();
    Ok(Content::Parts(parts?))
}

/// The beginning of a text, for a message.
pub(super) fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(items: Value) -> Result<Value, BodyError> {
        let names = ToolNames::default();
        let mut turns = Turns::new(&names);
        for (i, item) in items.as_array().unwrap().iter().enumerate() {
            turns.add(item, &format!("input[{i}]"))?;
        }
        assert_eq!(turns.messages.len(), turns.places.len());
        Ok(serde_json::to_value(turns.messages).unwrap())
    }

    fn call(id: &str, name: &str) -> Value {
        json!({"id": id, "type": "function", "function": {"name": name, "arguments": "{}"}})
    }

    #[test]
    fn what_an_assistant_did_in_one_turn_is_one_message() {
        let sent = json!([
            {"role": "user", "content": "Q"},
            {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "T"}]},
            {"type": "message", "role": "assistant", "status": "completed", "id": "msg_1",
             "content": [{"type": "output_text", "text": "A", "annotations": []}]},
            {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}", "id": "fc_1"},
            {"type": "function_call", "call_id": "2", "name": "g", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "1", "output": "R"},
            {"type": "function_call_output", "call_id": "2", "output": [{"type": "input_text", "text": "S"}]},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "U"}, {"text": "V"}]},
            {"type": "function_call", "call_id": "3", "name": "f", "arguments": "{}"},
        ]);
        let part = |text: &str| json!([{"type": "text", "text": text}]);
        assert_eq!(
            read(sent).unwrap(),
            json!([
                {"role": "user", "content": "Q"},
                {"role": "assistant", "content": part("A"), "reasoning_content": "T",
                 "tool_calls": [call("1", "f"), call("2", "g")]},
                {"role": "tool", "content": "R", "tool_call_id": "1"},
                {"role": "tool", "content": part("S"), "tool_call_id": "2"},
                {"role": "assistant", "content": "", "reasoning_content": "U\nV",
                 "tool_calls": [call("3", "f")]},
            ])
        );
    }

    #[test]
    fn turns_in_another_order_are_messages_of_their_own() {
        let assistant = |text: &str| json!({"role": "assistant", "content": text});
        let call = json!({"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"});
        let thought = json!({"type": "reasoning", "content": [{"text": "T"}], "summary": null});
        let roles = |items: Value| read(items).unwrap().as_array().unwrap().len();
        assert_eq!(roles(json!([assistant("a"), assistant("b")])), 2);
        assert_eq!(roles(json!([call, assistant("b")])), 2);
        assert_eq!(roles(json!([assistant("a"), thought, call])), 2);
        assert_eq!(roles(json!([thought, thought, call, call])), 1);
        assert_eq!(roles(json!([{"type": "reasoning", "encrypted_content": "x"}])), 0);
    }

    #[test]
    fn a_custom_call_is_one_of_a_function_with_its_input() {
        let read = read(json!([
            {"type": "custom_tool_call", "call_id": "1", "name": "patch", "input": "a\nb"},
            {"type": "custom_tool_call_output", "call_id": "1", "output": "done"},
            {"role": "developer", "content": "D"},
        ]))
        .unwrap();
        assert_eq!(read[0]["tool_calls"][0]["function"]["arguments"], json!({"input": "a\nb"}));
        assert_eq!((&read[1]["role"], &read[2]["role"]), (&json!("tool"), &json!("developer")));
    }

    #[test]
    fn wrong_items_name_the_path_of_the_fault() {
        for (item, param, code) in [
            (json!(5), "input[0]", "invalid_type"),
            (json!({}), "input[0].type", "missing_field"),
            (json!({"type": 5}), "input[0].type", "invalid_type"),
            (json!({"type": "web_search_call"}), "input[0].type", "unsupported_value"),
            (json!({"type": "message"}), "input[0].role", "missing_field"),
            (json!({"role": "tool", "content": "x"}), "input[0].role", "invalid_value"),
            (json!({"role": "user"}), "input[0].content", "missing_field"),
            (json!({"role": "user", "content": 5}), "input[0].content", "invalid_type"),
            (json!({"role": "user", "content": [5]}), "input[0].content[0]", "invalid_type"),
            (
                json!({"role": "user", "content": ["a", {"type": "input_text"}]}),
                "input[0].content[1].text",
                "missing_field",
            ),
            (
                json!({"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}),
                "input[0].content[0].type",
                "unsupported_value",
            ),
            (
                json!({"type": "function_call", "arguments": "{}"}),
                "input[0].call_id",
                "missing_field",
            ),
            (
                json!({"type": "function_call", "call_id": "1", "name": "f"}),
                "input[0].arguments",
                "missing_field",
            ),
            (
                json!({"type": "function_call", "call_id": "1", "name": "f", "arguments": 5}),
                "input[0].arguments",
                "invalid_type",
            ),
            (
                json!({"type": "function_call_output", "call_id": "1"}),
                "input[0].output",
                "missing_field",
            ),
            (
                json!({"type": "custom_tool_call", "call_id": "1"}),
                "input[0].input",
                "missing_field",
            ),
            (json!({"type": "reasoning", "content": "x"}), "input[0].content", "invalid_type"),
            (
                json!({"type": "reasoning", "summary": [{}]}),
                "input[0].summary[0].text",
                "missing_field",
            ),
        ] {
            let error = read(json!([item])).unwrap_err();
            assert_eq!((error.param.as_deref(), error.code), (Some(param), code), "{item}");
        }
    }
}
