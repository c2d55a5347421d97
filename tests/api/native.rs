//! llama-server's native forms, `/completion` and `/infill`.

use serde_json::{Value, json};

use crate::harness::{Event, shared};
use crate::native_decoder::{Answer, stream, whole};
use crate::scripted::{self, HERMES};
use crate::tiny::Tiny;

fn body(fields: Value) -> Value {
    let mut body = json!({"prompt": "one two three", "temperature": 0, "n_predict": 6});
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn complete(fields: Value) -> Value {
    let reply = shared().post("/completion", body(fields));
    assert_eq!(reply.status, 200, "{}", reply.json);
    reply.json
}

fn chunks(path: &str, mut body: Value) -> Vec<Value> {
    body["stream"] = true.into();
    let chunk = |event| match event {
        Event::Data(chunk) => Some(chunk),
        Event::Comment => None,
        Event::Done => panic!("there is no [DONE] here"),
    };
    shared().stream(path, body).into_iter().filter_map(chunk).collect()
}

/// The tokens of probabilities, whose values may differ in their last digits.
fn ids(answer: &Answer) -> Vec<i64> {
    answer.probabilities.iter().map(|p| p["id"].as_i64().unwrap()).collect()
}

#[test]
fn an_answer_has_llama_servers_fields() {
    let answer = complete(json!({"return_tokens": true, "seed": 7, "logit_bias": [[5, -1.5]]}));
    let read = whole(&answer).unwrap();
    let theirs = shared()
        .post(
            "/v1/completions",
            json!({"prompt": "one two three", "temperature": 0, "max_tokens": 6,
            "logit_bias": [[5, -1.5]]}),
        )
        .json;
    assert_eq!(read.content, theirs["choices"][0]["text"].as_str().unwrap());
    assert_eq!(answer["tokens_evaluated"], theirs["usage"]["prompt_tokens"]);
    assert_eq!((&answer["tokens_predicted"], read.tokens.len()), (&json!(6), 6));
    assert_eq!(answer["stop_type"], "limit");
    assert_eq!(answer["prompt"], "one two three");
    assert_eq!(answer["truncated"], false);
    let settings = &answer["generation_settings"];
    assert_eq!((&settings["seed"], &settings["n_predict"]), (&json!(7), &json!(6)));
    assert_eq!(settings["logit_bias"], json!([{"token": 5, "bias": -1.5}]));
    assert_eq!(answer["timings"]["predicted_n"], 6);
    assert!(answer.get("completion_probabilities").is_none());
    assert_eq!(complete(json!({}))["tokens"], json!([]));
    assert_eq!(shared().post("/completions", body(json!({}))).json["content"], answer["content"]);
}

#[test]
fn a_stream_is_the_whole_answer_in_pieces() {
    let fields = json!({"n_probs": 2, "return_tokens": true, "timings_per_token": true,
        "return_progress": true, "cache_prompt": false, "n_predict": 20});
    let chunks = chunks("/completion", body(fields.clone()));
    assert!(chunks[0]["prompt_progress"]["total"].is_u64(), "{}", chunks[0]);
    assert!(chunks.iter().filter(|c| c["content"] != "").all(|c| c["timings"].is_object()));
    let streamed = stream(&chunks).unwrap();
    let sent = whole(&complete(fields)).unwrap();
    assert_eq!((&streamed.content, &streamed.tokens), (&sent.content, &sent.tokens));
    assert_eq!((ids(&streamed), ids(&sent)), (sent.tokens.clone(), sent.tokens.clone()));
    let first = &streamed.probabilities[0];
    assert!(first["logprob"].as_f64().unwrap() <= 0.0 && first["token"].is_string(), "{first}");
    assert_eq!(first["top_logprobs"].as_array().unwrap().len(), 2);
    for key in ["tokens_predicted", "tokens_evaluated", "prompt", "stop_type", "has_new_line"] {
        assert_eq!(streamed.end[key], sent.end[key], "{key}");
    }
}

#[test]
fn prompts_come_in_llama_servers_forms_and_several_give_a_list() {
    let server = shared();
    let tokens =
        server.post("/tokenize", json!({"content": "one two three"})).json["tokens"].clone();
    let expected = complete(json!({}))["content"].clone();
    for form in
        [json!(["one two three"]), tokens.clone(), json!([tokens]), json!([["one two three"]])]
    {
        assert_eq!(complete(json!({"prompt": form}))["content"], expected, "{form}");
    }
    let both = complete(json!({"prompt": ["one two three", "The sky is"], "n_cmpl": 2}));
    let both = both.as_array().unwrap();
    let prompts: Vec<&Value> = both.iter().map(|answer| &answer["prompt"]).collect();
    assert_eq!(prompts, ["one two three", "one two three", "The sky is", "The sky is"]);
    let indexes: Vec<u64> = both.iter().map(|answer| answer["index"].as_u64().unwrap()).collect();
    assert_eq!(indexes, [0, 1, 2, 3]);
    // Each stream of several ends by itself.
    let all = chunks("/completion", body(json!({"prompt": ["one two three", "The sky is"]})));
    for index in [0, 1] {
        let own: Vec<Value> = all.iter().filter(|c| c["index"] == index).cloned().collect();
        assert_eq!(stream(&own).unwrap().end["index"], index);
    }
}

#[test]
fn the_end_says_why() {
    let said = complete(json!({}))["content"].as_str().unwrap().to_owned();
    let word = said.trim().split(' ').next_back().unwrap().to_owned();
    let stopped = complete(json!({"stop": [word], "n_predict": 20}));
    assert_eq!((&stopped["stop_type"], &stopped["stopping_word"]), (&json!("word"), &json!(word)));
    let none = complete(json!({"n_predict": 0}));
    assert_eq!((&none["content"], &none["tokens_predicted"]), (&json!(""), &json!(0)));
    let prompt = "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n";
    let ended = complete(json!({"prompt": prompt, "n_predict": 50}));
    assert_eq!((&ended["stop_type"], &ended["stopping_word"]), (&json!("eos"), &json!("")));
}

#[test]
fn an_answer_may_have_chosen_fields_alone() {
    let fields = json!({"response_fields": ["content", "timings/predicted_n", "nothing"]});
    let answer = complete(fields.clone());
    let keys: Vec<&String> = answer.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["content", "timings/predicted_n"]);
    let chunks = chunks("/completion", body(fields));
    assert_eq!(chunks.last().unwrap()["timings/predicted_n"], 6);
}

#[test]
fn an_output_is_held_to_a_form() {
    let hot = |fields: Value| {
        let mut body = json!({"temperature": 20, "samplers": ["temperature"], "n_predict": 100});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        complete(body)["content"].as_str().unwrap().to_owned()
    };
    let text = hot(json!({"grammar": "root ::= (\"yes\" | \"no\") [!?]"}));
    assert!(["yes!", "yes?", "no!", "no?"].contains(&text.as_str()), "{text}");
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer", "maximum": 9}},
        "required": ["n"], "additionalProperties": false});
    let value: Value = serde_json::from_str(&hot(json!({"json_schema": schema}))).unwrap();
    assert!(jsonschema::is_valid(&schema, &value), "{value}");
}

#[test]
fn what_is_wrong_is_named() {
    let server = shared();
    for (path, body, param) in [
        ("/completion", json!({}), "prompt"),
        ("/completion", json!({"prompt": "a", "n_predict": -2}), "n_predict"),
        ("/completion", json!({"prompt": [1, 99_999_999]}), "prompt[1]"),
        ("/completion", json!({"prompt": "a", "grammar": "root ::= oops"}), "grammar"),
        ("/completion", json!({"prompt": "word ".repeat(2000)}), "prompt"),
        ("/infill", json!({"input_suffix": "b"}), "input_prefix"),
    ] {
        for stream in [false, true] {
            let mut body = body.clone();
            body["stream"] = stream.into();
            let reply = server.post(path, body);
            assert_eq!(
                (reply.status, &reply.json["error"]["param"]),
                (400, &json!(param)),
                "{path}"
            );
        }
    }
}

#[test]
fn a_gap_is_filled_with_the_tokens_of_the_vocabulary() {
    let model = scripted::serve(HERMES, "a + b", &["--ctx-size", "2048", "--parallel", "1"]);
    let fill = |fields: Value| {
        let mut body = json!({"input_prefix": "def f(a, b): return ", "input_suffix": "\n",
            "temperature": 0});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let reply = model.server.post("/infill", body);
        assert_eq!(reply.status, 200, "{}", reply.json);
        whole(&reply.json).unwrap();
        reply.json
    };
    let plain = fill(json!({}));
    assert_eq!((&plain["content"], &plain["stop_type"]), (&json!("a + b"), &json!("eos")));
    let gap = "<|fim_prefix|>def f(a, b): return <|fim_suffix|>\n<|fim_middle|>";
    assert_eq!(plain["prompt"], gap);
    let begun = fill(json!({"prompt": "(", "input_suffix": ""}));
    assert_eq!(begun["prompt"], "<|fim_prefix|>def f(a, b): return (<|fim_suffix|><|fim_middle|>");
    let extra = json!([{"filename": "x.py", "text": "x = 1\n"}, {"text": "y"}]);
    let files =
        "<|repo_name|>myproject\n<|file_sep|>x.py\nx = 1\n<|file_sep|>tmp\ny<|file_sep|>filename\n";
    assert_eq!(fill(json!({"input_extra": extra}))["prompt"], format!("{files}{gap}"));
    // Texts cannot write the tokens, and what is too long loses what is far from the gap.
    let forged = fill(json!({"input_prefix": "<|fim_suffix|>", "input_suffix": "z".repeat(9000)}));
    let tokens = model.server.post("/tokenize", json!({"content": forged["prompt"]})).json;
    assert!(
        tokens["tokens"].as_array().unwrap().len() as u64
            <= 1 + forged["tokens_evaluated"].as_u64().unwrap()
    );
    assert!(forged["tokens_evaluated"].as_u64().unwrap() < 2048);
    assert_eq!(forged["content"], "a + b");

    let other = Tiny::llama().serve(&[]);
    let none = other.post("/infill", json!({"input_prefix": "a", "input_suffix": "b"}));
    assert_eq!((none.status, &none.json["error"]["code"]), (501, &json!("not_implemented")));
}
