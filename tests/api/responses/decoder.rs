//! A strict reader of a response's stream: it fails wherever a client could be misled.

use serde_json::{Map, Value, json};

/// An item on its way.
struct Open {
    item: Value,
    /// All deltas.
    text: String,
    /// Its part has begun, its text is whole, its part is whole.
    steps: [bool; 3],
}

/// The response that a stream ends with, put together from its events. Comments are skipped.
pub fn read(stream: &str) -> Value {
    assert!(stream.is_empty() || stream.ends_with("\n\n"), "events end with an empty line");
    let mut created: Option<Value> = None;
    let (mut items, mut open, mut last): (Vec<Value>, Option<Open>, Option<Value>) =
        (Vec::new(), None, None);
    for (number, event) in stream.split_terminator("\n\n").filter_map(event).enumerate() {
        assert!(last.is_none(), "an event behind the last one: {event}");
        assert_eq!(event["sequence_number"], number, "{event}");
        let kind = event["type"].as_str().expect("a type").to_owned();
        match (number, kind.as_str()) {
            (0, "response.created") => created = Some(event["response"].clone()),
            (1, "response.in_progress") => assert_eq!(Some(&event["response"]), created.as_ref()),
            (2.., "response.completed" | "response.incomplete") | (1.., "response.failed") => {
                last = Some(event["response"].clone());
                let status = kind.trim_start_matches("response.");
                assert_eq!(event["response"]["status"], status);
            }
            (2.., "response.output_item.added") => {
                assert!(open.is_none(), "items do not overlap: {event}");
                assert_eq!(event["output_index"], items.len(), "{event}");
                open = Some(begun(&event["item"]));
            }
            (2.., "response.output_item.done") => {
                assert_eq!(event["output_index"], items.len(), "{event}");
                let open = open.take().expect("an item that is done has begun");
                assert_eq!(event["item"], open.done(&event["item"]["status"]));
                items.push(event["item"].clone());
            }
            (2.., _) => {
                assert_eq!(event["output_index"], items.len(), "{event}");
                let open = open.as_mut().expect("an event of an item that has begun");
                assert_eq!(event["item_id"], open.item["id"], "{event}");
                open.event(&kind, &event);
            }
            _ => panic!("not the event that comes now: {event}"),
        }
    }
    let (created, last) = (created.expect("a beginning"), last.expect("an end"));
    assert_eq!(without_ending(&last), without_ending(&created));
    assert_eq!(created["status"], "in_progress");
    assert_eq!(created["output"], json!([]));
    assert_eq!(last["output"], Value::from(items));
    let is_failed = last["status"] == "failed";
    assert!(open.is_none() || is_failed, "an item is not done");
    assert_eq!(last["error"].is_object(), is_failed);
    assert_eq!(last["usage"].is_object(), !is_failed);
    assert_eq!(last["incomplete_details"].is_object(), last["status"] == "incomplete");
    last
}

/// What a response says from the first event on.
fn without_ending(response: &Value) -> Map<String, Value> {
    let mut fields = response.as_object().expect("a response").clone();
    for key in ["status", "output", "usage", "error", "incomplete_details"] {
        fields.remove(key).expect("a field of every response");
    }
    fields
}

fn event(frame: &str) -> Option<Value> {
    let mut lines = frame.split('\n').filter(|line| !line.starts_with(':'));
    let name = lines.next()?.strip_prefix("event: ").expect("the event's name");
    let data = lines.next().expect("a line of data").strip_prefix("data: ").expect("data");
    assert_eq!(lines.next(), None);
    let event: Value = serde_json::from_str(data).expect("data is JSON");
    assert_eq!(event["type"], name);
    Some(event)
}

fn begun(item: &Value) -> Open {
    let is_empty = |key: &str| item.get(key).is_none_or(|list| *list == json!([]));
    assert!(is_empty("content") && is_empty("summary"), "{item}");
    assert!(item["id"].as_str().is_some_and(|id| !id.is_empty()), "{item}");
    assert_eq!(item["status"], "in_progress");
    match item["type"].as_str().expect("a type") {
        "function_call" => assert_eq!(item["arguments"], ""),
        "custom_tool_call" => assert_eq!(item["input"], ""),
        "message" => assert_eq!(item["role"], "assistant"),
        kind => assert_eq!(kind, "reasoning"),
    }
    Open { item: item.clone(), text: String::new(), steps: [false; 3] }
}

impl Open {
    /// The names of the item's events about its part, its text, and the field of its index.
    fn names(&self) -> (&'static str, &'static str, &'static str) {
        match self.item["type"].as_str().expect("a type") {
            "message" => ("content_part", "output_text", "content_index"),
            "reasoning" if self.item.get("content").is_some() => {
                ("content_part", "reasoning_text", "content_index")
            }
            "reasoning" => ("reasoning_summary_part", "reasoning_summary_text", "summary_index"),
            "function_call" => ("", "function_call_arguments", ""),
            _ => ("", "custom_tool_call_input", ""),
        }
    }

    /// The part with a text.
    fn part(&self, text: &str) -> Value {
        match self.names().1 {
            "output_text" => {
                json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
            }
            "reasoning_text" => json!({"type": "reasoning_text", "text": text}),
            _ => json!({"type": "summary_text", "text": text}),
        }
    }

    fn event(&mut self, kind: &str, event: &Value) {
        let (part, text, index) = self.names();
        if !index.is_empty() {
            assert_eq!(event[index], 0, "{event}");
        }
        let kind = kind.strip_prefix("response.").expect("a response's event");
        let has_begun = part.is_empty() || self.steps[0];
        match kind.rsplit_once('.').expect("a noun and a verb") {
            (noun, "added") if noun == part && !self.steps[0] => {
                assert_eq!(event["part"], self.part(""));
                self.steps[0] = true;
            }
            (noun, "delta") if noun == text && has_begun && !self.steps[1] => {
                let delta = event["delta"].as_str().expect("a text");
                assert!(!delta.is_empty());
                self.text.push_str(delta);
                assert_eq!(event.get("logprobs").is_some(), text == "output_text", "{event}");
            }
            (noun, "done") if noun == text && has_begun && !self.steps[1] => {
                let field = match text {
                    "function_call_arguments" => "arguments",
                    "custom_tool_call_input" => "input",
                    _ => "text",
                };
                assert_eq!(event[field], self.text);
                self.steps[1] = true;
            }
            (noun, "done") if noun == part && self.steps[1] && !self.steps[2] => {
                assert_eq!(event["part"], self.part(&self.text));
                self.steps[2] = true;
            }
            _ => panic!("not the event that comes now: {event}"),
        }
    }

    /// The whole item.
    fn done(mut self, status: &Value) -> Value {
        let (part, text, index) = self.names();
        assert!(self.steps[1] && self.steps[2] != part.is_empty(), "its events are not all there");
        assert!(status == "completed" || status == "incomplete", "{status}");
        self.item["status"] = status.clone();
        match text {
            "function_call_arguments" => self.item["arguments"] = self.text.into(),
            "custom_tool_call_input" => self.item["input"] = self.text.into(),
            _ => {
                let field = index.trim_end_matches("_index");
                self.item[field] = json!([self.part(&self.text)]);
            }
        }
        self.item
    }
}
