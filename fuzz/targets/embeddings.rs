//! Texts for vectors and documents to be ranked: bodies are read or refused in every dialect, and a
//! vector is the same as numbers and in base64.
//!
//! The first byte chooses: a body of `/v1/embeddings`, `/embedding`, `/api/embed`, `/api/embeddings`
//! or `/v1/rerank`, or the values of a vector. A rerank's body is also answered, with scores that
//! its bytes choose. Of a vector the next two bytes choose the cut and the norm.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use strixhalo::protocol::llama_server::EmbeddingCall;
use strixhalo::protocol::ollama::{EmbedCall, OldEmbeddingsCall};
use strixhalo::protocol::openai::{EmbeddingsAnswer, EmbeddingsCall, Encoding};
use strixhalo::protocol::rerank::{RerankAnswer, RerankCall, RerankForm};
use strixhalo::protocol::{BodyError, EmbeddingTexts, FromJson, MAX_SEQUENCES, normalize, shorten};

fuzz_target!(|data: &[u8]| {
    let Some((&which, rest)) = data.split_first() else { return };
    let result = match which % 6 {
        0 => openai(rest),
        1 => native(rest),
        2 => ollama(rest),
        3 => OldEmbeddingsCall::from_json(rest).map(|call| {
            assert!(call.prompt.iter().all(|texts| texts.path(0) == "prompt"));
            call.prompt.iter().for_each(check);
        }),
        4 => rerank(rest),
        _ => return vector(rest),
    };
    if let Err(error) = result {
        assert!(!error.message.is_empty() && error.message.len() < 4096, "{}", error.message);
        assert!(std::str::from_utf8(rest).is_ok() || error.code == "invalid_json");
    }
});

/// There is something to compute, and each text has a path of its own.
fn check(texts: &EmbeddingTexts) {
    let len = texts.texts.len();
    assert!(len > 0 && len <= MAX_SEQUENCES);
    assert!(len == 1 || texts.path(0) != texts.path(len - 1));
}

fn openai(body: &[u8]) -> Result<(), BodyError> {
    let call = EmbeddingsCall::from_json(body)?;
    check(&call.input);
    assert!(call.dimensions.is_none_or(|dimensions| dimensions > 0));
    Ok(())
}

fn native(body: &[u8]) -> Result<(), BodyError> {
    let call = EmbeddingCall::from_json(body)?;
    check(&call.content);
    let mut vector = [1.0, -2.0, 0.0];
    normalize(&mut vector, call.norm);
    assert!(vector.iter().all(|value| value.is_finite()), "{vector:?}");
    Ok(())
}

fn ollama(body: &[u8]) -> Result<(), BodyError> {
    let call = EmbedCall::from_json(body)?;
    call.input.iter().for_each(check);
    assert!(call.dimensions.is_none_or(|dimensions| dimensions > 0));
    Ok(())
}

fn rerank(body: &[u8]) -> Result<(), BodyError> {
    let call = RerankCall::from_json(body)?;
    let (documents, form) = (call.documents.clone(), call.form);
    let (top_n, shows) = (call.top_n, call.returns_documents);
    assert!(top_n > 0 && top_n <= documents.len() && documents.len() <= MAX_SEQUENCES);
    // Few enough values that some are equal.
    let score = |i: usize| f32::from(body[i % body.len()] % 8) - 4.0;
    let scores: Vec<f32> = (0..documents.len()).map(score).collect();
    let answer = json!(RerankAnswer::new(call, "m", &scores, 1));
    let (results, key) = match form {
        RerankForm::Jina => (&answer["results"], "relevance_score"),
        RerankForm::Tei => (&answer, "score"),
    };
    let results = results.as_array().expect("a list");
    assert_eq!(results.len(), top_n);
    let mut last: Option<(f64, u64)> = None;
    for result in results {
        let index = result["index"].as_u64().expect("an index");
        let value = result[key].as_f64().expect("a score");
        assert_eq!(value, f64::from(scores[index as usize]));
        // The best first, and equal ones in their order, so that none comes twice.
        assert!(last.is_none_or(|(v, i)| v > value || (v == value && i < index)), "{answer}");
        last = Some((value, index));
        let text = match form {
            RerankForm::Jina => &result["document"]["text"],
            RerankForm::Tei => &result["text"],
        };
        let shown = shows.then(|| documents[index as usize].as_str());
        assert_eq!(text.as_str(), shown);
    }
    Ok(())
}

fn vector(data: &[u8]) {
    let Some((&[cut, norm], data)) = data.split_first_chunk::<2>() else { return };
    let values = data.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
    let values: Vec<f32> = values.collect();
    // The engine gives no others, and none near the end of what a float can hold.
    if !values.iter().all(|value| value.is_finite() && value.abs() < 1e30) {
        return;
    }
    let mut normalized = values.clone();
    normalize(&mut normalized, i32::from(norm % 102) - 1);
    assert!(normalized.iter().all(|value| value.is_finite()), "{values:?} {norm}");
    let mut short = values;
    shorten(&mut short, (cut > 0).then_some(usize::from(cut)));
    let length = short.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
    assert!((length - 1.0).abs() < 1e-5 || short.iter().all(|&value| value == 0.0), "{length}");

    let answer = |encoding| {
        let answer = EmbeddingsAnswer::new("m", vec![short.clone()], encoding, 1);
        let mut answer = serde_json::to_value(answer).expect("JSON");
        answer["data"][0]["embedding"].take()
    };
    let numbers = answer(Encoding::Float);
    let numbers = numbers.as_array().expect("a list").iter();
    let numbers: Vec<f32> = numbers.map(|value| value.as_f64().expect("a number") as f32).collect();
    let Value::String(text) = answer(Encoding::Base64) else { panic!("no text") };
    let bytes = base64(&text);
    assert!(bytes.len() == 4 * numbers.len());
    for (bytes, number) in bytes.chunks_exact(4).zip(numbers) {
        assert_eq!(f32::from_le_bytes(bytes.try_into().unwrap()), number);
    }
}

/// Padded base64, as strictly as clients read it.
fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    assert_eq!(text.len() % 4, 0);
    let digits = text.trim_end_matches('=');
    assert!(text.len() - digits.len() <= 2);
    let mut bytes = Vec::new();
    for group in digits.as_bytes().chunks(4) {
        let digit = |byte| DIGITS.iter().position(|digit| digit == byte).expect("a digit");
        let bits =
            group.iter().fold(0, |bits, byte| bits << 6 | digit(byte)) << (6 * (4 - group.len()));
        bytes.extend((0..group.len() - 1).map(|i| (bits >> (16 - 8 * i)) as u8));
    }
    bytes
}
