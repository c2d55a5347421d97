#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

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
    Tool { name: name.to_owned(), parameters, strict: false }
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

/// What a client gets in the end.
#[derive(Debug, Default, Clone, PartialEq)]
struct Outcome {
    content: String,
    reasoning: String,
    /// Name, arguments, and whether they are whole.
    calls: Vec<(String, String, Option<bool>)>,
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
    let is_call = |(got, want): (&(String, String, Option<bool>), &(String, Value))| {
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

/// What `text` says in a format, with all its cuts.
fn said(id: &str, text: &str) -> Outcome {
    Run::of(format(id)).text(text)
}

fn call(name: &str, arguments: &str) -> (String, String, Option<bool>) {
    (name.to_owned(), arguments.to_owned(), Some(true))
}

fn cut(name: &str, arguments: &str) -> (String, String, Option<bool>) {
    (name.to_owned(), arguments.to_owned(), Some(false))
}

/// `text` holds no call.
fn assert_text(id: &str, text: &str) {
    let outcome = said(id, text);
    assert_eq!((outcome.content.as_str(), outcome.calls.len()), (text, 0), "{id}");
}

#[test]
fn line_breaks_at_the_tags_of_a_thought_are_framing() {
    for (text, opening, reasoning, content) in [
        ("<think>\nHm.\n</think>\n\nHi.\n", Opening::Text, "Hm.", "Hi.\n"),
        ("\n<think>\nHm.\n</think>\n\nHi.\n", Opening::Text, "Hm.", "Hi.\n"),
        ("<think>\n\n</think>\n\nHi.", Opening::Text, "", "Hi."),
        ("Hm.\n\n- a\n</think>\n\n    code", Opening::Thinking, "Hm.\n\n- a", "    code"),
        ("\nHm.</think>Hi.", Opening::Thinking, "Hm.", "Hi."),
        ("<think>\nHm.\n</think>", Opening::Thinking, "Hm.", ""),
        ("<think>Hm.\n", Opening::Text, "Hm.\n", ""),
        ("Hi. <think>Hm.</think>", Opening::Text, "", "Hi. <think>Hm.</think>"),
        ("  \n", Opening::Text, "", "  \n"),
    ] {
        let outcome = Run { opening, ..Run::of(format("qwen-xml")) }.text(text);
        let got = (outcome.reasoning.as_str(), outcome.content.as_str());
        assert_eq!(got, (reasoning, content), "{text:?}");
    }
}

#[test]
fn what_only_mentions_a_call_is_text() {
    for text in [
        "Write `<tool_call>` first.\n<tool_call> and so on",
        "Say <tool_call>{\"name\": \"other\", \"arguments\": {}}</tool_call> for it.",
        "<tool_call>\n{\"name\": \"ping\", \"colour\": 1}\n</tool_call>",
        "<tool_call>\n{\"name\": \"ping\", \"arguments\": [1]}",
        "<tool_call>\n{\"name\": \"ping\", \"arguments\": \"[1]\"}",
        "<tool_call>\n{\"na",
    ] {
        assert_text("hermes", text);
    }
    for text in [
        "Write <function=main> in your file.",
        "Write\n<function=main>\n</function>\nin your file.",
        "The tag <function=ping> in a line.",
        "Say <tool_call>\n<function=main>\n</function>\n</tool_call> for it.",
        "<tool_call>\n<function=ping> is\n</function>",
    ] {
        assert_text("qwen-xml", text);
    }
}

#[test]
fn a_call_of_another_tool_is_a_call_where_it_opens_a_line() {
    let outcome = said(
        "qwen-xml",
        "A\n<tool_call>\n<function=rm>\n<parameter=n>\n1\n</parameter>\n</function>\n</tool_call>",
    );
    assert_eq!(outcome.calls, [call("rm", "{\"n\": 1}")]);
    let outcome =
        said("hermes", "<tool_call>{\"name\": \"rm\", \"arguments\": {\"n\": 1.0}}</tool_call>");
    assert_eq!(outcome.calls, [call("rm", "{\"n\": 1.0}")]);
    // A thought is not ended by one.
    let run = Run { opening: Opening::Thinking, ..Run::of(format("qwen-xml")) };
    let text = "A\n<tool_call>\n<function=rm>\n</function>\n</tool_call>\nB";
    assert_eq!(run.text(&format!("{text}</think>C")).reasoning, text);
    // Nor by one in a line.
    let text = "A <tool_call><function=ping>\n</function>\n</tool_call>";
    assert_eq!(run.text(text).reasoning, text);
}

#[test]
fn without_tools_nothing_is_a_call() {
    let text = "<tool_call>{\"name\": \"ping\", \"arguments\": {}}</tool_call>";
    let run = Run { tools: Arc::new([]), ..Run::of(format("hermes")) };
    assert_eq!(run.text(text).content, text);
}

#[test]
fn arguments_of_hermes_are_the_models_text() {
    let arguments = "{ \"a\" : [1.50e3,\n9007199254740993, \"\\u00e9\\/\\ud83e\\udd80\"]\t}";
    for text in [
        format!("<tool_call>{{\"name\": \"ping\", \"arguments\": {arguments}}}</tool_call>"),
        format!("<tool_call>{{\"id\": 1, \"arguments\": {arguments} , \"name\": \"ping\" }}"),
        format!("<tool_call>{{\"name\": \"ping\", \"arguments\": {arguments}"),
        format!(
            "<tool_call>{{\"name\": \"ping\", \"arguments\": {}}}",
            serde_json::to_string(arguments).unwrap()
        ),
    ] {
        assert_eq!(said("hermes", &text).calls, [call("ping", arguments)], "{text}");
    }
    for nothing in ["", ", \"arguments\": {}", ", \"arguments\": null"] {
        let text = format!("<tool_call>{{\"name\": \"ping\"{nothing}}}</tool_call>");
        assert_eq!(said("hermes", &text).calls, [call("ping", "{}")], "{text}");
    }
    let broken = "<tool_call>{\"name\": \"ping\", \"arguments\": {\"a\": \"\\x\"}}</tool_call>";
    let outcome = said("hermes", broken);
    assert_eq!(outcome.calls, [cut("ping", "{\"a\": \"")]);
    assert_eq!(outcome.content, "\\x\"}}</tool_call>");
}

#[test]
fn fragments_end_neither_in_an_escape_nor_in_a_pair() {
    let text =
        "<tool_call>{\"name\": \"ping\", \"arguments\": {\"a\": \"\\n\\u00e9\\ud83e\\udd80\\\\\"}}";
    let mut parser = Parser::new(format("hermes"), tools(), Opening::Text);
    for piece in text.split_inclusive(|_| true) {
        for event in parser.push(piece) {
            if let Event::Arguments { fragment, .. } = event {
                // What was sent so far is JSON once it is closed.
                let closed = format!("\"{}\"", fragment.replace(['"', '{', '}'], ""));
                assert!(serde_json::from_str::<String>(&closed).is_ok(), "{fragment}");
            }
        }
    }
}

#[test]
fn values_are_read_as_their_schema_says() {
    let schema = json!({
        "type": "object",
        "$defs": {"count": {"type": ["integer", "null"]}, "loop": {"$ref": "#/$defs/loop"}},
        "properties": {
            "text": {"type": "string"},
            "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "list_or_text": {"oneOf": [{"type": "array"}, {"type": "string"}]},
            "count": {"$ref": "#/$defs/count"},
            "flag": {"const": true},
            "choice": {"enum": ["1", "2"]},
            "all": {"allOf": [{"type": "number"}]},
            "loop": {"$ref": "#/$defs/loop"},
            "object": {"type": "object"},
        },
    });
    let tools: Arc<[Tool]> =
        [Tool { name: "f".to_owned(), parameters: schema, strict: false }].into();
    let run = Run { tools, ..Run::of(format("qwen-xml")) };
    for (key, text, value) in [
        ("text", "03106", "\"03106\""),
        ("text", "null", "\"null\""),
        ("text", "{\"a\": 1}", "\"{\\\"a\\\": 1}\""),
        ("text", "\"a.txt\"", "\"\\\"a.txt\\\"\""),
        ("text", "  two\n\n", "\"  two\\n\\n\""),
        (
            "text",
            "a</parameter>b <parameter=x> </function></tool_call>",
            "\"a</parameter>b <parameter=x> </function></tool_call>\"",
        ),
        ("text", "</parameter>\n</parameter>", "\"</parameter>\\n</parameter>\""),
        ("text", "é\u{7}\r\n🦀", "\"é\\u0007\\r\\n🦀\""),
        ("maybe", "null", "null"),
        ("maybe", "nullable", "\"nullable\""),
        ("maybe", "7", "\"7\""),
        ("list_or_text", "[1, \"</parameter>\"]", "[1, \"</parameter>\"]"),
        ("list_or_text", "[x] done", "\"[x] done\""),
        ("list_or_text", "5", "\"5\""),
        ("count", "9007199254740993", "9007199254740993"),
        ("count", "None", "null"),
        ("count", "2026-01-15", "\"2026-01-15\""),
        ("flag", "True", "true"),
        ("flag", " false ", "false"),
        ("choice", "1", "\"1\""),
        ("all", "1.50e3", "1.50e3"),
        ("loop", "1", "1"),
        ("loop", "a b", "\"a b\""),
        (
            "object",
            "{\"a\": \"</parameter>\\n</function>\"}",
            "{\"a\": \"</parameter>\\n</function>\"}",
        ),
        ("object", "{'a': 1}", "\"{'a': 1}\""),
        ("unknown", "a", "\"a\""),
    ] {
        for (open, close) in [("<tool_call>\n", "\n</tool_call>"), ("Now\n", "")] {
            let text = format!(
                "{open}<function=f>\n<parameter={key}>\n{text}\n</parameter>\n</function>{close}"
            );
            let want = format!("{{\"{key}\": {value}}}");
            assert_eq!(run.text(&text).calls, [call("f", &want)], "{text}");
        }
    }
}

#[test]
fn a_call_that_is_cut_is_a_beginning() {
    let whole = "<tool_call>\n<function=write_file>\n<parameter=path>\na\n</parameter>\n<parameter=content>\nb\n</parameter>\n</function>\n</tool_call>";
    let hermes =
        "<tool_call>\n{\"name\": \"write_file\", \"arguments\": {\"path\": \"a\"}}\n</tool_call>";
    for (id, whole) in [("qwen-xml", whole), ("hermes", hermes)] {
        for end in 0..whole.len() {
            // `pieces` checks that a cut call's arguments are no object.
            let run = Run { end: End::Cut, ..Run::of(format(id)) };
            let outcome = run.pieces([&whole[..end]]);
            let named = whole.find("write_file").unwrap() + "write_file".len() + 1;
            assert_eq!(outcome.calls.len(), usize::from(end >= named), "{}", &whole[..end]);
            if end >= named {
                assert_eq!(outcome.content, "", "{}", &whole[..end]);
            }
        }
    }
    // A model that ends by itself has said all arguments.
    let text = "<tool_call>\n<function=ping>\n<parameter=a>\n1\n</parameter>\n";
    assert_eq!(said("qwen-xml", text).calls, [call("ping", "{\"a\": 1}")]);
}

#[test]
fn messages_of_harmony_go_where_their_headers_say() {
    let call_text = "<|channel|>commentary to=functions.ping <|constrain|>json<|message|>{\"a\":1}";
    for (text, reasoning, content, calls) in [
        ("<|channel|>final<|message|>Hi.<|return|>", "", "Hi.", vec![]),
        ("<|channel|>analysis<|message|>Hm.", "Hm.", "", vec![]),
        (call_text, "", "", vec![call("ping", "{\"a\":1}")]),
        (
            &format!(
                "<|channel|>commentary<|message|>First.<|end|><|start|>assistant{call_text}<|call|>"
            ),
            "",
            "First.",
            vec![call("ping", "{\"a\":1}")],
        ),
        (
            " to=functions.ping<|channel|>commentary json<|message|>{}",
            "",
            "",
            vec![call("ping", "{}")],
        ),
        (
            "<|channel|>commentary to=functions.ping<|message|>{\"a\":",
            "",
            "",
            vec![cut("ping", "{\"a\":")],
        ),
        ("Hi.", "", "Hi.", vec![]),
        ("<|channel|>analysis to=browser.search<|message|>{}<|call|>", "{}", "", vec![]),
    ] {
        let outcome = said("harmony", text);
        let got = (outcome.reasoning.as_str(), outcome.content.as_str());
        assert_eq!(got, (reasoning, content), "{text}");
        assert_eq!(outcome.calls, calls, "{text}");
    }
    let run = Run { opening: Opening::Thinking, ..Run::of(format("harmony")) };
    let outcome = run.text("Hm.<|end|><|start|>assistant<|channel|>final<|message|>Hi.");
    assert_eq!((outcome.reasoning.as_str(), outcome.content.as_str()), ("Hm.", "Hi."));
}

/// Words of all formats, and what may stand between them.
fn words() -> Vec<String> {
    let mut words: Vec<String> = FORMATS.iter().flat_map(Format::tags).map(str::to_owned).collect();
    for format in FORMATS {
        let tags = [format.open, format.close, format.think.0, format.think.1];
        words.extend(tags.map(str::to_owned));
    }
    let more = [
        "<function=ping>",
        "<function=get_weather>",
        "<function=other>",
        "<parameter=city>",
        "<parameter=days>",
        "<parameter=note>",
        "</parameter>",
        "</function>",
        "\n",
        "\n\n",
        " ",
        "ping",
        "get_weather",
        "city",
        "{\"name\": \"ping\", \"arguments\": {",
        "{\"name\": \"get_weather\", \"arguments\": {\"city\": \"",
        "{\"arguments\": {}, \"name\": \"",
        "}",
        "}}",
        "\"",
        "\": \"",
        "{",
        "[",
        "]",
        ":",
        ", ",
        ",",
        "1",
        "-2.5e3",
        "a",
        "é",
        "🦀",
        "<",
        "</",
        "<tool",
        "true",
        "True",
        "null",
        "\\",
        "\\u",
        "d83e",
        "\\udd80",
        "functions.ping:0",
        "<invoke name=\"ping\">",
        "<parameter name=\"city\">",
        "<|channel|>commentary to=functions.ping ",
        "<|channel|>final<|message|>",
        "assistant",
        "\"}",
        "'",
        "(",
        ")",
        "=",
        "ping()",
        "get_weather(city='",
        "call:ping{",
        "call:get_weather{city:",
    ];
    words.extend(more.map(str::to_owned));
    words.retain(|word| !word.is_empty());
    words.sort();
    words.dedup();
    words
}

fn any_output() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    let word = prop_oneof![
        12 => proptest::sample::select(words()),
        1 => any::<char>().prop_map(String::from),
        1 => "[a-z\\n ]{0,12}",
    ];
    let random = proptest::collection::vec(word, 0..40).prop_map(|words| words.concat());
    // A real output, of which a part is gone, doubled or replaced.
    let cases: Vec<Value> = serde_json::from_str(include_str!("fixtures/corpus.json")).unwrap();
    let texts: Vec<String> =
        cases.iter().map(|case| case["text"].as_str().unwrap().to_owned()).collect();
    let edits = proptest::collection::vec((any::<prop::sample::Index>(), 0..12usize, 0..3u8), 1..4);
    let real = (proptest::sample::select(texts), edits, proptest::sample::select(words()));
    let real = real.prop_map(|(text, edits, word)| {
        let mut all: Vec<char> = text.chars().collect();
        for (place, length, kind) in edits {
            let from = place.index(all.len().max(1)).min(all.len());
            let to = (from + length).min(all.len());
            match kind {
                0 => drop(all.drain(from..to)),
                1 => {
                    let copy = all[from..to].to_vec();
                    all.splice(from..from, copy);
                }
                _ => drop(all.splice(from..to, word.chars())),
            }
        }
        all.into_iter().collect()
    });
    prop_oneof![random, real]
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(3000),
        failure_persistence: None,
        ..Default::default()
    })]

    /// `Run::pieces` checks that every byte is accounted for and that calls are right.
    #[test]
    fn no_cut_changes_what_an_output_says(
        text in any_output(),
        which in 0..FORMATS.len(),
        thinking: bool,
        is_cut: bool,
        without_tools in proptest::bool::weighted(0.1),
        lengths in proptest::collection::vec(1..24usize, 1..20),
    ) {
        let run = Run {
            format: &FORMATS[which],
            tools: if without_tools { Arc::new([]) } else { tools() },
            opening: if thinking { Opening::Thinking } else { Opening::Text },
            end: if is_cut { End::Cut } else { End::Model },
        };
        let whole = run.pieces([text.as_str()]);
        if without_tools {
            assert!(whole.calls.is_empty());
        }
        let each: Vec<&str> = text.split_inclusive(|_| true).collect();
        assert_eq!(run.pieces(each), whole);
        // Bytes cut anywhere; a character comes with its last byte, as the engine hands it on.
        let mut pieces = Vec::new();
        let (mut from, mut to) = (0, 0);
        for length in lengths.iter().cycle() {
            to = (to + length).min(text.len());
            let end = (from..=to).rev().find(|&at| text.is_char_boundary(at)).unwrap();
            pieces.push(&text[from..end]);
            from = end;
            if to == text.len() {
                break;
            }
        }
        assert_eq!(run.pieces(pieces), whole);
    }
}

/// Bytes that a parser looks at for `text` in pieces of four.
fn work(format: &'static Format, text: &str) -> usize {
    let mut parser = Parser::new(format, tools(), Opening::Text);
    let mut at = 0;
    while at < text.len() {
        let mut end = (at + 4).min(text.len());
        while !text.is_char_boundary(end) {
            end += 1;
        }
        parser.push(&text[at..end]);
        at = end;
    }
    parser.finish(End::Model);
    parser.trace().steps
}

#[test]
fn the_work_is_in_proportion_to_the_output() {
    for format in FORMATS {
        let call = |content: &str| {
            let quoted = serde_json::to_string(content).unwrap();
            let object = format!("{{\"path\": \"a\", \"content\": {quoted}}}");
            match format.id {
                "hermes" => {
                    format!("<tool_call>{{\"name\": \"write_file\", \"arguments\": {object}}}")
                }
                "qwen-xml" => format!("<function=write_file><parameter=content>{content}"),
                "harmony" => format!("<|channel|>x to=functions.write_file<|message|>{object}"),
                _ => format!("{}{}{content}", format.section.map_or("", |s| s.0), format.open),
            }
        };
        type Make<'a> = &'a dyn Fn(usize) -> String;
        let texts: [(&str, Make<'_>); 9] = [
            ("text", &|n| code(n)),
            ("call", &|n| call(&code(n))),
            ("thought", &|n| format!("{}{}", format.think.0, code(n))),
            ("blanks", &|n| {
                format!("{0}{1}{2}{1}", " \n".repeat(n / 4), format.open, "\n".repeat(n / 2))
            }),
            ("line breaks in thought", &|n| format!("{}{}x", format.think.0, "\n".repeat(n))),
            ("openings", &|n| {
                format.open.repeat(n / format.open.len().max(1)).replace("><", ">\n<")
            }),
            ("objects", &|n| format!("{}{{\"a\": \"", format.open).repeat(n / 24)),
            ("values", &|n| call(&format!("\n{}  \n", format.close).repeat(n / 20))),
            ("thinking tags", &|n| format!("x{}", format.think.0.repeat(n / 8))),
        ];
        for (name, text) in texts {
            let (once, twice) = (text(100_000), text(200_000));
            let (few, many) = (work(format, &once), work(format, &twice));
            assert!(many <= few * 2 + few / 5 + 2000, "{} {name}: {few}, then {many}", format.id);
            // A tag is looked at again with each of its pieces.
            assert!(many <= twice.len() * 16, "{} {name}: {many}", format.id);
        }
    }
}
