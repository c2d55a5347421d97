//! Streams put together again, as clients do it.

use serde_json::{Map, Value, json};

use crate::harness::{Event, Server, chunks};

/// The whole answer's choices that the chunks of a stream come to. Fails where a client would: an
/// index out of order, an id or a name that comes twice or not at all.
pub fn choices(chunks: &[Value]) -> Vec<Value> {
    let mut choices: Vec<Value> = Vec::new();
    for chunk in chunks {
        for sent in chunk["choices"].as_array().unwrap() {
            let index = sent["index"].as_u64().unwrap() as usize;
            while choices.len() <= index {
                choices.push(json!({"message": {}, "finish_reason": null}));
            }
            let choice = &mut choices[index];
            assert!(choice["finish_reason"].is_null(), "a chunk behind the last one: {sent}");
            add(choice["message"].as_object_mut().unwrap(), &sent["delta"]);
            choice["finish_reason"] = sent["finish_reason"].clone();
        }
    }
    choices
}

fn add(message: &mut Map<String, Value>, delta: &Value) {
    for (key, value) in delta.as_object().unwrap() {
        match value {
            Value::String(text) => append(message, key, text),
            Value::Array(calls) if key == "tool_calls" => {
                let all = message.entry(key.as_str()).or_insert_with(|| json!([]));
                calls.iter().for_each(|call| add_call(all.as_array_mut().unwrap(), call));
            }
            Value::Object(function) if key == "function_call" => {
                let all = message.entry(key.as_str()).or_insert_with(|| json!({}));
                for (key, value) in function {
                    append(all.as_object_mut().unwrap(), key, value.as_str().unwrap());
                }
            }
            other => panic!("{key}: {other}"),
        }
    }
}

fn append(object: &mut Map<String, Value>, key: &str, text: &str) {
    let before = object.get(key).and_then(Value::as_str).unwrap_or_default();
    object.insert(key.to_owned(), format!("{before}{text}").into());
}

fn add_call(calls: &mut Vec<Value>, sent: &Value) {
    let index = sent["index"].as_u64().unwrap() as usize;
    let function = &sent["function"];
    if index == calls.len() {
        assert_eq!(sent["type"], "function");
        assert!(!sent["id"].as_str().unwrap().is_empty());
        assert!(!function["name"].as_str().unwrap().is_empty());
        let arguments = function["arguments"].clone();
        let function = json!({"name": function["name"], "arguments": arguments});
        calls.push(json!({"id": sent["id"], "type": "function", "function": function}));
        return;
    }
    assert_eq!(index + 1, calls.len(), "calls come one after another: {sent}");
    assert!(sent.get("id").is_none() && function.get("name").is_none(), "{sent}");
    let fragment = function["arguments"].as_str().unwrap();
    append(calls[index]["function"].as_object_mut().unwrap(), "arguments", fragment);
}

/// The choice of a request, which is sent whole and streamed and must be the same both ways: its
/// message without ids, and its `finish_reason`.
pub fn both_ways(server: &Server, body: &Value) -> Value {
    let [whole, streamed] = each_way(server, body);
    assert_eq!(whole, streamed);
    whole
}

/// The same where the two may differ: beside other streams a batch has other rounding errors.
pub fn each_way(server: &Server, body: &Value) -> [Value; 2] {
    let whole = server.post("/v1/chat/completions", body.clone());
    assert_eq!(whole.status, 200, "{}", whole.json);
    let mut streaming = body.clone();
    streaming["stream"] = true.into();
    let events: Vec<Event> = server.stream("/v1/chat/completions", streaming);
    let mut streamed = choices(&chunks(events)).remove(0);
    let sent = &whole.json["choices"][0];
    let mut whole = json!({"message": sent["message"], "finish_reason": sent["finish_reason"]});
    for choice in [&mut whole, &mut streamed] {
        normalize(choice["message"].as_object_mut().unwrap());
    }
    [whole, streamed]
}

/// Ids differ; a text of none is absent, empty or `null`.
fn normalize(message: &mut Map<String, Value>) {
    for call in message.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten() {
        call.as_object_mut().unwrap().remove("id");
    }
    if message.get("content").is_none_or(Value::is_null) {
        message.insert("content".to_owned(), "".into());
    }
}
