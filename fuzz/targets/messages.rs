//! Anthropic's messages: any request body is read or refused, and an answer's stream, read back by a
//! strict reader, is the whole answer of the same output.
//!
//! The first byte chooses: 0 and other even ones are request bodies. For answers the next three choose
//! the format and the opening, the end, and the cuts; the rest is the model's output.

#![no_main]

#[path = "../../src/protocol/anthropic/strict.rs"]
mod strict;

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use strixhalo::chat::Tool;
use strixhalo::chat::output::{End, Event, FORMATS, Opening, Parser};
use strixhalo::config::Settings;
use strixhalo::protocol::anthropic::{
    Answer, Head, MessagesBody, StopReason, StreamWriter, Usage, blocks,
};
use strixhalo::protocol::{BodyError, FromJson};

static SETTINGS: LazyLock<Settings> = LazyLock::new(Settings::default);

static TOOLS: LazyLock<Arc<[Tool]>> = LazyLock::new(|| {
    let tool = |name: &str| Tool {
        name: name.to_owned(),
        parameters: json!({"properties": {"a": {"type": "string"}, "b": {"type": "integer"}}}),
        strict: false,
        path: "tools[0]".to_owned(),
        schema_field: "input_schema",
    };
    [tool("f"), tool("ping")].into()
});

fuzz_target!(|data: &[u8]| {
    let Some((&which, rest)) = data.split_first() else { return };
    if which % 2 == 0 { request(rest) } else { answer(rest) }
});

fn request(body: &[u8]) {
    if let Err(error) = read(body) {
        // A refusal is one short line, whatever it was about.
        assert!(!error.message.is_empty() && error.message.len() < 4096, "{}", error.message);
        assert!(std::str::from_utf8(body).is_ok() || error.code == "invalid_json");
    }
}

fn read(body: &[u8]) -> Result<(), BodyError> {
    let (counted, _) = MessagesBody::from_json(body)?.check_conversation(&SETTINGS)?;
    let call = MessagesBody::from_json(body)?.check(&SETTINGS)?;
    assert!(!counted.messages.is_empty());
    assert_eq!(call.conversation.messages, counted.messages);
    assert_eq!(call.options.n, 1);
    assert!(call.options.stop.iter().all(|stop| !stop.is_empty()));
    assert!(call.options.max_tokens.is_some());
    let tools = &call.conversation.tool_use;
    assert_eq!(tools.offered.len(), call.conversation.tools.len());
    assert!(tools.allowed.iter().flatten().all(|&tool| tool < tools.offered.len()));
    Ok(())
}

fn answer(data: &[u8]) {
    let Some((&[format, end, mut seed], output)) = data.split_first_chunk::<3>() else { return };
    let Ok(output) = std::str::from_utf8(output) else { return };
    let (format, opening) = (
        &FORMATS[format as usize / 2 % FORMATS.len()],
        match format % 2 {
            0 => Opening::Text,
            _ => Opening::Thinking,
        },
    );
    let mut parser = Parser::new(format, TOOLS.clone(), opening);
    let mut parts: Vec<Event> = Vec::new();
    let mut rest = output;
    while !rest.is_empty() {
        seed = seed.wrapping_mul(5).wrapping_add(7);
        let wanted = usize::from(seed % 16) + 1;
        let at = (wanted..=rest.len()).find(|&at| rest.is_char_boundary(at));
        let (piece, tail) = rest.split_at(at.unwrap_or(rest.len()));
        parts.extend(parser.push(piece));
        rest = tail;
    }
    parts.extend(parser.finish(if end % 2 == 0 { End::Model } else { End::Cut }));
    let stop = match end % 4 {
        0 => StopReason::EndTurn,
        1 => StopReason::MaxTokens,
        2 => StopReason::ToolUse,
        _ => StopReason::StopSequence(output.chars().take(3).collect()),
    };

    let head = Head { id: "msg_1".to_owned(), model: output.chars().take(5).collect() };
    let usage = |tokens| Usage::new(10, u64::from(seed % 10), tokens);
    let (mut writer, mut out) = (StreamWriter::default(), Vec::new());
    writer.start(&head, usage(0), &mut out);
    for part in &parts {
        writer.part(part, &mut out);
    }
    writer.finish(&stop, usage(7), &mut out);
    let whole = Answer {
        id: &head.id,
        role: "assistant",
        model: &head.model,
        content: blocks(&parts),
        stop_reason: Some(stop.name()),
        stop_sequence: stop.sequence(),
        usage: usage(7),
    };
    let whole = serde_json::to_value(whole).expect("JSON");
    strict::assert_same(std::str::from_utf8(&out).expect("UTF-8"), &whole);
}
