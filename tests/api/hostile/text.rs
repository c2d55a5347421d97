use serde_json::json;

use super::Target;

/// As many bytes as a body may have, nearly.
const FLOOD: usize = 30 << 20;

fn flood(unit: &str, bytes: usize) -> String {
    unit.repeat(bytes / unit.len())
}

/// None of these has fewer tokens than a slot holds; tokenizing them whole would take minutes of
/// a core (the harness gives up after one).
#[test]
fn thirty_megabytes_of_anything_are_refused_before_they_are_all_tokenized() {
    let target = Target::start(&[]);
    for unit in ["a", " ", "\n", "=", "🦀", "\u{0}", "<|im_end|>", "漢", "e\u{301}", "x1"] {
        let body =
            json!({"prompt": flood(unit, FLOOD / json!(unit).to_string().len() * unit.len())});
        let reply = target.server.post("/v1/completions", body);
        assert_eq!(reply.status, 400, "{unit:?}");
        assert_eq!(reply.json["error"]["code"], "context_length_exceeded", "{unit:?}");
    }
    let chat = target.server.chat(&flood("a", FLOOD), json!({"stream": true}));
    assert_eq!(chat.json["error"]["code"], "context_length_exceeded");
    target.next_answer_is_right();
}

#[test]
fn a_flood_of_special_tokens_takes_no_longer_than_other_text() {
    let target = Target::start(&[]);
    let special = json!({"content": flood("<|im_end|>", 4 << 20)});
    let reply = target.server.post("/tokenize", special);
    let tokens = reply.json["tokens"].as_array().unwrap();
    assert_eq!(tokens.len(), (4 << 20) / 10);
    assert!(tokens.iter().all(|token| token == &tokens[0]));
    target.next_answer_is_right();
}

#[test]
fn texts_and_tokens_whose_answers_would_fill_the_memory_are_refused() {
    let target = Target::start(&[]);
    for (path, body) in [
        ("/tokenize", json!({"content": flood("a", 9 << 20)})),
        ("/tokenize", json!({"content": [flood("a", 5 << 20), flood("b", 5 << 20)]})),
        ("/detokenize", json!({"tokens": vec![1; 2_000_000]})),
        (
            "/v1/chat/completions",
            json!({"messages": [{"role": "user", "content": "a"}],
                "logit_bias": [[flood("a", 1 << 20), 1]]}),
        ),
    ] {
        assert_eq!(target.send(path, &body.to_string()), 400, "{path}");
    }
    // The largest that are taken.
    let pieces = json!({"content": flood("🦀", 1 << 20), "with_pieces": true});
    assert_eq!(target.send("/tokenize", &pieces.to_string()), 200);
    assert_eq!(target.send("/detokenize", &json!({"tokens": vec![1; 1 << 20]}).to_string()), 200);
    target.next_answer_is_right();
}

/// llama.cpp finds words with `std::regex` for most vocabularies but Qwen's and Llama's, and that
/// recurses for each character: 16,000 spaces were the end of the process.
#[test]
fn a_long_run_of_one_character_does_not_overflow_the_stack_of_a_regex_vocabulary() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("regex.gguf");
    let mut model = std::fs::read("assets/tiny-chat-q8_0.gguf").unwrap();
    // A name of equal length, so that nothing moves.
    let (from, to) = (b"tokenizer.ggml.pre\x08\0\0\0\x05\0\0\0\0\0\0\0qwen2", b"bloom");
    let at = model.windows(from.len()).position(|bytes| bytes == from).unwrap();
    model[at + from.len() - to.len()..at + from.len()].copy_from_slice(to);
    std::fs::write(&path, model).unwrap();
    let target = Target::start(&["--model", path.to_str().unwrap()]);
    for unit in ["a", " ", "=", "\n", "A", "漢", "9", "aA1 "] {
        let body = json!({"content": flood(unit, 300_000)});
        let reply = target.server.post("/tokenize", body);
        assert_eq!(reply.status, 200, "{unit:?}");
        let back = target.server.post("/detokenize", json!({"tokens": reply.json["tokens"]}));
        assert!(back.json["content"] == flood(unit, 300_000), "{unit:?}");
    }
    target.next_answer_is_right();
}
