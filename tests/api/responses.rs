//! `/v1/responses`: items in, items and typed events out.

mod decoder;

use serde_json::{Value, json};

use crate::harness::{Server, shared};
use crate::scripted::{self, HERMES, XML};

const QUESTION: &str = "What is the weather in Paris now?";

fn weather() -> Value {
    json!({"type": "function", "name": "get_weather", "description": "Get the weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}},
                       "required": ["city"]}, "strict": false})
}

/// A greedy request with further fields.
fn request(input: Value, fields: Value) -> Value {
    let mut body = json!({"input": input, "temperature": 0, "max_output_tokens": 100});
    for (key, value) in fields.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

/// The response to a request, which is sent whole and streamed and must be the same both ways but for
/// its ids and times and what the caches held.
pub fn both_ways(server: &Server, body: &Value) -> Value {
    let whole = server.post("/v1/responses", body.clone());
    assert_eq!(whole.status, 200, "{}", whole.json);
    let mut streaming = body.clone();
    streaming["stream"] = true.into();
    let streamed = decoder::read(&server.stream_text("/v1/responses", streaming));
    assert_eq!(normal(&whole.json), normal(&streamed));
    whole.json
}

fn normal(response: &Value) -> Value {
    let mut response = response.clone();
    for key in ["id", "created_at"] {
        response[key] = Value::Null;
    }
    response["usage"]["input_tokens_details"] = Value::Null;
    for item in response["output"].as_array_mut().unwrap() {
        for key in ["id", "call_id"] {
            let prefix = item[key].as_str().and_then(|id| id.split('_').next()).map(str::to_owned);
            item[key] = prefix.into();
        }
    }
    response
}

pub fn text(response: &Value) -> String {
    let items = response["output"].as_array().unwrap().iter();
    let messages = items.filter(|item| item["type"] == "message");
    messages.map(|item| item["content"][0]["text"].as_str().unwrap()).collect()
}

fn item<'a>(response: &'a Value, kind: &str) -> &'a Value {
    let items = response["output"].as_array().unwrap();
    items.iter().find(|item| item["type"] == kind).unwrap_or_else(|| panic!("{response}"))
}

#[test]
fn a_response_says_what_the_chat_says_to_the_same_prompt() {
    let server = shared();
    let chat = json!({"messages": [
            {"role": "system", "content": "You are helpful."},
            {"role": "user", "content": "Hello!"},
            {"role": "assistant", "content": "Hello! How can I help you today?"},
            {"role": "user", "content": "What is the capital of France?"}],
        "temperature": 0, "max_tokens": 24});
    let chat = server.post("/v1/chat/completions", chat).json;
    let body = json!({"instructions": "You are helpful.", "input": [
            {"role": "user", "content": "Hello!"},
            {"type": "message", "role": "assistant", "content": [
                {"type": "output_text", "text": "Hello! How can I help you today?", "annotations": []}]},
            {"role": "user", "content": [{"type": "input_text", "text": "What is the capital of France?"}]}],
        "temperature": 0, "max_output_tokens": 24});
    let response = both_ways(&server, &body);
    assert_eq!(text(&response), chat["choices"][0]["message"]["content"]);
    assert_eq!(response["usage"]["input_tokens"], chat["usage"]["prompt_tokens"]);
    assert_eq!(response["usage"]["output_tokens"], chat["usage"]["completion_tokens"]);
    // All but the end of the prompt is the same tokens, which a slot holds.
    let cached = response["usage"]["input_tokens_details"]["cached_tokens"].as_u64().unwrap();
    assert!(cached + 16 > response["usage"]["input_tokens"].as_u64().unwrap(), "{response}");
    assert_eq!(
        (&response["status"], &response["object"]),
        (&json!("completed"), &json!("response"))
    );
    assert_eq!(response["instructions"], "You are helpful.");
    let counted = server.post("/v1/responses/input_tokens", body).json;
    assert_eq!(counted["object"], "response.input_tokens");
    assert_eq!(counted["input_tokens"], response["usage"]["input_tokens"]);
}

#[test]
fn a_call_and_its_output_make_an_answer() {
    let server = shared();
    let called = both_ways(&server, &request(json!(QUESTION), json!({"tools": [weather()]})));
    let call = item(&called, "function_call");
    assert_eq!((&call["name"], &call["status"]), (&json!("get_weather"), &json!("completed")));
    assert_eq!(call["arguments"], r#"{"city": "Paris"}"#);
    let output = json!({"type": "function_call_output", "call_id": call["call_id"],
        "output": "18 degrees, sunny"});
    let items = json!([{"role": "user", "content": QUESTION}, call, output]);
    let answer = both_ways(&server, &request(items, json!({"tools": [weather()]})));
    assert!(text(&answer).contains("18"), "{answer}");
    // The server remembers what was said before.
    let next = json!({"tools": [weather()], "previous_response_id": called["id"]});
    let continued = both_ways(&server, &request(json!([output]), next));
    assert_eq!(text(&continued), text(&answer));
    assert_eq!(continued["usage"]["input_tokens"], answer["usage"]["input_tokens"]);
    assert_eq!(continued["previous_response_id"], called["id"]);
}

#[test]
fn without_input_the_model_goes_on_from_the_earlier_response() {
    let server = shared();
    let of = |body: Value| {
        let reply = server.post("/v1/responses", body);
        assert_eq!(reply.status, 200, "{}", reply.json);
        reply.json
    };
    let whole = of(request(json!(QUESTION), json!({})));
    let cut = of(request(json!(QUESTION), json!({"max_output_tokens": 3})));
    assert_eq!((&whole["status"], &cut["status"]), (&json!("completed"), &json!("incomplete")));
    let after = |response: &Value, input: Option<Value>| {
        let more = json!({"previous_response_id": response["id"], "max_output_tokens": 40});
        let mut body = request(input.clone().unwrap_or_default(), more);
        if input.is_none() {
            body.as_object_mut().unwrap().remove("input");
        }
        of(body)
    };
    // A cut text is gone on with to the text that it would have been.
    for input in [None, Some(Value::Null), Some(json!([]))] {
        let rest = after(&cut, input);
        assert_eq!(text(&cut) + &text(&rest), text(&whole));
    }
    // A whole one is followed by another turn, the same each time and as if all had been sent.
    let next = after(&whole, None);
    assert_eq!(text(&after(&whole, Some(json!([])))), text(&next));
    let count =
        |body: Value| server.post("/v1/responses/input_tokens", body).json["input_tokens"].clone();
    let tokens = count(json!({"previous_response_id": whole["id"]}));
    assert_eq!(tokens, next["usage"]["input_tokens"]);
    let asked = count(json!({"input": QUESTION})).as_u64().unwrap();
    let said = whole["usage"]["output_tokens"].as_u64().unwrap();
    assert!(tokens.as_u64().unwrap() > asked + said, "no turn is opened: {tokens}");
}

#[test]
fn an_output_without_its_call_is_passed_on() {
    let server = shared();
    let items = |output: &str| {
        json!([{"role": "user", "content": QUESTION},
            {"type": "function_call_output", "call_id": "gone", "output": output}])
    };
    let count = |output: &str| {
        let reply = server.post("/v1/responses/input_tokens", json!({"input": items(output)}));
        assert_eq!(reply.status, 200, "{}", reply.json);
        reply.json["input_tokens"].as_u64().unwrap()
    };
    assert!(count("18 degrees, sunny") > count(""));
    both_ways(&server, &request(items("18 degrees"), json!({})));
}

#[test]
fn the_choice_of_tools_holds() {
    let server = shared();
    let clock = json!({"type": "function", "name": "get_time"});
    let choose = |choice: Value| {
        let fields = json!({"tools": [weather(), clock], "tool_choice": choice});
        both_ways(&server, &request(json!(QUESTION), fields))
    };
    let named = choose(json!({"type": "function", "name": "get_time"}));
    assert_eq!(item(&named, "function_call")["name"], "get_time");
    let allowed = choose(json!({"type": "allowed_tools", "mode": "required",
        "tools": [{"type": "function", "name": "get_time"}]}));
    assert_eq!(item(&allowed, "function_call")["name"], "get_time");
    let none = choose(json!("none"));
    assert!(none["output"].as_array().unwrap().iter().all(|item| item["type"] != "function_call"));
}

#[test]
fn a_format_is_kept_to() {
    let server = shared();
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer", "maximum": 9}},
        "required": ["n"], "additionalProperties": false});
    let format = json!({"type": "json_schema", "name": "r", "schema": schema, "strict": true});
    // So hot that the model wants nothing.
    let fields = json!({"text": {"format": format}, "temperature": 20, "seed": 5,
        "samplers": ["temperature"]});
    let response = both_ways(&server, &request(json!("Hello!"), fields));
    let value: Value = serde_json::from_str(&text(&response)).unwrap();
    assert!(jsonschema::is_valid(&schema, &value), "{value}");
    assert_eq!(response["text"]["format"], format);
    let odd = json!({"type": "json_schema", "name": "r", "schema": {
        "type": "object", "properties": {"a": {"not": {}}}}});
    let refused =
        server.post("/v1/responses", request(json!("x"), json!({"text": {"format": odd}})));
    assert_eq!(refused.json["error"]["param"], "text.format.schema.properties.a.not");
}

#[test]
fn what_is_cut_is_incomplete() {
    let cut = both_ways(&shared(), &request(json!("Hello!"), json!({"max_output_tokens": 2})));
    assert_eq!(cut["status"], "incomplete");
    assert_eq!(cut["incomplete_details"], json!({"reason": "max_output_tokens"}));
    assert_eq!(cut["output"][0]["status"], "incomplete");
    assert_eq!(cut["max_output_tokens"], 2);
}

#[test]
fn thoughts_are_items_and_a_summary_where_one_is_asked_for() {
    let model = scripted::serve(HERMES, "<think>\nHm, what?\n</think>\n\nYes.", &[]);
    let thought = both_ways(&model.server, &request(json!("Well?"), json!({})));
    assert_eq!(item(&thought, "reasoning")["content"][0]["text"], "Hm, what?");
    assert_eq!(item(&thought, "reasoning")["summary"], json!([]));
    assert_eq!(text(&thought), "Yes.");
    let usage = &thought["usage"]["output_tokens_details"]["reasoning_tokens"];
    assert!(usage.as_u64().unwrap() > 0);
    let fields = json!({"reasoning": {"summary": "auto", "effort": "high"}});
    let summed = both_ways(&model.server, &request(json!("Well?"), fields));
    let expected = json!([{"type": "summary_text", "text": "Hm, what?"}]);
    assert_eq!(item(&summed, "reasoning")["summary"], expected);
    // What was thought comes back with either.
    let tokens = |response: &Value| {
        let mut items = vec![json!({"role": "user", "content": "Well?"})];
        items.extend(response["output"].as_array().unwrap().iter().cloned());
        items.push(json!({"role": "user", "content": "So?"}));
        model.server.post("/v1/responses/input_tokens", json!({"input": items})).json["input_tokens"]
            .clone()
    };
    assert!(tokens(&thought).is_u64());
    assert_eq!(tokens(&thought), tokens(&summed));
}

#[test]
fn custom_tools_take_text_and_namespaces_are_told_apart() {
    let tools = json!([
        {"type": "custom", "name": "apply_patch", "description": "Patch.", "format": {
            "type": "grammar", "syntax": "lark", "definition": "start: \"*** \" /.+/ LF\n%import common.LF"}},
        {"type": "namespace", "name": "mcp__files", "description": "Files", "tools": [
            {"type": "function", "name": "read", "parameters": {
                "type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}}]},
        {"type": "web_search"},
    ]);
    for (template, says) in [
        (
            HERMES,
            "<tool_call>\n{\"name\": \"apply_patch\", \"arguments\": {\"input\": \"*** <é>\\n\"}}\n</tool_call>",
        ),
        (
            XML,
            "<tool_call>\n<function=apply_patch>\n<parameter=input>\n*** <é>\n\n</parameter>\n</function>\n</tool_call>",
        ),
    ] {
        let model = scripted::serve(template, says, &["--ctx-size", "8192"]);
        let response = both_ways(&model.server, &request(json!("Do."), json!({"tools": tools})));
        let call = item(&response, "custom_tool_call");
        assert_eq!((&call["name"], &call["input"]), (&json!("apply_patch"), &json!("*** <é>\n")));
        model.server.logged(|line| line.contains("web_search"));
    }
    let says = "<tool_call>\n{\"name\": \"mcp__files__read\", \"arguments\": {\"path\": \"a\"}}\n</tool_call>";
    let model = scripted::serve(HERMES, says, &["--ctx-size", "8192"]);
    let response = both_ways(&model.server, &request(json!("Do."), json!({"tools": tools})));
    let call = item(&response, "function_call");
    assert_eq!((&call["name"], &call["namespace"]), (&json!("read"), &json!("mcp__files")));
    assert_eq!(call["arguments"], r#"{"path": "a"}"#);
}

#[test]
fn stored_responses_are_shown_continued_and_forgotten() {
    let server = Server::start(&["--ctx-size", "4096"]);
    let whole = server.post("/v1/responses", request(json!("Hello!"), json!({}))).json;
    let id = whole["id"].as_str().unwrap();
    assert_eq!(server.get(&format!("/v1/responses/{id}")).json, whole);
    let mut streaming = request(json!("What is the capital of France?"), json!({"stream": true}));
    streaming["previous_response_id"] = id.into();
    let streamed = decoder::read(&server.stream_text("/v1/responses", streaming));
    let second = streamed["id"].as_str().unwrap();
    assert_eq!(server.get(&format!("/responses/{second}")).json, streamed);
    let items = json!([{"type": "item_reference", "id": whole["output"][0]["id"]},
        {"role": "user", "content": "Go on."}]);
    assert_eq!(server.post("/v1/responses", request(items, json!({}))).status, 200);

    let gone = server.delete(&format!("/v1/responses/{id}"));
    assert_eq!(gone.json, json!({"id": id, "object": "response", "deleted": true}));
    for reply in [
        server.get(&format!("/v1/responses/{id}")),
        server.delete(&format!("/v1/responses/{id}")),
        server.get("/v1/responses/none"),
    ] {
        assert_eq!(
            (reply.status, &reply.json["error"]["code"]),
            (404, &json!("response_not_found"))
        );
    }
    // Its beginning is no longer known.
    let lost = request(json!("And?"), json!({"previous_response_id": second}));
    let lost = server.post("/v1/responses", lost);
    assert_eq!((lost.status, &lost.json["error"]["param"]), (400, &json!("previous_response_id")));

    let unstored =
        server.post("/v1/responses", request(json!("Hello!"), json!({"store": false}))).json;
    assert_eq!(unstored["store"], false);
    let unstored = unstored["id"].as_str().unwrap();
    assert_eq!(server.get(&format!("/v1/responses/{unstored}")).status, 404);
}

#[test]
fn nothing_is_stored_where_it_is_off_and_keys_see_their_own_alone() {
    let off = Server::start(&["STRIXHALO_SERVER__RESPONSES_STORE_MIB=0"]);
    let made = off.post("/v1/responses", request(json!("Hello!"), json!({"max_output_tokens": 2})));
    assert_eq!((made.status, &made.json["store"]), (200, &json!(false)));
    let next = json!({"previous_response_id": made.json["id"]});
    let refused = off.post("/v1/responses", request(json!("And?"), next));
    assert_eq!(refused.status, 400);
    let message = refused.json["error"]["message"].as_str().unwrap();
    assert!(message.contains("server.responses_store_mib"), "{message}");

    let keys = Server::start(&["--api-key", "one,two"]);
    let bearer = |key: &str| format!("Bearer {key}");
    let post = |key: &str, body: Value| {
        keys.post_with("/v1/responses", &[("authorization", &bearer(key))], body)
    };
    let made = post("one", request(json!("Hello!"), json!({"max_output_tokens": 2})));
    let next = request(json!("And?"), json!({"previous_response_id": made.json["id"]}));
    assert_eq!(post("one", next.clone()).status, 200);
    assert_eq!(post("two", next).status, 400);
}

#[test]
fn bad_requests_name_the_path_of_the_field() {
    let server = shared();
    for (body, param, code) in [
        (json!({}), "input", "missing_field"),
        (json!({"input": []}), "input", "invalid_value"),
        (json!({"input": [{"type": "magic"}]}), "input[0].type", "unsupported_value"),
        (json!({"input": ["x", {"role": "user", "content": "x"}]}), "input[0]", "invalid_type"),
        (
            json!({"input": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
                {"role": "user", "content": [{"type": "input_image", "image_url": "data:"}]}]}),
            "input[2].content[0].type",
            "unsupported_value",
        ),
        (
            json!({"input": "x", "tools": [{"type": "namespace", "name": "n", "tools": [{}]}]}),
            "tools[0].tools[0].name",
            "missing_field",
        ),
        (
            json!({"input": "x", "previous_response_id": "resp_x"}),
            "previous_response_id",
            "previous_response_not_found",
        ),
    ] {
        for path in ["/v1/responses", "/responses", "/v1/responses/input_tokens"] {
            for stream in [false, true] {
                let mut body = body.clone();
                body["stream"] = stream.into();
                let reply = server.post(path, body.clone());
                let error = &reply.json["error"];
                assert_eq!(reply.status, 400, "{body}");
                assert_eq!(
                    (&error["param"], &error["code"]),
                    (&json!(param), &json!(code)),
                    "{body}"
                );
                assert_eq!(error["type"], "invalid_request_error");
            }
        }
    }
}

#[test]
fn too_long_a_prompt_is_refused_or_loses_its_oldest_turns() {
    let server = shared();
    let long = "word ".repeat(300);
    let turn = |role: &str, text: &str| json!({"role": role, "content": text});
    let items = json!([
        turn("developer", "Be kind."),
        turn("user", &long),
        turn("assistant", "Yes."),
        turn("user", &long),
        turn("assistant", "Yes."),
        turn("user", "Hello!")
    ]);
    let refused = server.post("/v1/responses", request(items.clone(), json!({"stream": true})));
    let error = &refused.json["error"];
    assert_eq!((refused.status, &error["code"]), (400, &json!("context_length_exceeded")));
    assert_eq!(error["param"], "input");
    assert!(error["message"].as_str().unwrap().starts_with("prompt is too long"));
    let fields = json!({"truncation": "auto", "max_output_tokens": 4});
    let cut = both_ways(&server, &request(items.clone(), fields));
    assert_eq!(cut["truncation"], "auto");
    let counted = server.post("/v1/responses/input_tokens", json!({"input": items})).json;
    assert!(counted["input_tokens"].as_u64() > cut["usage"]["input_tokens"].as_u64());
    let lone = request(json!(long.repeat(3)), json!({"truncation": "auto"}));
    assert_eq!(server.post("/v1/responses", lone).status, 400);
}

#[test]
fn requests_are_counted_by_their_route() {
    let server = Server::start(&[]);
    both_ways(&server, &request(json!("Hello!"), json!({"max_output_tokens": 2})));
    let text = server.metrics();
    let counted = text.lines().filter(|line| line.contains("route=\"/v1/responses\""));
    assert!(counted.count() > 0, "{text}");
}
