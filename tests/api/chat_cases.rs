//! What answers must be when a model says awkward things: tool calls, thoughts and structured
//! output, whole and streamed. Scripted models say each text token by token.

use serde_json::{Value, json};

use crate::harness::{Server, chat_body, chunks, shared};
use crate::scripted::{self, HERMES, OPENS_THINKING, Scripted, XML, XML_THINKING};

/// One choice of an answer.
#[derive(Debug, PartialEq)]
struct Answer {
    reasoning: String,
    content: String,
    /// Names and arguments.
    calls: Vec<(String, String)>,
    finish: String,
}

impl Answer {
    /// The calls with their arguments as values.
    fn parsed(&self) -> Vec<(&str, Value)> {
        let parse = |arguments| serde_json::from_str(arguments).expect("arguments are JSON");
        self.calls.iter().map(|(name, arguments)| (name.as_str(), parse(arguments))).collect()
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => panic!("not a text: {other}"),
    }
}

/// The ids of calls are not empty, and no two are the same.
fn check_ids(mut ids: Vec<String>) {
    assert!(ids.iter().all(|id| !id.is_empty()), "{ids:?}");
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count, "ids differ");
}

fn whole(server: &Server, body: &Value) -> Answer {
    let reply = server.post("/v1/chat/completions", body.clone());
    assert_eq!(reply.status, 200, "{}", reply.json);
    let choice = &reply.json["choices"][0];
    let message = &choice["message"];
    let calls = match &message["tool_calls"] {
        Value::Null => &Vec::new(),
        calls => calls.as_array().expect("calls are a list"),
    };
    assert!(calls.iter().all(|call| call["type"] == "function"), "{calls:?}");
    check_ids(calls.iter().map(|call| text(&call["id"])).collect());
    let function = |call: &Value| {
        let function = &call["function"];
        (text(&function["name"]), function["arguments"].as_str().expect("a text").to_owned())
    };
    Answer {
        reasoning: text(&message["reasoning_content"]),
        content: text(&message["content"]),
        calls: calls.iter().map(function).collect(),
        finish: text(&choice["finish_reason"]),
    }
}

fn streamed(server: &Server, body: &Value) -> Answer {
    let mut body = body.clone();
    body["stream"] = json!(true);
    let mut answer = Answer {
        reasoning: String::new(),
        content: String::new(),
        calls: Vec::new(),
        finish: String::new(),
    };
    let mut ids = Vec::new();
    for chunk in chunks(server.stream("/v1/chat/completions", body)) {
        let choice = &chunk["choices"][0];
        let delta = &choice["delta"];
        answer.reasoning += &text(&delta["reasoning_content"]);
        answer.content += &text(&delta["content"]);
        answer.finish += &text(&choice["finish_reason"]);
        for call in delta["tool_calls"].as_array().unwrap_or(&Vec::new()) {
            let (index, function) = (call["index"].as_u64().expect("an index"), &call["function"]);
            if index as usize == answer.calls.len() {
                assert_eq!(call["type"], "function");
                ids.push(text(&call["id"]));
                answer.calls.push((text(&function["name"]), String::new()));
            } else {
                assert_eq!(index as usize + 1, answer.calls.len(), "calls come in order");
                assert!(call.get("id").is_none() && function.get("name").is_none(), "{call}");
            }
            let arguments = &mut answer.calls.last_mut().expect("a call").1;
            *arguments += &text(&function["arguments"]);
        }
    }
    check_ids(ids);
    answer
}

/// The answer of a scripted model, which is the same whole and streamed.
fn answer(model: &Scripted, fields: Value) -> Answer {
    let mut body = chat_body("Do it.", json!({"max_tokens": 400}));
    for (name, value) in fields.as_object().expect("fields are an object") {
        body[name] = value.clone();
    }
    let whole = whole(&model.server, &body);
    assert_eq!(streamed(&model.server, &body), whole, "streamed and whole");
    whole
}

/// A server whose model says a text.
fn model(template: &str, says: &str) -> Scripted {
    scripted::serve(template, says, &["--ctx-size", "8192", "--parallel", "1"])
}

fn tool(name: &str, properties: Value, required: &[&str]) -> Value {
    let parameters = json!({"type": "object", "properties": properties, "required": required});
    json!({"type": "function", "function": {
        "name": name, "description": name, "parameters": parameters,
    }})
}

fn list_dir() -> Value {
    tool("list_dir", json!({}), &[])
}

fn read_file() -> Value {
    tool("read_file", json!({"path": {"type": "string"}}), &["path"])
}

fn write_file() -> Value {
    let properties = json!({"path": {"type": "string"}, "content": {"type": "string"}});
    tool("write_file", properties, &["path", "content"])
}

#[test]
fn a_call_without_its_opening_tag_is_a_call() {
    let model = model(XML, "I look around.\n\n<function=list_dir>\n</function>\n</tool_call>");
    let answer = answer(&model, json!({"tools": [list_dir()]}));
    assert_eq!(answer.content, "I look around.\n\n");
    assert_eq!(answer.parsed(), [("list_dir", json!({}))]);
    assert_eq!(answer.finish, "tool_calls");
}

#[test]
fn what_looks_like_a_call_of_no_offered_tool_is_text() {
    let says = "Write <function=main> in your file.";
    let answer = answer(&model(XML, says), json!({"tools": [list_dir()]}));
    assert_eq!(answer.content, says);
    assert_eq!(answer.calls, []);
    assert_eq!(answer.finish, "stop");
}

fn book() -> Value {
    let properties = json!({
        "code": {"type": "string"}, "count": {"type": "integer"},
        "when": {"type": ["string", "null"]}, "all": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}}, "free": {},
    });
    tool("book", properties, &["code"])
}

fn call_of_book(parameters: &[(&str, &str)]) -> String {
    let parameters: String = parameters
        .iter()
        .map(|(name, value)| format!("<parameter={name}>\n{value}\n</parameter>\n"))
        .collect();
    format!("<tool_call>\n<function=book>\n{parameters}</function>\n</tool_call>")
}

#[test]
fn parameters_in_xml_have_the_types_of_the_schema() {
    let says = call_of_book(&[
        ("code", "03106"),
        ("count", "3"),
        ("when", "null"),
        ("all", "True"),
        ("tags", "[\"a\", \"b\"]"),
    ]);
    let answer = answer(&model(XML, &says), json!({"tools": [book()]}));
    let arguments =
        json!({"code": "03106", "count": 3, "when": null, "all": true, "tags": ["a", "b"]});
    assert_eq!(answer.parsed(), [("book", arguments)]);
    assert_eq!(answer.content, "");
    assert_eq!(answer.finish, "tool_calls");
}

#[test]
fn a_call_with_a_parameter_of_another_type_is_kept() {
    let says = call_of_book(&[("code", "a"), ("count", "2026-01-15")]);
    let answer = answer(&model(XML, &says), json!({"tools": [book()], "max_tokens": 120}));
    assert_eq!(answer.calls[0].0, "book");
}

#[test]
fn the_text_of_a_parameter_loses_one_line_break_at_each_end_and_nothing_else() {
    let says = "<tool_call>\n<function=write_file>\n<parameter=path>\na.py\n</parameter>\n\
                <parameter=content>\n    indented first line\nlast line\n\n</parameter>\n\
                </function>\n</tool_call>";
    let answer = answer(&model(XML, says), json!({"tools": [write_file()]}));
    let content = "    indented first line\nlast line\n";
    assert_eq!(answer.parsed(), [("write_file", json!({"path": "a.py", "content": content}))]);
    assert_eq!(answer.content, "");
}

#[test]
fn several_calls_keep_their_order() {
    let says = "<tool_call>\n{\"name\": \"read_file\", \"arguments\": {\"path\": \"a\"}}\n</tool_call>\n\
                <tool_call>\n{\"name\": \"list_dir\", \"arguments\": {}}\n</tool_call>\n\
                <tool_call>\n{\"name\": \"read_file\", \"arguments\": {\"path\": \"b\"}}\n</tool_call>";
    let answer = answer(&model(HERMES, says), json!({"tools": [read_file(), list_dir()]}));
    let expected = [
        ("read_file", json!({"path": "a"})),
        ("list_dir", json!({})),
        ("read_file", json!({"path": "b"})),
    ];
    assert_eq!(answer.parsed(), expected);
    assert_eq!(answer.content, "");
    assert_eq!(answer.finish, "tool_calls");
}

#[test]
fn a_call_without_arguments_has_an_empty_object() {
    let says = "<tool_call>\n{\"name\": \"list_dir\"}\n</tool_call>";
    let answer = answer(&model(HERMES, says), json!({"tools": [list_dir()]}));
    assert_eq!(answer.calls, [("list_dir".to_owned(), "{}".to_owned())]);
    assert_eq!(answer.finish, "tool_calls");
}

#[test]
fn a_call_that_is_cut_ends_with_length_and_is_not_a_whole_object() {
    let says = "<tool_call>\n<function=write_file>\n<parameter=path>\na.py\n</parameter>\n\
                <parameter=content>\nhalf of the fi";
    let model = model(XML, says);
    let fields = json!({"tools": [write_file()], "max_tokens": model.tokens});
    let answer = answer(&model, fields);
    assert_eq!(answer.finish, "length");
    for (_, arguments) in answer.calls {
        assert!(serde_json::from_str::<Value>(&arguments).is_err(), "{arguments}");
    }
}

#[test]
fn one_call_is_made_where_only_one_is_allowed() {
    let call = "<tool_call>\n{\"name\": \"list_dir\", \"arguments\": {}}\n</tool_call>";
    let model = model(HERMES, &format!("{call}\n{call}"));
    let tools = json!([read_file(), list_dir()]);
    let one = answer(&model, json!({"tools": tools, "parallel_tool_calls": false}));
    assert_eq!(one.parsed(), [("list_dir", json!({}))]);
    assert_eq!(one.finish, "tool_calls");
    let both = answer(&model, json!({"tools": tools}));
    assert_eq!(both.calls.len(), 2);
}

fn hermes_thinking() -> String {
    format!("{HERMES}{OPENS_THINKING}")
}

#[test]
fn a_quoted_end_of_thinking_costs_no_byte() {
    let says = "I must close with `</think>` later. Fine.\n</think>\n\nDone.";
    let answer = answer(&model(&hermes_thinking(), says), json!({}));
    let between =
        says.strip_prefix(&answer.reasoning).and_then(|s| s.strip_suffix(&answer.content));
    assert_eq!(between.map(str::trim), Some("</think>"), "{answer:?}");
    assert_eq!(answer.finish, "stop");
}

#[test]
fn thoughts_that_are_cut_are_no_content() {
    let says = "still thinking when max_tokens ends";
    let model = model(&hermes_thinking(), says);
    let answer = answer(&model, json!({"max_tokens": model.tokens}));
    assert_eq!(answer.reasoning, says);
    assert_eq!(answer.content, "");
    assert_eq!(answer.finish, "length");
}

#[test]
fn llama_servers_names_of_the_switches_are_understood() {
    let says = "Let me see what it is.\n</think>\n\nDone: 5!";
    let model = model(&hermes_thinking(), says);
    for name in ["thinking_budget_tokens", "reasoning_budget_tokens"] {
        let cut = answer(&model, json!({name: 3, "max_tokens": 20}));
        assert_eq!(cut.reasoning, "Let", "{name}");
    }
    let apart = |format: &str| answer(&model, json!({"reasoning_format": format}));
    for format in ["auto", "deepseek"] {
        assert_eq!(apart(format).content, "Done: 5!", "{format}");
    }
    assert_eq!((apart("none").content.as_str(), apart("none").reasoning.as_str()), (says, ""));
}

#[test]
fn a_call_inside_thoughts_that_never_end_is_a_call() {
    let says = "I need the files.\n<tool_call>\n<function=list_dir>\n</function>\n</tool_call>";
    let answer = answer(&model(XML_THINKING, says), json!({"tools": [list_dir()]}));
    assert_eq!(answer.reasoning, "I need the files.\n");
    assert_eq!(answer.parsed(), [("list_dir", json!({}))]);
    assert_eq!(answer.finish, "tool_calls", "{answer:?}");
}

#[test]
fn a_tool_result_without_its_call_is_kept() {
    let messages = json!([
        {"role": "system", "content": "S"},
        {"role": "assistant", "content": "hello"},
        {"role": "tool", "tool_call_id": "x", "content": "21.5"},
        {"role": "user", "content": "q"},
    ]);
    let server = shared();
    let body = json!({"messages": messages, "max_tokens": 2});
    assert_eq!(server.post("/v1/chat/completions", body).status, 200);
    let prompt = server.post("/apply-template", json!({"messages": messages})).json;
    let prompt = prompt["prompt"].as_str().expect("a prompt");
    for text in ["S", "hello", "21.5", "q"] {
        assert!(prompt.contains(text), "{text:?} is not in {prompt:?}");
    }
}

#[test]
fn a_named_tool_is_called_once_with_valid_arguments() {
    // The model would rather call the other, and twice.
    let call =
        "<tool_call>\n{\"name\": \"read_file\", \"arguments\": {\"path\": \"a\"}}\n</tool_call>";
    let model = model(HERMES, &format!("{call}\n{call}"));
    let score = json!({"score": {"type": "integer", "minimum": 1, "maximum": 5}});
    let mut rating = tool("Rating", score, &["score"]);
    rating["function"]["strict"] = json!(true);
    let fields = json!({
        "tools": [rating, read_file()],
        "tool_choice": {"type": "function", "function": {"name": "Rating"}},
        "parallel_tool_calls": false,
    });
    let answer = answer(&model, fields);
    let calls = answer.parsed();
    assert_eq!(calls.len(), 1, "{answer:?}");
    assert_eq!(calls[0].0, "Rating");
    let score = calls[0].1["score"].as_i64().expect("a number");
    assert!((1..=5).contains(&score), "{score}");
}

fn two_fields() -> Value {
    json!({"type": "json_schema", "json_schema": {"name": "r", "strict": true, "schema": {
        "type": "object",
        "properties": {"zeta": {"type": "string", "maxLength": 8}, "alpha": {"type": "integer", "minimum": 0, "maximum": 9}},
        "required": ["alpha", "zeta"],
        "additionalProperties": false,
    }}})
}

/// The properties as they stand in the text.
fn order(text: &str) -> Vec<String> {
    let object: serde_json::Map<String, Value> = serde_json::from_str(text).expect("an object");
    object.keys().cloned().collect()
}

#[test]
fn properties_come_in_the_order_of_the_schema() {
    // The model would rather begin with the other.
    let model = model(HERMES, "{\"alpha\": 1, \"zeta\": \"x\"}");
    let answer = answer(&model, json!({"response_format": two_fields()}));
    assert_eq!(order(&answer.content), ["zeta", "alpha"]);
}

#[test]
fn an_answer_in_a_schema_comes_after_the_thoughts() {
    let model =
        model(&hermes_thinking(), "Two fields.\n</think>\n\n{\"zeta\": \"x\", \"alpha\": 1}");
    let answer = answer(&model, json!({"response_format": two_fields()}));
    assert_eq!(answer.reasoning.trim(), "Two fields.");
    assert_eq!(order(&answer.content), ["zeta", "alpha"]);
    assert_eq!(answer.finish, "stop");
}
