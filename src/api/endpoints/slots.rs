//! `/slots`: what each slot is doing.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::sampling::sampling;
use crate::api::error::ApiError;
use crate::api::model::LoadState;
use crate::api::state::AppState;
use crate::engine::{SamplingParams, SlotSnapshot};

/// `?model=NAME` asks for one of several models.
pub(in crate::api) async fn slots(
    State(state): State<AppState>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, ApiError> {
    if !state.settings().server.slots {
        return Err(ApiError::NotImplemented(
            "/slots is switched off: set `server.slots = true` to use it".to_owned(),
        ));
    }
    let served = state.resolve(query.get("model").map(String::as_str))?;
    let (slots, n_ctx) = match served.load_state() {
        LoadState::Ready(model) => (model.engine.slots(), model.engine.facts().n_ctx_slot),
        // No slot is there before the model is.
        _ => (Vec::new(), 0),
    };
    if query.contains_key("fail_on_no_slot") && slots.iter().all(|s| s.processing) {
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

#[cfg(test)]
mod tests {
    use super::*;

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
