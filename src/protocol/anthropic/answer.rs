//! Answers in Anthropic's shapes.

use serde::{Serialize, Serializer};
use serde_json::Map;
use serde_json::value::RawValue;

use crate::chat::output::Event;

/// A message of the model, whole or as far as it is.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "message")]
#[allow(missing_docs)] // Anthropic's fields
pub struct Answer<'a> {
    pub id: &'a str,
    pub role: &'static str,
    pub model: &'a str,
    pub content: Vec<Block>,
    /// `None` while it is on its way.
    pub stop_reason: Option<&'static str>,
    pub stop_sequence: Option<&'a str>,
    pub usage: Usage,
}

/// A content block of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[allow(missing_docs)] // Anthropic's fields
pub enum Block {
    /// Thoughts. The signature is empty: there is no other server to prove them to.
    Thinking {
        thinking: String,
        signature: &'static str,
    },
    Text {
        text: String,
    },
    /// A call. `input` is the text of a JSON object.
    ToolUse {
        id: String,
        name: String,
        #[serde(serialize_with = "object")]
        input: String,
    },
}

/// Writes the JSON object that the text is, with the digits of its numbers. Of a call that was cut
/// there is a beginning only: the object is empty then, and the stop reason says that something is
/// missing.
fn object<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    let object = serde_json::from_str::<&RawValue>(text).ok();
    match object.filter(|object| object.get().starts_with('{')) {
        Some(object) => object.serialize(serializer),
        None => Map::new().serialize(serializer),
    }
}

/// The content blocks of a whole output, in its order. Calls get ids of their own.
pub fn blocks(parts: &[Event]) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for part in parts {
        match (part, blocks.last_mut()) {
            (Event::Reasoning(more), Some(Block::Thinking { thinking, .. })) => {
                thinking.push_str(more);
            }
            (Event::Reasoning(text), _) => {
                blocks.push(Block::Thinking { thinking: text.clone(), signature: "" });
            }
            (Event::Text(more), Some(Block::Text { text })) => text.push_str(more),
            (Event::Text(text), _) => blocks.push(Block::Text { text: text.clone() }),
            (Event::Call { name, .. }, _) => blocks.push(Block::ToolUse {
                id: call_id(),
                name: name.clone(),
                input: String::new(),
            }),
            // Calls do not overlap.
            (Event::Arguments { fragment, .. }, Some(Block::ToolUse { input, .. })) => {
                input.push_str(fragment);
            }
            (Event::Arguments { .. } | Event::CallEnd { .. } | Event::CallCut { .. }, _) => {}
        }
    }
    blocks
}

/// A call's id, which the tool's result names.
pub(super) fn call_id() -> String {
    "toolu_".chars().chain((0..24).map(|_| fastrand::alphanumeric())).collect()
}

/// Token counts of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // Anthropic's fields
pub struct Usage {
    /// Of the prompt, without those that were cached: clients add them up.
    pub input_tokens: u64,
    /// Always 0: what is kept costs nothing more than what is not.
    pub cache_creation_input_tokens: u64,
    pub cache_read_input_tokens: u64,
    pub output_tokens: u64,
}

impl Usage {
    /// `prompt`: with those that were `cached`.
    pub fn new(prompt: u64, cached: u64, output: u64) -> Self {
        Self {
            input_tokens: prompt.saturating_sub(cached),
            cache_creation_input_tokens: 0,
            cache_read_input_tokens: cached,
            output_tokens: output,
        }
    }
}

/// Why an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// The model ended it.
    EndTurn,
    /// `max_tokens`, the context or the time was used up.
    MaxTokens,
    /// This stop sequence would have appeared.
    StopSequence(String),
    /// It calls tools.
    ToolUse,
}

impl StopReason {
    /// Anthropic's word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::EndTurn => "end_turn",
            Self::MaxTokens => "max_tokens",
            Self::StopSequence(_) => "stop_sequence",
            Self::ToolUse => "tool_use",
        }
    }

    /// The stop sequence, if one ended the answer.
    pub fn sequence(&self) -> Option<&str> {
        match self {
            Self::StopSequence(sequence) => Some(sequence),
            _ => None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn blocks_are_in_the_outputs_order() {
        let text = |text: &str| Event::Text(text.to_owned());
        let call = |index: usize, arguments: &str| {
            let fragment = arguments.to_owned();
            [Event::Call { index, name: "f".to_owned() }, Event::Arguments { index, fragment }]
        };
        let mut parts = vec![Event::Reasoning("a".to_owned()), Event::Reasoning("b".to_owned())];
        parts.extend([text("c"), text("d")]);
        parts.extend(call(0, "{\"n\": 36893488147419103233}"));
        parts.extend([Event::CallEnd { index: 0 }, text("e")]);
        parts.extend(call(1, "{\"n\": "));
        parts.push(Event::CallCut { index: 1 });
        let mut blocks = blocks(&parts);
        for block in &mut blocks {
            if let Block::ToolUse { id, .. } = block {
                assert!(id.starts_with("toolu_") && id.len() == 30);
                *id = "i".to_owned();
            }
        }
        let json = serde_json::to_string(&blocks).unwrap();
        assert_eq!(
            json,
            concat!(
                r#"[{"type":"thinking","thinking":"ab","signature":""},"#,
                r#"{"type":"text","text":"cd"},"#,
                r#"{"type":"tool_use","id":"i","name":"f","input":{"n": 36893488147419103233}},"#,
                r#"{"type":"text","text":"e"},"#,
                r#"{"type":"tool_use","id":"i","name":"f","input":{}}]"#
            )
        );
    }

    #[test]
    fn an_answer_has_anthropics_names() {
        let answer = Answer {
            id: "msg_1",
            role: "assistant",
            model: "m",
            content: Vec::new(),
            stop_reason: Some(StopReason::StopSequence("x".to_owned()).name()),
            stop_sequence: Some("x"),
            usage: Usage::new(10, 4, 7),
        };
        assert_eq!(
            serde_json::to_value(answer).unwrap(),
            json!({
                "type": "message", "id": "msg_1", "role": "assistant", "model": "m",
                "content": [], "stop_reason": "stop_sequence", "stop_sequence": "x",
                "usage": {"input_tokens": 6, "cache_creation_input_tokens": 0,
                    "cache_read_input_tokens": 4, "output_tokens": 7},
            })
        );
        assert_eq!(StopReason::EndTurn.sequence(), None::<&str>);
        assert_eq!(
            serde_json::to_value(StopReason::ToolUse.name()).unwrap(),
            Value::from("tool_use")
        );
    }
}
