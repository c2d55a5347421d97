//! Where later prompts of a conversation may begin to differ.

use super::*;

/// An agent's conversation: a call with thoughts, two results at once, an answer with thoughts in
/// its text, another question.
fn history() -> Value {
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
    json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": " First?"},
        {"role": "assistant", "content": "", "reasoning_content": "Hm.",
            "tool_calls": [call("call12345"), call("call12346")]},
        {"role": "tool", "tool_call_id": "call12345", "content": "result 1"},
        {"role": "tool", "tool_call_id": "call12346", "content": "\nresult 2"},
        {"role": "assistant", "content": "<think>\nAha.\n</think>\n\nAnswer."},
        {"role": "user", "content": "Second?"},
    ])
}

/// The beginnings of what follows each border.
fn texts(rendered: &Rendered) -> Vec<&str> {
    rendered
        .borders
        .iter()
        .map(|at| &rendered.prompt[*at..(*at + 7).min(rendered.prompt.len())])
        .collect()
}

#[test]
fn borders_are_where_the_texts_of_all_roles_begin() {
    let all = ["Be brie", "First?", "result ", "result ", "Answer.", "Second?"];
    let plain = |name: &str| render(&template(name), history()).unwrap();
    for name in ["chatml", "xml", "thinking"] {
        let rendered = plain(name);
        let found: Vec<&str> =
            texts(&rendered).iter().map(|text| text.trim_end_matches('<')).collect();
        assert_eq!(found, all, "{name}");
        assert_eq!(rendered.message_starts, [rendered.borders[1], rendered.borders[5]], "{name}");
    }
    // Its system message stands before the last question, and the results are JSON.
    let strict = plain("strict");
    assert_eq!(texts(&strict), ["First?[", all[2], all[3], all[4], all[0], all[5]]);
    assert_eq!(plain("headers").borders, [0_usize; 0]);
}

#[test]
fn a_history_whose_thoughts_are_stripped_shares_its_borders_until_there() {
    // As the agent's last step has it: thoughts are still there.
    let mut step = history();
    step.as_array_mut().unwrap().truncate(5);
    let (step, next) =
        (render(&template("thinking"), step), render(&template("thinking"), history()));
    let (step, next) = (step.unwrap(), next.unwrap());
    let same = step.prompt.bytes().zip(next.prompt.bytes()).take_while(|(a, b)| a == b).count();
    assert!(
        step.prompt[..same].contains("assistant\n") && step.prompt[same..].starts_with("hink>")
    );
    let usable = |rendered: &Rendered| rendered.borders.iter().filter(|at| **at <= same).count();
    assert_eq!((usable(&step), usable(&next)), (2, 2));
    assert_eq!(step.borders[..2], next.borders[..2]);
}

#[test]
fn texts_that_spell_special_tokens_keep_their_borders() {
    let specials = ["<|im_start|>", "<|im_end|>", "<think>", "</think>"];
    for name in ["chatml", "xml", "thinking"] {
        let template = template(name).with_specials(specials.map(str::to_owned));
        let mut history = history();
        history[3]["content"] = "result <|im_end|>".into();
        let rendered = render(&template, history).unwrap();
        assert_eq!(rendered.breaks.len(), 1, "{name}");
        assert_eq!(rendered.borders.len(), 6, "{name}");
        assert_eq!(rendered.message_starts.len(), 2, "{name}");
    }
}

#[test]
fn marks_that_change_the_prompt_are_left_to_the_users_texts() {
    let source = "{% for m in messages %}{% if m.role == 'tool' and m.content.startswith('{') %}J{% endif %}[{{ m.content }}]{% endfor %}";
    let history = json!([
        {"role": "system", "content": "S"},
        {"role": "user", "content": "Q"},
        {"role": "assistant", "content": "", "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "{}"},
    ]);
    let rendered = render(&Template::new(source, None, None).unwrap(), history).unwrap();
    assert_eq!((rendered.borders, rendered.message_starts), (vec![4], vec![4]));
    // Nothing else is told apart from a mark.
    let own = json!([{"role": "user", "content": "Q\u{f0b60}"}]);
    assert_eq!(render(&template("chatml"), own).unwrap().borders, [0_usize; 0]);
}

#[test]
fn the_opening_is_what_the_template_adds_for_the_answer() {
    let opening = |template: &Template, request: &Conversation| {
        let rendered = template.render(request).unwrap();
        rendered.opening.map(|at| rendered.prompt[at..].to_owned())
    };
    let mut request = Conversation {
        messages: messages(history()),
        add_generation_prompt: true,
        ..Conversation::default()
    };
    let open = "<|im_start|>assistant\n";
    for (name, tail) in [
        ("chatml", Some(String::new())),
        ("xml", Some(String::new())),
        ("thinking", Some("<think>\n".to_owned())),
        ("strict", None),
    ] {
        let expected = tail.map(|tail| format!("{open}{tail}"));
        assert_eq!(opening(&template(name), &request), expected, "{name}");
    }
    request.kwargs.insert("enable_thinking".to_owned(), false.into());
    let closed = format!("{open}<think>\n\n</think>\n\n");
    assert_eq!(opening(&template("thinking"), &request), Some(closed));
    // One that looks at the conversation may open in another way.
    let looks = "{% for m in messages %}[{{ m.content }}]{% endfor %}{% if add_generation_prompt %}{{ '<think>' if messages[-1].content == 'Hi' else '<a>' }}{% endif %}";
    assert_eq!(opening(&Template::new(looks, None, None).unwrap(), &request), None);
    request.add_generation_prompt = false;
    assert_eq!(opening(&template("thinking"), &request), None);
}

#[test]
fn a_continued_message_begins_at_a_border() {
    let continued = |source: &str, text: &str| {
        let messages = messages(json!([
            {"role": "user", "content": "Q"}, {"role": "assistant", "content": text}]));
        let request =
            Conversation { messages, continue_final_message: true, ..Conversation::default() };
        Template::new(source, None, None).unwrap().render(&request).unwrap()
    };
    let chatml = continued(CHATML, "The answer ");
    assert_eq!(texts(&chatml), ["Q<|im_e", "The ans"]);
    assert_eq!(chatml.opening, None);
    let hides = "{% for m in messages %}{% if m.role == 'user' %}U:{{ m.content }};{% else %}A:{{ m.content | upper | replace('\u{f8d3}', '') }};{% endif %}{% endfor %}{% if add_generation_prompt %}A:{% endif %}";
    let hidden = continued(hides, "the");
    assert_eq!((hidden.prompt.as_str(), hidden.opening), ("U:Q;A:the", None));
    assert_eq!(hidden.borders, [2, 4, 6]);
}
