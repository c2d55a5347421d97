//! Properties of every body: whatever arrives is read or refused, and nothing panics.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::openai::{ChatBody, CompletionBody};
use super::{FromJson, MAX_CHOICES};
use crate::config::Settings;

const FIELDS: [&str; 40] = [
    "messages",
    "prompt",
    "model",
    "stream",
    "stream_options",
    "n",
    "n_cmpl",
    "max_tokens",
    "max_completion_tokens",
    "n_predict",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "samplers",
    "seed",
    "stop",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "n_probs",
    "tools",
    "tool_choice",
    "response_format",
    "grammar",
    "json_schema",
    "reasoning_format",
    "reasoning_effort",
    "chat_template_kwargs",
    "continue_final_message",
    "add_generation_prompt",
    "echo",
    "best_of",
    "suffix",
    "id_slot",
    "sse_ping_interval",
    "t_max_predict_ms",
    "dry_sequence_breakers",
    "lora",
    "unknown",
];

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-3i64..200).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0.0..1.0).prop_map(|v: f64| Value::from(v)),
        ".{0,12}".prop_map(Value::from),
        prop_oneof![Just("user"), Just("assistant"), Just("text"), Just("none")]
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        let key = prop_oneof![
            ".{0,6}",
            prop_oneof![
                Just("role"),
                Just("content"),
                Just("type"),
                Just("text"),
                Just("function")
            ]
            .prop_map(str::to_owned),
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..5)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

fn body() -> impl Strategy<Value = Map<String, Value>> {
    let field = prop::sample::select(&FIELDS[..]).prop_map(str::to_owned);
    prop::collection::vec((field, value()), 0..6).prop_map(|pairs| pairs.into_iter().collect())
}

fn read_both(bytes: &[u8]) {
    let settings = Settings::default();
    if let Ok(call) = ChatBody::from_json(bytes).and_then(|b| b.check(&settings)) {
        assert!(!call.conversation.messages.is_empty());
        assert!((1..=MAX_CHOICES).contains(&call.options.n));
    }
    if let Ok(call) = CompletionBody::from_json(bytes).and_then(|b| b.check(&settings)) {
        assert!(!call.prompts.is_empty());
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read_both(&bytes);
    }

    #[test]
    fn any_json_is_read_or_refused(value in value()) {
        read_both(value.to_string().as_bytes());
    }

    #[test]
    fn any_fields_are_read_or_refused(mut body in body(), valid in any::<bool>()) {
        if valid {
            body.insert("messages".to_owned(), json!([{"role": "user", "content": "hi"}]));
            body.insert("prompt".to_owned(), json!("hi"));
        }
        read_both(Value::Object(body).to_string().as_bytes());
    }

    #[test]
    fn cut_bodies_are_refused(body in body(), share in 0.0..1.0f64) {
        let text = Value::Object(body).to_string();
        let end = (text.len() as f64 * share) as usize;
        prop_assert!(ChatBody::from_json(&text.as_bytes()[..end]).is_err());
        prop_assert!(CompletionBody::from_json(&text.as_bytes()[..end]).is_err());
    }
}
