//! Hermes and Qwen XML, to the byte.

use super::*;

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
        "So:\n```xml\n<tool_call>\n<function=main>\n</function>\n</tool_call>\n```\nwill do.",
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
    let tools: Arc<[Tool]> = [Tool {
        name: "f".to_owned(),
        parameters: schema,
        strict: false,
        path: "tools[0].function".to_owned(),
        schema_field: "parameters",
    }]
    .into();
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
    let text = "<tool_call>\n<function=ping>\n<parameter=a>\n1}";
    let run = Run { end: End::Cut, ..Run::of(format("qwen-xml")) };
    assert_eq!(run.text(text).calls, [cut("ping", "{\"a\": \"1}")]);
    // A model that ends by itself has said all arguments.
    let text = "<tool_call>\n<function=ping>\n<parameter=a>\n1\n</parameter>\n";
    assert_eq!(said("qwen-xml", text).calls, [call("ping", "{\"a\": 1}")]);
}
