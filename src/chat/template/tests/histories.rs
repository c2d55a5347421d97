//! Histories that some templates cannot take as they are.

use super::*;

#[test]
fn developer_texts_are_never_lost() {
    let first_only = include_str!("../fixtures/faults/dev-first-only.jinja");
    let strict = include_str!("../fixtures/faults/dev-strict.jinja");
    let turn = |role: &str, text: &str| json!({"role": role, "content": text});
    let start = "<|im_start|>";
    for (source, history, expected) in [
        (
            first_only,
            json!([turn("system", "S1"), turn("developer", "D1"), turn("user", "U")]),
            format!("{start}system\nS1\n\nD1<|im_end|>\n{start}user\nU<|im_end|>\n"),
        ),
        (
            first_only,
            json!([
                turn("developer", "D"),
                turn("user", "U"),
                turn("assistant", "A"),
                turn("developer", "D2"),
                turn("user", "V")
            ]),
            format!(
                "{start}system\nD<|im_end|>\n{start}user\nU<|im_end|>\n{start}assistant\nA<|im_end|>\n{start}user\nD2<|im_end|>\n{start}user\nV<|im_end|>\n"
            ),
        ),
        (
            strict,
            json!([turn("user", "U"), turn("developer", "D")]),
            format!("{start}user\nU<|im_end|>\n{start}user\nD<|im_end|>\n"),
        ),
        (
            include_str!("../fixtures/faults/first-system-only.jinja"),
            json!([
                turn("system", "A"),
                turn("system", "B"),
                turn("user", "U"),
                turn("system", "C")
            ]),
            format!(
                "{start}system\nA\n\nB<|im_end|>\n{start}user\nU<|im_end|>\n{start}user\nC<|im_end|>\n"
            ),
        ),
    ] {
        let prompt = inline(source, history).unwrap();
        assert_eq!(prompt, format!("{expected}{start}assistant\n"));
    }
}

#[test]
fn a_source_with_other_line_breaks_is_the_same_template() {
    let crlf = include_str!("../fixtures/faults/line-breaks.jinja").replace('\n', "\r\n");
    let user = json!([{"role": "user", "content": "a\r\nb"}]);
    let prompt = inline(&crlf, user.clone()).unwrap();
    assert!(!prompt.replace("a\r\nb", "").contains('\r'), "{prompt:?}");
    assert_eq!(prompt, inline(&crlf.replace("\r\n", "\n"), user.clone()).unwrap());
    assert_eq!(prompt, inline(&crlf.replace("\r\n", "\r"), user).unwrap());
}

#[test]
fn arguments_keep_their_digits_and_what_can_be_read() {
    let prompt = |source: &str, arguments: &str| {
        inline(source, json!([
            {"role": "user", "content": "q"},
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": arguments}}]},
        ]))
        .unwrap()
    };
    let args = include_str!("../fixtures/faults/tool-args.jinja");
    for (arguments, expected) in [
        (
            r#"{"id": 18446744073709551616, "z": -0}"#,
            vec!["<parameter=id>18446744073709551616<", "<parameter=z>0<"],
        ),
        (r#"{"a": [1.50e3, 1e400, -0.0, 0.1]}"#, vec!["<parameter=a>[1.50e3, 1e400, -0.0, 0.1]<"]),
        (r#"{"h": "\ud83d", "k": 1}"#, vec!["<parameter=h>\u{fffd}<", "<parameter=k>1<"]),
        (r#"{"n": NaN, "k": 1}"#, vec!["<parameter=n>NaN<", "<parameter=k>1<"]),
    ] {
        let prompt = prompt(args, arguments);
        for expected in expected {
            assert!(prompt.contains(expected), "{prompt}");
        }
    }
    let tests = "{% for m in messages %}{{ m.role }}{% for c in m.tool_calls or [] %}{% for k, v in c.function.arguments | items %}{{ v is number }}{{ v is float }}{{ v is string }}{{ v is callable }}{{ v }}{% endfor %}{{ c.function.arguments }}{% endfor %}{{ m.content }}{% endfor %}";
    assert!(prompt(tests, r#"{"a": 1e400}"#).contains("TrueTrueFalseFalse1e400{'a': 1e400}"));
}

#[test]
fn a_result_whose_call_was_cut_away_is_kept() {
    let history = || {
        json!([
            {"role": "system", "content": "S"},
            {"role": "assistant", "content": "hello"},
            {"role": "tool", "tool_call_id": "x", "content": "21.5"},
            {"role": "user", "content": "q"},
        ])
    };
    let looks = "{% for m in messages %}{% if m.role == 'tool' %}{% if not messages[loop.index0 - 1].tool_calls %}{{ raise_exception('no call') }}{% endif %}R{% endif %}[{{ m.role }}|{{ m.content }}]{% endfor %}";
    assert_eq!(inline(looks, history()).unwrap(), "[system|S][assistant|hello][user|21.5][user|q]");
    for (name, source) in TEMPLATES {
        let prompt = inline(source, history());
        assert!(prompt.as_ref().is_ok_and(|prompt| prompt.contains("21.5")), "{name}: {prompt:?}");
    }
    for source in [
        include_str!("../fixtures/faults/dev-first-only.jinja"),
        include_str!("../fixtures/faults/dev-strict.jinja"),
        CHATML,
    ] {
        assert!(inline(source, history()).unwrap().contains("21.5"));
    }
}

#[test]
fn turns_are_joined_where_a_template_insists_on_them() {
    let history = json!([
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "b"},
        {"role": "user", "content": "c"},
        {"role": "assistant", "content": "d"},
        {"role": "assistant", "content": "e"},
        {"role": "user", "content": "f"},
    ]);
    let strict = "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}[{{ m.role }}|{{ m.content }}]{% endfor %}";
    assert_eq!(
        inline(strict, history).unwrap(),
        "[user|][assistant|a][user|b\n\nc][assistant|d\n\ne][user|f]"
    );
}

#[test]
fn other_roles_are_for_templates_that_know_them() {
    let history = json!([{"role": "context", "content": "C"}, {"role": "user", "content": "Q"}]);
    let any = "{% for m in messages %}[{{ m.role }}|{{ m.content }}]{% endfor %}";
    assert_eq!(inline(any, history.clone()).unwrap(), "[context|C][user|Q]");
    let drops = include_str!("../fixtures/faults/dev-first-only.jinja");
    let template = Template::new(drops, None, None).unwrap();
    let request = Conversation { messages: messages(history), ..Default::default() };
    let error = template.render(&request).unwrap_err();
    assert_eq!(error.message, Some(0));
    assert!(error.text.contains("`context`"));
}

#[test]
fn the_message_that_a_template_fails_on_is_named() {
    let source = "{% for m in messages %}{% if 'bad' in m.content %}{{ raise_exception('no') }}{% endif %}{{ m.content }}{% endfor %}";
    let template = Template::new(source, None, None).unwrap();
    let fault = |texts: &[&str]| {
        let history = texts.iter().map(|text| json!({"role": "user", "content": text})).collect();
        let request = Conversation { messages: messages(history), ..Default::default() };
        template.render(&request).unwrap_err().message
    };
    assert_eq!(fault(&["a", "bad", "b", "c"]), Some(1));
    assert_eq!(fault(&["bad"]), Some(0));
    assert_eq!(fault(&["bad", "a"]), Some(0));
}

#[test]
fn switches_of_thinking_are_found_by_rendering() {
    let template = |source: &str| Template::new(source, None, None).unwrap();
    let switch = template(include_str!("../fixtures/faults/thinking-switch.jinja"));
    assert!(switch.can_disable_thinking());
    assert!(!template(CHATML).can_disable_thinking());
    let mut request = Conversation::default();
    request.reasoning.budget = Some(5);
    assert_eq!(template(CHATML).thinking_budget(&request), Some(5));
    request.kwargs.insert("enable_thinking".to_owned(), false.into());
    assert_eq!(switch.thinking_budget(&request), Some(5));
    assert_eq!(template(CHATML).thinking_budget(&request), Some(0));
}
