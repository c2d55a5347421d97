//! SIGTERM.

use std::io::{BufRead, Read};
use std::thread::JoinHandle;

use rustix::process::Signal;
use serde_json::{Value, json};
use ureq::Body;
use ureq::http::Response;

use crate::harness::{ENDLESS, Start, agent, begin_stream, wait_until};

#[test]
fn a_stream_that_is_cut_by_the_end_of_the_drain_ends_properly() {
    let words = ["--port", "0", "STRIXHALO_LIMITS__DRAIN_TIMEOUT=0"];
    let mut service = Start::with(&words).spawn();
    let mut stream = begin_stream(&service.base(), ENDLESS);
    service.signal(Signal::TERM);
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    let chunks: Vec<&str> = rest.lines().filter_map(|l| l.strip_prefix("data: ")).collect();
    let [.., finish, usage, "[DONE]"] = chunks[..] else { panic!("{rest}") };
    let finish: Value = serde_json::from_str(finish).unwrap();
    assert_eq!(finish["choices"][0]["finish_reason"], "length");
    let usage: Value = serde_json::from_str(usage).unwrap();
    let generated = usage["usage"]["completion_tokens"].as_u64().unwrap();
    assert!((1..u64::from(ENDLESS)).contains(&generated), "{usage}");
    assert_eq!(service.wait().code(), Some(0));
}

#[test]
fn a_stream_may_finish_within_the_drain_and_new_requests_may_not_begin() {
    let mut service = Start::with(&["--port", "0"]).spawn();
    let base = service.base();
    let mut stream = begin_stream(&base, 600);
    service.signal(Signal::TERM);
    service.wait_for_log("stopping: running requests get up to 30 s to finish");
    let refused =
        wait_until("a closed port", || agent().get(format!("{base}/health")).call().err());
    assert!(matches!(refused, ureq::Error::Io(_) | ureq::Error::ConnectionFailed), "{refused}");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains(r#""completion_tokens":600"#), "{rest}");
    assert!(rest.ends_with("data: [DONE]\n\n"), "{rest}");
    assert_eq!(service.wait().code(), Some(0));
    service.wait_for_log("stopped");
}

/// Sends a chat from a thread of its own and returns once a sequence of it waits for a slot.
fn begin_waiting_chat(base: &str, body: Value) -> JoinHandle<Response<Body>> {
    let url = format!("{base}/v1/chat/completions");
    let chat = std::thread::spawn(move || agent().post(url).send(body.to_string()).unwrap());
    wait_for_a_waiting_request(base);
    chat
}

fn wait_for_a_waiting_request(base: &str) {
    wait_until("a waiting request", || {
        let metrics = agent().get(format!("{base}/metrics")).call().unwrap();
        let metrics = metrics.into_body().read_to_string().unwrap();
        metrics.contains("llamacpp:requests_deferred 1").then_some(())
    });
}

#[test]
fn a_request_that_waits_for_a_slot_is_refused_when_the_drain_begins() {
    let mut service = Start::with(&["--port", "0", "--parallel", "1"]).spawn();
    let base = service.base();
    let mut stream = begin_stream(&base, 2000);
    let messages = json!([{"role": "user", "content": "Hello!"}]);
    let waiting = begin_waiting_chat(&base, json!({"messages": messages}));
    service.signal(Signal::TERM);
    let response = waiting.join().unwrap();
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    assert!(service.is_running(), "the refusal did not wait for the stream");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains(r#""completion_tokens":2000"#), "{rest}");
    assert_eq!(service.wait().code(), Some(0));
}

#[test]
fn a_waiting_request_is_refused_though_its_client_gave_it_the_id_of_a_running_one() {
    let mut service = Start::with(&["--port", "0", "--parallel", "1"]).spawn();
    let url = format!("{}/v1/completions", service.base());
    let post = move |body: Value| {
        agent().post(&url).header("x-request-id", "mine").send(body.to_string()).unwrap()
    };
    let mut running = post(json!({"prompt": "a", "max_tokens": 2000, "stream": true,
                                  "ignore_eos": true}));
    let waiting = std::thread::spawn(move || post(json!({"prompt": "a", "max_tokens": 2000})));
    wait_for_a_waiting_request(&service.base());
    service.signal(Signal::TERM);
    assert_eq!(waiting.join().unwrap().status(), 503);
    let rest = running.body_mut().read_to_string().unwrap();
    assert!(rest.contains(r#""predicted_n":2000"#), "{rest}");
    assert_eq!(service.wait().code(), Some(0));
}

#[test]
fn a_request_whose_prompt_was_still_being_read_is_refused_and_its_stream_says_how_far_it_was() {
    let words = ["--port", "0", "--ctx-size", "65536", "STRIXHALO_LIMITS__DRAIN_TIMEOUT=0"];
    for stream in [false, true] {
        let mut service = Start::with(&words).spawn();
        let url = format!("{}/v1/completions", service.base());
        let body = json!({"prompt": vec![70; 30_000], "max_tokens": 4, "stream": stream});
        let ask = std::thread::spawn(move || agent().post(&url).send(body.to_string()).unwrap());
        wait_until("a busy slot", || {
            let slots = agent().get(format!("{}/slots", service.base())).call().unwrap();
            let slots = slots.into_body().read_to_string().unwrap();
            slots.contains(r#""is_processing":true"#).then_some(())
        });
        service.signal(Signal::TERM);
        let mut response = ask.join().unwrap();
        let answer = response.body_mut().read_to_string().unwrap();
        if stream {
            let read = answer.rsplit(r#""prompt_n":"#).next().unwrap();
            let read: usize = read.split(',').next().unwrap().parse().unwrap();
            assert!(read < 30_000 && answer.contains(r#""finish_reason":"length""#), "{answer}");
        } else {
            assert_eq!(response.status(), 503, "{answer}");
            assert!(response.headers().contains_key("retry-after"));
        }
        assert_eq!(service.wait().code(), Some(0));
    }
}

#[test]
fn all_choices_of_a_running_request_may_finish_within_the_drain() {
    let mut service = Start::with(&["--port", "0", "--parallel", "1"]).spawn();
    let body = json!({
        "messages": [{"role": "user", "content": "Hello!"}], "n": 2, "ignore_eos": true,
        "max_tokens": 1000,
    });
    let chat = begin_waiting_chat(&service.base(), body);
    service.signal(Signal::TERM);
    let response = chat.join().unwrap();
    assert_eq!(response.status(), 200);
    let answer = response.into_body().read_to_string().unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["usage"]["completion_tokens"], 2000);
    assert_eq!(service.wait().code(), Some(0));
}

#[test]
fn a_second_sigterm_ends_the_drain_with_143() {
    let mut service = Start::with(&["--port", "0"]).spawn();
    let mut stream = begin_stream(&service.base(), ENDLESS);
    service.signal(Signal::TERM);
    service.wait_for_log("stopping: ");
    // A hangup meanwhile is no second request to stop.
    service.signal(Signal::HUP);
    stream.read_line(&mut String::new()).unwrap();
    assert!(service.is_running());
    service.signal(Signal::TERM);
    let status = service.wait();
    assert_eq!(status.code(), Some(143), "{status}");
}

/// Starts a server on a terminal, closes the terminal and says so as the kernel does.
const TERMINAL: &str = r#"
import os, pty, signal, subprocess, sys
ours, theirs = pty.openpty()
server = subprocess.Popen(sys.argv[1:], stdin=theirs, stdout=theirs, stderr=theirs)
os.close(theirs)
seen = b""
while b"is ready after" not in seen:
    seen += os.read(ours, 4096)
os.close(ours)
server.send_signal(signal.SIGHUP)
sys.exit(server.wait(60))
"#;

#[test]
fn a_terminal_that_is_closed_ends_the_server_that_was_started_from_it() {
    let status = std::process::Command::new("python3")
        .args(["-c", TERMINAL, env!("CARGO_BIN_EXE_strixhalo")])
        .args(["serve", "--port", "0", "--ctx-size", "1024"])
        .status()
        .expect("python3");
    assert_eq!(status.code(), Some(0));
}
