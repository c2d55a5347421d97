//! `/props` and `/slots`: what the server is set to, and what it is doing.

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::{ApiError, AppState, LoadState};
use crate::engine::{ModelFacts, SamplingParams, SlotSnapshot};

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/props", get(props).post(change_props)).route("/slots", get(slots))
}

async fn props(State(state): State<AppState>) -> Json<Value> {
    let settings = state.settings();
    let defaults = SamplingParams::from(&settings.sampling);
    let mut params = sampling(&defaults);
    if let Value::Object(params) = &mut params {
        params.insert("n_predict".to_owned(), json!(settings.sampling.n_predict));
        params.insert("max_tokens".to_owned(), json!(settings.sampling.n_predict));
    }
    let model = match state.load_state() {
        LoadState::Ready(model) => Some(model),
        _ => None,
    };
    let facts = model.as_ref().map(|m| m.engine.facts());
    let parallel = facts.map_or(settings.context.parallel, |f| f.n_slots);
    Json(json!({
        "default_generation_settings": {"params": params, "n_ctx": facts.map(|f| f.n_ctx_slot)},
        "total_slots": parallel,
        "model_alias": state.model_name(),
        "model_path": facts.map_or_else(|| configured_path(&state), path),
        "model_ftype": facts.map(|f| &f.ftype),
        "modalities": {"vision": false, "video": false, "audio": false},
        "endpoint_slots": settings.server.slots,
        "endpoint_props": settings.server.props,
        "endpoint_metrics": settings.server.metrics,
        "chat_template": facts.and_then(|f| f.chat_template.as_deref()).unwrap_or_default(),
        "bos_token": facts.and_then(|f| f.bos_token.as_deref()).unwrap_or_default(),
        "eos_token": facts.and_then(|f| f.eos_token.as_deref()).unwrap_or_default(),
        "build_info": concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")),
        "is_sleeping": false,
    }))
}

fn path(facts: &ModelFacts) -> String {
    facts.path.as_deref().map_or_else(String::new, |p| p.display().to_string())
}

fn configured_path(state: &AppState) -> String {
    state.settings().model.path.as_deref().map_or_else(String::new, |p| p.display().to_string())
}

/// Changes nothing, as in llama-server, but answers clients that ask.
async fn change_props(State(state): State<AppState>) -> Result<Json<Value>, ApiError> {
    if state.settings().server.props {
        Ok(Json(json!({"success": true})))
    } else {
        Err(ApiError::NotImplemented(
            "POST /props is switched off: start the server with `--props` to use it".to_owned(),
        ))
    }
}

async fn slots(
    State(state): State<AppState>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    if !state.settings().server.slots {
        return Err(ApiError::NotImplemented(
            "/slots is switched off: set `server.slots = true` to use it".to_owned(),
        ));
    }
    let (slots, n_ctx) = match state.load_state() {
        LoadState::Ready(model) => (model.engine.slots(), model.engine.facts().n_ctx_slot),
        // No slot is there before the model is.
        _ => (Vec::new(), 0),
    };
    let must_be_free = query
        .iter()
        .flat_map(|query| query.split('&'))
        .any(|pair| pair.split('=').next() == Some("fail_on_no_slot"));
    if must_be_free && slots.iter().all(|s| s.processing) {
        return Err(ApiError::unavailable("no slot available", "no_slot"));
    }
    let slots: Vec<Value> = slots.iter().map(|s| slot(s, n_ctx)).collect();
    Ok(Json(slots).into_response())
}

fn slot(slot: &SlotSnapshot, n_ctx: u32) -> Value {
    json!({
        "id": slot.id,
        "n_ctx": n_ctx,
        "speculative": false,
        "is_processing": slot.processing,
        "state": match (slot.processing, slot.generating) {
            (false, _) => "idle",
            (true, false) => "prompt",
            (true, true) => "generating",
        },
        "id_task": slot.task.map_or(json!(-1), |task| json!(task)),
        "request_id": slot.request_id,
        "n_prompt_tokens": slot.prompt_tokens,
        "n_prompt_tokens_processed": slot.prompt_processed.saturating_sub(slot.prompt_cached),
        "n_prompt_tokens_cache": slot.prompt_cached,
        "n_tokens_cached": slot.cached_tokens,
        "params": slot.sampling.as_ref().map(|params| params_of(slot, params)),
        "next_token": [{
            "has_next_token": slot.processing && slot.remaining != Some(0),
            "has_new_line": slot.has_new_line,
            "n_remain": slot.remaining.map_or(-1, i64::from),
            "n_decoded": slot.decoded,
        }],
    })
}

/// The parameters of the request that a slot works on, or last worked on.
fn params_of(slot: &SlotSnapshot, params: &SamplingParams) -> Value {
    let mut value = sampling(params);
    if let Value::Object(fields) = &mut value {
        let most = slot.remaining.map_or(-1, |left| i64::from(left) + i64::from(slot.decoded));
        fields.insert("max_tokens".to_owned(), json!(most));
        fields.insert("n_predict".to_owned(), json!(most));
    }
    value
}

/// Sampling parameters under llama-server's names.
fn sampling(p: &SamplingParams) -> Value {
    let logit_bias: Vec<Value> =
        p.logit_bias.iter().map(|(token, bias)| json!({"token": token, "bias": bias})).collect();
    json!({
        "seed": p.seed.map_or(-1, i64::from),
        "temperature": short(p.temperature),
        "dynatemp_range": short(p.dynatemp_range),
        "dynatemp_exponent": short(p.dynatemp_exponent),
        "top_k": p.top_k,
        "top_p": short(p.top_p),
        "min_p": short(p.min_p),
        "top_n_sigma": short(p.top_n_sigma),
        "xtc_probability": short(p.xtc_probability),
        "xtc_threshold": short(p.xtc_threshold),
        "typical_p": short(p.typical_p),
        "repeat_last_n": p.repeat_last_n,
        "repeat_penalty": short(p.repeat_penalty),
        "presence_penalty": short(p.presence_penalty),
        "frequency_penalty": short(p.frequency_penalty),
        "dry_multiplier": short(p.dry_multiplier),
        "dry_base": short(p.dry_base),
        "dry_allowed_length": p.dry_allowed_length,
        "dry_penalty_last_n": p.dry_penalty_last_n,
        "dry_sequence_breakers": p.dry_sequence_breakers,
        "mirostat": p.mirostat,
        "mirostat_tau": short(p.mirostat_tau),
        "mirostat_eta": short(p.mirostat_eta),
        "min_keep": p.min_keep,
        "ignore_eos": p.ignore_eos,
        "logit_bias": logit_bias,
        "samplers": p.samplers,
    })
}

/// 0.95 rather than the 0.949999988079071 that a widened `f32` shows.
fn short(x: f32) -> Value {
    x.to_string().parse::<f64>().map_or(Value::Null, |x| json!(x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_show_the_digits_that_the_settings_have() {
        assert_eq!(short(0.95).to_string(), "0.95");
        assert_eq!(short(-1.0).to_string(), "-1.0");
        assert_eq!(short(f32::INFINITY), Value::Null);
    }

    #[test]
    fn a_slot_tells_computed_and_cached_prompt_tokens_apart() {
        let snapshot = SlotSnapshot {
            id: 1,
            processing: true,
            prompt_tokens: 100,
            prompt_processed: 70,
            prompt_cached: 30,
            remaining: None,
            ..SlotSnapshot::default()
        };
        let slot = slot(&snapshot, 4096);
        assert_eq!((&slot["state"], &slot["id_task"]), (&json!("prompt"), &json!(-1)));
        assert_eq!(slot["n_prompt_tokens_processed"], 40);
        assert_eq!(slot["n_prompt_tokens_cache"], 30);
        assert_eq!(slot["next_token"][0]["n_remain"], -1);
        assert_eq!(slot["next_token"][0]["has_next_token"], true);
    }
}
