//! What clients do to connections, and what the server makes of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Server, chat_body, shared};

fn connect(server: &Server) -> TcpStream {
    let client = TcpStream::connect(server.base.trim_start_matches("http://")).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client
}

fn post(path: &str, body: &Value) -> String {
    let body = body.to_string();
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{body}")
}

/// Reads one answer in chunked coding to its last byte.
fn chunked_answer(reader: &mut impl BufRead) -> String {
    let mut answer = String::new();
    while !answer.ends_with("\r\n0\r\n\r\n") {
        assert_ne!(reader.read_line(&mut answer).unwrap(), 0, "cut off: {answer}");
    }
    answer
}

#[test]
fn a_connection_serves_a_hundred_streams() {
    let server = shared();
    let mut client = connect(&server);
    let mut reader = BufReader::new(client.try_clone().unwrap());
    let body = chat_body("Hello!", json!({"stream": true, "max_tokens": 1}));
    for i in 0..100 {
        client.write_all(post("/v1/chat/completions", &body).as_bytes()).unwrap();
        let answer = chunked_answer(&mut reader);
        assert!(answer.starts_with("HTTP/1.1 200 "), "stream {i}: {answer}");
        assert!(answer.contains("data: [DONE]"), "stream {i}: {answer}");
    }
}

#[test]
fn an_answer_that_needs_no_body_is_heard_though_the_body_comes_later() {
    let server = shared();
    let body = json!({"messages": "x".repeat(3000)});
    for path in ["/v1/streams/lookup", "/nope", "/health", "/lora-adapters"] {
        let mut client = connect(&server);
        client.set_nodelay(true).unwrap();
        let request = post(path, &body);
        let (headers, body) = request.split_at(request.find("\r\n\r\n").unwrap() + 4);
        client.write_all(headers.as_bytes()).unwrap();
        // As clients do; the answer could be there by now.
        std::thread::sleep(Duration::from_millis(50));
        client.write_all(body.as_bytes()).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 ") && answer.ends_with("}}"), "{path}: {answer}");
        assert!(!answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        assert!(answer.contains("connection: close\r\n"), "{path}: {answer}");
    }
}

#[test]
fn fifty_megabytes_are_refused_and_the_client_hears_it() {
    let server = shared();
    let body = vec![b' '; 50 << 20];
    let reply = server.post_bytes("/v1/chat/completions", &body, "application/json");
    assert_eq!((reply.status, &reply.json["error"]["code"]), (413, &json!("body_too_large")));
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn what_is_no_request_is_logged_and_counted_though_no_route_saw_it() {
    let server = Server::start(&["STRIXHALO_LIMITS__HEADER_TIMEOUT=1"]);
    let ask = |bytes: &[u8]| {
        let mut client = connect(&server);
        client.write_all(bytes).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer
    };
    let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(70_000));
    for (bytes, status) in [
        ("nonsense\r\n\r\n", "400"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400"),
        (&long, "431"),
        ("GET / HTTP/1.1\r\nhost:", "408"),
    ] {
        let answer = ask(bytes.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        let line = "a request that cannot be read: ";
        server.logged(|l| l.contains(line) && l.contains(&format!("status={status}")));
    }
    let metrics = server.metrics();
    for (status, n) in [("400", 2), ("408", 1), ("431", 1)] {
        let sample = format!(
            r#"strixhalo_http_requests_total{{dialect="none",method="other",route="other",status="{status}"}} {n}"#
        );
        assert!(metrics.contains(&sample), "{sample} in {metrics}");
    }
}

#[test]
fn slow_headers_are_cut_off() {
    let server = Server::start(&["STRIXHALO_LIMITS__HEADER_TIMEOUT=1"]);
    let mut client = connect(&server);
    client.write_all(b"POST /v1/chat/completions HTTP/1.1\r\nhost:").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("timeout_error"), "{answer}");
}

#[test]
fn what_is_no_http_gets_400_and_the_server_goes_on() {
    let server = shared();
    for bytes in
        [&b"\x16\x03\x01\x02\x00\x01\x00"[..], b"GET  / HTTP/1.1\r\n\r\n", b"hello\r\n\r\n"]
    {
        let mut client = connect(&server);
        client.write_all(bytes).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{bytes:?}: {answer}");
    }
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn unknown_routes_and_wrong_methods_are_told_apart() {
    let server = shared();
    let unknown = server.get("/v1/chat/completion");
    assert_eq!((unknown.status, &unknown.json["error"]["type"]), (404, &json!("not_found_error")));
    let wrong = server.get("/v1/chat/completions");
    assert_eq!((wrong.status, &wrong.headers["allow"]), (405, &"POST".parse().unwrap()));
    assert_eq!(wrong.json["error"]["type"], "invalid_request_error");
}
