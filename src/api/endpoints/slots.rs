//! `/slots`: what each slot is doing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::sampling::sampling;
use crate::api::cache_names;
use crate::api::draft_names;
use crate::api::error::ApiError;
use crate::api::model::LoadState;
use crate::api::state::AppState;
use crate::engine::{CacheCounters, NoDraft, SamplingParams, SlotSnapshot};

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
    let model = match served.load_state() {
        LoadState::Ready(model) => Some(model),
        // No slot is there before the model is.
        _ => None,
    };
    let slots = model.as_ref().map(|model| model.engine.slots()).unwrap_or_default();
    if query.contains_key("fail_on_no_slot") && slots.iter().all(|s| s.processing) {
        return Err(ApiError::unavailable("no slot available", "no_slot"));
    }
    let slots: Vec<Value> = model
        .iter()
        .flat_map(|model| {
            let n_ctx = model.engine.facts().n_ctx_slot;
            let held = held(&model.engine.counters().cache);
            slots.iter().map(move |s| slot(s, n_ctx, &held))
        })
        .collect();
    Ok(Json(slots).into_response())
}

/// What the caches hold for all slots. Each slot repeats it, as it does `n_ctx`: clients expect a
/// list of slots and nothing else.
fn held(counters: &CacheCounters) -> Value {
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    json!({
        "memory_states": read(&counters.memory_states),
        "memory_bytes": read(&counters.memory_bytes),
        "checkpoint_bytes": read(&counters.checkpoint_bytes),
        "disk_files": read(&counters.disk_files),
        "disk_bytes": read(&counters.disk_bytes),
    })
}

fn slot(slot: &SlotSnapshot, n_ctx: u32, held: &Value) -> Value {
    json!({
        "id": slot.id,
        "n_ctx": n_ctx,
        "speculative": slot.no_draft != Some(NoDraft::Disabled) && slot.no_draft != Some(NoDraft::Memory),
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
        "cache": {
            "source": slot.cache_source.map(cache_names::source),
            "miss_reason": slot.cache_miss.map(cache_names::miss),
            "conversation": (slot.conversation != 0)
                .then(|| format!("{:016x}", slot.conversation)),
            "checkpoints": slot.checkpoints,
            "saved": slot.saved,
            "held": held,
        },
        "speculation": {
            "draft_n": slot.drafted,
            "draft_n_accepted": slot.accepted,
            "off_reason": slot.no_draft.map(draft_names::reason),
        },
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
    use crate::engine::{CacheMiss, CacheSource};

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
        let slot = slot(&snapshot, 4096, &Value::Null);
        assert_eq!((&slot["state"], &slot["id_task"]), (&json!("prompt"), &json!(-1)));
        assert_eq!(slot["n_prompt_tokens_processed"], 40);
        assert_eq!(slot["n_prompt_tokens_cache"], 30);
        assert_eq!(slot["next_token"][0]["n_remain"], -1);
        assert_eq!(slot["next_token"][0]["has_next_token"], true);
    }

    #[test]
    fn a_slot_tells_where_its_tokens_came_from_and_what_is_held() {
        let counters = CacheCounters::default();
        counters.memory_states.store(2, Ordering::Relaxed);
        counters.memory_bytes.store(3 << 30, Ordering::Relaxed);
        let mut snapshot = SlotSnapshot {
            cache_source: Some(CacheSource::Disk),
            cache_miss: Some(CacheMiss::Changed),
            conversation: 0xab,
            checkpoints: 4,
            saved: true,
            ..SlotSnapshot::default()
        };
        let cache =
            |snapshot: &SlotSnapshot| slot(snapshot, 4096, &held(&counters))["cache"].clone();
        let held = json!({"memory_states": 2, "memory_bytes": 3_221_225_472_u64,
            "checkpoint_bytes": 0, "disk_files": 0, "disk_bytes": 0});
        assert_eq!(
            cache(&snapshot),
            json!({"source": "disk", "miss_reason": "changed", "conversation": "00000000000000ab",
                "checkpoints": 4, "saved": true, "held": held})
        );
        snapshot = SlotSnapshot::default();
        assert_eq!(
            cache(&snapshot),
            json!({"source": null, "miss_reason": null, "conversation": null, "checkpoints": 0,
                "saved": false, "held": held})
        );
    }
}
