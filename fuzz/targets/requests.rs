//! Request bodies: any bytes are read or refused, and what is read keeps its promises.
//!
//! The first byte chooses the endpoint, the rest is the body.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use strixhalo::config::Settings;
use strixhalo::protocol::llama_server::{DetokenizeRequest, TokenizeRequest};
use strixhalo::protocol::openai::{ChatBody, CompletionBody};
use strixhalo::protocol::{BodyError, FromJson, MAX_CHOICES, MAX_SEQUENCES, Options};

static SETTINGS: LazyLock<Settings> = LazyLock::new(Settings::default);

fuzz_target!(|data: &[u8]| {
    let Some((&endpoint, body)) = data.split_first() else { return };
    let result = match endpoint % 5 {
        0 => chat(body),
        1 => completion(body),
        2 => ChatBody::from_json(body)
            .and_then(|body| body.check_conversation(&SETTINGS))
            .map(|conversation| assert!(!conversation.messages.is_empty())),
        3 => TokenizeRequest::from_json(body).map(drop),
        _ => DetokenizeRequest::from_json(body).map(drop),
    };
    if let Err(error) = result {
        // A refusal is one short line, whatever it was about.
        assert!(!error.message.is_empty() && error.message.len() < 4096, "{}", error.message);
        assert!(std::str::from_utf8(body).is_ok() || error.code == "invalid_json");
    }
});

fn chat(body: &[u8]) -> Result<(), BodyError> {
    let call = ChatBody::from_json(body)?.check(&SETTINGS)?;
    assert!(!call.conversation.messages.is_empty());
    options(&call.options);
    Ok(())
}

fn completion(body: &[u8]) -> Result<(), BodyError> {
    let call = CompletionBody::from_json(body)?.check(&SETTINGS)?;
    assert!(!call.prompts.is_empty());
    assert!(call.prompts.len() * call.options.n as usize <= MAX_SEQUENCES);
    options(&call.options);
    Ok(())
}

/// What the engine relies on.
fn options(options: &Options) {
    assert!((1..=MAX_CHOICES).contains(&options.n));
    assert!(options.stop.iter().all(|stop| !stop.is_empty()));
    let p = &options.sampling.values;
    let numbers = [
        p.temperature,
        p.top_p,
        p.min_p,
        p.typical_p,
        p.top_n_sigma,
        p.xtc_probability,
        p.xtc_threshold,
        p.dynatemp_range,
        p.dynatemp_exponent,
        p.repeat_penalty,
        p.frequency_penalty,
        p.presence_penalty,
        p.dry_multiplier,
        p.dry_base,
        p.mirostat_tau,
        p.mirostat_eta,
    ];
    assert!(numbers.iter().all(|number| number.is_finite()), "{p:?}");
    assert!(options.logit_bias.iter().all(|(_, bias)| !bias.is_nan()));
    assert!(p.repeat_penalty > 0.0 && p.temperature >= 0.0);
}
