#![allow(clippy::unwrap_used, clippy::expect_used)]

mod borders;
mod forgery;
mod histories;

use serde_json::json;

use super::*;

const TEMPLATES: [(&str, &str); 5] = [
    ("chatml", include_str!("fixtures/chatml.jinja")),
    ("headers", include_str!("fixtures/headers.jinja")),
    ("strict", include_str!("fixtures/strict.jinja")),
    ("thinking", include_str!("fixtures/thinking.jinja")),
    ("xml", include_str!("fixtures/xml.jinja")),
];

fn template(name: &str) -> Template {
    let (_, source) = TEMPLATES.iter().find(|(known, _)| *known == name).unwrap();
    Template::new(source, Some("<s>"), Some("</s>")).unwrap()
}

fn messages(value: Value) -> Vec<Message> {
    serde_json::from_value(value).unwrap()
}

fn render(template: &Template, value: Value) -> Result<Rendered, String> {
    let request = Conversation {
        messages: messages(value),
        add_generation_prompt: true,
        ..Default::default()
    };
    template.render(&request).map_err(|error| error.to_string())
}

fn inline(source: &str, value: Value) -> Result<String, String> {
    let template = Template::new(source, None, None).map_err(|error| error.to_string())?;
    render(&template, value).map(|rendered| rendered.prompt)
}

/// The expected texts are Jinja2's own: see `fixtures/generate.py`.
#[test]
fn prompts_are_the_same_as_those_of_jinja2() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("fixtures/cases.json")).unwrap();
    assert!(cases.len() >= 40);
    let mut different = Vec::new();
    for case in &cases {
        let name = format!("{} / {}", case["template"], case["name"]);
        let template = template(case["template"].as_str().unwrap());
        let messages = messages(case["messages"].clone());
        let mut kwargs = Map::new();
        for key in ["enable_thinking", "today"] {
            kwargs.insert(key.to_owned(), case[key].clone());
        }
        let tools = case["tools"].as_array().cloned().unwrap_or_default();
        let rendered = template.render(&Conversation {
            tool_use: Default::default(),
            messages,
            tools,
            add_generation_prompt: case["add_generation_prompt"] == true,
            kwargs,
            ..Conversation::default()
        });
        let ours = rendered.map(|rendered| rendered.prompt).map_err(|error| error.to_string());
        let theirs = match case.get("prompt") {
            Some(prompt) => Ok(prompt.as_str().unwrap().to_owned()),
            None => Err(case["error"].as_str().unwrap().to_owned()),
        };
        if ours != theirs {
            different.push(format!("{name}\n ours   {ours:?}\n theirs {theirs:?}"));
        }
    }
    assert!(different.is_empty(), "{} differ:\n{}", different.len(), different.join("\n"));
}

#[test]
fn the_format_is_that_of_a_call_in_the_history() {
    let format = |name: &str| template(name).format().map(|format| format.id);
    assert_eq!(format("chatml"), Some("hermes"));
    assert_eq!(format("thinking"), Some("qwen-xml"));
    assert_eq!(format("xml"), Some("qwen-xml"));
}

#[test]
fn arguments_sent_as_text_are_rendered_as_the_object_they_hold() {
    let history = |arguments: Value| {
        json!([
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}]},
            {"role": "tool", "tool_call_id": "1", "content": "r"},
        ])
    };
    let prompt =
        |name: &str, arguments: Value| render(&template(name), history(arguments)).unwrap().prompt;
    let text = "{\"z\":\"é\",\"a\":[1,2]}";
    assert!(prompt("chatml", json!(text)).contains(r#""arguments": {"z": "é", "a": [1, 2]}}"#));
    let xml = "<parameter=z>\né\n</parameter>\n<parameter=a>\n[1, 2]\n</parameter>\n</function>";
    assert!(prompt("xml", json!(text)).contains(xml));
    assert!(prompt("thinking", json!(text)).contains(xml));
    assert!(prompt("xml", json!("")).contains("<function=f>\n</function>"));
    // This one wants text.
    assert!(prompt("strict", json!(text)).contains(&format!("\"arguments\": {text}}}")));
    assert!(prompt("strict", json!({"a": 1.0})).contains("\"arguments\": {\"a\": 1.0}}"));
}

#[test]
fn arguments_that_are_no_json_do_not_end_the_conversation() {
    for (name, _) in TEMPLATES {
        for arguments in ["{\"path\": \"a", "nothing", "[1]", "5"] {
            let history = json!([
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": null, "tool_calls": [
                    {"id": "1", "function": {"name": "f", "arguments": arguments}}]},
                {"role": "tool", "tool_call_id": "1", "content": "r"},
            ]);
            let rendered = render(&template(name), history).unwrap();
            let is_there = rendered.prompt.contains(arguments)
                || rendered.prompt.contains(&arguments.replace('"', "\\\""));
            assert!(is_there, "{name}: {}", rendered.prompt);
        }
    }
}

#[test]
fn parts_of_text_become_what_the_template_can_take() {
    let history = json!([
        {"role": "system", "content": [{"type": "text", "text": "S"}]},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    ]);
    let prompt = |name: &str| render(&template(name), history.clone()).unwrap().prompt;
    assert!(prompt("chatml").contains("user\na\nb<|im_end|>"));
    assert!(prompt("thinking").contains("user\nab<|im_end|>"));
    let only_parts = "{% for m in messages %}{{ m.role }}:{% for p in m.content %}{{ p.text }}{% endfor %};{% endfor %}";
    assert_eq!(inline(only_parts, history).unwrap(), "system:S;user:ab;");
    assert_eq!(inline(only_parts, json!([{"role": "user", "content": "a"}])).unwrap(), "user:a;");
}

#[test]
fn a_late_system_message_never_ends_the_conversation() {
    let history = json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One"},
        {"role": "system", "content": "Reminder"},
        {"role": "assistant", "content": "Two"},
        {"role": "user", "content": "Three"},
    ]);
    for (name, expected) in [
        ("chatml", "<|im_start|>system\nReminder<|im_end|>"),
        ("thinking", "<|im_start|>user\nReminder<|im_end|>"),
        ("strict", "[INST] One\n\nReminder[/INST]"),
    ] {
        let prompt = render(&template(name), history.clone()).unwrap().prompt;
        assert!(prompt.contains(expected), "{name}: {prompt}");
    }
    // Other faults keep the template's own words.
    let alone = json!([{"role": "system", "content": "S"}]);
    assert_eq!(
        render(&template("thinking"), alone).unwrap_err(),
        "There is no question of a user."
    );
}

#[test]
fn a_system_message_goes_into_the_question_where_the_template_has_no_such_role() {
    let source = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}[{{ m.role }}|{{ m.content }}]{% endfor %}";
    let history = json!([{"role": "developer", "content": "S"}, {"role": "user", "content": "Q"}]);
    assert_eq!(inline(source, history).unwrap(), "[user|S\n\nQ]");
    assert_eq!(inline(source, json!([{"role": "system", "content": "S"}])).unwrap(), "[user|S]");
}

#[test]
fn developer_is_system_unless_the_template_knows_it() {
    let history = json!([{"role": "developer", "content": "D"}, {"role": "user", "content": "Q"}]);
    let plain = "{% for m in messages %}{{ m.role }} {% endfor %}{{ messages[0].content }}";
    assert_eq!(inline(plain, history.clone()).unwrap(), "system user D");
    let knows = format!("{plain}{{% if messages[0].role == 'developer' %}}!{{% endif %}}");
    assert_eq!(inline(&knows, history).unwrap(), "developer user D!");
}

#[test]
fn the_last_message_is_continued_where_its_text_ends() {
    let with = |name: &str, last: Value| {
        let messages = messages(json!([{"role": "user", "content": "Q"}, last]));
        let request = Conversation {
            messages,
            add_generation_prompt: true,
            continue_final_message: true,
            ..Default::default()
        };
        template(name).render(&request).unwrap().prompt
    };
    let said = json!({"role": "assistant", "content": "The answer "});
    assert!(with("chatml", said.clone()).ends_with("<|im_start|>assistant\nThe answer "));
    assert!(with("xml", said.clone()).ends_with("<|im_start|>assistant\nThe answer "));
    assert!(with("strict", said.clone()).ends_with("[/INST] The answer "));
    assert!(with("thinking", said).ends_with("<think>\n\n</think>\n\nThe answer "));
    let thought = json!({"role": "assistant", "content": "", "reasoning_content": "Let me"});
    assert!(with("thinking", thought.clone()).ends_with("<|im_start|>assistant\n<think>\nLet me"));
    let called = json!({"role": "assistant", "content": "", "tool_calls": [
        {"function": {"name": "f", "arguments": "{}"}}]});
    assert!(with("chatml", called).ends_with("<|im_end|>\n<|im_start|>assistant\n"));
    let hidden = "{% for m in messages %}{{ m.role }}:{{ m.content }};{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";
    let request = Conversation {
        messages: messages(json!([{"role": "user", "content": "Q"}, thought])),
        continue_final_message: true,
        ..Default::default()
    };
    let rendered = Template::new(hidden, None, None).unwrap().render(&request).unwrap();
    assert_eq!(rendered.prompt, "user:Q;assistant:<think>\nLet me");
    let user = json!({"role": "user", "content": "R"});
    assert!(with("chatml", user).ends_with("<|im_start|>assistant\n"));
}

#[test]
fn a_template_that_hides_the_last_text_still_continues_it() {
    let source = "{% for m in messages %}{% if m.role == 'user' %}U:{{ m.content }};{% else %}A:{{ m.content | upper | replace('\u{f8d3}', '') }};{% endif %}{% endfor %}{% if add_generation_prompt %}A:{% endif %}";
    let messages = messages(json!([
        {"role": "user", "content": "q"}, {"role": "assistant", "content": "the"}]));
    let request = Conversation { messages, continue_final_message: true, ..Default::default() };
    let template = Template::new(source, None, None).unwrap();
    assert_eq!(template.render(&request).unwrap().prompt, "U:q;A:the");
}

#[test]
fn starts_are_where_the_users_texts_begin() {
    for (name, _) in TEMPLATES {
        let history = json!([
            {"role": "system", "content": "first second"},
            {"role": "user", "content": " first "},
            {"role": "assistant", "content": "first"},
            {"role": "user", "content": [{"type": "text", "text": "second"}]},
        ]);
        let rendered = render(&template(name), history).unwrap();
        let found: Vec<&str> =
            rendered.message_starts.iter().map(|start| &rendered.prompt[*start..]).collect();
        if name == "headers" {
            // It prints single letters of the text, so nothing is certain.
            assert_eq!(found, Vec::<&str>::new());
            continue;
        }
        assert_eq!(found.len(), 2, "{name}");
        assert!(found[0].starts_with("first") && found[1].starts_with("second"), "{name}");
        let second = found[1].len();
        assert!(
            rendered.prompt[..rendered.prompt.len() - second].contains("second")
                || name == "strict"
        );
    }
}

#[test]
fn errors_are_one_line_that_says_where() {
    let user = || json!([{"role": "user", "content": "Q"}]);
    let raised = inline("{{ raise_exception('no\nway') }}", user()).unwrap_err();
    assert_eq!(raised, "no way");
    let in_macro = "{% macro m() %}{{ raise_exception('deep') }}{% endmacro %}{{ m() | trim }}";
    assert_eq!(inline(in_macro, user()).unwrap_err(), "deep");
    let failed = inline("a\n{{ messages.x.y.z }}", user()).unwrap_err();
    assert!(failed.contains("line 2") && failed.contains("`messages.x`"), "{failed}");
    for source in ["{% if %}", "{% for x in %}", "{{ 'a }}", "{% nosuch %}", "{% endfor %}"] {
        let error = Template::new(source, None, None).unwrap_err().to_string();
        assert!(error.contains("line 1") && !error.contains('\n'), "{error}");
    }
}

#[test]
fn a_template_without_end_is_stopped() {
    let source = "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}";
    let error = inline(source, json!([{"role": "user", "content": "Q"}])).unwrap_err();
    assert!(error.contains("takes too long"), "{error}");
}

#[test]
fn python_idioms_of_published_templates_work() {
    let value = json!([{"role": "user", "content": "a-b.c"}]);
    for (source, expected) in [
        ("{{ 'a b  c'.strip().split()[-1] }}", "c"),
        ("{{ 'a,b,c'.split(',', 1) | join('|') }}", "a|b,c"),
        ("{{ '\n\nx\n'.lstrip('\n').rstrip('\n') }}", "x"),
        ("{{ [1, 2, 3][::-1] }}{{ 'abc'[1:] }}{{ 'abc'[-1] }}", "[3, 2, 1]bcc"),
        ("{{ 'x'.removeprefix('x') ~ 'a.b'.removesuffix('.b') }}", "a"),
        ("{{ 'a=b=c'.partition('=')[2] }}{{ 'a=b=c'.rsplit('=', 1)[0] }}", "b=ca=b"),
        ("{{ '7'.zfill(3) }}{{ 'a'.ljust(3) }}|{{ 'a'.rjust(3, '.') }}", "007a  |..a"),
        ("{{ '%s' | format(messages[0].content) }}", "a-b.c"),
        ("{{ 'a' if messages[0].content.startswith(('z', 'a')) else 'b' }}", "a"),
        ("{{ ([1] + [2]) | length }}{{ '-' * 3 }}", "2---"),
        ("{% set ns = namespace(a=1) %}{% set ns.a = ns.a + 1 %}{{ ns.a }}", "2"),
        ("{% set a, b = (1, 2) %}{{ b }}{{ a }}", "21"),
        ("{{ {'items': 1}.items() | list }}", "[('items', 1)]"),
        ("{{ {'a': 1}.get('b', 'd') }}{{ {'a': 1} | dictsort }}", "d[('a', 1)]"),
        ("{{ 'x' not in 'abc' and 'b' in ['a', 'b'] }}", "True"),
        (
            "{{ messages | selectattr('role', 'in', ['user']) | map(attribute='content') | first }}",
            "a-b.c",
        ),
        ("{{ messages[0].tool_calls is defined }}", "False"),
        ("{% if messages[0].tool_calls %}a{% else %}b{% endif %}", "b"),
        (
            "{% if tools is none and tools is defined %}x{% endif %}{{ documents is defined }}",
            "xFalse",
        ),
        ("{{ none is iterable }}{{ 5 is iterable }}{{ missing is iterable }}", "FalseFalseTrue"),
        ("{{ enable_thinking }}", "True"),
        ("{{ strftime_now('%Y') | length }}{{ date_string | length }}", "411"),
        (
            "{% macro m(a, b='z') %}{{ a }}{{ b }}{% endmacro %}{{ m('y') }}{{ m(b=1, a=2) }}",
            "yz21",
        ),
        ("{%- filter upper %}a{% endfilter %}{% raw %}{{ x }}{% endraw %}", "A{{ x }}"),
        (
            "{{ [{'a': {'b': 2}}] | map(attribute='a.b') | list }}{{ [3, 1] | sort | join }}",
            "[2]13",
        ),
        (
            "{{ 5 is divisibleby 5 }}{{ 'A' is upper }}{{ [] is iterable }}{{ {} is mapping }}",
            "TrueTrueTrueTrue",
        ),
        ("{{ 'a' is sequence }}{{ 'a' is iterable }}{{ [] is sequence }}", "TrueTrueTrue"),
        ("{{ [1, 2] | tojson(indent=2) }}{{ {} | tojson(indent=2) }}", "[\n  1,\n  2\n]{}"),
        ("{{ 'a\nb' | indent(2) }}{{ ' x ' | trim }}{{ 'xxax' | trim('x') }}", "a\n  bxa"),
        ("{{ 1.5 | int }}{{ '12' | int + 1 }}{{ 2 | float }}{{ 3.7 | round }}", "1132.04.0"),
    ] {
        assert_eq!(inline(source, value.clone()).as_deref(), Ok(expected), "{source}");
    }
}

/// Jinja2 3.1's own answers.
#[test]
fn more_of_python_and_jinja2_works() {
    let value = json!([{"role": "user", "content": "a-b.c"}]);
    for (source, expected) in [
        ("{{ '%s' % messages[0].content }}", "a-b.c"),
        ("{{ 'a %s %d %5.2f|%-4s|%04d%%' % ('x', 3, 2.5, 'y', 42) }}", "a x 3  2.50|y   |0042%"),
        ("{{ '%(a)s' % {'a': 1} ~ 'b' }}{{ '%r' % 'x' }}", "1b'x'"),
        (
            "{{ dict([('a', 1), ('b', [2])], c=3) }}{{ dict(x='y') }}",
            "{'a': 1, 'b': [2], 'c': 3}{'x': 'y'}",
        ),
        ("{% set j = joiner(', ') %}{{ j() }}a{{ j() }}b", "a, b"),
        ("{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}", "aba"),
        ("{% set n = namespace(a=[]) %}{% set n.a = n.a + [1] %}{{ n.a }}", "[1]"),
        (
            "{% macro m() %}{% endmacro %}{{ m is callable }}{{ range is callable }}{{ 'a' is callable }}{{ messages is callable }}",
            "TrueTrueFalseFalse",
        ),
        ("{{ 'the quick brown fox' | wordwrap(9) }}", "the quick\nbrown fox"),
        (r"{{ '\U0001F600' }}{{ 'a\/b' }}{{ '\x41\u00e9' }}", "\u{1f600}a\\/bAé"),
        (
            "{{ {'a': 1e-7} }}{{ [1e16, none, true] }}{{ (1,) }}",
            "{'a': 1e-07}[1e+16, None, True](1,)",
        ),
        ("{{ ([{'a': 1e-7}] | string) }}{{ 10 % 4 }}", "[{'a': 1e-07}]2"),
    ] {
        assert_eq!(inline(source, value.clone()).as_deref(), Ok(expected), "{source}");
    }
}
