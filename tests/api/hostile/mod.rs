//! Requests that mean harm. Whatever one asks for, it is answered, and the next answer is right:
//! nothing in llama.cpp that ends the process can be reached from here.

mod bodies;
mod sampling;
mod text;

use serde_json::{Value, json};

use crate::harness::Server;

/// A server, and what it answers before anyone has done it harm.
struct Target {
    server: Server,
    right: Value,
}

impl Target {
    fn start(flags: &[&str]) -> Self {
        let server = Server::start(flags);
        let right = answer(&server);
        Self { server, right }
    }

    /// Sends a body that need not be JSON. Fails unless it is answered or refused; returns the
    /// status.
    fn send(&self, path: &str, body: &str) -> u16 {
        let reply = self.server.post_bytes(path, body.as_bytes(), "application/json");
        let shown: String = body.chars().take(300).collect();
        let error = &reply.json["error"];
        match reply.status {
            200 => assert_eq!(error, &Value::Null, "{shown}"),
            400 => {
                assert!(error["code"].is_string(), "{shown}: {error}");
                assert!(error["message"].as_str().is_some_and(|m| m.len() < 2000), "{shown}");
            }
            status => panic!("{status} for {shown}: {error}"),
        }
        reply.status
    }

    /// A chat with these further fields, as JSON text.
    fn chat(&self, fields: &str) -> u16 {
        let limit = if fields.contains(r#""max_tokens""#) { "" } else { r#""max_tokens":6,"# };
        let body = format!(
            r#"{{"messages":[{{"role":"user","content":"Hello! Hello! Hello!"}}],{limit}{fields}}}"#
        );
        self.send("/v1/chat/completions", &body)
    }

    fn next_answer_is_right(&self) {
        self.server.wait_for_busy_slots(0);
        assert_eq!(answer(&self.server), self.right);
    }
}

fn answer(server: &Server) -> Value {
    let fields = json!({"logprobs": true, "cache_prompt": false});
    let reply = server.chat("What is the capital of France?", fields);
    assert_eq!(reply.status, 200, "{}", reply.json);
    let choice = &reply.json["choices"][0];
    assert!(!choice["message"]["content"].as_str().unwrap_or_default().is_empty());
    json!([choice["message"], choice["finish_reason"]])
}
