//! How requests name their conversations.

use serde_json::{Value, json};

use crate::harness::{Server, chat_body};

#[test]
fn requests_name_their_conversations_and_slots_show_them() {
    let server = Server::start(&["--parallel", "1"]);
    let held = || -> Value { server.get("/slots").json[0]["cache"]["conversation"].clone() };
    let chat = |text: &str, headers: &[(&str, &str)], fields: Value| {
        let body = chat_body(text, fields);
        let reply = server.post_with("/v1/chat/completions", headers, body);
        assert_eq!(reply.status, 200, "{}", reply.json);
        held()
    };
    let agent = ("x-claude-code-agent-id", "a1");
    let session = json!({"metadata": {"user_id": "user_a_account_b_session_c"}});
    let all = [
        chat("Hello!", &[], json!({})),
        chat("Bye!", &[], json!({})),
        chat("Hello!", &[], json!({"prompt_cache_key": "k"})),
        chat("Hello!", &[], session.clone()),
        chat("Hello!", &[agent], session.clone()),
        {
            assert_eq!(
                server.post("/v1/completions", json!({"prompt": "Hi", "max_tokens": 1})).status,
                200
            );
            held()
        },
    ];
    for (i, one) in all.iter().enumerate() {
        let is_hex = |id: &str| id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit());
        assert!(one.as_str().is_some_and(is_hex), "{all:?}");
        assert!(!all[..i].contains(one), "{all:?}");
    }
    // Another turn, and another text under the same name.
    let next = json!([{"role": "user", "content": "Hello!"}, {"role": "assistant", "content": "A"},
        {"role": "user", "content": "More"}]);
    assert_eq!(chat("", &[], json!({"messages": next})), all[0]);
    assert_eq!(chat("Bye!", &[], json!({"prompt_cache_key": "k"})), all[2]);
    assert_eq!(chat("Bye!", &[agent], session), all[4]);
    let wrong = server.chat("Hello!", json!({"prompt_cache_key": 5}));
    assert_eq!((wrong.status, &wrong.json["error"]["param"]), (400, &json!("prompt_cache_key")));
}

#[test]
fn keys_that_are_kept_apart_answer_as_if_the_other_had_asked_nothing() {
    for (flags, shared) in [(&[][..], true), (&["--cache-isolate-keys"][..], false)] {
        let keys = ["--parallel", "2", "--api-key", "one,two"];
        let server = Server::start(&[&keys, flags].concat());
        let text = "A question that is long enough to be worth keeping. ".repeat(8);
        let cached = |key: &str| {
            let authorization = format!("Bearer {key}");
            let headers = [("authorization", authorization.as_str())];
            let body = chat_body(&text, json!({"max_tokens": 1}));
            let reply = server.post_with("/v1/chat/completions", &headers, body);
            assert_eq!(reply.status, 200, "{}", reply.json);
            reply.json["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap()
        };
        assert_eq!(cached("one"), 0);
        assert_eq!(cached("two") > 0, shared);
        assert!(cached("one") > 0);
        assert!(cached("two") > 0);
    }
}
