//! Parts of an output as items, and as the events that tell of them.

use serde::Serialize;
use serde_json::{Value, json};

use super::answer::{Failure, Head, Outcome, Response};
use super::custom_input::CustomInput;
use super::names::{ToolName, ToolNames};
use crate::chat::output::Event;

/// Makes the items of one response, and writes its events as server-sent ones.
#[derive(Debug, Clone)]
pub struct Encoder {
    head: Head,
    names: ToolNames,
    /// Thoughts are shown as a summary, which the client asked for.
    summarizes: bool,
    /// The next event's number.
    sequence: u64,
    /// Items that are done.
    items: Vec<Value>,
    open: Option<Open>,
}

/// An item on its way.
#[derive(Debug, Clone)]
enum Open {
    Reasoning(String),
    Message(String),
    Function { name: ToolName, arguments: String },
    Custom { name: ToolName, input: CustomInput },
}

/// What an event says; those that do not apply are left out.
#[derive(Default, Serialize)]
struct Streamed<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    sequence_number: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<Response<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    item_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_index: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary_index: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<[(); 0]>,
}

/// Appends an event. Its name stands in a line of its own too.
fn write(out: &mut Vec<u8>, event: &Streamed<'_>) {
    let start = out.len();
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(event.kind.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    // Our types have string keys and a Vec takes every write: there is no way to fail.
    if serde_json::to_writer(&mut *out, event).is_err() {
        out.truncate(start);
        return;
    }
    out.extend_from_slice(b"\n\n");
}

impl Encoder {
    /// `names`: how the client names the tools; `summarizes`: thoughts are shown as a summary.
    pub fn new(head: Head, names: ToolNames, summarizes: bool) -> Self {
        Self { head, names, summarizes, sequence: 0, items: Vec::new(), open: None }
    }

    /// What the response says of itself.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Appends the events ahead of all items.
    pub fn start(&mut self, out: &mut Vec<u8>) {
        for kind in ["response.created", "response.in_progress"] {
            let response = Some(Response::new(&self.head, "in_progress", &[]));
            write(
                out,
                &Streamed { kind, response, sequence_number: self.sequence, ..Streamed::default() },
            );
            self.sequence += 1;
        }
    }

    /// Appends the events of a part.
    pub fn part(&mut self, part: &Event, out: &mut Vec<u8>) {
        match part {
            Event::Reasoning(text) => {
                if !matches!(self.open, Some(Open::Reasoning(_))) {
                    self.open(Open::Reasoning(String::new()), out);
                }
                self.add(text, out);
            }
            Event::Text(text) => {
                if !matches!(self.open, Some(Open::Message(_))) {
                    self.open(Open::Message(String::new()), out);
                }
                self.add(text, out);
            }
            Event::Call { name, .. } => {
                let name = self.names.original(name);
                let open = match name.is_custom {
                    true => Open::Custom { name, input: CustomInput::default() },
                    false => Open::Function { name, arguments: String::new() },
                };
                self.open(open, out);
            }
            // Calls do not overlap.
            Event::Arguments { fragment, .. } => self.add(fragment, out),
            Event::CallEnd { .. } => self.close("completed", out),
            Event::CallCut { .. } => self.close("incomplete", out),
        }
    }

    /// Appends the events that end the response; gives the whole response.
    pub fn finish(&mut self, outcome: Outcome, out: &mut Vec<u8>) -> Vec<u8> {
        self.close(if outcome.is_cut { "incomplete" } else { "completed" }, out);
        let kind = if outcome.is_cut { "response.incomplete" } else { "response.completed" };
        let response = Response::ended(&self.head, outcome, &self.items);
        let whole = serde_json::to_vec(&response).unwrap_or_default();
        let event = Streamed {
            kind,
            response: Some(response),
            sequence_number: self.sequence,
            ..Streamed::default()
        };
        write(out, &event);
        self.sequence += 1;
        whole
    }

    /// Appends the event of a failure, which ends the stream.
    pub fn fail(&self, failure: &Failure, out: &mut Vec<u8>) {
        let mut sequence_number = self.sequence;
        if sequence_number == 0 {
            // Clients know no event ahead of this one.
            let response = Some(Response::new(&self.head, "in_progress", &[]));
            let kind = "response.created";
            write(out, &Streamed { kind, response, sequence_number, ..Streamed::default() });
            sequence_number += 1;
        }
        let failed = Response::new(&self.head, "failed", &self.items);
        let response = Some(Response { error: Some(failure), ..failed });
        let kind = "response.failed";
        write(out, &Streamed { kind, response, sequence_number, ..Streamed::default() });
    }

    /// The whole response that parts make.
    pub fn whole(mut self, parts: &[Event], outcome: Outcome) -> Vec<u8> {
        let mut events = Vec::new();
        for part in parts {
            self.part(part, &mut events);
            events.clear();
        }
        self.finish(outcome, &mut events)
    }

    /// Writes an event about the item that is on its way.
    fn tell(&mut self, event: Streamed<'_>, out: &mut Vec<u8>) {
        let event = Streamed {
            sequence_number: self.sequence,
            output_index: Some(self.items.len()),
            ..event
        };
        write(out, &event);
        self.sequence += 1;
    }

    fn id(&self, prefix: &str) -> String {
        format!("{prefix}_{}{:02x}", self.head.random, self.items.len())
    }

    /// Ends the item on its way and begins another.
    fn open(&mut self, open: Open, out: &mut Vec<u8>) {
        self.close("completed", out);
        let id = self.id(open.prefix());
        let item = self.item(&open, "", "in_progress");
        self.tell(
            Streamed {
                kind: "response.output_item.added",
                item: Some(&item),
                ..Streamed::default()
            },
            out,
        );
        let kind = match &open {
            Open::Reasoning(_) if self.summarizes => "response.reasoning_summary_part.added",
            Open::Reasoning(_) | Open::Message(_) => "response.content_part.added",
            Open::Function { .. } | Open::Custom { .. } => "",
        };
        if !kind.is_empty() {
            self.tell(Streamed { kind, ..self.within(&open, &id, Some("")) }, out);
        }
        self.open = Some(open);
    }

    /// What events about the inside of an item carry; `text`: that of its part, if they have it.
    fn within<'a>(&self, open: &Open, id: &'a str, text: Option<&str>) -> Streamed<'a> {
        let mut event = Streamed { item_id: Some(id), ..Streamed::default() };
        match open {
            Open::Reasoning(_) if self.summarizes => event.summary_index = Some(0),
            Open::Reasoning(_) | Open::Message(_) => event.content_index = Some(0),
            Open::Function { .. } | Open::Custom { .. } => {}
        }
        event.part = text.map(|text| self.inner(open, text));
        event
    }

    /// The part of an item that holds its text.
    fn inner(&self, open: &Open, text: &str) -> Value {
        match open {
            Open::Message(_) => {
                json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
            }
            _ if self.summarizes => json!({"type": "summary_text", "text": text}),
            _ => json!({"type": "reasoning_text", "text": text}),
        }
    }

    /// An item with all of its text. One that is in progress has no parts yet.
    fn item(&self, open: &Open, text: &str, status: &str) -> Value {
        let id = self.id(open.prefix());
        let parts = match status {
            "in_progress" => json!([]),
            _ => json!([self.inner(open, text)]),
        };
        let call_id = self.id("call");
        let mut item = match open {
            Open::Reasoning(_) if self.summarizes => {
                json!({"type": "reasoning", "id": id, "summary": parts, "status": status})
            }
            Open::Reasoning(_) => {
                json!({"type": "reasoning", "id": id, "summary": [], "content": parts,
                    "status": status})
            }
            Open::Message(_) => {
                json!({"type": "message", "id": id, "status": status, "role": "assistant",
                    "content": parts})
            }
            Open::Function { name, .. } => {
                json!({"type": "function_call", "id": id, "call_id": call_id, "name": name.name,
                    "arguments": text, "status": status})
            }
            Open::Custom { name, .. } => {
                json!({"type": "custom_tool_call", "id": id, "call_id": call_id,
                    "name": name.name, "input": text, "status": status})
            }
        };
        if let Open::Function { name, .. } | Open::Custom { name, .. } = open
            && let Some(namespace) = &name.namespace
        {
            item["namespace"] = namespace.as_str().into();
        }
        item
    }

    /// Adds text to the item on its way.
    fn add(&mut self, text: &str, out: &mut Vec<u8>) {
        let Some(mut open) = self.open.take() else { return };
        let id = self.id(open.prefix());
        let (kind, logprobs) = match &open {
            Open::Reasoning(_) if self.summarizes => {
                ("response.reasoning_summary_text.delta", None)
            }
            Open::Reasoning(_) => ("response.reasoning_text.delta", None),
            Open::Message(_) => ("response.output_text.delta", Some([])),
            Open::Function { .. } => ("response.function_call_arguments.delta", None),
            Open::Custom { .. } => ("response.custom_tool_call_input.delta", None),
        };
        let event = self.within(&open, &id, None);
        let delta = match &mut open {
            Open::Reasoning(all) | Open::Message(all) | Open::Function { arguments: all, .. } => {
                all.push_str(text);
                text
            }
            Open::Custom { input, .. } => input.push(text),
        };
        if !delta.is_empty() {
            self.tell(Streamed { kind, delta: Some(delta), logprobs, ..event }, out);
        }
        self.open = Some(open);
    }

    /// Ends the item on its way.
    fn close(&mut self, status: &str, out: &mut Vec<u8>) {
        let Some(mut open) = self.open.take() else { return };
        let id = self.id(open.prefix());
        let (text, given) = match &mut open {
            Open::Reasoning(text)
            | Open::Message(text)
            | Open::Function { arguments: text, .. } => (std::mem::take(text), None),
            Open::Custom { input, .. } => {
                let (whole, given) = std::mem::take(input).finish();
                (whole, Some(given))
            }
        };
        // What a custom tool's input was not known to be before it was whole.
        if let Some(late) = given.and_then(|given| text.get(given..)).filter(|t| !t.is_empty()) {
            let kind = "response.custom_tool_call_input.delta";
            let event = self.within(&open, &id, None);
            self.tell(Streamed { kind, delta: Some(late), ..event }, out);
        }
        let event = self.within(&open, &id, None);
        let all = Some(text.as_str());
        let (event, part) = match &open {
            Open::Reasoning(_) if self.summarizes => {
                let kind = "response.reasoning_summary_text.done";
                let part = "response.reasoning_summary_part.done";
                (Streamed { kind, text: all, ..event }, part)
            }
            Open::Reasoning(_) => {
                let kind = "response.reasoning_text.done";
                (Streamed { kind, text: all, ..event }, "response.content_part.done")
            }
            Open::Message(_) => {
                let kind = "response.output_text.done";
                let event = Streamed { kind, text: all, logprobs: Some([]), ..event };
                (event, "response.content_part.done")
            }
            Open::Function { name, .. } => {
                let kind = "response.function_call_arguments.done";
                (Streamed { kind, name: Some(&name.name), arguments: all, ..event }, "")
            }
            Open::Custom { .. } => {
                let kind = "response.custom_tool_call_input.done";
                (Streamed { kind, input: all, ..event }, "")
            }
        };
        self.tell(event, out);
        if !part.is_empty() {
            self.tell(Streamed { kind: part, ..self.within(&open, &id, all) }, out);
        }
        let item = self.item(&open, &text, status);
        let kind = "response.output_item.done";
        self.tell(Streamed { kind, item: Some(&item), ..Streamed::default() }, out);
        self.items.push(item);
    }
}

impl Open {
    fn prefix(&self) -> &'static str {
        match self {
            Self::Reasoning(_) => "rs",
            Self::Message(_) => "msg",
            Self::Function { .. } => "fc",
            Self::Custom { .. } => "ctc",
        }
    }
}
