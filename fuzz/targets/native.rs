//! llama-server's native forms: bodies are read or refused, and a stream read back by a strict
//! decoder is the whole answer of the same text.
//!
//! The first byte chooses: a body of `/completion`, one of `/infill`, or an answer. Of an answer the
//! next one says what is asked for; the rest is its text, in pieces parted by 0xFE.

#![no_main]

#[path = "../../tests/decoders/native.rs"]
mod decoder;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use strixhalo::config::Settings;
use strixhalo::protocol::llama_server::{
    End, InfillBody, NativeBody, NativeChunk, NativeWriter, Place, Progress, Said, Timings,
};
use strixhalo::protocol::openai::{ChatTokenLogprob, TokenLogprob};
use strixhalo::protocol::{BodyError, FromJson, MAX_SEQUENCES};

static SETTINGS: LazyLock<Settings> = LazyLock::new(Settings::default);
const PLACE: Place<'static> = Place { index: 0, prompt: "p", prompt_tokens: 3 };

fuzz_target!(|data: &[u8]| {
    let Some((&which, rest)) = data.split_first() else { return };
    let result = match which % 3 {
        0 => completion(rest),
        1 => InfillBody::from_json(rest).and_then(|body| body.check(&SETTINGS)).map(drop),
        _ => return answer(rest),
    };
    if let Err(error) = result {
        assert!(!error.message.is_empty() && error.message.len() < 4096, "{}", error.message);
        assert!(std::str::from_utf8(rest).is_ok() || error.code == "invalid_json");
    }
});

fn completion(body: &[u8]) -> Result<(), BodyError> {
    let call = NativeBody::from_json(body)?.check(&SETTINGS)?;
    assert!(!call.prompts.is_empty());
    assert!(call.prompts.len() * call.options.n as usize <= MAX_SEQUENCES);
    Ok(())
}

fn answer(data: &[u8]) {
    let Some((&asked, text)) = data.split_first() else { return };
    let probability = |token: i32| {
        let one = |id| TokenLogprob { id, token: "x".into(), bytes: vec![120], logprob: -0.5 };
        ChatTokenLogprob { token: one(token), top_logprobs: vec![one(token), one(1)] }
    };
    let probabilities = |tokens: &[i32]| -> Option<Vec<ChatTokenLogprob>> {
        (asked % 2 == 1).then(|| tokens.iter().map(|&token| probability(token)).collect())
    };
    let new = || {
        let mut writer = NativeWriter::new("m", json!({"seed": -1}));
        writer.return_tokens = true;
        writer.timings_per_token = asked / 2 % 2 == 1;
        writer
    };

    let mut writer = new();
    let mut chunks: Vec<Value> = Vec::new();
    let (mut whole, mut tokens) = (String::new(), Vec::new());
    for (i, piece) in text.split(|&byte| byte == 0xfe).enumerate() {
        let piece = String::from_utf8_lossy(piece);
        // Some texts come without tokens, some tokens without text.
        let own: Vec<i32> = (0..i as i32 % 3).collect();
        let timings = Timings { predicted_n: i as u32, ..Timings::default() };
        let said = Said { text: &piece, probabilities: probabilities(&own), tokens: own.clone() };
        if i % 5 == 4 {
            let progress = Progress { total: 9, cache: 1, processed: 2, time_ms: 3 };
            chunks.push(value(&writer.progress(PLACE, progress)));
        }
        if let Some(chunk) = writer.output(PLACE, said, timings) {
            chunks.push(value(&chunk));
        }
        whole.push_str(&piece);
        tokens.extend(own);
    }
    let end = End {
        slot: 1,
        seed: 7,
        stop_type: "word",
        stopping_word: "x".to_owned(),
        truncated: false,
        timings: Timings::default(),
    };
    chunks.push(writer.last(PLACE, &end));
    let said = Said { text: &whole, probabilities: probabilities(&tokens), tokens };
    let whole = decoder::whole(&new().whole(PLACE, said, &end)).unwrap();
    assert_eq!(decoder::stream(&chunks).unwrap(), whole);
}

fn value(chunk: &NativeChunk<'_>) -> Value {
    serde_json::to_value(chunk).unwrap()
}
