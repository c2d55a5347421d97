//! The endpoints that tell about the server, and those that only use its vocabulary.

use serde_json::{Value, json};

use crate::harness::{Server, shared};

fn tokenize(server: &Server, body: Value) -> Value {
    let reply = server.post("/tokenize", body);
    assert_eq!(reply.status, 200, "{}", reply.json);
    reply.json["tokens"].clone()
}

#[test]
fn any_text_comes_back_from_its_tokens() {
    let server = shared();
    for text in ["", "Hello!", "  two\n\n lines\t", "naïve 😀 日本語 \u{1F469}\u{200D}\u{1F680}"]
    {
        let tokens = tokenize(&server, json!({"content": text}));
        let reply = server.post("/detokenize", json!({"tokens": tokens}));
        assert_eq!(reply.json["content"], text);
    }
}

#[test]
fn special_tokens_are_read_unless_asked_otherwise() {
    let server = shared();
    let read = tokenize(&server, json!({"content": "<|im_start|>"}));
    let spelt = tokenize(&server, json!({"content": "<|im_start|>", "parse_special": false}));
    assert_eq!(read.as_array().unwrap().len(), 1);
    assert!(spelt.as_array().unwrap().len() > 1);
}

#[test]
fn mixed_content_keeps_its_ids_and_pieces_show_bytes_that_are_no_text() {
    let server = shared();
    let tokens = tokenize(&server, json!({"content": ["Hello", 5, "!"]}));
    assert_eq!(tokens[1], 5);
    let pieces = tokenize(&server, json!({"content": "日", "with_pieces": true}));
    let bytes: Vec<u8> = pieces
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|token| match &token["piece"] {
            Value::String(text) => text.clone().into_bytes(),
            bytes => serde_json::from_value(bytes.clone()).unwrap(),
        })
        .collect();
    assert_eq!(bytes, "日".as_bytes());
}

#[test]
fn tokens_outside_the_vocabulary_are_400() {
    let server = shared();
    for (path, body, param) in [
        ("/detokenize", json!({"tokens": [1, -1]}), "tokens[1]"),
        ("/detokenize", json!({"tokens": [i32::MAX]}), "tokens[0]"),
        ("/tokenize", json!({"content": ["a", 1_000_000]}), "content[1]"),
    ] {
        let reply = server.post(path, body);
        assert_eq!((reply.status, &reply.json["error"]["param"]), (400, &json!(param)));
    }
    for (path, body) in [("/tokenize", json!({})), ("/detokenize", json!({"tokens": "a"}))] {
        assert_eq!(server.post(path, body).status, 400, "{path}");
    }
}

#[test]
fn the_model_is_described_under_all_of_its_names() {
    let server = Server::start(&["--alias", "org/tiny,tiny"]);
    let list = server.get("/v1/models").json;
    assert_eq!(list["data"][0]["id"], "org/tiny");
    assert_eq!(list["data"][0]["meta"]["n_ctx"], 512);
    assert_eq!(list["models"][0]["details"]["family"], "qwen3");
    assert_eq!(server.get("/v1/models/tiny").json["id"], "tiny");
    assert_eq!(server.get("/models/org/tiny").json["id"], "org/tiny");
    assert_eq!(server.get("/v1/models/other").json["error"]["code"], "model_not_found");
}

#[test]
fn health_and_props_name_what_computes_the_model() {
    let server = Server::start(&["--gpu", "off"]);
    let expected = json!({
        "status": "ok", "backend": "CPU", "device": "CPU", "gpu_layers": 0, "layers": 6,
    });
    assert_eq!(server.get("/health").json, expected);
    let compute = &server.get("/props").json["compute"];
    assert_eq!(compute["devices"][0]["name"], "CPU");
    assert_eq!((&compute["gpu_layers"], &compute["layers"]), (&json!(0), &json!(6)));
}

#[test]
fn props_show_planned_memory_with_parts_that_add_up_beside_what_was_allocated() {
    let server = Server::start(&["--gpu", "off", "--cache-type-k", "f16", "--cache-type-v", "f16"]);
    let memory = server.get("/props").json["memory"].clone();
    let planned = memory["planned"].as_object().unwrap();
    let parts = planned.iter().filter(|(key, _)| *key != "total");
    let sum: u64 = parts.map(|(_, bytes)| bytes.as_u64().unwrap()).sum();
    assert_eq!(planned["total"], sum, "{memory}");

    let budget = &memory["budget"];
    assert_eq!(budget["account"], "cpu", "{memory}");
    let of = |key: &str| budget["host"][key].as_u64().unwrap();
    let free = of("available") + of("service") - of("cma_free") - of("reserve");
    assert_eq!((of("free"), budget["bytes"].as_u64()), (free, Some(free)), "{memory}");
    assert_eq!(budget["beside"], 0, "{memory}");

    let buffers = memory["allocated"]["buffers"].as_array().unwrap();
    let allocated = |part: &str| -> f64 {
        let of_part = buffers.iter().filter(|buffer| buffer["part"] == part);
        of_part.filter_map(|buffer| buffer["bytes"].as_f64()).sum()
    };
    // llama.cpp tells a hundredth of a MiB.
    assert!((allocated("kv") - planned["kv"].as_f64().unwrap()).abs() < 11_000.0, "{memory}");
    assert!(allocated("weights") > 0.9 * planned["weights"].as_f64().unwrap(), "{memory}");
    assert!(allocated("compute") > 0.0, "{memory}");
    let series = "strixhalo_model_memory_planned_bytes{model=\"strixhalo-demo\",part=\"kv\"}";
    assert_eq!(server.metric(series), planned["kv"].as_f64().unwrap());
}

#[test]
fn props_tell_slots_template_and_defaults() {
    let props = shared().get("/props").json;
    assert_eq!(props["total_slots"], 4);
    assert_eq!(props["default_generation_settings"]["n_ctx"], 512);
    assert_eq!(props["default_generation_settings"]["params"]["min_p"], 0.01);
    assert!(props["chat_template"].as_str().unwrap().contains("<|im_start|>"));
    assert_eq!(props["eos_token"], "<|im_end|>");
    assert_eq!(props["modalities"]["vision"], false);
}

#[test]
fn counters_and_slots_show_what_was_computed() {
    let server = Server::start(&[]);
    assert_eq!(server.metric("llamacpp:tokens_predicted_total"), 0.0);
    let usage = server.chat("Hello!", json!({"max_tokens": 5, "ignore_eos": true})).json;
    let usage = &usage["usage"];
    let predicted = server.metric("llamacpp:tokens_predicted_total");
    assert_eq!(usage["completion_tokens"], 5);
    assert_eq!(predicted, 5.0);
    let read = server.metric("llamacpp:prompt_tokens_total");
    assert_eq!(usage["prompt_tokens"].as_f64(), Some(read));
    assert!(server.metric("llamacpp:predicted_tokens_seconds") > 0.0);
    assert!(server.metric("llamacpp:n_decode_total") >= 5.0);
    assert_eq!(server.metric("llamacpp:requests_processing"), 0.0);

    let slots = server.get("/slots?fail_on_no_slot=1");
    assert_eq!(slots.status, 200);
    let used = |slot: &&Value| slot["n_prompt_tokens"] == usage["prompt_tokens"];
    let slot = slots.json.as_array().unwrap().iter().find(used).unwrap().clone();
    assert_eq!(slot["is_processing"], false);
    assert_eq!(slot["next_token"][0]["n_decoded"], 5);
    assert_eq!(slot["params"]["temperature"], 0.0);
    assert_eq!(slot["params"]["max_tokens"], 5);
    assert_eq!(slot["n_ctx"], 512);
    assert_eq!((&slot["state"], &slot["id_task"]), (&json!("idle"), &json!(1)));
    assert_eq!(slot["request_id"].as_str().unwrap().len(), 32);
    assert!(slot["next_token"][0]["has_new_line"].is_boolean());
}

#[test]
fn slots_say_before_the_first_request_whether_drafts_are_made() {
    for (flags, drafts) in [(&[][..], true), (&["--speculation", "off"], false)] {
        let slot = Server::start(flags).get("/slots").json[0].clone();
        assert_eq!(slot["speculative"], drafts);
        let reason = if drafts { json!(null) } else { json!("disabled") };
        assert_eq!(slot["speculation"]["off_reason"], reason);
    }
}
