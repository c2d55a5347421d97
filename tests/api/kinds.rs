//! What models of other kinds than the built-in one need: SentencePiece vocabularies, BOS tokens,
//! learned positions.

use serde_json::json;

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
fn a_model_without_a_bos_token_has_none_in_its_prompts() {
    let model = Tiny::gpt2(1024).without("tokenizer.ggml.bos_token_id");
    let cache = ["--cache-type-k", "f16", "--cache-type-v", "f16"];
    let server = model.text("tokenizer.chat_template", TEMPLATE).serve(&cache);
    let messages = json!([{"role": "user", "content": "Hello"}]);
    let reply = server.post("/apply-template", json!({"messages": messages}));
    assert_eq!(reply.json["prompt"], "[INST] Hello [/INST]");
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
