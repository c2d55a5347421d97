use serde_json::{Value, json};

use crate::harness::{chat_body, chunks, shared};

fn chat(fields: Value) -> Vec<Value> {
    let mut fields = fields;
    fields["stream"] = json!(true);
    chunks(shared().stream("/v1/chat/completions", chat_body("Hello!", fields)))
}

fn text_of(chunks: &[Value], index: u64) -> String {
    chunks
        .iter()
        .flat_map(|chunk| chunk["choices"].as_array().unwrap())
        .filter(|choice| choice["index"] == index)
        .filter_map(|choice| choice["delta"]["content"].as_str().or(choice["text"].as_str()))
        .collect()
}

#[test]
fn chunks_come_in_openais_order_and_add_up_to_the_whole_answer() {
    let whole = shared().chat("Hello!", json!({})).json;
    let chunks = chat(json!({}));
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    assert_eq!(text_of(&chunks, 0), whole["choices"][0]["message"]["content"].as_str().unwrap());
    let (last, rest) = chunks.split_last().unwrap();
    assert_eq!(last["choices"][0]["delta"], json!({}));
    assert_eq!(last["choices"][0]["finish_reason"], whole["choices"][0]["finish_reason"]);
    assert!(last["timings"]["predicted_n"].as_u64().unwrap() > 0);
    for chunk in rest {
        assert_eq!(chunk["choices"][0]["finish_reason"], Value::Null);
        assert!(chunk.get("usage").is_none() && chunk.get("timings").is_none());
    }
    for chunk in &chunks {
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert_eq!(chunk["id"], chunks[0]["id"]);
    }
}

#[test]
fn usage_comes_in_one_last_chunk_without_choices_when_asked() {
    let chunks = chat(json!({"stream_options": {"include_usage": true}}));
    let (last, rest) = chunks.split_last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert!(last["usage"]["completion_tokens"].as_u64().unwrap() > 0);
    assert!(last["timings"].is_object());
    assert!(rest.iter().all(|chunk| chunk.get("usage").is_none()));
    assert!(!rest.last().unwrap()["choices"][0]["finish_reason"].is_null());
}

#[test]
fn several_choices_are_told_apart_by_their_index() {
    let chunks = chat(json!({"n": 3, "seed": 1, "temperature": 1.2}));
    for index in 0..3 {
        assert!(!text_of(&chunks, index).is_empty());
        let of_choice = |chunk: &&Value| chunk["choices"][0]["index"] == index;
        let ends = chunks
            .iter()
            .filter(of_choice)
            .filter(|chunk| !chunk["choices"][0]["finish_reason"].is_null());
        assert_eq!(ends.count(), 1);
        let roles = chunks
            .iter()
            .filter(of_choice)
            .filter(|chunk| chunk["choices"][0]["delta"].get("role").is_some());
        assert_eq!(roles.count(), 1);
    }
}

#[test]
fn log_probabilities_stream_with_their_tokens() {
    let fields = json!({"logprobs": true, "top_logprobs": 2});
    let whole = shared().chat("Hello!", fields.clone()).json;
    let streamed: Vec<Value> = chat(fields)
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["logprobs"]["content"].as_array().cloned())
        .flatten()
        .collect();
    let ids = |entries: &[Value]| entries.iter().map(|e| e["id"].clone()).collect::<Vec<_>>();
    let whole = whole["choices"][0]["logprobs"]["content"].as_array().unwrap();
    assert_eq!(ids(&streamed), ids(whole));
}

#[test]
fn progress_timings_and_tokens_are_reported_when_asked() {
    let chunks =
        chat(json!({"return_progress": true, "timings_per_token": true, "return_tokens": true}));
    let progress = chunks.iter().find(|c| c.get("prompt_progress").is_some()).unwrap();
    let progress = &progress["prompt_progress"];
    assert!(progress["processed"].as_u64().unwrap() <= progress["total"].as_u64().unwrap());
    let content =
        |c: &&Value| c["choices"][0]["delta"]["content"].as_str().is_some_and(|t| !t.is_empty());
    for chunk in chunks.iter().filter(content) {
        assert!(chunk["timings"]["predicted_n"].as_u64().unwrap() > 0);
        assert!(!chunk["choices"][0]["tokens"].as_array().unwrap().is_empty());
    }
}

#[test]
fn text_completions_stream_too_with_their_echo_first() {
    let server = shared();
    let body = json!({"prompt": "one two three", "max_tokens": 6, "temperature": 0, "echo": true,
                      "logprobs": 1});
    let whole = server.post("/v1/completions", body.clone()).json;
    let mut streaming = body;
    streaming["stream"] = json!(true);
    streaming["stream_options"] = json!({"include_usage": true});
    let chunks = chunks(server.stream("/v1/completions", streaming));
    assert_eq!(chunks[0]["choices"][0]["text"], "one two three");
    assert_eq!(text_of(&chunks, 0), whole["choices"][0]["text"].as_str().unwrap());
    assert_eq!(chunks.last().unwrap()["usage"]["completion_tokens"], 6);
    let offsets: Vec<Value> = chunks
        .iter()
        .filter_map(|c| c["choices"][0]["logprobs"]["text_offset"].as_array().cloned())
        .flatten()
        .collect();
    assert_eq!(&offsets, whole["choices"][0]["logprobs"]["text_offset"].as_array().unwrap());
}

#[test]
fn a_refused_stream_is_a_plain_error() {
    let reply = shared().chat("Hello!", json!({"stream": true, "max_tokens": -5}));
    assert_eq!(reply.status, 400);
    assert_eq!(reply.headers["content-type"], "application/json");
    assert_eq!(reply.json["error"]["param"], "max_tokens");
}

#[test]
fn requests_behind_a_stream_on_the_same_connection_are_answered() {
    let server = shared();
    for _ in 0..20 {
        let fields = json!({"stream": true, "max_tokens": 2,
                            "stream_options": {"include_usage": true}});
        chunks(server.stream("/v1/chat/completions", chat_body("Hello!", fields)));
        assert_eq!(server.get("/health").status, 200);
    }
}
