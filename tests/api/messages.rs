//! Anthropic's messages: whole and streamed, errors in Anthropic's form, and the same prompts and texts
//! as through OpenAI's chat.

use serde_json::{Value, json};

use crate::harness::{Server, chat_body, shared};
use crate::scripted::{self, XML_THINKING};

#[path = "../../src/protocol/anthropic/strict.rs"]
mod strict;

const PATH: &str = "/v1/messages";

/// Greedy and short unless told otherwise, and nothing of it is cached.
fn body(text: &str, fields: Value) -> Value {
    let mut body = json!({
        "model": "claude", "messages": [{"role": "user", "content": text}], "temperature": 0,
        "max_tokens": 64, "cache_prompt": false,
    });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

fn streaming(body: &Value) -> Value {
    let mut body = body.clone();
    body["stream"] = json!(true);
    body
}

/// The answer, which is the same whole and streamed; without ids.
pub fn both_ways(server: &Server, body: &Value) -> Value {
    let reply = server.post(PATH, body.clone());
    assert_eq!(reply.status, 200, "{}", reply.json);
    let stream = server.stream_text(PATH, streaming(body));
    let mut whole = reply.json;
    let id = std::mem::replace(&mut whole["id"], strict::read(&stream)["id"].clone());
    assert!(id.as_str().unwrap().starts_with("msg_") && id != whole["id"]);
    strict::assert_same(&stream, &whole);
    strict::without_ids(whole)
}

fn text(answer: &Value) -> &str {
    answer["content"][0]["text"].as_str().unwrap()
}

fn weather() -> Value {
    json!({"name": "get_weather", "description": "Get the weather of a city.",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}},
            "required": ["city"]}})
}

#[test]
fn an_answer_has_the_text_and_the_prompt_of_openais_chat() {
    let server = shared();
    let question = "What is the capital of France?";
    let answer = both_ways(&server, &body(question, json!({"system": "You are helpful."})));
    assert_eq!((&answer["type"], &answer["role"]), (&json!("message"), &json!("assistant")));
    assert_eq!(
        (&answer["stop_reason"], &answer["stop_sequence"]),
        (&json!("end_turn"), &json!(null))
    );
    let mut chat = chat_body(question, json!({"max_tokens": 64}));
    let system = json!({"role": "system", "content": "You are helpful."});
    chat["messages"].as_array_mut().unwrap().insert(0, system);
    let chat = server.post("/v1/chat/completions", chat).json;
    assert_eq!(chat["choices"][0]["message"]["content"], text(&answer));
    assert_eq!(chat["model"], answer["model"]);
    assert_eq!(chat["usage"]["prompt_tokens"], answer["usage"]["input_tokens"]);
    assert_eq!(chat["usage"]["completion_tokens"], answer["usage"]["output_tokens"]);
}

#[test]
fn cached_tokens_are_not_input_tokens() {
    let server = Server::start(&[]);
    let question = "Count from 1 to 10. ".repeat(8);
    let asked = body(&question, json!({"cache_prompt": true, "system": "Count."}));
    let all = server.post("/v1/messages/count_tokens", asked.clone()).json["input_tokens"].clone();
    let mut chat = chat_body(&question, json!({"cache_prompt": true}));
    let system = json!({"role": "system", "content": "Count."});
    chat["messages"].as_array_mut().unwrap().insert(0, system);
    let chat = server.post("/v1/chat/completions", chat).json;
    assert_eq!(chat["usage"]["prompt_tokens"], all);
    // The prompt is that of the chat, token by token: it is found whole.
    let usage = strict::read(&server.stream_text(PATH, streaming(&asked)))["usage"].clone();
    let number = |name: &str| usage[name].as_u64().unwrap();
    assert_eq!(number("input_tokens") + number("cache_read_input_tokens"), all.as_u64().unwrap());
    assert!(number("input_tokens") <= 4, "{usage}");
    assert_eq!(number("cache_creation_input_tokens"), 0);
}

#[test]
fn a_model_that_calls_a_tool_gets_its_result_and_answers() {
    let server = shared();
    let question = "What is the weather in Paris now?";
    let mut asked = body(question, json!({"tools": [weather()], "max_tokens": 100}));
    assert_eq!(both_ways(&server, &asked)["stop_reason"], "tool_use");
    let answer = server.post(PATH, asked.clone()).json;
    let call = answer["content"].as_array().unwrap().last().unwrap();
    assert_eq!((&call["type"], &call["name"]), (&json!("tool_use"), &json!("get_weather")));
    assert_eq!(call["input"], json!({"city": "Paris"}));
    let result = json!({"type": "tool_result", "tool_use_id": call["id"],
        "content": [{"type": "text", "text": "18 degrees, sunny"}]});
    let messages = asked["messages"].as_array_mut().unwrap();
    messages.push(json!({"role": "assistant", "content": answer["content"]}));
    messages.push(json!({"role": "user", "content": [result]}));
    let answer = both_ways(&server, &asked);
    assert_eq!(answer["stop_reason"], "end_turn");
    assert!(text(&answer).contains("18"), "{answer}");
    // A result whose call is not there is text.
    asked["messages"].as_array_mut().unwrap().remove(1);
    assert_eq!(both_ways(&server, &asked)["role"], "assistant");
}

#[test]
fn the_choice_of_tools_holds() {
    let server = shared();
    let clock = json!({"name": "get_time", "input_schema": {"type": "object"}});
    let choose = |choice: Value| {
        let tools =
            json!([{"type": "web_search_20250305", "name": "web_search"}, weather(), clock]);
        let fields = json!({"tools": tools, "tool_choice": choice, "max_tokens": 100});
        both_ways(&server, &body("What is the weather in Paris now?", fields))
    };
    let none = choose(json!({"type": "none"}));
    assert!(none["content"].as_array().unwrap().iter().all(|block| block["type"] == "text"));
    let named = json!({"type": "tool", "name": "get_time", "disable_parallel_tool_use": true});
    let named = choose(named);
    assert_eq!(named["content"].as_array().unwrap().len(), 1, "{named}");
    assert_eq!(named["content"][0]["name"], "get_time");
    assert_eq!(choose(json!({"type": "any"}))["stop_reason"], "tool_use");
}

#[test]
fn answers_say_why_they_ended() {
    let server = shared();
    let count = |fields: Value| both_ways(&server, &body("Count from 1 to 10.", fields));
    let stopped = count(json!({"stop_sequences": ["never", ", 5"]}));
    assert_eq!(text(&stopped), "1, 2, 3, 4");
    assert_eq!(stopped["stop_reason"], "stop_sequence");
    assert_eq!(stopped["stop_sequence"], ", 5");
    let cut = count(json!({"max_tokens": 3}));
    assert_eq!(
        (&cut["stop_reason"], &cut["usage"]["output_tokens"]),
        (&json!("max_tokens"), &json!(3))
    );
    // A context is what it is; the answer may be as long as what is left.
    assert_eq!(count(json!({"max_tokens": 32000}))["stop_reason"], "end_turn");
    let nothing = count(json!({"max_tokens": 0}));
    assert_eq!((&nothing["content"], &nothing["stop_reason"]), (&json!([]), &json!("max_tokens")));
}

#[test]
fn an_answer_in_a_schema_and_one_that_is_begun() {
    let server = shared();
    let schema = json!({"type": "object", "properties": {"windy": {"type": "boolean"}},
        "required": ["windy"], "additionalProperties": false});
    let format = json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}});
    let answer = both_ways(&server, &body("Is it windy?", format));
    let value: Value = serde_json::from_str(text(&answer)).unwrap();
    assert!(value["windy"].is_boolean(), "{answer}");
    let messages = json!([{"role": "user", "content": "What is the capital of France?"},
        {"role": "assistant", "content": "The capital of France is"}]);
    let answer = both_ways(&server, &body("", json!({"messages": messages})));
    assert_eq!(text(&answer).trim(), "Paris.");
}

#[test]
fn thoughts_texts_and_calls_are_blocks_in_their_order() {
    let says = "I look.\n</think>\n\nNow:\n<tool_call>\n<function=get_weather>\n\
        <parameter=city>\nÖsterreich \"x\"\n</parameter>\n</function>\n</tool_call>";
    let model = scripted::serve(XML_THINKING, says, &["--ctx-size", "8192", "--parallel", "1"]);
    let server = &model.server;
    let asked = |fields: Value| {
        let mut fields = fields;
        fields["tools"] = json!([weather()]);
        body("Weather?", fields)
    };
    let answer = both_ways(server, &asked(json!({"max_tokens": 500})));
    let blocks = answer["content"].as_array().unwrap();
    let types: Vec<&str> = blocks.iter().map(|block| block["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["thinking", "text", "tool_use"]);
    assert_eq!(blocks[0]["thinking"].as_str().unwrap().trim(), "I look.");
    assert_eq!(blocks[0]["signature"], "");
    assert_eq!(blocks[1]["text"].as_str().unwrap().trim(), "Now:");
    assert_eq!(blocks[2]["input"], json!({"city": "Österreich \"x\""}));
    assert_eq!(answer["stop_reason"], "tool_use");
    for tokens in 0..model.tokens {
        let cut = both_ways(server, &asked(json!({"max_tokens": tokens})));
        assert_eq!(cut["stop_reason"], "max_tokens", "{cut}");
    }
}

#[test]
fn counting_renders_the_prompt_and_knows_no_bound() {
    let server = shared();
    let count = |fields: Value| {
        let mut asked = body("Hello!", fields);
        asked.as_object_mut().unwrap().remove("max_tokens");
        let reply = server.post("/v1/messages/count_tokens", asked);
        assert_eq!(reply.status, 200, "{}", reply.json);
        assert_eq!(reply.json.as_object().unwrap().len(), 1);
        reply.json["input_tokens"].as_u64().unwrap()
    };
    let header = "x-anthropic-billing-header: cc_version=2.1.37; cc_entrypoint=cli; cch=0a1b2;";
    let block =
        |text: &str| json!({"type": "text", "text": text, "cache_control": {"type": "ephemeral"}});
    let system = count(json!({"system": "Be brief."}));
    assert_eq!(count(json!({"system": [block(header), block("Be brief.")]})), system);
    assert_eq!(count(json!({"system": format!("{header}\nBe brief.")})), system);
    let quotes = json!([{"role": "user", "content": header}]);
    assert!(count(json!({"messages": quotes})) > count(json!({})) + 5);
    assert!(count(json!({"tools": [weather()]})) > system);
    let long = json!([{"role": "user", "content": "word ".repeat(3000)}]);
    assert!(count(json!({"messages": long})) >= 3000);
}

#[test]
fn errors_have_anthropics_form_and_name_the_field() {
    let server = shared();
    let user = |content: Value| json!([{"role": "user", "content": content}]);
    let image = json!({"type": "image", "source": {"type": "url", "url": "x"}});
    for (fields, param) in [
        (json!({"messages": []}), "messages"),
        (json!({"messages": [{"role": "robot", "content": "x"}]}), "messages[0].role"),
        (json!({"messages": user(json!([{"type": "video"}]))}), "messages[0].content[0].type"),
        (json!({"messages": user(json!([image]))}), "messages[0].content[0].type"),
        (json!({"max_tokens": "x"}), "max_tokens"),
        (json!({"tool_choice": {"type": "any"}}), "tool_choice.type"),
        (json!({"tools": [{"type": "custom"}]}), "tools[0].name"),
    ] {
        for (path, body) in [
            (PATH, body("hi", fields.clone())),
            (PATH, streaming(&body("hi", fields.clone()))),
            ("/v1/messages/count_tokens", body("hi", fields.clone())),
        ] {
            if path != PATH && param == "max_tokens" {
                continue;
            }
            let reply = server.post(path, body);
            assert_eq!(reply.status, 400, "{fields}");
            assert_eq!(reply.json["type"], "error", "{fields}");
            let error = &reply.json["error"];
            assert_eq!(error["type"], "invalid_request_error");
            assert_eq!(error["param"], param, "{error}");
            assert!(error["message"].as_str().unwrap().contains(param), "{error}");
            assert_eq!(reply.json["request_id"], reply.headers["request-id"].to_str().unwrap());
            assert_eq!(reply.headers["request-id"], reply.headers["x-request-id"]);
        }
    }
    let kind = |reply: &crate::harness::Reply| {
        assert_eq!(reply.json["type"], "error", "{}", reply.json);
        (reply.status, reply.json["error"]["type"].as_str().unwrap().to_owned())
    };
    let not_json = server.post_bytes(PATH, b"{", "application/json");
    assert_eq!(kind(&not_json), (400, "invalid_request_error".to_owned()));
    assert_eq!(kind(&server.get(PATH)), (405, "invalid_request_error".to_owned()));
    let media = server.post_bytes(PATH, b"{}", "image/png");
    assert_eq!(kind(&media), (415, "invalid_request_error".to_owned()));
    let batches = server.post("/v1/messages/batches", json!({}));
    assert_eq!(kind(&batches), (501, "api_error".to_owned()));
    let large = vec![b' '; 50 << 20];
    let large = server.post_bytes(PATH, &large, "application/json");
    assert_eq!(kind(&large), (413, "request_too_large".to_owned()));
}

#[test]
fn a_prompt_that_does_not_fit_is_told_as_claude_code_looks_for_it() {
    let long = "word ".repeat(3000);
    for body in [body(&long, json!({})), streaming(&body(&long, json!({})))] {
        let reply = shared().post(PATH, body);
        let error = &reply.json["error"];
        assert_eq!((reply.status, &error["type"]), (400, &json!("invalid_request_error")));
        let message = error["message"].as_str().unwrap();
        let rest = message.strip_prefix("prompt is too long: ").unwrap();
        let (tokens, rest) = rest.split_once(" tokens > ").unwrap();
        assert_eq!(error["n_prompt_tokens"].to_string(), tokens);
        assert!(rest.starts_with("511 maximum"), "{message}");
    }
}

#[test]
fn keys_and_models_are_asked_for_in_anthropics_form() {
    let flags = ["--api-key", "sesame", "--strict-model-names", "--alias", "tiny"];
    let server = Server::start(&flags);
    let asked = |headers: &[(&str, &str)], model: &str| {
        let mut body = body("Hello!", json!({"max_tokens": 1}));
        body["model"] = json!(model);
        let reply = server.post_with(PATH, headers, body);
        (reply.status, reply.json["error"]["type"].as_str().unwrap_or_default().to_owned())
    };
    let version = ("anthropic-version", "2023-06-01");
    let beta = ("anthropic-beta", "claude-code-20250219,interleaved-thinking-2025-05-14");
    assert_eq!(asked(&[("x-api-key", "sesame"), version, beta], "tiny"), (200, String::new()));
    assert_eq!(asked(&[("authorization", "Bearer sesame")], "tiny"), (200, String::new()));
    assert_eq!(asked(&[version], "tiny"), (401, "authentication_error".to_owned()));
    let other = asked(&[("x-api-key", "sesame")], "claude-opus-4");
    assert_eq!(other, (404, "not_found_error".to_owned()));
}

#[test]
fn what_claude_code_sends_is_answered() {
    let server = shared();
    let block =
        |text: &str| json!({"type": "text", "text": text, "cache_control": {"type": "ephemeral"}});
    let asked = json!({
        "model": "claude-sonnet-4-5", "max_tokens": 32000, "stream": true,
        "system": [block("You are an agent."), block("Be brief.")],
        "messages": [
            {"role": "user", "content": [block("Hello!")]},
            {"role": "system", "content": [block("The date is today's.")]}],
        "tools": [weather()], "thinking": {"type": "adaptive"},
        "output_config": {"effort": "medium"}, "metadata": {"user_id": "{\"session_id\":\"s\"}"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    });
    let answer = strict::read(&server.stream_text("/v1/messages?beta=true", asked));
    assert_eq!(answer["type"], "message");
    assert_eq!(server.get("/").status, 200);
}
