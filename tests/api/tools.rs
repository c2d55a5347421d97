//! Tool calls and structured output, on the built-in model.

use serde_json::{Value, json};

use crate::answers::both_ways;
use crate::harness::{Server, shared};

fn weather() -> Value {
    json!({"type": "function", "function": {
        "name": "get_weather", "description": "Get the weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}},
                       "required": ["city"]}}})
}

fn clock() -> Value {
    json!({"type": "function", "function": {
        "name": "get_time", "description": "Get the time.",
        "parameters": {"type": "object", "properties": {}}}})
}

/// A request with both tools that the model answers by calling for the weather.
fn request(fields: Value) -> Value {
    let mut body = json!({
        "messages": [{"role": "user", "content": "What is the weather in Paris now?"}],
        "tools": [weather(), clock()], "temperature": 0, "max_tokens": 100});
    for (key, value) in fields.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

fn calls(choice: &Value) -> Vec<(String, Value)> {
    let calls = choice["message"]["tool_calls"].as_array().cloned().unwrap_or_default();
    let call = |call: &Value| {
        let function = &call["function"];
        let arguments = function["arguments"].as_str().unwrap();
        (function["name"].as_str().unwrap().to_owned(), serde_json::from_str(arguments).unwrap())
    };
    calls.iter().map(call).collect()
}

#[test]
fn a_model_that_calls_a_tool_gets_its_result_and_answers() {
    let server = shared();
    let choice = both_ways(&server, &request(json!({})));
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(choice["message"]["content"], "");
    assert_eq!(calls(&choice), [("get_weather".to_owned(), json!({"city": "Paris"}))]);

    let sent = server.post("/v1/chat/completions", request(json!({}))).json;
    let mut body = request(json!({}));
    let messages = body["messages"].as_array_mut().unwrap();
    let call = sent["choices"][0]["message"].clone();
    assert!(call["content"].is_null());
    let id = call["tool_calls"][0]["id"].clone();
    assert!(id.as_str().unwrap().starts_with("call_"));
    messages.push(call);
    messages.push(json!({"role": "tool", "tool_call_id": id, "content": "18 degrees, sunny"}));
    let choice = both_ways(&server, &body);
    assert_eq!(choice["finish_reason"], "stop");
    assert!(choice["message"]["content"].as_str().unwrap().contains("18"), "{choice}");
}

#[test]
fn the_choice_of_tools_holds() {
    let server = shared();
    let choose = |fields: Value| both_ways(&server, &request(fields));
    let none = choose(json!({"tool_choice": "none"}));
    assert!(calls(&none).is_empty() && none["finish_reason"] != "tool_calls");
    // The model would rather call the other one, or say something.
    let named = json!({"type": "function", "function": {"name": "get_time"}});
    assert_eq!(calls(&choose(json!({"tool_choice": named})))[0].0, "get_time");
    let hello = json!([{"role": "user", "content": "Hello!"}]);
    let required = choose(json!({"messages": hello, "tool_choice": "required"}));
    assert!(!calls(&required).is_empty());
    assert_eq!(required["message"]["content"], "");
    assert_eq!(required["finish_reason"], "tool_calls");
    let allowed = json!({"type": "allowed_tools", "allowed_tools": {
        "mode": "required", "tools": [{"type": "function", "function": {"name": "get_time"}}]}});
    let allowed = choose(json!({"tool_choice": allowed}));
    assert!(calls(&allowed).iter().all(|(name, _)| name == "get_time"));
}

#[test]
fn parallel_calls_can_be_forbidden() {
    // So hot that the model is sure of nothing.
    let hot = |seed: u64, parallel: bool| {
        request(json!({"tool_choice": "required", "parallel_tool_calls": parallel,
            "temperature": 20, "samplers": ["temperature"], "seed": seed, "max_tokens": 400,
            "tools": [clock()]}))
    };
    let server = shared();
    for seed in 0..8 {
        let choice = both_ways(&server, &hot(seed, false));
        assert_eq!(calls(&choice).len(), 1, "{choice}");
    }
    let most = (0..8).map(|seed| calls(&both_ways(&server, &hot(seed, true))).len()).max();
    assert!(most > Some(1));
}

#[test]
fn the_old_functions_are_answered_in_their_old_form() {
    let function = weather()["function"].clone();
    let body = json!({
        "messages": [{"role": "user", "content": "What is the weather in Paris now?"}],
        "functions": [function], "function_call": {"name": "get_weather"}, "temperature": 0,
        "max_tokens": 100});
    let choice = both_ways(&shared(), &body);
    assert_eq!(choice["finish_reason"], "function_call");
    let call = &choice["message"]["function_call"];
    assert_eq!(call["name"], "get_weather");
    assert_eq!(call["arguments"], r#"{"city": "Paris"}"#);
    assert!(choice["message"].get("tool_calls").is_none());
}

#[test]
fn a_response_format_is_kept_to_in_the_schemas_order() {
    let schema = json!({"type": "object", "properties": {
        "zeta": {"type": "string", "maxLength": 10}, "alpha": {"type": "integer", "maximum": 99}},
        "required": ["alpha", "zeta"], "additionalProperties": false});
    let formats = [
        json!({"response_format": {"type": "json_schema",
            "json_schema": {"name": "r", "strict": true, "schema": schema}}}),
        json!({"response_format": {"type": "json_object", "schema": schema}}),
        json!({"json_schema": schema}),
    ];
    let server = shared();
    for format in formats {
        for seed in 0..4 {
            let mut body = request(format.clone());
            body.as_object_mut().unwrap().remove("tools");
            (body["temperature"], body["seed"]) = (json!(20), json!(seed));
            body["samplers"] = json!(["temperature"]);
            let choice = both_ways(&server, &body);
            let text = choice["message"]["content"].as_str().unwrap();
            let value: Value = serde_json::from_str(text).unwrap();
            assert!(jsonschema::is_valid(&schema, &value), "{text}");
            let keys: Vec<&String> = value.as_object().unwrap().keys().collect();
            assert_eq!(keys, ["zeta", "alpha"]);
            assert_eq!(choice["finish_reason"], "stop");
        }
    }
}

#[test]
fn a_schema_and_tools_go_together() {
    let server = shared();
    let format = json!({"type": "json_schema", "json_schema": {"name": "r", "schema": {
        "type": "object", "properties": {"n": {"type": "integer", "maximum": 9}},
        "required": ["n"], "additionalProperties": false}}});
    let called = both_ways(&server, &request(json!({"response_format": format})));
    assert_eq!(calls(&called)[0].0, "get_weather");
    let hello = json!([{"role": "user", "content": "Hello!"}]);
    let said = both_ways(&server, &request(json!({"response_format": format, "messages": hello})));
    if calls(&said).is_empty() {
        let text = said["message"]["content"].as_str().unwrap();
        assert!(serde_json::from_str::<Value>(text).unwrap()["n"].is_i64(), "{text}");
    }
}

#[test]
fn a_forced_call_that_is_cut_in_its_head_is_no_text() {
    let server = shared();
    for max_tokens in 1..=6 {
        let fields = json!({"tool_choice": "required", "max_tokens": max_tokens});
        let said = both_ways(&server, &request(fields));
        let content = said["message"]["content"].as_str().unwrap_or_default();
        assert_eq!((content, &said["finish_reason"]), ("", &json!("length")), "{max_tokens}");
    }
}

#[test]
fn llama_servers_grammars_are_kept_to() {
    let grammar = "root ::= (\"yes\" | \"no\") [!?]{2}\n# the end";
    let server = shared();
    let chat = json!({"messages": [{"role": "user", "content": "Hello!"}], "grammar": grammar,
        "temperature": 20, "seed": 4});
    let text = both_ways(&server, &chat)["message"]["content"].as_str().unwrap().to_owned();
    assert!(["yes", "no"].iter().any(|word| text.starts_with(word)) && text.len() <= 5, "{text}");
    let text = server.post("/v1/completions", json!({"prompt": "Is it?", "grammar": grammar}));
    assert!(text.json["choices"][0]["text"].as_str().unwrap().ends_with(['!', '?']));
    let wrong = server.post("/v1/completions", json!({"prompt": "x", "grammar": "root ::= oops"}));
    assert_eq!((wrong.status, &wrong.json["error"]["param"]), (400, &json!("grammar")));
}

#[test]
fn no_schema_of_a_tool_is_refused_unless_it_is_strict() {
    let odd = json!({"type": "object", "properties": {
        "a": {"type": "string", "pattern": "^(?!x)\\bfoo", "maxLength": 10000},
        "b": {"$ref": "#/nowhere"}, "c": {"not": {"type": "string"}}},
        "propertyNames": {"pattern": "^[a-c]$"}, "minProperties": 1});
    let tool = |strict: bool| {
        json!([{"type": "function",
            "function": {"name": "odd", "parameters": odd, "strict": strict}}])
    };
    let server = Server::start(&[]);
    let before = server.metric("strixhalo_tool_schemas_loosened_total");
    let reply = server.post("/v1/chat/completions", request(json!({"tools": tool(false)})));
    assert_eq!(reply.status, 200, "{}", reply.json);
    assert!(server.metric("strixhalo_tool_schemas_loosened_total") > before);
    server.logged(|line| line.contains("loosened") && line.contains("odd"));
    let mut tools = tool(true);
    let ping = json!({"type": "function", "function": {"name": "ping"}});
    tools.as_array_mut().unwrap().insert(0, ping);
    let strict = server.post("/v1/chat/completions", request(json!({"tools": tools})));
    assert_eq!(strict.status, 400);
    let param = strict.json["error"]["param"].as_str().unwrap();
    assert!(param.starts_with("tools[1].function.parameters."), "{param}");
    let format = json!({"type": "json_schema", "json_schema": {"name": "r", "schema": odd}});
    let refused = server.chat("Hello!", json!({"response_format": format}));
    assert_eq!(refused.status, 400);
    let param = refused.json["error"]["param"].as_str().unwrap();
    assert!(param.starts_with("response_format.json_schema.schema."), "{param}");
}

#[test]
fn a_schema_that_cannot_be_enforced_is_named_where_it_was_sent() {
    let schema = json!({"type": "object", "properties": {"a": {"not": {}}}});
    let server = shared();
    for (fields, path) in [
        (json!({"json_schema": schema}), "json_schema"),
        (
            json!({"response_format": {"type": "json_object", "schema": schema}}),
            "response_format.schema",
        ),
    ] {
        let refused = server.chat("Hello!", fields);
        assert_eq!(refused.status, 400);
        let path = format!("{path}.properties.a.not");
        assert_eq!(refused.json["error"]["param"], json!(path));
        assert!(refused.json["error"]["message"].as_str().unwrap().contains(&path));
    }
}

#[test]
fn an_object_of_too_many_properties_is_refused_or_loosened_before_it_fails() {
    let properties: serde_json::Map<String, Value> =
        (0..700).map(|i| (format!("p{i}"), json!({"type": "boolean"}))).collect();
    let schema = json!({"type": "object", "properties": properties});
    let server = Server::start(&["--ctx-size", "65536", "--parallel", "1"]);
    let format = json!({"type": "json_schema", "json_schema": {"name": "r", "schema": schema}});
    let refused = server.chat("Hello!", json!({"response_format": format}));
    assert_eq!(refused.status, 400);
    let param = refused.json["error"]["param"].as_str().unwrap();
    assert_eq!(param, "response_format.json_schema.schema.properties");
    let tool = json!([{"type": "function", "function": {"name": "f", "parameters": schema}}]);
    let choice = both_ways(&server, &request(json!({"tools": tool, "tool_choice": "required"})));
    assert_eq!(choice["message"]["tool_calls"][0]["function"]["name"], "f");
}

#[test]
fn a_call_that_is_cut_ends_with_length_and_is_no_object() {
    let choice = both_ways(&shared(), &request(json!({"max_tokens": 14})));
    assert_eq!(choice["finish_reason"], "length");
    let call = &choice["message"]["tool_calls"][0]["function"];
    assert_eq!(call["name"], "get_weather");
    let arguments = call["arguments"].as_str().unwrap();
    assert!(serde_json::from_str::<Value>(arguments).is_err(), "{arguments}");
}
