//! Outputs of models: what is read of one depends neither on how it is cut nor on what it says,
//! calls are JSON objects where they are whole and are none where they are cut, and no text is
//! made up or comes in another order.
//!
//! The first three bytes choose the format and the opening, the tools, and the end; the fourth
//! seeds the cuts. The rest is the output.

#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use strixhalo::chat::Tool;
use strixhalo::chat::output::{End, Event, FORMATS, Opening, Parser};

/// Sets of tools with all kinds of schemas.
static TOOLS: LazyLock<Vec<Arc<[Tool]>>> = LazyLock::new(|| {
    let tool = |name: &str, parameters: Value| Tool {
        name: name.to_owned(),
        parameters,
        strict: false,
        path: "tools[0].function".to_owned(),
        schema_field: "parameters",
    };
    let typed = tool(
        "f",
        json!({"properties": {
            "a": {"type": "string"},
            "b": {"type": "integer"},
            "c": {"type": ["string", "null"]},
            "d": {"anyOf": [{"type": "string"}, {"type": "array"}]},
            "e": {"$ref": "#/$defs/e"},
            "g": {"enum": ["x", 1, null]},
            "h": {},
        }, "$defs": {"e": {"oneOf": [{"$ref": "#/$defs/e"}, {"const": true}]}}}),
    );
    let odd = tool("ping", json!({"$ref": "#", "properties": [1], "type": 5}));
    vec![Arc::new([]), Arc::new([typed.clone()]), Arc::new([typed, odd])]
});

/// The events with neighbors joined.
fn joined(events: Vec<Event>) -> Vec<Event> {
    let mut all: Vec<Event> = Vec::new();
    for event in events {
        match (all.last_mut(), event) {
            (Some(Event::Text(last)), Event::Text(text))
            | (Some(Event::Reasoning(last)), Event::Reasoning(text)) => last.push_str(&text),
            (
                Some(Event::Arguments { index: a, fragment: last }),
                Event::Arguments { index: b, fragment },
            ) if *a == b => last.push_str(&fragment),
            (_, event) => all.push(event),
        }
    }
    all
}

/// What `events` say is right in itself, and no text is made up.
fn check(events: &[Event], output: &str) {
    let mut left = output.chars();
    let mut calls: Vec<(String, Option<bool>)> = Vec::new();
    for event in events {
        match event {
            Event::Reasoning(text) | Event::Text(text) => {
                assert!(!text.is_empty());
                for c in text.chars() {
                    assert!(left.any(|other| other == c), "{text:?} is not there");
                }
            }
            Event::Call { index, .. } => {
                assert_eq!(*index, calls.len());
                assert!(calls.iter().all(|call| call.1.is_some()));
                calls.push((String::new(), None));
            }
            Event::Arguments { index, fragment } => {
                assert_eq!(index + 1, calls.len());
                assert!(calls[*index].1.is_none() && !fragment.is_empty());
                calls[*index].0.push_str(fragment);
            }
            Event::CallEnd { index } | Event::CallCut { index } => {
                assert_eq!(index + 1, calls.len());
                let is_whole = matches!(event, Event::CallEnd { .. });
                assert!(calls[*index].1.replace(is_whole).is_none());
            }
        }
    }
    for (arguments, is_whole) in calls {
        // `Value` would refuse 1e400, which is a number to JSON's grammar.
        let is_json = serde_json::from_str::<IgnoredAny>(&arguments).is_ok();
        match is_whole {
            Some(true) => {
                assert!(is_json && arguments.trim_start().starts_with('{'), "{arguments}");
            }
            Some(false) => assert!(!is_json, "cut, but whole: {arguments}"),
            None => panic!("a call does not end"),
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let [which, tools, end, seed, output @ ..] = data else { return };
    let output = String::from_utf8_lossy(output);
    let format = &FORMATS[usize::from(which / 2) % FORMATS.len()];
    let opening = if which % 2 == 0 { Opening::Text } else { Opening::Thinking };
    let tools = &TOOLS[usize::from(*tools) % TOOLS.len()];
    let end = if end % 2 == 0 { End::Model } else { End::Cut };

    let mut parser = Parser::new(format, tools.clone(), opening);
    let mut whole = parser.push(&output);
    whole.extend(parser.finish(end));
    let whole = joined(whole);
    check(&whole, &output);

    let mut parser = Parser::new(format, tools.clone(), opening);
    let mut cut = Vec::new();
    let mut random = u32::from(*seed) + 1;
    let mut rest = output.as_ref();
    while !rest.is_empty() {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let mut bytes = 1 + (random >> 24) as usize % (1 + usize::from(seed % 16));
        while bytes < rest.len() && !rest.is_char_boundary(bytes) {
            bytes += 1;
        }
        let (piece, after) = rest.split_at(bytes.min(rest.len()));
        cut.extend(parser.push(piece));
        let _ = parser.in_reasoning();
        rest = after;
    }
    cut.extend(parser.finish(end));
    assert_eq!(joined(cut), whole, "{} {output:?}", format.id);
});
