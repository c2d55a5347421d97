//! A strict reader of streams, for tests: it fails wherever some client would. The fuzz target and
//! the tests of the API include this file.

#![allow(clippy::expect_used, clippy::panic)] // it fails by panicking

use serde_json::{Map, Value, json};

/// A stream put together again as a whole answer. Panics where the stream breaks a rule.
pub(super) fn read(stream: &str) -> Value {
    let mut message: Option<Value> = None;
    let mut open: Option<(Value, String)> = None;
    let mut ended = false;
    let mut stopped = false;
    assert!(stream.ends_with("\n\n"), "events end with an empty line: {stream:?}");
    for event in stream.split_terminator("\n\n") {
        let lines: Vec<&str> = event.split('\n').filter(|line| !line.starts_with(':')).collect();
        let [name, data] = lines[..] else { panic!("not one name and one text: {event:?}") };
        let name = name.strip_prefix("event: ").expect("a name");
        let data = data.strip_prefix("data: ").expect("data");
        let data: Value = serde_json::from_str(data).expect("JSON");
        assert_eq!(data["type"], name, "the type is the event's name");
        assert!(!stopped, "an event behind the last one: {event}");
        if name == "message_start" {
            assert!(message.is_none(), "a second beginning");
            let begun = data["message"].clone();
            assert_eq!((&begun["type"], &begun["role"]), (&json!("message"), &json!("assistant")));
            assert_eq!(begun["content"], json!([]));
            assert!(begun["stop_reason"].is_null() && begun["stop_sequence"].is_null());
            usage(&begun["usage"]);
            message = Some(begun);
            continue;
        }
        let message = message.as_mut().expect("the beginning comes first");
        assert!(!ended || name == "message_stop", "{name} behind message_delta");
        match name {
            "ping" => assert_eq!(data, json!({"type": "ping"})),
            "content_block_start" => {
                assert!(open.is_none(), "a block begins in another one: {event}");
                assert_eq!(data["index"], blocks(message).len());
                begins(&data["content_block"]);
                open = Some((data["content_block"].clone(), String::new()));
            }
            "content_block_delta" => {
                assert_eq!(data["index"], blocks(message).len());
                let (block, arguments) = open.as_mut().expect("an open block");
                add(block, arguments, &data["delta"]);
            }
            "content_block_stop" => {
                assert_eq!(data["index"], blocks(message).len());
                let (mut block, arguments) = open.take().expect("an open block");
                if block["type"] == "tool_use" {
                    block["input"] = object(&arguments);
                }
                blocks(message).push(block);
            }
            "message_delta" => {
                assert!(open.is_none(), "a block has not ended: {event}");
                message["stop_reason"] = data["delta"]["stop_reason"].clone();
                message["stop_sequence"] = data["delta"]["stop_sequence"].clone();
                assert!(message["stop_reason"].is_string());
                usage(&data["usage"]);
                assert_eq!(
                    data["usage"]["cache_read_input_tokens"],
                    message["usage"]["cache_read_input_tokens"]
                );
                assert_eq!(data["usage"]["input_tokens"], message["usage"]["input_tokens"]);
                message["usage"] = data["usage"].clone();
                ended = true;
            }
            "message_stop" => {
                assert!(ended, "no message_delta");
                stopped = true;
            }
            _ => panic!("no event of a good stream: {event}"),
        }
    }
    assert!(stopped, "the stream has no end");
    message.expect("a beginning")
}

/// Fails unless a stream comes to a whole answer; the ids of calls differ.
pub(super) fn assert_same(stream: &str, whole: &Value) {
    assert_eq!(without_ids(read(stream)), without_ids(whole.clone()));
}

/// An answer without the ids of its calls, once they have been looked at.
pub(super) fn without_ids(mut answer: Value) -> Value {
    let mut seen = Vec::new();
    for block in blocks(&mut answer) {
        if block["type"] == "tool_use" {
            let id = block["id"].take();
            assert!(id.as_str().is_some_and(|id| id.starts_with("toolu_")), "{id}");
            assert!(!seen.contains(&id), "{id} comes twice");
            seen.push(id);
        }
    }
    answer
}

fn blocks(message: &mut Value) -> &mut Vec<Value> {
    message["content"].as_array_mut().expect("content is a list")
}

fn usage(usage: &Value) {
    for name in
        ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens"]
    {
        assert!(usage[name].is_u64(), "{name} in {usage}");
    }
}

/// A block is empty when it begins.
fn begins(block: &Value) {
    let empty = match block["type"].as_str() {
        Some("text") => json!({"type": "text", "text": ""}),
        Some("thinking") => json!({"type": "thinking", "thinking": "", "signature": ""}),
        Some("tool_use") => {
            assert!(!block["name"].as_str().expect("a name").is_empty());
            let (id, name) = (&block["id"], &block["name"]);
            json!({"type": "tool_use", "id": id, "name": name, "input": {}})
        }
        _ => panic!("no block that is known: {block}"),
    };
    assert_eq!(*block, empty);
}

fn add(block: &mut Value, arguments: &mut String, delta: &Value) {
    let (of, name) = match delta["type"].as_str() {
        Some("text_delta") => ("text", "text"),
        Some("thinking_delta") => ("thinking", "thinking"),
        Some("signature_delta") => ("thinking", "signature"),
        Some("input_json_delta") => ("tool_use", "partial_json"),
        _ => panic!("no delta that is known: {delta}"),
    };
    assert_eq!(block["type"], of, "{delta}");
    let more = delta[name].as_str().expect("a text");
    if of == "tool_use" {
        arguments.push_str(more);
        return;
    }
    assert!(name == "signature" || !more.is_empty(), "{delta}");
    let text = block[name].as_str().expect("a text").to_owned() + more;
    block[name] = text.into();
}

/// The arguments of a call; of one that was cut, none.
fn object(text: &str) -> Value {
    let object: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
    Value::Object(object)
}
