//! Generated schemas on models with random weights, which want nothing: whatever comes out was
//! enforced.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Map, Value, json};

use crate::answers::each_way;
use crate::harness::Server;

/// Of choices that only need to differ.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

const NAMES: [&str; 8] = ["path", "query", "Ünï", "a b", "x-1", "items", "$set", "old\"text"];

/// A schema whose values are short, as these models end nothing by themselves.
fn schema(random: &mut Random, depth: usize) -> Value {
    let kinds = if depth == 0 { 8 } else { 11 };
    match random.below(kinds) {
        0 => json!({"type": "string", "maxLength": 1 + random.below(12)}),
        1 => json!({"type": "string", "enum": ["", "ä\n", "</tool_call>", "x"]}),
        2 => json!({"type": "integer", "minimum": -5, "maximum": random.below(2000)}),
        3 => json!({"type": "boolean"}),
        4 => json!({"type": ["string", "null"], "maxLength": 4}),
        5 => json!({"type": "string", "pattern": "^[a-z]{1,4}(-[0-9]{2})?$"}),
        6 => json!({"const": {"k": [1, "two", null]}}),
        7 => json!({"type": "string", "format": "date"}),
        8 => json!({"type": "array", "maxItems": 3, "items": schema(random, depth - 1)}),
        9 => json!({"anyOf": [schema(random, depth - 1), {"type": "null"}]}),
        _ => object(random, depth - 1),
    }
}

fn object(random: &mut Random, depth: usize) -> Value {
    let mut properties = Map::new();
    for _ in 0..random.below(4) {
        properties.insert(NAMES[random.below(NAMES.len())].to_owned(), schema(random, depth));
    }
    let required: Vec<String> =
        properties.keys().filter(|_| random.below(3) > 0).cloned().collect();
    json!({"type": "object", "properties": properties, "required": required,
        "additionalProperties": false})
}

/// Half of the requests force a call, half a response format.
fn check(server: &Server, seed: u64) {
    let mut random = Random(seed);
    let schema = object(&mut random, 2);
    let mut body = json!({
        "messages": [{"role": "user", "content": format!("Number {seed}.")}],
        "temperature": 1, "seed": seed, "max_tokens": 1500});
    let calls = seed.is_multiple_of(2);
    if calls {
        body["tools"] =
            json!([{"type": "function", "function": {"name": "f", "parameters": schema}}]);
        body["tool_choice"] = json!("required");
        body["parallel_tool_calls"] = json!(false);
    } else {
        body["response_format"] =
            json!({"type": "json_schema", "json_schema": {"name": "r", "schema": schema}});
    }
    for choice in each_way(server, &body) {
        check_choice(&choice, &schema, seed);
    }
}

fn check_choice(choice: &Value, schema: &Value, seed: u64) {
    let calls = seed.is_multiple_of(2);
    let message = &choice["message"];
    let (text, finish) = match calls {
        true => (&message["tool_calls"][0]["function"]["arguments"], "tool_calls"),
        false => (&message["content"], "stop"),
    };
    let text = text.as_str().unwrap_or_else(|| panic!("{seed}: {schema}\n{choice}"));
    assert_eq!(choice["finish_reason"], finish, "{seed}: {schema}\n{text}");
    let value: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{seed}: {e}: {text}"));
    assert!(jsonschema::is_valid(schema, &value), "{seed}: {schema}\n{text}");
}

/// `n` requests to each model, 16 at a time.
fn check_all(n: u64) {
    let file = |name: &str| format!("{}/tests/models/{name}", env!("CARGO_MANIFEST_DIR"));
    let models = [file("tiny-qwen3moe.gguf"), file("tiny-qwen3next.gguf"), "built-in".to_owned()];
    for model in models {
        let mut flags = vec!["--ctx-size", "32768", "--parallel", "16", "--threads", "2"];
        if model != "built-in" {
            flags.extend(["--model", &model]);
        }
        let server = Server::start(&flags);
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed) as u64;
                        if seed >= n {
                            break;
                        }
                        check(&server, seed);
                    }
                });
            }
        });
    }
}

/// Few enough for a GPU that a CPU plays.
#[test]
fn a_few_outputs_of_random_models_fit_their_schemas() {
    check_all(4);
}

#[test]
fn outputs_of_random_models_fit_generated_schemas() {
    check_all(24);
}

#[test]
#[ignore = "a thousand of them take minutes"]
fn outputs_of_random_models_fit_a_thousand_generated_schemas() {
    check_all(334);
}
