//! Bounds on clients and requests, and that one which reaches them costs the others nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};

use crate::harness::{Event, Server, chat_body};

fn connect(server: &Server) -> TcpStream {
    let client = TcpStream::connect(server.base.trim_start_matches("http://")).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client
}

fn rest(mut client: TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset after the answer is as good as an end.
    let _ = client.read_to_end(&mut bytes);
    String::from_utf8(bytes).unwrap()
}

/// Sends a chat and leaves the connection open.
fn begin(server: &Server, fields: Value) -> TcpStream {
    let mut client = connect(server);
    let body = chat_body("Hello!", fields).to_string();
    let length = body.len();
    write!(
        client,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
    )
    .unwrap();
    write!(client, "content-length: {length}\r\n\r\n{body}").unwrap();
    client
}

/// A chat that goes on for tens of thousands of tokens.
fn endless(server: &Server) -> TcpStream {
    begin(server, json!({"stream": true, "max_tokens": -1, "ignore_eos": true}))
}

/// A short answer as a stream of Anthropic's, with a sign of life every second.
fn message_body(text: &str) -> Value {
    json!({"messages": [{"role": "user", "content": text}], "max_tokens": 1, "stream": true,
        "sse_ping_interval": 1, "cache_prompt": false})
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_body_that_trickles_in_is_cut_off_with_408() {
    let server = Server::start(&["STRIXHALO_LIMITS__BODY_TIMEOUT=1"]);
    let mut client = connect(&server);
    let head =
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n";
    client.write_all(head.as_bytes()).unwrap();
    let mut writer = client.try_clone().unwrap();
    std::thread::spawn(move || {
        // Each byte comes long before a silence of a second.
        while writer.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let start = Instant::now();
    let answer = rest(client);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("connection: close\r\n") && answer.contains("timeout_error"));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn a_connection_too_many_gets_503_at_once_and_a_free_place_is_used() {
    let server = Server::start(&["STRIXHALO_LIMITS__CONNECTIONS=8"]);
    // The harness keeps one of its own.
    until("the harness's connections are few", || server.metric("strixhalo_connections") <= 2.0);
    let mut held: Vec<_> = (0..8).map(|_| connect(&server)).collect();
    let mut refused = connect(&server);
    refused.write_all(b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let answer = rest(refused);
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    for part in ["connection: close\r\n", "retry-after: ", "too_many_connections"] {
        assert!(answer.contains(part), "{part} is not in {answer}");
    }
    held.clear();
    until("a place is free", || {
        let mut client = connect(&server);
        let request = b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        client.write_all(request).is_ok() && rest(client).starts_with("HTTP/1.1 200 ")
    });
    assert!(server.metric("strixhalo_connections_refused_total{reason=\"limit\"}") >= 1.0);
}

#[test]
fn the_soft_limit_on_file_descriptors_is_raised_to_what_the_connections_need() {
    let server = Server::start(&["STRIXHALO_LIMITS__CONNECTIONS=2000"]);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let hard: f64 = line.split_whitespace().nth(4).unwrap().parse().unwrap_or(f64::INFINITY);
    assert!(server.metric("process_max_fds") >= hard.min(2256.0), "{line}");
}

#[test]
fn without_file_descriptors_clients_get_503_and_the_server_neither_spins_nor_stops() {
    let server = Server::start(&[]);
    let pid = Pid::from_raw(i32::try_from(server.pid()).unwrap()).unwrap();
    let open = server.metric("process_open_fds") as u64;
    let limit = |soft: u64| {
        let maximum = prlimit(
            Some(pid),
            Resource::Nofile,
            Rlimit { current: Some(soft), maximum: Some(4096) },
        );
        maximum.expect("its limit can be set");
    };
    limit(open + 3);
    let mut held = Vec::new();
    until("a client is turned away", || {
        let mut client = connect(&server);
        client.write_all(b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        let mut status = [0; 12];
        client.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let answered = client.read_exact(&mut status).is_ok();
        let refused = answered && &status == b"HTTP/1.1 503";
        held.push(client);
        refused
    });
    // More clients than it can take wait; that must not cost processor time.
    held.extend((0..20).map(|_| connect(&server)));
    let before = cpu_ticks(server.pid());
    std::thread::sleep(Duration::from_secs(1));
    let used = cpu_ticks(server.pid()) - before;
    assert!(used < 30, "it used {used} of 100 ticks while it had nothing to do");
    drop(held);
    limit(1024);
    until("it serves again", || {
        let mut client = connect(&server);
        let request = b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        client.write_all(request).is_ok() && rest(client).starts_with("HTTP/1.1 200 ")
    });
    assert!(server.metric("strixhalo_connections_refused_total{reason=\"descriptors\"}") >= 1.0);
}

/// Processor time of a process, in ticks of 10 ms.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn a_generation_that_takes_too_long_ends_with_what_it_has() {
    let server = Server::start(&[
        "--ctx-size",
        "131072",
        "--parallel",
        "2",
        "STRIXHALO_LIMITS__REQUEST_TIMEOUT=1",
    ]);
    let running = endless(&server);
    let whole = server.chat("Hello!", json!({"max_tokens": -1, "ignore_eos": true}));
    assert_eq!(whole.status, 200, "{}", whole.json);
    assert_eq!(whole.json["choices"][0]["finish_reason"], "length");
    assert!(whole.json["usage"]["completion_tokens"].as_u64().unwrap() > 0);
    let streamed = rest(running);
    assert!(streamed.contains("\"finish_reason\":\"length\""), "{streamed}");
    assert!(streamed.contains("data: [DONE]"), "{streamed}");
    assert_eq!(server.busy_slots(), 0);
}

/// Longer and longer texts, as long as `wanted` does not find what it looks for: how long one
/// must be to take a second depends on the machine.
fn lengthen(what: &str, wanted: impl Fn(&str) -> bool) {
    let texts = (9..14).map(|n| "one two three four five six seven eight nine ten ".repeat(1 << n));
    assert!({ texts }.any(|text| wanted(&text)), "never: {what}");
}

#[test]
fn a_request_that_has_nothing_when_its_time_is_over_gets_504() {
    let server = Server::start(&[
        "--ctx-size",
        "131072",
        "--parallel",
        "1",
        "STRIXHALO_LIMITS__REQUEST_TIMEOUT=1",
    ]);
    let fields = json!({"max_tokens": 1, "cache_prompt": false});
    lengthen("504", |text| {
        let whole = server.chat(text, fields.clone());
        if whole.status == 200 {
            return false;
        }
        assert_eq!(
            (whole.status, &whole.json["error"]["code"]),
            (504, &json!("deadline_exceeded"))
        );
        assert_eq!(whole.json["error"]["type"], "timeout_error");
        let mut fields = fields.clone();
        fields["stream"] = json!(true);
        let streamed = server.stream("/v1/chat/completions", chat_body(text, fields));
        let Some(Event::Data(last)) = streamed.last() else { panic!("{streamed:?}") };
        assert_eq!(last["error"]["code"], "deadline_exceeded");
        let stream = server.stream_text("/v1/messages", message_body(text));
        let last = stream.trim_end().rsplit("\n\n").next().unwrap();
        let data = last.strip_prefix("event: error\ndata: ").unwrap();
        let last: Value = serde_json::from_str(data).unwrap();
        assert_eq!(
            (&last["type"], &last["error"]["type"]),
            (&json!("error"), &json!("timeout_error"))
        );
        assert!(last["request_id"].is_string());
        true
    });
    server.wait_for_busy_slots(0);
}

#[test]
fn max_tokens_is_capped_whether_it_is_given_or_not() {
    let server = Server::start(&["STRIXHALO_LIMITS__MAX_TOKENS=3"]);
    for (asked, got) in [(json!(null), 3), (json!(-1), 3), (json!(100), 3), (json!(2), 2)] {
        let reply = server.chat("Hello!", json!({"max_tokens": asked, "ignore_eos": true})).json;
        assert_eq!(reply["usage"]["completion_tokens"], got, "{asked}");
        assert_eq!(reply["choices"][0]["finish_reason"], "length");
    }
}

#[test]
fn a_queue_of_none_lets_idle_slots_work_and_refuses_the_rest_with_a_time() {
    let server =
        Server::start(&["--ctx-size", "131072", "--parallel", "1", "STRIXHALO_LIMITS__QUEUE=0"]);
    assert_eq!(server.chat("Hello!", json!({"max_tokens": 1})).status, 200);
    until("its slot is free", || server.busy_slots() == 0);
    let running = endless(&server);
    server.wait_for_busy_slots(1);
    let refused = server.chat("Hello!", json!({}));
    assert_eq!((refused.status, &refused.json["error"]["code"]), (429, &json!("queue_full")));
    let seconds: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    // What can never fit is told so, not asked to come again.
    let long = server.chat(&"word ".repeat(200_000), json!({}));
    assert_eq!(
        (long.status, &long.json["error"]["code"]),
        (400, &json!("context_length_exceeded"))
    );
    assert_eq!(server.metric("strixhalo_queue_rejected_total"), 1.0);
    let refused = server.post("/v1/messages", message_body("Hello!"));
    assert_eq!((refused.status, &refused.json["type"]), (429, &json!("error")));
    assert_eq!(refused.json["error"]["type"], "rate_limit_error");
    assert!(refused.headers.contains_key("retry-after"));
    drop(running);
}

#[test]
fn comments_keep_a_stream_alive_while_it_queues_and_while_its_prompt_is_read() {
    let server = Server::start(&["--ctx-size", "131072", "--parallel", "1"]);
    let fields = json!({"stream": true, "max_tokens": 1, "sse_ping_interval": 1,
                        "cache_prompt": false});
    let before_answer = |events: Vec<Event>| {
        let waits = |event: &&Event| **event == Event::Comment;
        events.iter().take_while(waits).count()
    };
    lengthen("a comment while the prompt is read", |text| {
        let body = chat_body(text, fields.clone());
        before_answer(server.stream("/v1/chat/completions", body)) > 0
    });
    let running = endless(&server);
    server.wait_for_busy_slots(1);
    let queued = std::thread::scope(|scope| {
        let queued = scope.spawn(|| server.stream("/v1/chat/completions", chat_body("Hi", fields)));
        std::thread::sleep(Duration::from_millis(1500));
        drop(running);
        queued.join().unwrap()
    });
    assert!(before_answer(queued) > 0, "no comment while it queued");
}

#[test]
fn pings_keep_a_message_alive_once_it_has_begun() {
    let server = Server::start(&["--ctx-size", "131072", "--parallel", "1"]);
    lengthen("a ping while the prompt is read", |text| {
        let stream = server.stream_text("/v1/messages", message_body(text));
        let start = stream.find("event: message_start\n").unwrap();
        let ping = stream.find("event: ping\n").unwrap_or(usize::MAX);
        let block = stream.find("event: content_block_start\n");
        start < ping && ping < block.unwrap_or(stream.len())
    });
    let running = endless(&server);
    server.wait_for_busy_slots(1);
    let queued = std::thread::scope(|scope| {
        let queued = scope.spawn(|| server.stream_text("/v1/messages", message_body("Hi")));
        std::thread::sleep(Duration::from_millis(1500));
        drop(running);
        queued.join().unwrap()
    });
    // Nothing may come before a message's beginning.
    assert!(queued.starts_with(": keep-alive\n"), "{queued}");
    let events = queued.trim_start_matches(": keep-alive\n");
    assert!(events.starts_with("event: message_start\n"), "{queued}");
}

#[test]
fn slow_readers_cost_only_themselves() {
    let server = Server::start(&[
        "--parallel",
        "36",
        "--ctx-size",
        "36864",
        "STRIXHALO_LIMITS__STREAM_BUFFER_BYTES=1024",
        "STRIXHALO_LIMITS__STREAM_STALL_TIMEOUT=2",
    ]);
    let fields = json!({"stream": true, "max_tokens": 300, "ignore_eos": true, "logprobs": true,
                        "top_logprobs": 20});
    let slow: Vec<_> = (0..32)
        .map(|_| {
            let client = begin(&server, fields.clone());
            // A small window fills after some hundred events.
            socket2::SockRef::from(&client).set_recv_buffer_size(4096).unwrap();
            client
        })
        .collect();
    server.wait_for_busy_slots(32);
    let whole = server.chat("Hello!", json!({"max_tokens": 20, "ignore_eos": true}));
    assert_eq!(whole.status, 200);
    assert_eq!(whole.json["usage"]["completion_tokens"], 20);
    // Each is finished or dropped without anybody reading.
    until("all slots are free", || server.busy_slots() == 0);
    drop(slow);
}
