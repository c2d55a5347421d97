//! `/v1/models`: the models that are served, as OpenAI, llama-server and Ollama describe it.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::details::details;
use crate::api::error::ApiError;
use crate::api::model::Described;
use crate::api::state::AppState;

/// Longest part of an unknown name that an error repeats.
const MAX_NAME_CHARS: usize = 200;

pub(in crate::api) async fn list(State(state): State<AppState>) -> Json<Value> {
    let (models, data): (Vec<Value>, Vec<Value>) = state
        .models()
        .described()
        .map(|served| (ollama_model(&served), model(&state, &served, served.name())))
        .unzip();
    Json(json!({"models": models, "object": "list", "data": data}))
}

/// Names may hold slashes, as those of Hugging Face do.
pub(in crate::api) async fn one(
    State(state): State<AppState>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    // A path that is not UTF-8 names no model.
    let Path(id) = id.unwrap_or_else(|_| Path(String::from('\u{fffd}')));
    let models = state.models();
    let served = models
        .described()
        .find(|served| served.names.contains(&id))
        .ok_or_else(|| models.unknown(&id.chars().take(MAX_NAME_CHARS).collect::<String>()))?;
    Ok(Json(model(&state, &served, &id)))
}

fn model(state: &AppState, served: &Described<'_>, id: &str) -> Value {
    let aliases: Vec<&String> = served.names.iter().filter(|name| *name != id).collect();
    let meta = served.facts.as_ref().map(|f| {
        json!({
            "architecture": f.architecture,
            "n_vocab": f.n_vocab,
            "n_ctx": f.n_ctx_slot,
            "n_ctx_train": f.n_ctx_train,
            "n_embd": f.n_embd,
            "n_params": f.n_params,
            "size": f.size,
            "ftype": f.ftype,
        })
    });
    json!({
        "id": id,
        "aliases": aliases,
        "tags": [],
        "object": "model",
        "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
        "created": state.started(),
        "owned_by": "llamacpp",
        "meta": meta,
    })
}

/// An element of `models[]`, which Ollama's clients read.
fn ollama_model(served: &Described<'_>) -> Value {
    let (name, facts) = (served.name(), served.facts.as_ref());
    json!({
        "name": name,
        "model": name,
        "modified_at": "",
        // Always empty, as llama-server's: a client should find one type. `data[].meta` has it.
        "size": "",
        "digest": "",
        "type": "model",
        "description": facts.and_then(|f| f.name.as_deref()).unwrap_or_default(),
        "tags": [""],
        "capabilities": [served.capability],
        "parameters": "",
        "details": details(facts),
    })
}
