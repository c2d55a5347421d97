//! The line that every request leaves in the log.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::harness::{Server, chat_body};

fn start(flags: &[&str]) -> Server {
    Server::start(&[flags, &["--log-format", "json"]].concat())
}

/// The line about the request with this id.
fn line(server: &Server, id: &str) -> Value {
    let id = format!("\"request_id\":\"{id}\"");
    serde_json::from_str(&server.logged(|line| line.contains(&id))).unwrap()
}

fn send(server: &Server, id: &str, method: &str, path: &str, body: &str) -> String {
    let mut client = TcpStream::connect(server.base.trim_start_matches("http://")).unwrap();
    write!(
        client,
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nx-request-id: {id}\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_request_leaves_one_line_with_all_that_is_known_of_it() {
    let server = start(&["--alias", "tiny"]);
    for (id, stream) in [("whole-1", false), ("stream-1", true)] {
        let body = chat_body(
            "Hello!",
            json!({"stream": stream, "max_tokens": 3,
                                              "ignore_eos": true}),
        );
        let answer = send(&server, id, "POST", "/v1/chat/completions", &body.to_string());
        assert!(answer.contains(&format!("x-request-id: {id}\r\n")), "{answer}");
        let line = line(&server, id);
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["message"], "POST /v1/chat/completions");
        assert_eq!(line["route"], "/v1/chat/completions");
        assert_eq!(line["model"], "tiny");
        assert_eq!((&line["status"], &line["client"]), (&json!(200), &json!("127.0.0.1")));
        assert_eq!(line["completion_tokens"], 3);
        assert!(line["prompt_tokens"].as_u64().unwrap() > 3, "{line}");
        let cached = line["cached_tokens"].as_u64().unwrap();
        assert_eq!(cached > 0, stream, "the second of two equal prompts is cached: {line}");
        assert!(line["ttft_ms"].as_u64() <= line["duration_ms"].as_u64(), "{line}");
        assert!(line["ttft_ms"].is_u64(), "{line}");
        assert!(!line.to_string().contains("Hello!"));
    }
}

#[test]
fn what_is_not_known_of_a_request_is_left_out_of_its_line() {
    let server = start(&["--api-key", "sesame"]);
    for (id, path, route, status) in [
        ("no-key", "/v1/chat/completions?api_key=sesame", Some("/v1/chat/completions"), 401),
        ("no-key-model", "/v1/models/org/tiny", Some("/v1/models/{*id}"), 401),
        ("no-route", "/v1/nowhere", None, 401),
    ] {
        send(&server, id, "POST", path, "{}");
        let line = line(&server, id);
        assert_eq!(line["status"], status);
        assert_eq!(line["route"].as_str(), route);
        for absent in ["model", "prompt_tokens", "cached_tokens", "completion_tokens", "ttft_ms"] {
            assert!(line.get(absent).is_none(), "{absent} in {line}");
        }
        for absent in ["cached_from", "cache_miss_reason"] {
            assert!(line.get(absent).is_none(), "{absent} in {line}");
        }
        assert!(!line.to_string().contains("sesame"), "{line}");
    }
}

#[test]
fn a_client_on_a_socket_file_is_called_unix() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let server = start(&["--host", &format!("127.0.0.1,unix:{}", path.display())]);
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(b"GET /nowhere HTTP/1.1\r\nx-request-id: local\r\n\r\n").unwrap();
    let line = line(&server, "local");
    assert_eq!((&line["client"], &line["status"]), (&json!("unix"), &json!(404)));
}

#[test]
fn the_line_of_a_client_that_left_says_so_and_counts_what_was_generated() {
    let server = start(&["--ctx-size", "131072"]);
    let body = chat_body("Hello!", json!({"stream": true, "max_tokens": -1, "ignore_eos": true}))
        .to_string();
    let mut client = TcpStream::connect(server.base.trim_start_matches("http://")).unwrap();
    write!(
        client,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nx-request-id: gone\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    client.read_exact(&mut [0; 2048]).unwrap();
    drop(client);
    let line = line(&server, "gone");
    assert_eq!(line["message"], "POST /v1/chat/completions: the client left early");
    assert_eq!(line["status"], 200);
    assert!(line["completion_tokens"].as_u64().unwrap() > 0, "{line}");
}
