//! The other formats: what a template of each writes, and what is read of outputs.

use super::*;
use crate::chat::Template;

/// A template that writes a call as `call` does; `f` is its function.
fn template(call: &str, before: &str, after: &str, prompt: &str) -> Template {
    let source = [
        "{%- macro xml(value) -%}{{ value if value is string else value | tojson }}{%- endmacro -%}",
        "{%- for m in messages -%}",
        "{%- if m.role == 'assistant' -%}{{ '<|start|>assistant' if harmony else '<|assistant|>\\n' }}{{ m.content }}",
        "{%- if m.tool_calls -%}",
        before,
        "{%- for c in m.tool_calls -%}{%- set f = c.function -%}",
        call,
        "{%- endfor -%}",
        after,
        "{%- endif -%}<|end_of_turn|>",
        "{%- else -%}<|{{ m.role }}|>{{ m.content }}{%- endif -%}",
        "{%- endfor -%}",
        "{%- if add_generation_prompt -%}",
        prompt,
        "{%- endif -%}",
    ];
    Template::new(&source.concat(), Some("<s>"), Some("</s>")).unwrap()
}

const ASSISTANT: &str = "<|assistant|>\n";

/// Each format's calls, written by a template of its own.
const CALLS: &[(&str, &str, &str, &str)] = &[
    (
        "hermes",
        "\n<tool_call>\n{\"name\": \"{{ f.name }}\", \"arguments\": {{ f.arguments | tojson }}}\n</tool_call>",
        "",
        "",
    ),
    // Granite 4 has the same call in a line.
    (
        "hermes",
        "<tool_call>{{ {'name': f.name, 'arguments': f.arguments} | tojson }}</tool_call>",
        "",
        "",
    ),
    (
        "qwen-xml",
        "\n<tool_call>\n<function={{ f.name }}>\n{% for k, v in f.arguments | items %}<parameter={{ k }}>\n{{ xml(v) }}\n</parameter>\n{% endfor %}</function>\n</tool_call>",
        "",
        "",
    ),
    (
        "glm",
        "\n<tool_call>{{ f.name }}\n{% for k, v in f.arguments | items %}<arg_key>{{ k }}</arg_key>\n<arg_value>{{ xml(v) }}</arg_value>\n{% endfor %}</tool_call>",
        "",
        "",
    ),
    // GLM 4.7 without line breaks.
    (
        "glm",
        "<tool_call>{{ f.name }}{% for k, v in f.arguments | items %}<arg_key>{{ k }}</arg_key><arg_value>{{ xml(v) }}</arg_value>{% endfor %}</tool_call>",
        "",
        "",
    ),
    (
        "minimax",
        "<invoke name=\"{{ f.name }}\">{% for k, v in f.arguments | items %}<parameter name=\"{{ k }}\">{{ xml(v) }}</parameter>{% endfor %}</invoke>\n",
        "\n<minimax:tool_call>\n",
        "</minimax:tool_call>",
    ),
    (
        "kimi",
        "<|tool_call_begin|>functions.{{ f.name }}:{{ loop.index0 }}<|tool_call_argument_begin|>{{ f.arguments | tojson }}<|tool_call_end|>",
        "<|tool_calls_section_begin|>",
        "<|tool_calls_section_end|>",
    ),
    (
        "deepseek31",
        "<｜tool▁call▁begin｜>{{ f.name }}<｜tool▁sep｜>{{ f.arguments | tojson }}<｜tool▁call▁end｜>",
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁calls▁end｜>",
    ),
    (
        "harmony",
        "<|channel|>commentary to=functions.{{ f.name }} <|constrain|>json<|message|>{{ f.arguments | tojson }}<|call|>",
        "",
        "",
    ),
    // As gpt-oss's template writes it.
    (
        "harmony",
        "{{ ' ' }}to=functions.{{ f.name }}<|channel|>commentary json<|message|>{{ f.arguments | tojson }}<|call|>",
        "",
        "",
    ),
    ("mistral", "[TOOL_CALLS]{{ f.name }}[ARGS]{{ f.arguments | tojson }}", "", ""),
    (
        "mistral-list",
        "{{ ', ' if not loop.first }}{\"name\": \"{{ f.name }}\", \"arguments\": {{ f.arguments | tojson }}, \"id\": \"{{ c.id }}\"}",
        "[TOOL_CALLS] [",
        "]",
    ),
    (
        "granite",
        "{{ ', ' if not loop.first }}{\"name\": \"{{ f.name }}\", \"arguments\": {{ f.arguments | tojson }}}",
        "<|tool_call|>[",
        "]",
    ),
    (
        "lfm2",
        "{{ ', ' if not loop.first }}{{ f.name }}({% for k, v in f.arguments | items %}{{ ', ' if not loop.first }}{{ k }}={{ v | tojson }}{% endfor %})",
        "<|tool_call_start|>[",
        "]<|tool_call_end|>",
    ),
    (
        "pythonic",
        "{{ ', ' if not loop.first }}{{ f.name }}({% for k, v in f.arguments | items %}{{ ', ' if not loop.first }}{{ k }}={{ v | tojson }}{% endfor %})",
        "[",
        "]",
    ),
    (
        "gemma",
        "<|tool_call>call:{{ f.name }}{ {%- for k, v in f.arguments | items %}{{ k }}:<|\"|>{{ v }}<|\"|>{% endfor -%} }<tool_call|>",
        "",
        "",
    ),
    (
        "functiongemma",
        "<start_function_call>call:{{ f.name }}{ {%- for k, v in f.arguments | items %}{{ k }}:<escape>{{ v }}<escape>{% endfor -%} }<end_function_call>",
        "",
        "",
    ),
    ("llama", "{\"name\": \"{{ f.name }}\", \"parameters\": {{ f.arguments | tojson }}}", "", ""),
    (
        "llama",
        "<|python_tag|>{\"type\": \"function\", \"name\": \"{{ f.name }}\", \"parameters\": {{ f.arguments | tojson }}}",
        "",
        "",
    ),
    (
        "deepseek3",
        "<｜tool▁call▁begin｜>function<｜tool▁sep｜>{{ f.name }}\n```json\n{{ f.arguments | tojson }}\n```<｜tool▁call▁end｜>",
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁calls▁end｜>",
    ),
    (
        "deepseek32",
        "<｜DSML｜invoke name=\"{{ f.name }}\">\n{% for k, v in f.arguments | items %}<｜DSML｜parameter name=\"{{ k }}\" string=\"true\">{{ xml(v) }}</｜DSML｜parameter>\n{% endfor %}</｜DSML｜invoke>\n",
        "\n\n<｜DSML｜function_calls>\n",
        "</｜DSML｜function_calls>",
    ),
    (
        "deepseek4",
        "<｜DSML｜invoke name=\"{{ f.name }}\">\n{% for k, v in f.arguments | items %}<｜DSML｜parameter name=\"{{ k }}\" string=\"true\">{{ xml(v) }}</｜DSML｜parameter>\n{% endfor %}</｜DSML｜invoke>\n",
        "\n\n<｜DSML｜tool_calls>\n",
        "</｜DSML｜tool_calls>",
    ),
];

#[test]
fn a_template_shows_its_format_by_the_call_that_it_writes() {
    for (id, call, before, after) in CALLS {
        let template = template(call, before, after, ASSISTANT);
        assert_eq!(template.format().map(|format| format.id), Some(*id), "{call}");
    }
}

/// Nemotron 3, StepFun and Qwen 3.5 and later open a thought in the prompt, and write Qwen's calls.
#[test]
fn models_that_share_a_format_share_its_row() {
    let (_, call, ..) = CALLS.iter().find(|row| row.0 == "qwen-xml").unwrap();
    let before =
        "{{ '<think>\\n' ~ m.reasoning_content ~ '\\n</think>\\n\\n' if m.reasoning_content }}";
    let prompt = "<|assistant|>\n<think>\n";
    let template = template(call, before, "", prompt);
    let found = template.format().unwrap();
    assert_eq!(found.id, "qwen-xml");
    assert_eq!(Opening::of(found, prompt), Opening::Thinking);
    assert_eq!(Opening::of(found, "<think>"), Opening::Thinking);
    assert_eq!(Opening::of(found, "<|assistant|>\n<think>\n\n</think>\n\n"), Opening::Text);
    assert_eq!(Opening::of(found, ASSISTANT), Opening::Text);
}

#[test]
fn a_template_without_calls_shows_whether_its_model_thinks() {
    let plain =
        |source: &str| Template::new(source, None, None).unwrap().format().map(|format| format.id);
    let turn = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}";
    assert_eq!(plain(turn), None);
    assert_eq!(plain(crate::chat::CHATML), None);
    assert_eq!(plain(&format!("{turn}<|assistant|><think>\n")), Some("plain"));
    let split = turn.replace("m.content", "m.content.split('</think>')[-1]");
    assert_eq!(plain(&split), Some("plain"));
    let run = Run::of(&format::PLAIN);
    let outcome = run.text("<think>\nHm.\n</think>\n\n<tool_call>{\"name\": \"ping\"}");
    assert_eq!(outcome.reasoning, "Hm.");
    assert_eq!(outcome.content, "<tool_call>{\"name\": \"ping\"}");
}

#[test]
fn tags_of_a_format_are_spelled_out() {
    assert_eq!(format("hermes").tags(), ["</think>", "</tool_call>", "<think>", "<tool_call>"]);
    assert_eq!(
        format("harmony").tags(),
        ["<|channel|>", "<|constrain|>", "<|end|>", "<|message|>", "<|start|>"]
    );
    assert_eq!(
        format("mistral").tags(),
        ["[/THINK]", "[ARGS]", "[CALL_ID]", "[THINK]", "[TOOL_CALLS]"]
    );
    assert!(format("gemma").tags().contains(&"<|\"|>"));
    assert!(format("kimi").tags().contains(&"<|tool_call_argument_begin|>"));
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

/// Checks each output's text and calls.
fn assert_all(id: &str, cases: &[(&str, &str, Vec<Call>)]) {
    for (text, content, calls) in cases {
        let outcome = said(id, text);
        assert_eq!(outcome.content, *content, "{id}: {text}");
        assert_eq!(outcome.calls, *calls, "{id}: {text}");
    }
}

#[test]
fn calls_of_mistral_are_read() {
    let weather = || call("get_weather", "{\"city\": \"[ARGS] [TOOL_CALLS]\"}");
    assert_all(
        "mistral",
        &[
            ("[TOOL_CALLS]ping[ARGS]{}", "", vec![call("ping", "{}")]),
            (
                "Now.\n[TOOL_CALLS]get_weather[ARGS]{\"city\": \"[ARGS] [TOOL_CALLS]\"}[TOOL_CALLS]ping[ARGS]{ }",
                "Now.\n",
                vec![weather(), call("ping", "{ }")],
            ),
            ("[TOOL_CALLS]ping[ARGS]{\"a\": \"b", "", vec![cut("ping", "{\"a\": \"b")]),
            ("The tag [TOOL_CALLS] and [ARGS].", "The tag [TOOL_CALLS] and [ARGS].", vec![]),
            ("[TOOL_CALLS]ping [CALL_ID]abc123DEF[ARGS]{}", "", vec![call("ping", "{}")]),
            ("[TOOL_CALLS]ping[CALLS] it", "[TOOL_CALLS]ping[CALLS] it", vec![]),
            ("[TOOL_CALLS]ping[ARGS]", "", vec![cut("ping", "")]),
            ("[THINK]Hm.[/THINK]Hi.", "Hi.", vec![]),
        ],
    );
    assert_all(
        "mistral-list",
        &[
            (
                "[TOOL_CALLS] [{\"name\": \"ping\", \"arguments\": {}}]",
                "",
                vec![call("ping", "{}")],
            ),
            (
                "[TOOL_CALLS][{\"name\": \"ping\", \"arguments\": {}, \"id\": \"1\"}, {\"name\": \"get_weather\", \"arguments\": {\"city\": \"]\"}}]",
                "",
                vec![call("ping", "{}"), call("get_weather", "{\"city\": \"]\"}")],
            ),
            (
                "Now [TOOL_CALLS][{\"name\": \"ping\", \"arguments\": {\"a\": 1",
                "Now ",
                vec![cut("ping", "{\"a\": 1")],
            ),
            ("[TOOL_CALLS] and [{", "[TOOL_CALLS] and [{", vec![]),
            ("[TOOL_CALLS][{\"name\": \"ping\"}] Done.", " Done.", vec![call("ping", "{}")]),
        ],
    );
}

#[test]
fn calls_of_granite_are_read() {
    assert_all(
        "granite",
        &[
            (
                "<|tool_call|>[{\"name\": \"ping\", \"arguments\": {}}]",
                "",
                vec![call("ping", "{}")],
            ),
            (
                "<|tool_call|> [{\"arguments\": {\"a\":1}, \"name\": \"ping\"} ,\n{\"name\": \"ping\"}]",
                "",
                vec![call("ping", "{\"a\":1}"), call("ping", "{}")],
            ),
            (
                "<|tool_call|>[{\"name\": \"ping\", \"arguments\": {}}, and",
                ", and",
                vec![call("ping", "{}")],
            ),
            ("<|tool_call|>[]", "<|tool_call|>[]", vec![]),
            ("<think>Hm.</think>Hi.", "Hi.", vec![]),
            (
                "<|tool_call|>[{\"name\": \"ping\", \"arguments\": {\"a",
                "",
                vec![cut("ping", "{\"a")],
            ),
        ],
    );
}

#[test]
fn calls_of_llama_are_read() {
    let object = "{\"name\": \"ping\", \"parameters\": {\"a\": \"}\"}}";
    let ping = || call("ping", "{\"a\": \"}\"}");
    assert_all(
        "llama",
        &[
            (object, "", vec![ping()]),
            (&format!("<|python_tag|>{object}; {object}"), "", vec![ping(), ping()]),
            (&format!("Call {object}"), &format!("Call {object}"), vec![]),
            (
                "{\"name\": \"Ann\", \"parameters\": {}}",
                "{\"name\": \"Ann\", \"parameters\": {}}",
                vec![],
            ),
            (
                "{\"answer\": {\"name\": \"ping\"}}\n",
                "{\"answer\": {\"name\": \"ping\"}}\n",
                vec![],
            ),
            (
                "{\"type\": \"function\", \"name\": \"ping\", \"parameters\": {\"a\": 1",
                "",
                vec![cut("ping", "{\"a\": 1")],
            ),
            ("fn f() {\n{\n}\n}", "fn f() {\n{\n}\n}", vec![]),
        ],
    );
}

#[test]
fn calls_in_python_are_read() {
    assert_all(
        "lfm2",
        &[
            ("<|tool_call_start|>[ping()]<|tool_call_end|>", "", vec![call("ping", "{}")]),
            (
                "<|tool_call_start|>[get_weather(city=\"Paris, \\\"é\\\" )\", days=3), search(query='a\\n\\x41\\ud83e\\udd80', filters={'tags': ['x', None], 'stars': 1.50e3}, deep=True,)]<|tool_call_end|>Done.",
                "Done.",
                vec![
                    call("get_weather", "{\"city\": \"Paris, \\\"é\\\" )\", \"days\": 3}"),
                    call(
                        "search",
                        "{\"query\": \"a\\nA🦀\", \"filters\": {\"tags\": [\"x\", null], \"stars\": 1.50e3}, \"deep\": true}",
                    ),
                ],
            ),
            ("<|tool_call_start|>[get_weather(city=\"Par", "", vec![cut("get_weather", "")]),
            (
                "<|tool_call_start|>[ping(a='\\b\\f\\d')]",
                "",
                vec![call("ping", "{\"a\": \"\\b\\f\\\\d\"}")],
            ),
            (
                "<|tool_call_start|>[ping(a=b)]<|tool_call_end|>",
                "<|tool_call_start|>[ping(a=b)]<|tool_call_end|>",
                vec![],
            ),
            ("Use <|tool_call_start|> first.", "Use <|tool_call_start|> first.", vec![]),
            ("<|tool_call_start|>[ping(a=1, a=2)]", "", vec![call("ping", "{\"a\": 1}")]),
        ],
    );
}

#[test]
fn calls_in_python_without_a_tag_are_read() {
    assert_all(
        "pythonic",
        &[
            ("[ping()]", "", vec![call("ping", "{}")]),
            (
                "Now.\n[get_weather(city=\"[a]\", days=-1),\n ping()]",
                "Now.\n",
                vec![call("get_weather", "{\"city\": \"[a]\", \"days\": -1}"), call("ping", "{}")],
            ),
            ("[ping](url) and [1, 2]\n[x] done", "[ping](url) and [1, 2]\n[x] done", vec![]),
            ("Call [ping()].", "Call [ping()].", vec![]),
            ("[rm()]", "[rm()]", vec![]),
            ("[ping(a='b", "", vec![cut("ping", "")]),
        ],
    );
}

#[test]
fn calls_of_gemma_are_read() {
    for (id, quote, open, close) in [
        ("gemma", "<|\"|>", "<|tool_call>", "<tool_call|>"),
        ("functiongemma", "<escape>", "<start_function_call>", "<end_function_call>"),
    ] {
        let text = |inside: &str| format!("{open}{}{close}", inside.replace('~', quote));
        let two = format!("Now.\n{}{}", text("call:ping{}"), text("call:ping{a:~b~}"));
        let odd = text(
            "call:get_weather{city:~a}, {b: \"c\" <br>\n~,days:3,more:{list:[1,~x~,true],none:null}}",
        );
        let bad = text("call:ping{a:b c}");
        assert_all(
            id,
            &[
                (&text("call:ping{}"), "", vec![call("ping", "{}")]),
                (&two, "Now.\n", vec![call("ping", "{}"), call("ping", "{\"a\": \"b\"}")]),
                (
                    &odd,
                    "",
                    vec![call(
                        "get_weather",
                        "{\"city\": \"a}, {b: \\\"c\\\" <br>\\n\", \"days\": 3, \"more\": {\"list\": [1, \"x\", true], \"none\": null}}",
                    )],
                ),
                (
                    &format!("{open}call:get_weather{{city:{quote}Par"),
                    "",
                    vec![cut("get_weather", "")],
                ),
                (&bad, &bad, vec![]),
                (&format!("Use {open} first."), &format!("Use {open} first."), vec![]),
            ],
        );
    }
    let outcome = said("gemma", "<|channel>thought\nHm.\n<channel|>Hi.");
    assert_eq!((outcome.reasoning.as_str(), outcome.content.as_str()), ("Hm.", "Hi."));
}

#[test]
fn calls_of_deepseek_are_read() {
    let (open, close) = ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>");
    let ping = |arguments: &str| {
        format!(
            "<｜tool▁call▁begin｜>function<｜tool▁sep｜>ping\n```json\n{arguments}\n```<｜tool▁call▁end｜>"
        )
    };
    let one = format!("{open}{}{close}", ping("{}"));
    let two = format!("Now.\n{open}{}\n{}{close}Done.", ping("{\"a\": \"```\"}"), ping("{}"));
    let begun = ping("{\"a\": 1");
    let end = begun.find("\n```<").unwrap();
    let mention = format!("The tag {open} opens.");
    assert_all(
        "deepseek3",
        &[
            (&one, "", vec![call("ping", "{}")]),
            (&two, "Now.\nDone.", vec![call("ping", "{\"a\": \"```\"}"), call("ping", "{}")]),
            // The line break before the mark is blank in JSON.
            (&format!("{open}{}", &begun[..end]), "", vec![cut("ping", "{\"a\": 1")]),
            (&mention, &mention, vec![]),
            ("<think>Hm.</think>Hi.", "Hi.", vec![]),
        ],
    );
    for (id, section) in [("deepseek32", "function_calls"), ("deepseek4", "tool_calls")] {
        let (open, close) = (format!("<｜DSML｜{section}>"), format!("</｜DSML｜{section}>"));
        let value = |key: &str, is_string: bool, value: &str| {
            format!(
                "<｜DSML｜parameter name=\"{key}\" string=\"{is_string}\">{value}</｜DSML｜parameter>\n"
            )
        };
        let weather = |inside: &str| {
            format!("<｜DSML｜invoke name=\"get_weather\">\n{inside}</｜DSML｜invoke>\n")
        };
        let typed = weather(&(value("city", true, " 7\n") + &value("days", false, "3")));
        let typed_call = || call("get_weather", "{\"city\": \" 7\\n\", \"days\": 3}");
        let two = format!("{open}\n{typed}{}{close}", weather(""));
        let odd = weather(&value("city", true, "a</｜DSML｜parameter>b"));
        let begun = weather(&value("city", true, "Par"));
        let begun = &begun[..begun.find("</").unwrap()];
        let mention = format!("{open} is a tag.");
        assert_all(
            id,
            &[
                (&format!("Now.\n\n{open}\n{typed}{close}"), "Now.\n\n", vec![typed_call()]),
                (&two, "", vec![typed_call(), call("get_weather", "{}")]),
                (
                    &format!("{open}{odd}{close}"),
                    "",
                    vec![call("get_weather", "{\"city\": \"a</｜DSML｜parameter>b\"}")],
                ),
                (&format!("{open}{begun}"), "", vec![cut("get_weather", "{\"city\": \"Par")]),
                (&mention, &mention, vec![]),
            ],
        );
    }
}
