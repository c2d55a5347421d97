//! One conversation through every API: the same prompt, byte for byte, and the same text.

use serde_json::{Value, json};
use strixhalo::chat::{Conversation, Template};
use strixhalo::config::Settings;
use strixhalo::protocol::FromJson;
use strixhalo::protocol::anthropic::MessagesBody;
use strixhalo::protocol::ollama::OllamaChatBody;
use strixhalo::protocol::openai::ChatBody;
use strixhalo::protocol::openai::responses::{History, ResponsesBody};

use crate::harness::{Server, shared};
use crate::scripted::{HERMES, XML, XML_THINKING};
use crate::{answers, messages, ollama, responses};

const SYSTEM: &str = "You are a helpful assistant.";
const FIRST: &str = "What is the weather in Paris now?";
const RESULT: &str = "18 degrees, sunny";
const SECOND: &str = "What is the capital of France?";
const DESCRIPTION: &str = "Get the weather of a city.";
const MAX_TOKENS: u32 = 48;

/// A conversation with a call and its result, in the form of each API.
struct Bodies {
    chat: Value,
    responses: Value,
    messages: Value,
    ollama: Value,
}

fn bodies() -> Bodies {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}},
        "required": ["city"]});
    let function = json!({"name": "get_weather", "description": DESCRIPTION, "parameters": schema});
    let arguments = json!({"city": "Paris"});
    let said = |role: &str, text: &str| json!({"role": role, "content": text});
    let result = json!({"role": "tool", "tool_call_id": "c1", "content": RESULT});
    let chat = json!({
        "messages": [said("system", SYSTEM), said("user", FIRST),
            {"role": "assistant", "content": null, "tool_calls": [{"id": "c1", "type": "function",
                "function": {"name": "get_weather", "arguments": arguments.to_string()}}]},
            result, said("user", SECOND)],
        "tools": [{"type": "function", "function": function}],
        "temperature": 0, "max_tokens": MAX_TOKENS, "cache_prompt": false,
    });
    let mut flat = function.clone();
    flat["type"] = "function".into();
    let responses = json!({
        "instructions": SYSTEM,
        "input": [said("user", FIRST),
            {"type": "function_call", "call_id": "c1", "name": "get_weather",
                "arguments": arguments.to_string()},
            {"type": "function_call_output", "call_id": "c1", "output": RESULT},
            said("user", SECOND)],
        "tools": [flat], "temperature": 0, "max_output_tokens": MAX_TOKENS, "store": false,
    });
    let messages = json!({
        "system": SYSTEM,
        "messages": [said("user", FIRST),
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": "c1", "name": "get_weather", "input": arguments}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": RESULT}]},
            said("user", SECOND)],
        "tools": [{"name": "get_weather", "description": DESCRIPTION, "input_schema": schema}],
        "temperature": 0, "max_tokens": MAX_TOKENS, "cache_prompt": false,
    });
    let ollama = json!({
        "model": "any",
        "messages": [said("system", SYSTEM), said("user", FIRST),
            {"role": "assistant", "content": "",
                "tool_calls": [{"function": {"name": "get_weather", "arguments": arguments}}]},
            {"role": "tool", "tool_name": "get_weather", "content": RESULT},
            said("user", SECOND)],
        "tools": [{"type": "function", "function": function}],
        "options": {"temperature": 0, "num_predict": MAX_TOKENS},
    });
    Bodies { chat, responses, messages, ollama }
}

fn read<T: FromJson>(body: &Value) -> T {
    T::from_json(body.to_string().as_bytes()).unwrap()
}

#[test]
fn a_conversation_has_one_prompt_through_every_api() {
    let settings = Settings::default();
    let Bodies { chat, responses, messages, ollama } = bodies();
    let conversations: [(&str, Conversation); 4] = [
        ("chat", read::<ChatBody>(&chat).check(&settings).unwrap().conversation),
        (
            "responses",
            read::<ResponsesBody>(&responses)
                .check(&settings, History::default())
                .unwrap()
                .conversation,
        ),
        ("messages", read::<MessagesBody>(&messages).check(&settings).unwrap().conversation),
        ("ollama", read::<OllamaChatBody>(&ollama).check(&settings).unwrap().conversation.unwrap()),
    ];
    for source in [HERMES, XML, XML_THINKING] {
        let template = Template::new(source, None, Some("<|im_end|>")).unwrap();
        let prompts = conversations
            .each_ref()
            .map(|(api, conversation)| (api, template.render(conversation).unwrap().prompt));
        let [(_, first), rest @ ..] = &prompts;
        for text in [SYSTEM, FIRST, "get_weather", DESCRIPTION, RESULT, SECOND] {
            assert!(first.contains(text), "{text:?} is not in {first}");
        }
        for (api, prompt) in rest {
            assert_eq!(prompt, first, "{api}");
        }
    }
}

/// Text, and calls as names and arguments.
type Said = (String, Vec<(String, Value)>);

fn parsed(arguments: &Value) -> Value {
    serde_json::from_str(arguments.as_str().unwrap()).unwrap()
}

fn name(call: &Value) -> String {
    call["name"].as_str().unwrap().to_owned()
}

fn every_answer(server: &Server) -> [Said; 4] {
    let Bodies { chat, responses, messages, ollama } = bodies();
    let chat = answers::both_ways(server, &chat);
    let calls = chat["message"]["tool_calls"].as_array().into_iter().flatten();
    let calls = calls.map(|call| &call["function"]);
    let calls = calls.map(|call| (name(call), parsed(&call["arguments"]))).collect();
    let chat = (chat["message"]["content"].as_str().unwrap_or_default().to_owned(), calls);

    let response = responses::both_ways(server, &responses);
    let items = response["output"].as_array().unwrap();
    let calls = items.iter().filter(|item| item["type"] == "function_call");
    let calls = calls.map(|call| (name(call), parsed(&call["arguments"]))).collect();
    let response = (responses::text(&response), calls);

    let message = messages::both_ways(server, &messages);
    let blocks = message["content"].as_array().unwrap();
    let of = |kind: &'static str| blocks.iter().filter(move |block| block["type"] == kind);
    let text = of("text").map(|block| block["text"].as_str().unwrap()).collect();
    let calls = of("tool_use").map(|call| (name(call), call["input"].clone())).collect();
    let message = (text, calls);

    let ollama = ollama::both_ways(server, "/api/chat", ollama);
    let calls = ollama.calls.iter().map(|call| (name(call), call["arguments"].clone())).collect();
    [chat, response, message, (ollama.text, calls)]
}

#[test]
fn a_conversation_has_one_answer_through_every_api() {
    let server = shared();
    let all = every_answer(&server);
    assert!(!all[0].0.is_empty() || !all[0].1.is_empty());
    for said in &all[1..] {
        assert_eq!(*said, all[0]);
    }
    // The same prompt: through each API all of it but its last token is found in the cache.
    let own = Server::start(&[]);
    let Bodies { mut chat, responses, mut messages, ollama } = bodies();
    for body in [&mut chat, &mut messages] {
        body.as_object_mut().unwrap().remove("cache_prompt");
    }
    let first = own.post("/v1/chat/completions", chat).json["usage"]["prompt_tokens"].clone();
    let n = first.as_u64().unwrap();
    let response = own.post("/v1/responses", responses).json["usage"].clone();
    let details = &response["input_tokens_details"]["cached_tokens"];
    assert_eq!((&response["input_tokens"], details), (&first, &json!(n - 1)));
    let usage = own.post("/v1/messages", messages).json["usage"].clone();
    let cached = (&usage["input_tokens"], &usage["cache_read_input_tokens"]);
    assert_eq!(cached, (&json!(1), &json!(n - 1)));
    let mut whole = ollama;
    whole["stream"] = false.into();
    assert_eq!(own.post("/api/chat", whole).json["prompt_eval_count"], first);
}

#[test]
fn errors_of_unknown_paths_and_methods_are_in_the_form_of_their_api() {
    let server = shared();
    for path in ["/api/nope", "/api/chat"] {
        let reply = server.get(path);
        assert!(reply.json["error"].is_string(), "{path}: {}", reply.json);
    }
    for path in ["/v1/messages/nope", "/v1/messages"] {
        let reply = server.get(path);
        assert_eq!(reply.json["type"], "error", "{path}: {}", reply.json);
    }
    let reply = server.get("/v1/nope");
    assert_eq!((reply.status, reply.json["error"]["message"].is_string()), (404, true));
}

#[test]
fn a_bias_that_leaves_the_grammar_no_token_is_named() {
    let server = shared();
    let digits: serde_json::Map<String, Value> =
        ('0'..='9').map(|digit| (digit.to_string(), json!(false))).collect();
    let tokens: Vec<Value> = digits.keys().map(|digit| json!([[digit, false]])).collect();
    let bias: Vec<Value> = tokens.into_iter().flat_map(|t| t.as_array().unwrap().clone()).collect();
    let body = |grammar: &str| {
        json!({"prompt": "n = ", "grammar": grammar, "logit_bias": bias, "max_tokens": 8,
            "temperature": 0})
    };
    // No text can begin, or none goes on.
    for grammar in ["root ::= [0-9]", "root ::= \"a\" [0-9]"] {
        let reply = server.post("/v1/completions", body(grammar));
        assert_eq!((reply.status, &reply.json["error"]["param"]), (400, &json!("logit_bias")));
        let message = reply.json["error"]["message"].as_str().unwrap();
        assert!(message.contains("`logit_bias` forbids every token"), "{message}");
    }
}
