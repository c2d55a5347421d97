#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod any;
mod flagship;
mod formats;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::trace::Kind;
use super::*;
use crate::chat::Tool;

fn format(id: &str) -> &'static Format {
    FORMATS.iter().find(|format| format.id == id).unwrap()
}

fn tool(name: &str, properties: Value) -> Tool {
    let parameters = json!({"type": "object", "properties": properties});
    Tool {
        name: name.to_owned(),
        parameters,
        strict: false,
        path: "tools[0].function".to_owned(),
        schema_field: "parameters",
    }
}

/// The tools of the corpus.
fn tools() -> Arc<[Tool]> {
    [
        tool(
            "get_weather",
            json!({
                "city": {"type": "string"},
                "days": {"type": "integer"},
                "units": {"type": "string", "enum": ["c", "f"]},
                "detailed": {"type": "boolean"},
            }),
        ),
        tool("write_file", json!({"path": {"type": "string"}, "content": {"type": "string"}})),
        tool(
            "search",
            json!({
                "query": {"type": "string"},
                "filters": {"type": "object", "properties": {
                    "lang": {"type": "string"},
                    "stars": {"type": "integer"},
                    "tags": {"type": "array", "items": {"type": "string"}},
                }},
                "limit": {"type": "integer"},
            }),
        ),
        tool("ping", json!({})),
        tool(
            "set_level",
            json!({
                "level": {"type": "number"},
                "label": {"type": "string"},
                "ids": {"type": "array", "items": {"type": "integer"}},
                "note": {"type": ["string", "null"]},
            }),
        ),
    ]
    .into()
}

/// Name, arguments, and whether they are whole.
type Call = (String, String, Option<bool>);

/// What a client gets in the end.
#[derive(Debug, Default, Clone, PartialEq)]
struct Outcome {
    content: String,
    reasoning: String,
    calls: Vec<Call>,
}

impl Outcome {
    /// Events come in an order that a client can follow.
    fn add(&mut self, events: Vec<Event>) {
        for event in events {
            match event {
                Event::Reasoning(text) => {
                    assert!(!text.is_empty());
                    self.reasoning.push_str(&text);
                }
                Event::Text(text) => {
                    assert!(!text.is_empty());
                    self.content.push_str(&text);
                }
                Event::Call { index, name } => {
                    assert_eq!(index, self.calls.len());
                    assert!(self.calls.iter().all(|call| call.2.is_some()));
                    self.calls.push((name, String::new(), None));
                }
                Event::Arguments { index, fragment } => {
                    assert_eq!(index + 1, self.calls.len());
                    assert!(!fragment.is_empty() && self.calls[index].2.is_none());
                    self.calls[index].1.push_str(&fragment);
                }
                Event::CallEnd { index } | Event::CallCut { index }
                    if index + 1 == self.calls.len() && self.calls[index].2.is_none() =>
                {
                    self.calls[index].2 = Some(matches!(event, Event::CallEnd { .. }));
                }
                Event::CallEnd { .. } | Event::CallCut { .. } => panic!("another call ends"),
            }
        }
    }
}

struct Run {
    format: &'static Format,
    tools: Arc<[Tool]>,
    opening: Opening,
    end: End,
}

impl Run {
    fn of(format: &'static Format) -> Self {
        Self { format, tools: tools(), opening: Opening::Text, end: End::Model }
    }

    fn pieces<'a>(&self, pieces: impl IntoIterator<Item = &'a str>) -> Outcome {
        let mut parser = Parser::new(self.format, self.tools.clone(), self.opening);
        let mut outcome = Outcome::default();
        let mut all = String::new();
        for piece in pieces {
            all.push_str(piece);
            outcome.add(parser.push(piece));
        }
        outcome.add(parser.finish(self.end));
        let told: String = parser.trace().pieces.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(told, all, "not every byte is accounted for");
        let of = |kind: Kind| -> String {
            let pieces = parser.trace().pieces.iter();
            pieces.filter(|piece| piece.0 == kind).map(|piece| piece.1.as_str()).collect()
        };
        assert_eq!(of(Kind::Text), outcome.content);
        assert_eq!(of(Kind::Reasoning), outcome.reasoning);
        for (name, arguments, is_whole) in &outcome.calls {
            let value = serde_json::from_str::<Value>(arguments);
            match is_whole {
                Some(true) => assert!(value.is_ok_and(|v| v.is_object()), "{name} {arguments}"),
                Some(false) => assert!(value.is_err(), "cut, but whole: {name} {arguments}"),
                None => panic!("{name} does not end"),
            }
        }
        outcome
    }

    /// Whole, char by char, cut once at every place, and in random pieces.
    fn text(&self, text: &str) -> Outcome {
        let whole = self.pieces([text]);
        let places: Vec<usize> = text.char_indices().map(|(at, _)| at).skip(1).collect();
        let cut = |places: &[usize]| {
            let ends = places.iter().copied().chain([text.len()]);
            let mut from = 0;
            let pieces: Vec<&str> =
                ends.map(|to| &text[std::mem::replace(&mut from, to)..to]).collect();
            assert_eq!(self.pieces(pieces), whole, "{text:?} cut at {places:?}");
        };
        cut(&places);
        if text.len() < 2000 {
            places.iter().for_each(|place| cut(&[*place]));
        }
        let mut random = fastrand::Rng::with_seed(text.len() as u64);
        for round in 0..40 {
            let mean = [2, 3, 5, 9, 17, 40][round % 6].max(text.len() / 400);
            cut(&places.iter().copied().filter(|_| random.usize(..mean) == 0).collect::<Vec<_>>());
        }
        whole
    }
}

#[test]
fn thoughts_in_the_text_hide_no_call() {
    let call = "<tool_call>\n{\"name\": \"ping\", \"arguments\": {}}\n</tool_call>";
    let block = "<think>\nA fence:\n```\nand a call, <tool_call>.\n</think>";
    for text in [format!("{block}\n\n{call}"), format!("{block}\n\nDone."), block.to_owned()] {
        for (opening, text) in [
            (Opening::Text, text.as_str()),
            (Opening::Thinking, text.strip_prefix("<think>").unwrap()),
        ] {
            let parser = Parser::new(format("hermes"), tools(), opening);
            let mut parser = parser.with_text_or_calls().with_thoughts_in_text();
            let mut outcome = Outcome::default();
            text.split_inclusive(|_: char| true).for_each(|piece| outcome.add(parser.push(piece)));
            outcome.add(parser.finish(End::Model));
            assert_eq!(outcome.reasoning, "");
            assert_eq!(outcome.content, text.strip_suffix(call).unwrap_or(text));
            assert_eq!(outcome.calls.len(), usize::from(text.ends_with(call)));
        }
    }
}

#[test]
fn the_head_of_a_call_that_is_cut_is_no_text_where_only_calls_may_come() {
    for (id, text) in [
        ("hermes", "<tool_call>\n{\"name\": \"ping\", \"arguments\": {}}\n</tool_call>"),
        ("qwen-xml", "<tool_call>\n<function=ping>\n</function>\n</tool_call>"),
        ("mistral-list", "[TOOL_CALLS] [{\"name\": \"ping\", \"arguments\": {}}]"),
        ("pythonic", "[get_weather(city='Rome')]"),
        ("harmony", " to=functions.ping<|channel|>commentary json<|message|>{}"),
        ("harmony", "assistant to=functions.ping<|channel|>commentary json<|message|>{}"),
        ("harmony", "<|channel|>commentary to=functions.ping <|constrain|>json<|message|>{}"),
    ] {
        let thought = match (id, format(id).think) {
            ("harmony", _) => "<|channel|>analysis<|message|>Hm.<|end|><|start|>".to_owned(),
            (_, (open, close)) => format!("{open}\nHm.\n{close}\n\n"),
        };
        for (begin, text) in [(0, text.to_owned()), (thought.len(), format!("{thought}{text}"))] {
            for end in (begin..=text.len()).filter(|&end| text.is_char_boundary(end)) {
                let mut parser = Parser::new(format(id), tools(), Opening::Text).with_only_calls();
                let mut outcome = Outcome::default();
                let said = text[..end].split_inclusive(|_: char| true);
                said.for_each(|piece| outcome.add(parser.push(piece)));
                outcome.add(parser.finish(End::Cut));
                assert_eq!(outcome.content, "", "{id}: {:?}", &text[..end]);
            }
        }
    }
    let run = Run { end: End::Cut, ..Run::of(format("hermes")) };
    assert_eq!(run.text("<tool_call>\n{\"na").content, "<tool_call>\n{\"na");
}

/// Code-like text of about `n` bytes, without anything that ends a value.
fn code(n: usize) -> String {
    let line = "if a < b && c[\"k\"] > 'é' { f(x); }\t// </div> \\n 🦀\n";
    let mut text = line.repeat(n / line.len() + 1);
    let mut end = n;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.trim_end_matches('\n').to_owned()
}

fn expand(text: &str) -> String {
    let raw = code(50_000);
    let quoted = serde_json::to_string(&raw).unwrap();
    text.replace("@@RAW:50000@@", &raw).replace("@@JSON:50000@@", &quoted[1..quoted.len() - 1])
}

fn squeeze(text: &str) -> String {
    text.split_whitespace().collect()
}

/// Whether `got` is what a row of the corpus wants: texts but for white space, calls as values.
fn is_wanted(got: &Outcome, want: &Value) -> bool {
    let mut calls = got.calls.clone();
    if let Some(cut) = want.get("cut").filter(|cut| !cut.is_null()) {
        let begun = squeeze(cut[1].as_str().unwrap());
        match calls.pop_if(|call| call.2 == Some(false)) {
            Some((name, arguments, _)) => {
                let arguments = squeeze(&arguments);
                if cut[0] != json!(name) || !begun.starts_with(&arguments) {
                    return false;
                }
                if arguments.len() + 1 < begun.len() {
                    return false;
                }
            }
            None if squeeze(&got.content).ends_with(&begun) => {
                return got.content.starts_with(want["content"].as_str().unwrap());
            }
            None => return false,
        }
    }
    let wanted: Vec<(String, Value)> = serde_json::from_value(want["calls"].clone()).unwrap();
    let is_call = |(got, want): (&Call, &(String, Value))| {
        got.2 == Some(true)
            && got.0 == want.0
            && same(&serde_json::from_str(&got.1).unwrap(), &want.1)
    };
    squeeze(&got.content) == squeeze(want["content"].as_str().unwrap())
        && squeeze(&got.reasoning) == squeeze(want["reasoning"].as_str().unwrap())
        && calls.len() == wanted.len()
        && calls.iter().zip(&wanted).all(is_call)
}

fn same(got: &Value, want: &Value) -> bool {
    match (got, want) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::String(a), Value::String(b)) => *a == expand(b),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let by_key: BTreeMap<_, _> = b.iter().collect();
            a.len() == b.len() && a.iter().all(|(k, v)| by_key.get(k).is_some_and(|w| same(v, w)))
        }
        _ => got == want,
    }
}

/// What `text` says in a format, with all its cuts.
fn said(id: &str, text: &str) -> Outcome {
    Run::of(format(id)).text(text)
}

fn call(name: &str, arguments: &str) -> Call {
    (name.to_owned(), arguments.to_owned(), Some(true))
}

fn cut(name: &str, arguments: &str) -> Call {
    (name.to_owned(), arguments.to_owned(), Some(false))
}

/// `text` holds no call.
fn assert_text(id: &str, text: &str) {
    let outcome = said(id, text);
    assert_eq!((outcome.content.as_str(), outcome.calls.len()), (text, 0), "{id}");
}

#[test]
fn outputs_of_the_corpus_are_read_under_every_cut() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("fixtures/corpus.json")).unwrap();
    let mut wrong = Vec::new();
    for case in &cases {
        let Some(format) = FORMATS.iter().find(|format| case["format"] == format.id) else {
            continue;
        };
        let has_cut = |want: &Value| want.get("cut").is_some_and(|cut| !cut.is_null());
        let run = Run {
            opening: if case["start"] == "think" { Opening::Thinking } else { Opening::Text },
            end: if has_cut(&case["want"]) { End::Cut } else { End::Model },
            ..Run::of(format)
        };
        let got = run.text(&expand(case["text"].as_str().unwrap()));
        let also = case["also"].as_array().unwrap();
        if !also.iter().chain([&case["want"]]).any(|want| is_wanted(&got, want)) {
            wrong.push(format!("{}: {got:?}", case["id"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn known_faults_of_other_servers_stay_away() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("fixtures/chat-cases.json")).unwrap();
    for case in &cases {
        let id = case["id"].as_str().unwrap();
        let want = &case["expect"];
        let tools = case["tools"].as_array().into_iter().flatten().map(|tool| Tool {
            name: tool["function"]["name"].as_str().unwrap().to_owned(),
            parameters: tool["function"]["parameters"].clone(),
            strict: false,
            path: "tools[0].function".to_owned(),
            schema_field: "parameters",
        });
        let is_open = case["template_opens_think"] == true;
        let run = Run {
            format: format(case["format"].as_str().unwrap()),
            tools: tools.collect(),
            opening: if is_open { Opening::Thinking } else { Opening::Text },
            end: if want["finish"] == "length" { End::Cut } else { End::Model },
        };
        let said = case["model_says"].as_str().unwrap();
        let got = run.text(said);
        if let Some(content) = want["content"].as_str() {
            assert_eq!(got.content, content, "{id}");
        }
        if let Some(reasoning) = want["reasoning"].as_str() {
            assert_eq!(got.reasoning, reasoning, "{id}");
        }
        if let Some(calls) = want["calls"].as_array() {
            let got: Vec<Value> = got
                .calls
                .iter()
                .map(|call| json!({"name": call.0, "arguments": serde_json::from_str::<Value>(&call.1).unwrap()}))
                .collect();
            assert_eq!(got, *calls, "{id}");
        }
        for (call, raw) in
            got.calls.iter().zip(want["raw_arguments"].as_array().into_iter().flatten())
        {
            assert_eq!(call.1, *raw, "{id}");
        }
        match id {
            "C7" => {
                let begun = "{\"path\": \"a.py\", \"content\": \"half of the fi".to_owned();
                assert_eq!(got.calls, [("write_file".to_owned(), begun, Some(false))]);
            }
            "C11" => assert_eq!(format!("{}</think>{}", got.reasoning, got.content), said),
            _ => {}
        }
    }
}
