//! Any output, and any length.

use super::*;

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
    let cases: Vec<Value> = serde_json::from_str(include_str!("../fixtures/corpus.json")).unwrap();
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

/// `cargo test --release --no-default-features -- --ignored --nocapture speed_of`
#[test]
#[ignore = "a measurement"]
fn speed_of_the_parser() {
    let content = code(4_000_000);
    let quoted = serde_json::to_string(&content).unwrap();
    let hermes = format!(
        "<tool_call>{{\"name\": \"write_file\", \"arguments\": {{\"content\": {quoted}}}}}"
    );
    let xml = format!("<function=write_file>\n<parameter=content>\n{content}\n</parameter>");
    for (name, id, text) in [
        ("text", "hermes", &content),
        ("a Hermes call", "hermes", &hermes),
        ("a Qwen XML call", "qwen-xml", &xml),
    ] {
        let start = std::time::Instant::now();
        let mut parser = Parser::new(format(id), tools(), Opening::Text);
        for piece in text.split_inclusive(|c: char| !c.is_alphanumeric()) {
            parser.push(piece);
        }
        parser.finish(End::Model);
        let seconds = start.elapsed().as_secs_f64();
        println!("{name}: {:.0} MB/s in pieces of a word", text.len() as f64 / seconds / 1e6);
    }
}
