//! `/v1/responses`: any body is read or refused, and what is read keeps its promises; any parts of an
//! output make a stream that a strict decoder reads as the whole response of the same parts.
//!
//! An even first byte: the rest is a body. An odd one: the second byte has flags, and the rest are
//! parts, parted by 0xFE, each a byte of its kind and a text.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};
use strixhalo::chat::output::Event;
use strixhalo::config::Settings;
use strixhalo::protocol::openai::responses::{
    Encoder, Failure, Head, History, Outcome, ResponseUsage, ResponsesBody, ResponsesCall,
};
use strixhalo::protocol::{BodyError, FromJson};

#[path = "../../tests/api/responses/decoder.rs"]
mod decoder;

static SETTINGS: LazyLock<Settings> = LazyLock::new(Settings::default);

/// A request with tools of all kinds.
static TOOLS: LazyLock<ResponsesCall> = LazyLock::new(|| {
    let body = br#"{"input": "x", "tools": [{"type": "custom", "name": "patch"},
        {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "f"}]}]}"#;
    check(body).expect("it is a right one")
});

fuzz_target!(|data: &[u8]| {
    let Some((&which, rest)) = data.split_first() else { return };
    if which % 2 == 0 { request(rest) } else { stream(rest) }
});

fn check(body: &[u8]) -> Result<ResponsesCall, BodyError> {
    let body = ResponsesBody::from_json(body)?;
    let mut history = History::default();
    for id in body.references().into_iter().take(3) {
        let item = serde_json::json!({"role": "user", "content": "stored"});
        history.found.insert(id, item);
    }
    body.check(&SETTINGS, history)
}

fn request(body: &[u8]) {
    match check(body) {
        Ok(call) => {
            assert!(!call.conversation.messages.is_empty());
            assert_eq!(call.conversation.messages.len(), call.places.len());
            assert_eq!(call.options.n, 1);
            assert!(call.options.max_tokens.is_none_or(|n| n <= i32::MAX as u32));
            // What is stored is read again.
            assert!(call.input.iter().all(Value::is_object));
        }
        Err(error) => {
            // A refusal is one short line, whatever it was about.
            assert!(!error.message.is_empty() && error.message.len() < 4096, "{}", error.message);
            assert!(std::str::from_utf8(body).is_ok() || error.code == "invalid_json");
        }
    }
}

fn stream(data: &[u8]) {
    let Some((&flags, rest)) = data.split_first() else { return };
    let parts = parts(rest);
    let head =
        Head { random: "abc".to_owned(), created: 1, model: "m".to_owned(), echo: Map::new() };
    let new = || Encoder::new(head.clone(), TOOLS.names.clone(), flags & 1 == 1);
    let (mut encoder, mut out) = (new(), Vec::new());
    if flags & 8 == 0 {
        encoder.start(&mut out);
        parts.iter().for_each(|part| encoder.part(part, &mut out));
    }
    if flags & 12 > 0 {
        let failure = Failure { code: "server_error", message: "no".to_owned() };
        encoder.fail(&failure, &mut out);
        let failed = decoder::read(std::str::from_utf8(&out).expect("text"));
        assert_eq!(failed["error"]["message"], "no");
        return;
    }
    let outcome = Outcome { is_cut: flags & 2 == 2, usage: ResponseUsage::new(3, 2, 1, 1) };
    encoder.finish(outcome, &mut out);
    let streamed = decoder::read(std::str::from_utf8(&out).expect("text"));
    let whole = new().whole(&joined(parts), outcome);
    assert_eq!(serde_json::from_slice::<Value>(&whole).expect("JSON"), streamed);
}

/// Parts as the parser of outputs has them: calls do not overlap, texts are not empty.
fn parts(data: &[u8]) -> Vec<Event> {
    let (mut parts, mut calls, mut open) = (Vec::new(), 0, false);
    for piece in data.split(|&byte| byte == 0xfe) {
        let Some((&kind, text)) = piece.split_first() else { continue };
        let text = String::from_utf8_lossy(text).into_owned();
        let index = calls - usize::from(open);
        match kind % 8 {
            0 if open => {
                parts.push(Event::CallCut { index });
                open = false;
            }
            1 if open => {
                parts.push(Event::CallEnd { index });
                open = false;
            }
            _ if open && text.is_empty() => {}
            _ if open => parts.push(Event::Arguments { index, fragment: text }),
            2 | 3 | 4 => {
                let name = ["n__f", "patch", "other"][usize::from(kind % 8) - 2];
                parts.push(Event::Call { index: calls, name: name.to_owned() });
                (calls, open) = (calls + 1, true);
            }
            _ if text.is_empty() => {}
            5 => parts.push(Event::Reasoning(text)),
            _ => parts.push(Event::Text(text)),
        }
    }
    parts
}

/// The parts with neighbors joined, as whole answers have them.
fn joined(parts: Vec<Event>) -> Vec<Event> {
    let mut all: Vec<Event> = Vec::new();
    for part in parts {
        match (all.last_mut(), part) {
            (Some(Event::Text(last)), Event::Text(text))
            | (Some(Event::Reasoning(last)), Event::Reasoning(text)) => last.push_str(&text),
            (Some(Event::Arguments { fragment: last, .. }), Event::Arguments { fragment, .. }) => {
                last.push_str(&fragment)
            }
            (_, part) => all.push(part),
        }
    }
    all
}
