//! Ollama's API: bodies are read or refused, and a stream of an output read back by a strict decoder
//! is the whole answer of the same output.
//!
//! The first byte chooses: a body of `/api/chat`, one of `/api/generate`, or an output. Of an output
//! the next three choose the format and the opening, the end, and the cuts.

#![no_main]

#[path = "../../tests/decoders/ollama.rs"]
mod decoder;

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use strixhalo::chat::Tool;
use strixhalo::chat::output::{End, Event, FORMATS, Opening, Parser};
use strixhalo::config::Settings;
use strixhalo::protocol::ollama::{
    Form, Measures, OllamaChatBody, OllamaGenerateBody, OllamaPrompt, Said, Writer,
};
use strixhalo::protocol::{BodyError, FromJson};

static SETTINGS: LazyLock<Settings> = LazyLock::new(Settings::default);
static TOOLS: LazyLock<Arc<[Tool]>> = LazyLock::new(|| {
    Arc::new([Tool {
        name: "f".to_owned(),
        parameters: json!({"properties": {"a": {"type": "string"}, "b": {}}}),
        strict: false,
        path: "tools[0].function".to_owned(),
        schema_field: "parameters",
    }])
});
const NOW: &str = "2026-01-02T03:04:05Z";

fuzz_target!(|data: &[u8]| {
    let Some((&which, rest)) = data.split_first() else { return };
    let result = match which % 3 {
        0 => chat(rest),
        1 => generate(rest),
        _ => return answer(rest),
    };
    if let Err(error) = result {
        assert!(!error.message.is_empty() && error.message.len() < 4096, "{}", error.message);
        assert!(std::str::from_utf8(rest).is_ok() || error.code == "invalid_json");
    }
});

fn chat(body: &[u8]) -> Result<(), BodyError> {
    let call = OllamaChatBody::from_json(body)?.check(&SETTINGS)?;
    assert!(call.conversation.is_none_or(|conversation| !conversation.messages.is_empty()));
    assert_eq!(call.options.options.n, 1);
    Ok(())
}

fn generate(body: &[u8]) -> Result<(), BodyError> {
    let call = OllamaGenerateBody::from_json(body)?.check(&SETTINGS)?;
    if let OllamaPrompt::Question(question) = call.prompt {
        assert!(!question.messages.is_empty());
    }
    Ok(())
}

fn answer(data: &[u8]) {
    let [which, end, seed, output @ ..] = data else { return };
    let output = String::from_utf8_lossy(output);
    let format = &FORMATS[usize::from(which / 4) % FORMATS.len()];
    let opening = if which % 2 == 0 { Opening::Text } else { Opening::Thinking };
    let form = if which / 2 % 2 == 0 { Form::Chat } else { Form::Generate };
    let tools = if form == Form::Chat { TOOLS.clone() } else { Arc::new([]) as Arc<[Tool]> };
    let end = if end % 2 == 0 { End::Model } else { End::Cut };

    let mut parser = Parser::new(format, tools, opening);
    let mut writer = Writer::new(form, "m");
    let (mut stream, mut all) = (Vec::new(), Vec::new());
    let mut rest = output.as_ref();
    let mut random = u32::from(*seed) + 1;
    while !rest.is_empty() {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let mut bytes = 1 + (random >> 24) as usize % (1 + usize::from(seed % 16));
        while bytes < rest.len() && !rest.is_char_boundary(bytes) {
            bytes += 1;
        }
        let (piece, after) = rest.split_at(bytes.min(rest.len()));
        let parts = parser.push(piece);
        writer.output(NOW, &parts, None, &mut stream);
        if random % 8 == 0 {
            writer.keep_alive(NOW, &mut stream);
        }
        all.extend(parts);
        rest = after;
    }
    let parts = parser.finish(end);
    writer.output(NOW, &parts, None, &mut stream);
    all.extend(parts);
    writer.done(NOW, "stop", Measures::default(), &mut stream);

    let (mut thinking, mut text) = (String::new(), String::new());
    let mut calls: Vec<(String, String)> = Vec::new();
    for event in all {
        match event {
            Event::Reasoning(part) => thinking.push_str(&part),
            Event::Text(part) => text.push_str(&part),
            Event::Call { name, .. } => calls.push((name, String::new())),
            Event::Arguments { fragment, .. } => {
                if let Some((_, arguments)) = calls.last_mut() {
                    arguments.push_str(&fragment);
                }
            }
            Event::CallEnd { .. } | Event::CallCut { .. } => {}
        }
    }
    // The decoder cannot read numbers beyond f64, which JSON has.
    let is_readable = |arguments: &str| {
        serde_json::from_str::<Value>(arguments)
            .err()
            .is_none_or(|error| !error.to_string().contains("out of range"))
    };
    if !calls.iter().all(|(_, arguments)| is_readable(arguments)) {
        return;
    }
    let said = Said {
        thinking: &thinking,
        text: &text,
        calls: calls.iter().map(|(name, arguments)| (name.as_str(), arguments.as_str())).collect(),
    };
    let whole = Writer::new(form, "m").whole(NOW, &said, None, "stop", Measures::default());
    let whole = decoder::whole(&String::from_utf8(whole).unwrap()).unwrap();
    let stream = decoder::stream(&String::from_utf8(stream).unwrap()).unwrap();
    assert_eq!(stream, whole, "{} {output:?}", format.id);
}
