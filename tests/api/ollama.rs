//! Ollama's API.

use serde_json::{Value, json};

use crate::harness::{Server, shared};
use crate::ollama_decoder::{self, Answer};
use crate::scripted::{self, HERMES};
use crate::tiny::Tiny;

const LINES: &str = "application/x-ndjson";
const JSON: &str = "application/json";

/// The answer to a request, which is sent whole and streamed and must be the same both ways.
pub fn both_ways(server: &Server, path: &str, mut body: Value) -> Answer {
    body["stream"] = false.into();
    let whole = ollama_decoder::whole(&server.text(path, body.clone(), JSON)).unwrap();
    // Streams are what there is by default.
    body.as_object_mut().unwrap().remove("stream");
    let mut stream = ollama_decoder::stream(&server.text(path, body, LINES)).unwrap();
    let tokens = |answer: &Answer| -> Vec<Value> {
        answer.logprobs.iter().map(|logprob| logprob["token"].clone()).collect()
    };
    assert_eq!(tokens(&stream), tokens(&whole));
    // Their last digits may differ.
    stream.logprobs = whole.logprobs.clone();
    assert_eq!(stream, whole);
    whole
}

fn ask(question: &str, fields: Value) -> Value {
    let mut body = json!({"model": "any", "messages": [{"role": "user", "content": question}],
        "options": {"temperature": 0, "num_predict": 100}});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

const CAPITAL: &str = "What is the capital of France?";

fn weather() -> Value {
    json!({"type": "function", "function": {
        "name": "get_weather", "description": "Get the weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}},
                       "required": ["city"]}}})
}

#[test]
fn a_chat_is_answered_as_through_openais_api() {
    let server = shared();
    let ours =
        both_ways(&server, "/api/chat", ask(CAPITAL, json!({"logprobs": true, "top_logprobs": 2})));
    let theirs = server.chat(CAPITAL, json!({"max_tokens": 100})).json;
    assert_eq!(ours.text, theirs["choices"][0]["message"]["content"].as_str().unwrap());
    assert_eq!(ours.done_reason, "stop");
    assert_eq!(ours.logprobs[0]["top_logprobs"].as_array().unwrap().len(), 2);
    let whole = server.post("/api/chat", ask(CAPITAL, json!({"stream": false}))).json;
    // The same prompt has as many tokens, and all of them are found in the caches.
    assert_eq!(whole["prompt_eval_count"], theirs["usage"]["prompt_tokens"]);
    assert_eq!(whole["eval_count"], theirs["usage"]["completion_tokens"]);
    assert!(whole["total_duration"].as_u64() >= whole["eval_duration"].as_u64());
    let again = server.chat(CAPITAL, json!({"max_tokens": 1})).json;
    let cached = &again["usage"]["prompt_tokens_details"]["cached_tokens"];
    assert_eq!(cached.as_u64().unwrap() + 1, whole["prompt_eval_count"].as_u64().unwrap());
    let cut = both_ways(&server, "/api/chat", ask(CAPITAL, json!({"options": {"num_predict": 2}})));
    assert_eq!(cut.done_reason, "length");
}

#[test]
fn a_model_that_calls_a_tool_gets_its_result_and_answers() {
    let server = shared();
    let question = "What is the weather in Paris now?";
    let mut body = ask(question, json!({"tools": [weather()]}));
    let called = both_ways(&server, "/api/chat", body.clone());
    assert_eq!(called.calls, [json!({"name": "get_weather", "arguments": {"city": "Paris"}})]);
    assert_eq!((called.text.as_str(), called.done_reason.as_str()), ("", "stop"));
    body["stream"] = false.into();
    let sent = server.post("/api/chat", body.clone()).json["message"].clone();
    let messages = body["messages"].as_array_mut().unwrap();
    messages.push(sent);
    messages
        .push(json!({"role": "tool", "tool_name": "get_weather", "content": "18 degrees, sunny"}));
    let answer = both_ways(&server, "/api/chat", body);
    assert!(answer.text.contains("18"), "{answer:?}");
}

#[test]
fn a_call_that_is_cut_is_text() {
    let body = ask("What is the weather in Paris now?", json!({"tools": [weather()]}));
    let mut cut_at = |tokens: u32| {
        let mut body = body.clone();
        body["options"]["num_predict"] = tokens.into();
        both_ways(&shared(), "/api/chat", body)
    };
    let cut = (1..40).map(&mut cut_at).find(|answer| answer.text.contains("\"arguments\""));
    let cut = cut.expect("some length cuts the arguments");
    assert!(cut.text.starts_with("{\"name\": \"get_weather\", \"arguments\": "), "{cut:?}");
    assert_eq!((cut.calls.len(), cut.done_reason.as_str()), (0, "length"));
}

#[test]
fn thoughts_are_apart() {
    let says = "<think>\nI know it.\n</think>\n\nParis";
    let model = scripted::serve(HERMES, says, &["--ctx-size", "2048", "--parallel", "1"]);
    let answer = both_ways(&model.server, "/api/chat", ask(CAPITAL, json!({"think": true})));
    assert_eq!((answer.thinking.trim(), answer.text.as_str()), ("I know it.", "Paris"));
    let answer =
        both_ways(&model.server, "/api/generate", json!({"prompt": CAPITAL, "think": "low"}));
    assert_eq!((answer.thinking.trim(), answer.text.as_str()), ("I know it.", "Paris"));
    let shown = model.server.post("/api/show", json!({"model": "any"})).json;
    assert_eq!(shown["capabilities"], json!(["completion", "tools", "thinking", "insert"]));
}

#[test]
fn a_generation_is_a_question_a_text_or_a_gap() {
    let server = shared();
    let options = json!({"temperature": 0, "num_predict": 12});
    let question = json!({"prompt": CAPITAL, "options": options, "template": "{{ .Prompt }}"});
    let answer = both_ways(&server, "/api/generate", question);
    let chat = both_ways(&server, "/api/chat", ask(CAPITAL, json!({"options": options})));
    assert_eq!(answer.text, chat.text);
    let raw = json!({"prompt": "one two three", "raw": true, "options": options});
    let raw = both_ways(&server, "/api/generate", raw);
    let text = json!({"prompt": "one two three", "temperature": 0, "max_tokens": 12});
    let text = server.post("/v1/completions", text).json["choices"][0]["text"].clone();
    assert_eq!(raw.text, text.as_str().unwrap());

    let gap = json!({"prompt": "def f(a, b): return ", "suffix": "\n"});
    let other = Tiny::llama().serve(&[]);
    let none = other.post("/api/generate", gap.clone());
    assert_eq!((none.status, none.json.as_object().unwrap().len()), (501, 1));
    let model = scripted::serve(HERMES, "a + b", &["--ctx-size", "2048", "--parallel", "1"]);
    assert_eq!(both_ways(&model.server, "/api/generate", gap).text, "a + b");
}

#[test]
fn a_format_is_kept_to() {
    let schema = json!({"type": "object", "properties": {"capital": {"enum": ["Oslo", "Paris"]}},
        "required": ["capital"], "additionalProperties": false});
    let server = shared();
    for seed in 0..3 {
        let options = json!({"temperature": 20, "seed": seed, "num_predict": 100, "top_k": 0});
        let body = ask(CAPITAL, json!({"format": schema, "options": options}));
        let value: Value =
            serde_json::from_str(&both_ways(&server, "/api/chat", body).text).unwrap();
        assert!(jsonschema::is_valid(&schema, &value), "{value}");
    }
    let body = json!({"prompt": CAPITAL, "format": schema, "options": {"temperature": 0}});
    let text = both_ways(&server, "/api/generate", body).text;
    assert!(serde_json::from_str::<Value>(&text).unwrap()["capital"].is_string());
}

#[test]
fn a_request_without_a_text_waits_for_the_model() {
    let server = shared();
    for path in ["/api/chat", "/api/generate"] {
        for keep_alive in [json!("5m"), json!(0)] {
            let body = json!({"model": "any", "keep_alive": keep_alive});
            let answer = both_ways(&server, path, body);
            assert_eq!((answer.text.as_str(), answer.done_reason.as_str()), ("", "load"));
        }
    }
}

#[test]
fn models_are_told_as_ollama_tells_them() {
    let server = Server::start(&["--alias", "org/demo,demo:1b"]);
    let tags = server.get("/api/tags").json;
    let model = &tags["models"][0];
    assert_eq!(
        (&model["name"], &model["model"]),
        (&json!("org/demo:latest"), &json!("org/demo:latest"))
    );
    assert_eq!(model["digest"].as_str().unwrap().len(), 64);
    assert!(
        model["size"].as_u64().unwrap() > 0
            && model["modified_at"].as_str().unwrap().ends_with('Z')
    );
    assert_eq!(model["details"]["format"], "gguf");
    let running = &server.get("/api/ps").json["models"][0];
    assert_eq!((&running["name"], &running["context_length"]), (&model["name"], &json!(512)));
    for name in ["org/demo", "org/demo:latest", "demo:1b"] {
        let shown = server.post("/api/show", json!({"model": name}));
        assert_eq!(shown.status, 200, "{name}");
        let info = &shown.json["model_info"];
        let architecture = info["general.architecture"].as_str().unwrap();
        assert_eq!(info[format!("{architecture}.context_length")], 512);
        assert_eq!(shown.json["capabilities"][0], "completion");
        let body = json!({"model": name, "prompt": "Hello", "stream": false});
        assert_eq!(server.post("/api/generate", body).json["model"], "org/demo:latest");
    }
    assert!(server.get("/api/version").json["version"].as_str().unwrap().starts_with("0."));
}

#[test]
fn errors_have_ollamas_form_and_name_their_field() {
    let server = Server::start(&["--strict-model-names", "--alias", "demo"]);
    let message = |path: &str, body: Value, status: u16| {
        let reply = server.post(path, body);
        assert_eq!(reply.status, status, "{}", reply.json);
        let fields = reply.json.as_object().unwrap();
        assert_eq!(fields.keys().collect::<Vec<_>>(), ["error"]);
        fields["error"].as_str().unwrap().to_owned()
    };
    for (path, body, named) in [
        ("/api/chat", json!({"messages": [{"content": "x"}]}), "messages[0].role"),
        ("/api/chat", ask("x", json!({"options": {"top_p": 2}})), "options.top_p"),
        ("/api/chat", ask("x", json!({"format": {"type": "odd"}, "model": "demo"})), "format"),
        ("/api/generate", json!({"prompt": "x", "images": ["aGk="]}), "images"),
        ("/api/show", json!({"model": 5}), "model"),
    ] {
        assert!(message(path, body, 400).contains(named), "{named}");
    }
    let long = ask(&"word ".repeat(2000), json!({"model": "demo"}));
    assert!(message("/api/chat", long, 400).starts_with("messages: prompt is too long: "));
    for path in ["/api/chat", "/api/generate", "/api/show"] {
        assert!(message(path, json!({"model": "gpt-4"}), 404).contains("demo"));
    }
    assert_eq!(server.post("/api/chat", json!({"model": "demo:latest"})).status, 200);
    for path in ["/api/pull", "/api/push", "/api/create", "/api/copy", "/api/blobs/sha256:0"] {
        assert!(message(path, json!({"model": "x"}), 501).contains("--model"), "{path}");
    }
    assert!(message("/api/embed", json!({"input": "x"}), 501).contains("embeddings"));
}

#[test]
fn a_larger_context_than_there_is_is_told_in_the_log() {
    let server = Server::start(&[]);
    let body = ask(CAPITAL, json!({"options": {"num_ctx": 131_072, "num_predict": 1}}));
    both_ways(&server, "/api/chat", body);
    server.logged(|line| line.contains("num_ctx") && line.contains("131072"));
}
