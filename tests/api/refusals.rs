use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::json;

use crate::harness::{Server, shared};

#[test]
fn bad_bodies_name_the_field_and_the_server_goes_on() {
    let server = shared();
    let user = json!([{"role": "user", "content": "hi"}]);
    for (body, param, code) in [
        (json!({}), "messages", "missing_field"),
        (json!({"messages": []}), "messages", "invalid_value"),
        (json!({"messages": [{"content": "x"}]}), "messages[0].role", "missing_field"),
        (json!({"messages": user, "model": 5}), "model", "invalid_type"),
        (json!({"messages": user, "stop": 5}), "stop", "invalid_type"),
        (json!({"messages": user, "stop": vec!["x"; 200]}), "stop", "invalid_value"),
        (json!({"messages": user, "logit_bias": "x"}), "logit_bias", "invalid_type"),
        (json!({"messages": user, "logit_bias": {"99999999": 1}}), "logit_bias", "invalid_value"),
        (json!({"messages": user, "response_format": "json"}), "response_format", "invalid_type"),
        (json!({"messages": user, "max_tokens": -5}), "max_tokens", "invalid_value"),
        (json!({"messages": user, "temperature": 1e9}), "temperature", "invalid_value"),
        (json!({"messages": user, "n": 500}), "n", "invalid_value"),
        (
            json!({"messages": user, "tools": [{"type": "function"}]}),
            "tools[0].name",
            "missing_field",
        ),
        (json!({"messages": user, "tool_choice": "required"}), "tool_choice", "invalid_value"),
        (json!({"messages": user, "grammar": "root ::= \"a"}), "grammar", "invalid_value"),
        (
            json!({"messages": [{"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "data:"}}]}]}),
            "messages[0].content[0]",
            "unsupported_value",
        ),
    ] {
        let reply = server.post("/v1/chat/completions", body.clone());
        let error = &reply.json["error"];
        assert_eq!(reply.status, 400, "{body}");
        assert_eq!((&error["param"], &error["code"]), (&json!(param), &json!(code)), "{body}");
        assert_eq!(error["type"], "invalid_request_error");
    }
    assert_eq!(server.chat("Hello!", json!({"max_tokens": 1})).status, 200);
}

#[test]
fn bodies_that_are_no_json_are_refused() {
    let server = shared();
    let post = |body: &[u8], kind: &str| {
        let reply = server.post_bytes("/v1/chat/completions", body, kind);
        (reply.status, reply.json["error"]["code"].as_str().unwrap_or_default().to_owned())
    };
    let json = "application/json";
    for body in [&b""[..], b"{", b"{\"messages\": [\xff]}", b"hello", b"{} {}"] {
        assert_eq!(post(body, json), (400, "invalid_json".to_owned()), "{body:?}");
    }
    assert_eq!(post(b"[]", json), (400, "invalid_type".to_owned()));
    assert_eq!(post(b"{}", "multipart/form-data; boundary=x").0, 415);
}

#[test]
fn too_large_a_body_is_413() {
    let server = Server::start(&["STRIXHALO_LIMITS__BODY_BYTES=4096"]);
    let reply = server.chat(&"x".repeat(5000), json!({}));
    assert_eq!((reply.status, &reply.json["error"]["code"]), (413, &json!("body_too_large")));
}

#[test]
fn too_long_a_prompt_is_refused_with_both_numbers() {
    let server = shared();
    for stream in [false, true] {
        let reply = server.chat(&"word ".repeat(2000), json!({"stream": stream}));
        let error = &reply.json["error"];
        assert_eq!(reply.status, 400);
        assert_eq!(error["code"], "context_length_exceeded");
        assert_eq!(error["param"], "messages");
        let message = error["message"].as_str().unwrap();
        assert!(message.starts_with("prompt is too long: "), "{message}");
        assert!(message.contains(" tokens > 512 maximum"), "{message}");
        let tokens = error["n_prompt_tokens"].as_u64().unwrap();
        assert!(message.contains(&format!("{tokens} tokens")), "{message}");
        assert_eq!(error["n_ctx"], 512);
    }
}

#[test]
fn a_prompt_that_fills_the_context_leaves_no_room_for_an_answer() {
    let server = shared();
    let prompt = |n: usize| json!({"prompt": vec![5; n], "max_tokens": 1});
    assert_eq!(server.post("/v1/completions", prompt(511)).status, 200);
    let error = server.post("/v1/completions", prompt(512)).json["error"].clone();
    assert_eq!((&error["n_prompt_tokens"], &error["n_ctx"]), (&json!(512), &json!(512)));
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with("prompt is too long: 512 tokens >= 512 maximum"), "{message}");
}

#[test]
fn a_web_page_cannot_use_a_server_on_loopback_behind_its_users_back() {
    let server = shared();
    let address = server.base.trim_start_matches("http://");
    let status = |headers: &str| {
        let mut client = TcpStream::connect(address).unwrap();
        let body = r#"{"prompt":"a","max_tokens":1}"#;
        write!(
            client,
            "POST /v1/completions HTTP/1.1\r\n{headers}\r\ncontent-type: text/plain\r\n\
             connection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    assert_eq!(status(&format!("host: {address}")), "200");
    assert_eq!(status("host: localhost\r\norigin: http://localhost:3000"), "200");
    assert_eq!(status("host: evil.example"), "403");
    assert_eq!(status(&format!("host: {address}\r\norigin: https://evil.example")), "403");
}
