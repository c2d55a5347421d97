//! A client that leaves takes its work along.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::harness::{Server, chat_body};

/// Sends a request and leaves the connection open.
fn send(server: &Server, body: Value) -> TcpStream {
    let address = server.base.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let body = body.to_string();
    write!(
        stream,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    stream
}

/// A chat that goes on until it is cancelled or the context is full, tens of thousands of tokens.
fn endless(fields: Value) -> Value {
    let mut fields = fields;
    fields["max_tokens"] = json!(-1);
    fields["ignore_eos"] = json!(true);
    chat_body("Hello!", fields)
}

#[test]
fn a_client_that_leaves_frees_its_slots_streaming_or_not() {
    let server = Server::start(&["--ctx-size", "131072"]);
    for fields in [json!({}), json!({"stream": true}), json!({"n": 3}), json!({"n": 9})] {
        let slots = fields["n"].as_u64().map_or(1, |n| n.min(4)) as usize;
        let mut stream = send(&server, endless(fields.clone()));
        server.wait_for_busy_slots(slots);
        if fields["stream"] == true {
            stream.read_exact(&mut [0; 64]).unwrap();
        }
        drop(stream);
        server.wait_for_busy_slots(0);
    }
}

#[test]
fn clients_that_leave_do_not_wait_for_others() {
    let server = Server::start(&["--ctx-size", "131072"]);
    let running = send(&server, endless(json!({"stream": true})));
    server.wait_for_busy_slots(1);
    let leaving = send(&server, endless(json!({})));
    server.wait_for_busy_slots(2);
    drop(leaving);
    server.wait_for_busy_slots(1);
    drop(running);
    server.wait_for_busy_slots(0);
}
