//! Requests as clients send them, and what is refused of them.

use super::*;
use crate::chat::{CHATML, Message, Template};
use crate::protocol::openai::ChatBody;

fn read(body: &Value) -> Result<ResponsesCall, BodyError> {
    let body = ResponsesBody::from_json(body.to_string().as_bytes())?;
    body.check(&Settings::default(), History::default())
}

fn with(mut fields: Value) -> Result<ResponsesCall, BodyError> {
    fields["input"] = "hi".into();
    read(&fields)
}

#[test]
fn a_text_is_a_users_message_and_instructions_are_the_systems() {
    let call = read(&json!({"instructions": "Be kind.", "input": "hi"})).unwrap();
    assert_eq!(
        call.conversation.messages,
        [Message::new(Role::System, "Be kind."), Message::new(Role::User, "hi")]
    );
    assert_eq!(call.places, ["instructions", "input[0]"]);
    assert!(call.conversation.add_generation_prompt && call.store && !call.truncates);
}

#[test]
fn a_last_item_of_the_assistant_is_continued() {
    let user = json!({"role": "user", "content": "hi"});
    let last = |item: Value| read(&json!({"input": [user, item]})).unwrap().conversation;
    let open = last(json!({"role": "assistant", "content": "Hel"}));
    assert!(open.continue_final_message && !open.add_generation_prompt);
    let call = json!({"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"});
    let called = last(call);
    assert!(!called.continue_final_message && called.add_generation_prompt);
}

#[test]
fn without_input_an_earlier_response_is_followed_by_another_turn_or_gone_on_with_where_it_was_cut()
{
    let go_on = |status: &str, mut body: Value| {
        let items = vec![
            json!({"type": "message", "role": "user", "content": "hi"}),
            json!({"type": "message", "role": "assistant", "status": status, "content": "Hel"}),
        ];
        body["previous_response_id"] = "resp_1".into();
        let body = ResponsesBody::from_json(body.to_string().as_bytes()).unwrap();
        let history = History { items, ..History::default() };
        body.check(&Settings::default(), history).unwrap()
    };
    for body in [json!({}), json!({"input": null}), json!({"input": []})] {
        let whole = go_on("completed", body.clone());
        assert_eq!((whole.conversation.messages.len(), whole.input.len()), (2, 0));
        assert!(whole.conversation.add_generation_prompt, "{body}");
        assert!(!whole.conversation.continue_final_message, "{body}");
        let cut = go_on("incomplete", body.clone()).conversation;
        assert!(cut.continue_final_message && !cut.add_generation_prompt, "{body}");
    }
    // An item of the request itself is continued as ever.
    let own = json!({"input": [{"role": "assistant", "content": "Hello"}]});
    assert!(go_on("completed", own).conversation.continue_final_message);
    for body in [json!({}), json!({"input": null}), json!({"instructions": "Be kind."})] {
        assert_eq!(read(&body).unwrap_err().param.as_deref(), Some("input"), "{body}");
    }
}

#[test]
fn a_conversation_is_the_same_as_in_the_chat_api() {
    let parameters = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    let responses = read(&json!({
        "instructions": "Be kind.",
        "input": [
            {"role": "developer", "content": "D"},
            {"role": "user", "content": [{"type": "input_text", "text": "Q"}]},
            {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "T"}]},
            {"type": "message", "role": "assistant", "content": "A"},
            {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{\"a\": \"b\"}"},
            {"type": "function_call_output", "call_id": "1", "output": "R"},
        ],
        "tools": [{"type": "function", "name": "f", "parameters": parameters, "strict": false}],
        "reasoning": {"effort": "low"}, "max_output_tokens": 5}))
    .unwrap();
    let chat = json!({
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "developer", "content": "D"},
            {"role": "user", "content": [{"type": "text", "text": "Q"}]},
            {"role": "assistant", "content": "A", "reasoning_content": "T", "tool_calls": [
                {"id": "1", "type": "function",
                 "function": {"name": "f", "arguments": "{\"a\": \"b\"}"}}]},
            {"role": "tool", "tool_call_id": "1", "content": "R"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": parameters}}],
        "reasoning_effort": "low", "max_tokens": 5});
    let chat = ChatBody::from_json(chat.to_string().as_bytes()).unwrap();
    let chat = chat.check(&Settings::default()).unwrap();
    let Conversation { messages, tools, kwargs, .. } = &responses.conversation;
    assert_eq!(*messages, chat.conversation.messages);
    assert_eq!(*tools, chat.conversation.tools);
    assert_eq!(*kwargs, chat.conversation.kwargs);
    assert_eq!(responses.options.max_tokens, chat.options.max_tokens);
    for source in [
        CHATML,
        include_str!("../../../../chat/template/fixtures/thinking.jinja"),
        include_str!("../../../../chat/template/fixtures/xml.jinja"),
        include_str!("../../../../chat/template/fixtures/strict.jinja"),
    ] {
        let template = Template::new(source, None, None).unwrap();
        let prompt = |conversation| template.render(conversation).unwrap().prompt;
        assert_eq!(prompt(&responses.conversation), prompt(&chat.conversation));
    }
}

#[test]
fn wrong_fields_are_named() {
    for (fields, param, code) in [
        (json!({"instructions": 5}), "instructions", "invalid_type"),
        (json!({"tools": 5}), "tools", "invalid_type"),
        (json!({"text": {"format": {}}}), "text.format.type", "missing_field"),
        (json!({"text": {"format": 5}}), "text.format", "invalid_type"),
        (json!({"text": {"format": {"type": "xml"}}}), "text.format.type", "unsupported_value"),
        (
            json!({"text": {"format": {"type": "json_schema"}}}),
            "text.format.schema",
            "missing_field",
        ),
        (json!({"max_output_tokens": -2}), "max_output_tokens", "invalid_value"),
        (json!({"max_output_tokens": "5"}), "max_output_tokens", "invalid_type"),
        (json!({"truncation": "some"}), "truncation", "invalid_value"),
        (json!({"reasoning": {"summary": "long"}}), "reasoning.summary", "invalid_value"),
        (json!({"reasoning": {"summary": 5}}), "reasoning.summary", "invalid_type"),
        (json!({"reasoning": {"effort": "huge"}}), "reasoning.effort", "invalid_value"),
        (json!({"background": true}), "background", "unsupported_value"),
        (json!({"conversation": "c"}), "conversation", "unsupported_value"),
        (json!({"prompt": {"id": "p"}}), "prompt", "unsupported_value"),
        (json!({"include": ["message.output_text.logprobs"]}), "include[0]", "unsupported_value"),
        (json!({"top_logprobs": 2}), "top_logprobs", "unsupported_value"),
        (json!({"metadata": 5}), "metadata", "invalid_type"),
        (json!({"n": 2}), "n", "unsupported_value"),
        (json!({"temperature": -1}), "temperature", "invalid_value"),
    ] {
        let error = with(fields.clone()).unwrap_err();
        assert_eq!((error.param.as_deref(), error.code), (Some(param), code), "{fields}");
    }
    for (body, code) in [
        (json!({}), "missing_field"),
        (json!({"input": 5}), "invalid_type"),
        (json!({"input": []}), "invalid_value"),
    ] {
        let error = read(&body).unwrap_err();
        assert_eq!((error.param.as_deref(), error.code), (Some("input"), code), "{body}");
    }
}

#[test]
fn what_clients_send_besides_is_accepted() {
    let call = with(json!({
        "store": false, "include": ["reasoning.encrypted_content"], "service_tier": "auto",
        "client_metadata": {"x": 1}, "prompt_cache_key": "k", "user": "u", "background": false,
        "reasoning": {"effort": null, "summary": "auto"}, "parallel_tool_calls": false,
        "text": {"verbosity": "low"}, "truncation": "auto", "metadata": {"a": "b"},
        "stream_options": {"include_obfuscation": false}, "max_tool_calls": 5,
        "temperature": 0.7, "top_p": null, "tools": [{"type": "web_search"}]}))
    .unwrap();
    assert!(call.summarizes && call.truncates && !call.store);
    assert!(call.conversation.tool_use.single);
    assert_eq!(call.skipped_tools, ["web_search"]);
    assert_eq!(call.options.prompt_cache_key.as_deref(), Some("k"));
    let echo = Value::Object(call.echo);
    assert_eq!(echo["temperature"], 0.7);
    assert_eq!(echo["metadata"], json!({"a": "b"}));
    assert_eq!(echo["text"], json!({"format": {"type": "text"}, "verbosity": "low"}));
    assert_eq!(echo["tools"], json!([{"type": "web_search"}]));
}

#[test]
fn references_stand_for_items_of_stored_responses() {
    let message = |id: &str, text: &str| json!({"type": "message", "id": id, "role": "user", "content": text});
    let stored = ["b1", "b2"].map(|id| (id.to_owned(), message(id, "B")));
    let read = |input: Value| {
        let body = json!({"input": input}).to_string();
        let found = stored.clone().into();
        let history = History { items: vec![message("h", "H")], found };
        let body = ResponsesBody::from_json(body.as_bytes())?;
        assert!(!body.references().is_empty());
        body.check(&Settings::default(), history)
    };
    let reference = |id: &str| json!({"type": "item_reference", "id": id});
    let call = read(json!([message("a", "A"), reference("b1"), {"id": "b2"}])).unwrap();
    let texts: Vec<String> = call.conversation.messages.iter().map(Message::text).collect();
    assert_eq!(texts, ["H", "A", "B", "B"]);
    assert_eq!(call.places, ["previous_response_id", "input[0]", "input[1]", "input[2]"]);
    assert_eq!(call.input[1], message("b1", "B"));
    for (input, param) in [
        (json!([reference("x")]), "input[0].id"),
        (json!([reference("b1"), reference("b1")]), "input[1].id"),
    ] {
        assert_eq!(read(input).unwrap_err().param.as_deref(), Some(param));
    }
}
