use serde_json::{Value, json};

use crate::harness::shared;

fn complete(fields: Value) -> Value {
    let mut body = json!({"temperature": 0, "max_tokens": 6});
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    let reply = shared().post("/v1/completions", body);
    assert_eq!(reply.status, 200, "{}", reply.json);
    reply.json
}

fn text(answer: &Value, choice: usize) -> &str {
    answer["choices"][choice]["text"].as_str().unwrap()
}

fn tokens(text: &str) -> Value {
    shared().post("/tokenize", json!({"content": text})).json["tokens"].clone()
}

#[test]
fn an_answer_has_openais_legacy_shape() {
    let answer = complete(json!({"prompt": "one two three"}));
    assert!(answer["id"].as_str().unwrap().starts_with("cmpl-"));
    assert_eq!(answer["object"], "text_completion");
    assert_eq!(answer["choices"][0]["logprobs"], Value::Null);
    assert_eq!(answer["usage"]["completion_tokens"], 6);
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
}

#[test]
fn prompts_in_all_forms_are_the_same_prompt() {
    let prompt = "one two three";
    let expected = complete(json!({"prompt": prompt}));
    for form in [
        json!([prompt]),
        tokens(prompt),
        json!([tokens(prompt)]),
        json!([[prompt]]),
        json!({"prompt_string": prompt}),
    ] {
        let answer = complete(json!({"prompt": form}));
        assert_eq!(text(&answer, 0), text(&expected, 0), "{form}");
        assert_eq!(answer["usage"]["prompt_tokens"], expected["usage"]["prompt_tokens"]);
    }
}

#[test]
fn several_prompts_and_choices_are_numbered_and_counted() {
    let alone = |prompt: &str| complete(json!({"prompt": prompt}));
    let (a, b) = (alone("one two three"), alone("The sky is"));
    let both = complete(json!({"prompt": ["one two three", "The sky is"], "n": 2}));
    let choices = both["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 4);
    for (i, choice) in choices.iter().enumerate() {
        assert_eq!(choice["index"], i);
    }
    // Texts may differ in near ties: other sequences share the batch. Counts may not.
    let prompts = |answer: &Value| answer["usage"]["prompt_tokens"].as_u64().unwrap();
    assert_eq!(prompts(&both), prompts(&a) + prompts(&b));
    assert_eq!(both["usage"]["completion_tokens"], 24);
}

#[test]
fn echo_with_log_probabilities_scores_the_prompt() {
    let prompt = "one two three";
    let answer = complete(json!({"prompt": prompt, "echo": true, "max_tokens": 0, "logprobs": 2}));
    assert_eq!(text(&answer, 0), prompt);
    let logprobs = &answer["choices"][0]["logprobs"];
    let n = answer["usage"]["prompt_tokens"].as_u64().unwrap() as usize;
    for column in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        assert_eq!(logprobs[column].as_array().unwrap().len(), n, "{column}");
    }
    assert_eq!(logprobs["token_logprobs"][0], Value::Null);
    assert!(logprobs["token_logprobs"][1].as_f64().unwrap() <= 0.0);
    assert_eq!(logprobs["text_offset"][0], 0);
    let joined: String =
        logprobs["tokens"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
    assert_eq!(joined, prompt);
}

#[test]
fn echo_goes_on_with_the_answer() {
    let prompt = "one two three";
    let plain = complete(json!({"prompt": prompt, "logprobs": 0}));
    let echo = complete(json!({"prompt": prompt, "logprobs": 0, "echo": true}));
    assert_eq!(text(&echo, 0), format!("{prompt}{}", text(&plain, 0)));
    let count = |answer: &Value, column: &str| {
        answer["choices"][0]["logprobs"][column].as_array().unwrap().len() as u64
    };
    let prompt_tokens = plain["usage"]["prompt_tokens"].as_u64().unwrap();
    assert_eq!(count(&plain, "tokens"), 6);
    assert_eq!(count(&echo, "tokens"), prompt_tokens + 6);
    let offsets = &echo["choices"][0]["logprobs"]["text_offset"];
    assert_eq!(offsets[prompt_tokens as usize], prompt.len());
    assert_eq!(plain["choices"][0]["logprobs"]["top_logprobs"][0], Value::Null);
}

#[test]
fn token_ids_outside_the_vocabulary_are_refused() {
    let server = shared();
    for (prompt, param) in [
        (json!([1, 99_999_999]), "prompt[1]"),
        (json!([[1], [-1]]), "prompt[1][0]"),
        (json!([1, "a", 1_u64 << 40]), "prompt[2]"),
    ] {
        let reply = server.post("/v1/completions", json!({"prompt": prompt}));
        assert_eq!(reply.status, 400);
        assert_eq!(reply.json["error"]["param"], param, "{}", reply.json);
    }
}

#[test]
fn an_empty_prompt_begins_with_bos_or_is_refused() {
    let server = shared();
    for prompt in [json!(""), json!([""]), json!([[]])] {
        let reply = server.post("/v1/completions", json!({"prompt": prompt, "max_tokens": 1}));
        match reply.status {
            200 => assert_eq!(reply.json["usage"]["prompt_tokens"], 1),
            status => assert_eq!((status, &reply.json["error"]["param"]), (400, &json!("prompt"))),
        }
    }
}
