//! `/props`: what the server is set to.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Query, State};
use serde_json::{Value, json};

use super::sampling::sampling;
use crate::api::error::ApiError;
use crate::api::state::AppState;
use crate::engine::{ModelFacts, SamplingParams};

/// `?model=NAME` asks for one of several models.
pub(in crate::api) async fn props(
    State(state): State<AppState>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<Value>, ApiError> {
    let served = state.resolve(query.get("model").map(String::as_str))?;
    let settings = state.settings();
    let defaults = SamplingParams::from(&settings.sampling);
    let mut params = sampling(&defaults);
    if let Value::Object(params) = &mut params {
        params.insert("n_predict".to_owned(), json!(settings.sampling.n_predict));
        params.insert("max_tokens".to_owned(), json!(settings.sampling.n_predict));
    }
    let model = served.now().ok();
    let facts = model.as_ref().map(|m| m.engine.facts());
    let parallel = facts.map_or(settings.context.parallel, |f| f.n_slots);
    Ok(Json(json!({
        "default_generation_settings": {"params": params, "n_ctx": facts.map(|f| f.n_ctx_slot)},
        "total_slots": parallel,
        "model_alias": served.name(),
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
        "compute": facts.map(compute),
        "memory": model.as_ref().map(|m| m.memory.to_json(&m.engine.facts().allocations)),
    })))
}

/// What computes the model.
fn compute(facts: &ModelFacts) -> Value {
    let placed = facts.allocations.placement();
    let named = |device: &String| {
        let gpu = facts.gpus.iter().find(|gpu| gpu.name == *device);
        json!({"name": device, "description": gpu.map(|gpu| &gpu.description)})
    };
    json!({
        "backend": placed.backend(),
        "devices": placed.devices.iter().map(named).collect::<Vec<_>>(),
        "gpu_layers": placed.gpu_layers,
        "layers": placed.layers,
    })
}

fn path(facts: &ModelFacts) -> String {
    facts.path.as_deref().map_or_else(String::new, |p| p.display().to_string())
}

fn configured_path(state: &AppState) -> String {
    state.settings().model.path.as_deref().map_or_else(String::new, |p| p.display().to_string())
}

/// Changes nothing, as in llama-server, but answers clients that ask.
pub(in crate::api) async fn change_props(
    State(state): State<AppState>,
) -> Result<Json<Value>, ApiError> {
    if state.settings().server.props {
        Ok(Json(json!({"success": true})))
    } else {
        Err(ApiError::NotImplemented(
            "POST /props is switched off: start the server with `--props` to use it".to_owned(),
        ))
    }
}
