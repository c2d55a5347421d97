//! What models of other kinds than the built-in one need: SentencePiece vocabularies, BOS tokens,
//! learned positions.

use std::process::Command;

use serde_json::{Value, json};

use crate::tiny::Tiny;

const TEMPLATE: &str =
    "{{ bos_token }}{% for m in messages %}[INST] {{ m.content }} [/INST]{% endfor %}";

fn llama_chat() -> Tiny {
    Tiny::llama().text("tokenizer.chat_template", TEMPLATE)
}

#[test]
fn a_prompt_from_apply_template_does_not_get_a_second_bos() {
    let server = llama_chat().serve(&[]);
    let messages = json!([{"role": "user", "content": "Hello"}]);
    let prompt =
        server.post("/apply-template", json!({"messages": messages})).json["prompt"].clone();
    assert_eq!(prompt, "[INST] Hello [/INST]");
    let chat = server.chat("Hello", json!({"max_tokens": 2}));
    let text = json!({"prompt": prompt, "max_tokens": 2, "temperature": 0});
    let text = server.post("/v1/completions", text);
    assert_eq!(chat.json["usage"]["prompt_tokens"], text.json["usage"]["prompt_tokens"]);
    assert_eq!(chat.json["choices"][0]["message"]["content"], text.json["choices"][0]["text"]);
}

#[test]
fn tokens_that_the_model_suppresses_are_never_generated() {
    let generated = |server: &crate::tiny::Served| -> Vec<i32> {
        let body = json!({
            "prompt": "Hello", "max_tokens": 8, "temperature": 0, "ignore_eos": true,
            "return_tokens": true,
        });
        let reply = server.post("/v1/completions", body);
        assert_eq!(reply.status, 200, "{}", reply.json);
        serde_json::from_value(reply.json["choices"][0]["tokens"].clone()).unwrap()
    };
    let free = generated(&Tiny::llama().serve(&[]));
    let suppressed = Tiny::llama().i32s("tokenizer.ggml.suppress_tokens", &free);
    let others = generated(&suppressed.serve(&[]));
    assert!(others.iter().all(|token| !free.contains(token)), "{others:?} of {free:?}");
}

#[test]
fn a_context_longer_than_the_learned_positions_is_cut_to_them() {
    // 512 tokens per slot are asked for.
    let server = Tiny::gpt2(100).serve(&["--cache-type-k", "f16", "--cache-type-v", "f16"]);
    let n_ctx = server.get("/props").json["default_generation_settings"]["n_ctx"].clone();
    assert_eq!(n_ctx, 100);
    let complete = |tokens: usize| {
        let prompt = "a".repeat(tokens);
        server.post("/v1/completions", json!({"prompt": prompt, "ignore_eos": true}))
    };
    let reply = complete(150);
    assert_eq!(reply.status, 400, "{}", reply.json);
    assert_eq!(reply.json["error"]["code"], "context_length_exceeded");
    let reply = complete(90);
    assert_eq!(reply.status, 200, "{}", reply.json);
    assert_eq!(reply.json["choices"][0]["finish_reason"], "length");
    assert_eq!(reply.json["usage"]["total_tokens"], 100);
}

#[test]
fn text_offsets_of_an_echoed_prompt_count_its_own_characters() {
    let server = Tiny::llama().serve(&[]);
    let body = json!({"prompt": "Hello a b", "max_tokens": 0, "echo": true, "logprobs": 1});
    let reply = server.post("/v1/completions", body);
    assert_eq!(reply.status, 200, "{}", reply.json);
    let choice = &reply.json["choices"][0];
    let text: Vec<char> = choice["text"].as_str().unwrap().chars().collect();
    let logprobs = &choice["logprobs"];
    let tokens = logprobs["tokens"].as_array().unwrap();
    let offsets = logprobs["text_offset"].as_array().unwrap();
    // The first token is BOS; the space before the second is not in the text.
    assert_eq!(offsets[..3], [0, 0, 1]);
    for (token, offset) in tokens.iter().zip(offsets).skip(2) {
        let token = token.as_str().unwrap();
        if !token.starts_with("bytes:") {
            let at = offset.as_u64().unwrap() as usize;
            assert!(text[at..].starts_with(&token.chars().collect::<Vec<_>>()), "{token} at {at}");
        }
    }
}

#[test]
fn text_offsets_of_generated_tokens_stay_within_the_text() {
    let server = Tiny::llama().serve(&[]);
    // Of the vocabulary: a control token, a byte that ends a character and one that begins one.
    for (id, text, offsets) in [
        (1, "", [0, 0, 0, 0]),
        (3 + 0x82, "\u{fffd}\u{fffd}\u{fffd}\u{fffd}", [0, 1, 2, 3]),
        (3 + 0xe2, "\u{fffd}\u{fffd}\u{fffd}\u{fffd}", [0, 0, 1, 2]),
    ] {
        let body = json!({"prompt": "Hello", "max_tokens": 4, "temperature": 0, "logprobs": 1,
                          "logit_bias": {id.to_string(): 100}});
        let reply = server.post("/v1/completions", body);
        assert_eq!(reply.status, 200, "{}", reply.json);
        let choice = &reply.json["choices"][0];
        assert_eq!(choice["text"], text, "{id}: {choice}");
        assert_eq!(choice["logprobs"]["text_offset"], json!(offsets), "{id}");
    }
}

#[test]
fn text_offsets_behind_a_prompt_of_broken_utf_8_begin_at_its_end() {
    let server = Tiny::llama().serve(&[]);
    let prompt = json!([3 + 0x82, 3 + 0xe2, 3 + 0x82]);
    let body = json!({"prompt": prompt, "max_tokens": 2, "temperature": 0, "echo": true,
                      "logprobs": 1, "logit_bias": {(3 + 0x61).to_string(): 100}});
    let reply = server.post("/v1/completions", body);
    assert_eq!(reply.status, 200, "{}", reply.json);
    let choice = &reply.json["choices"][0];
    assert_eq!(choice["text"], "\u{fffd}\u{fffd}aa", "{choice}");
    assert_eq!(choice["logprobs"]["text_offset"], json!([0, 1, 1, 2, 3]), "{choice}");
}

#[test]
fn a_models_own_sampling_values_stand_between_the_defaults_and_the_users() {
    let model = Tiny::llama()
        .f32("general.sampling.temp", 0.3)
        .u32("general.sampling.top_k", 7)
        .f32("general.sampling.top_p", 0.8)
        .f32("general.sampling.min_p", 5.0)
        .text("general.sampling.sequence", "top_k;temperature");
    let server = model.serve(&["--top-p", "0.5"]);
    let params = &server.get("/props").json["default_generation_settings"]["params"];
    let expected = [
        ("temperature", json!(0.3)),
        ("top_k", json!(7)),
        ("top_p", json!(0.5)),
        ("min_p", json!(0.01)),
        ("samplers", json!(["top_k", "temperature"])),
    ];
    for (name, value) in &expected {
        assert_eq!(&params[name], value, "{name}");
    }
    server.logged(|line| {
        line.contains("the model's file recommends")
            && line.contains("sampling.temperature = 0.3")
            && line.contains("sampling.top_k = 7")
            && !line.contains("top_p")
    });
    server.logged(|line| line.contains("general.sampling.min_p is not taken"));

    let file = model.file();
    let path = file.path().to_str().unwrap();
    let show = Command::new(env!("CARGO_BIN_EXE_strixhalo"))
        .args(["config", "show", "--json", "--top-p", "0.5", "--model", path])
        .env_clear()
        .output()
        .unwrap();
    let shown: Value = serde_json::from_slice(&show.stdout).unwrap();
    for (name, value) in &expected {
        assert_eq!(&shown[format!("sampling.{name}")]["value"], value, "{name}");
    }
    let temperature = &shown["sampling.temperature"];
    assert_eq!(temperature["origin"], "model");
    assert_eq!(temperature["source"], format!("{path} general.sampling.temp"));
    assert_eq!(shown["sampling.top_p"]["origin"], "flag");
}
