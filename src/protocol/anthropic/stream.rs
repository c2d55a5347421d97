//! The events of a streamed answer, in Anthropic's order: `message_start`; for each content block its
//! `content_block_start`, `content_block_delta`s and `content_block_stop`, one block after the other;
//! `message_delta`, `message_stop`. A `ping` may come anywhere behind the first.

use serde::Serialize;

use super::answer::{Answer, Block, StopReason, Usage, call_id};
use crate::chat::output::Event;

/// What names an answer.
#[derive(Debug, Clone)]
pub struct Head {
    /// Its id, `msg_...`.
    pub id: String,
    /// The name of the model that gives it.
    pub model: String,
}

/// Writes one answer as a stream: [`start`](Self::start), any number of [`part`](Self::part)s, then
/// [`finish`](Self::finish).
#[derive(Debug, Default)]
pub struct StreamWriter {
    /// Blocks begun so far.
    begun: usize,
    /// The last of them, if it has not ended.
    open: Option<Open>,
}

/// The kind of a block that is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Thinking,
    Text,
    ToolUse,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum StreamEvent<'a> {
    MessageStart { message: Answer<'a> },
    ContentBlockStart { index: usize, content_block: Block },
    Ping,
    ContentBlockDelta { index: usize, delta: Delta<'a> },
    ContentBlockStop { index: usize },
    MessageDelta { delta: End<'a>, usage: Usage },
    MessageStop,
}

#[derive(Serialize)]
#[serde(tag = "type")]
enum Delta<'a> {
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: &'a str },
    #[serde(rename = "signature_delta")]
    Signature { signature: &'static str },
    #[serde(rename = "text_delta")]
    Text { text: &'a str },
    #[serde(rename = "input_json_delta")]
    InputJson { partial_json: &'a str },
}

#[derive(Serialize)]
struct End<'a> {
    stop_reason: &'static str,
    stop_sequence: Option<&'a str>,
}

impl StreamEvent<'_> {
    fn name(&self) -> &'static str {
        match self {
            Self::MessageStart { .. } => "message_start",
            Self::ContentBlockStart { .. } => "content_block_start",
            Self::Ping => "ping",
            Self::ContentBlockDelta { .. } => "content_block_delta",
            Self::ContentBlockStop { .. } => "content_block_stop",
            Self::MessageDelta { .. } => "message_delta",
            Self::MessageStop => "message_stop",
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        write_event(out, self.name(), self);
    }
}

/// Appends a named event whose data is `value` as JSON.
pub fn write_event(out: &mut Vec<u8>, name: &str, value: &impl Serialize) {
    let start = out.len();
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    // Our types have string keys and a Vec takes every write: there is no way to fail.
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.truncate(start);
        return;
    }
    out.extend_from_slice(b"\n\n");
}

impl StreamWriter {
    /// What silent streams are kept alive with.
    pub const PING: &'static [u8] = b"event: ping\ndata: {\"type\":\"ping\"}\n\n";

    /// Appends the beginning. `usage`: that of the prompt.
    pub fn start(&mut self, head: &Head, usage: Usage, out: &mut Vec<u8>) {
        let message = Answer {
            id: &head.id,
            role: "assistant",
            model: &head.model,
            content: Vec::new(),
            stop_reason: None,
            stop_sequence: None,
            usage,
        };
        StreamEvent::MessageStart { message }.write(out);
    }

    /// Appends a part of the answer.
    pub fn part(&mut self, part: &Event, out: &mut Vec<u8>) {
        match part {
            Event::Reasoning(thinking) => {
                self.open(Open::Thinking, out);
                self.delta(Delta::Thinking { thinking }, out);
            }
            Event::Text(text) => {
                self.open(Open::Text, out);
                self.delta(Delta::Text { text }, out);
            }
            Event::Call { name, .. } => {
                let block =
                    Block::ToolUse { id: call_id(), name: name.clone(), input: String::new() };
                self.begin(Open::ToolUse, block, out);
            }
            // Calls do not overlap.
            Event::Arguments { fragment, .. } if self.open == Some(Open::ToolUse) => {
                self.delta(Delta::InputJson { partial_json: fragment }, out);
            }
            Event::Arguments { .. } => {}
            Event::CallEnd { .. } | Event::CallCut { .. } => self.close(out),
        }
    }

    /// Appends the end.
    pub fn finish(&mut self, stop: &StopReason, usage: Usage, out: &mut Vec<u8>) {
        self.close(out);
        let delta = End { stop_reason: stop.name(), stop_sequence: stop.sequence() };
        StreamEvent::MessageDelta { delta, usage }.write(out);
        StreamEvent::MessageStop.write(out);
    }

    /// Begins a block of thoughts or text unless one is open.
    fn open(&mut self, kind: Open, out: &mut Vec<u8>) {
        if self.open == Some(kind) {
            return;
        }
        let block = match kind {
            Open::Thinking => Block::Thinking { thinking: String::new(), signature: "" },
            _ => Block::Text { text: String::new() },
        };
        self.begin(kind, block, out);
    }

    fn begin(&mut self, kind: Open, content_block: Block, out: &mut Vec<u8>) {
        self.close(out);
        StreamEvent::ContentBlockStart { index: self.begun, content_block }.write(out);
        // Where Anthropic's own streams have one.
        if self.begun == 0 {
            StreamEvent::Ping.write(out);
        }
        self.begun += 1;
        self.open = Some(kind);
    }

    fn delta(&self, delta: Delta<'_>, out: &mut Vec<u8>) {
        let index = self.begun.saturating_sub(1);
        StreamEvent::ContentBlockDelta { index, delta }.write(out);
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        let Some(kind) = self.open.take() else { return };
        if kind == Open::Thinking {
            self.delta(Delta::Signature { signature: "" }, out);
        }
        StreamEvent::ContentBlockStop { index: self.begun.saturating_sub(1) }.write(out);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::super::blocks;
    use super::super::strict;
    use super::*;

    fn head() -> Head {
        Head { id: "msg_1".to_owned(), model: "a \"model\"".to_owned() }
    }

    /// The stream and the whole answer of these parts.
    fn both(parts: &[Event], stop: &StopReason) -> (Vec<u8>, Value) {
        let (mut writer, mut out) = (StreamWriter::default(), Vec::new());
        writer.start(&head(), Usage::new(10, 4, 0), &mut out);
        for part in parts {
            writer.part(part, &mut out);
        }
        let usage = Usage::new(10, 4, 7);
        writer.finish(stop, usage, &mut out);
        let head = head();
        let answer = Answer {
            id: &head.id,
            role: "assistant",
            model: &head.model,
            content: blocks(parts),
            stop_reason: Some(stop.name()),
            stop_sequence: stop.sequence(),
            usage,
        };
        (out, serde_json::to_value(answer).unwrap())
    }

    #[test]
    fn events_come_in_anthropics_order() {
        let call = || Event::Call { index: 0, name: "f".to_owned() };
        let arguments =
            |fragment: &str| Event::Arguments { index: 0, fragment: fragment.to_owned() };
        let parts = [
            Event::Reasoning("T".to_owned()),
            Event::Text("a".to_owned()),
            Event::Text("\n".to_owned()),
            call(),
            arguments("{\"a\":"),
            arguments(" 1}"),
            Event::CallEnd { index: 0 },
        ];
        let (out, whole) = both(&parts, &StopReason::ToolUse);
        let text = String::from_utf8(out).unwrap();
        let names: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
        let block = |deltas: usize| {
            let deltas = std::iter::repeat_n("content_block_delta", deltas);
            ["content_block_start"].into_iter().chain(deltas).chain(["content_block_stop"])
        };
        let mut order = vec!["message_start"];
        order.extend(block(2));
        order.insert(2, "ping");
        order.extend(block(2).chain(block(2)));
        order.extend(["message_delta", "message_stop"]);
        assert_eq!(names, order);
        assert!(text.contains("\"delta\":{\"type\":\"signature_delta\",\"signature\":\"\"}"));
        assert!(text.contains("\"input\":{}"));
        strict::assert_same(&text, &whole);
        let (empty, whole) = both(&[], &StopReason::EndTurn);
        strict::assert_same(&String::from_utf8(empty).unwrap(), &whole);
    }

    #[test]
    fn a_ping_is_an_event_of_its_own() {
        let mut out = Vec::new();
        StreamEvent::Ping.write(&mut out);
        assert_eq!(out, StreamWriter::PING);
    }

    fn part() -> impl Strategy<Value = Vec<Event>> {
        let text = || "[ -~\\n\u{e9}]{1,8}";
        prop_oneof![
            text().prop_map(|text| vec![Event::Text(text)]),
            text().prop_map(|text| vec![Event::Reasoning(text)]),
            (text(), 0..9usize, any::<bool>()).prop_map(|(text, cut, whole)| {
                let json = serde_json::json!({"k": text}).to_string();
                let cut = (0..=cut).rev().find(|&at| json.is_char_boundary(at)).unwrap_or(0);
                let (a, b) = json.split_at(cut);
                let piece = |text: &str| Event::Arguments { index: 0, fragment: text.to_owned() };
                let call = Event::Call { index: 0, name: "f".to_owned() };
                match whole {
                    true => vec![call, piece(a), piece(b), Event::CallEnd { index: 0 }],
                    false => vec![call, piece(a), Event::CallCut { index: 0 }],
                }
            }),
        ]
    }

    proptest! {
        #[test]
        fn a_stream_read_back_is_the_whole_answer(parts in prop::collection::vec(part(), 0..9)) {
            let (out, whole) = both(&parts.concat(), &StopReason::StopSequence("x".to_owned()));
            strict::assert_same(&String::from_utf8(out).unwrap(), &whole);
        }
    }
}
