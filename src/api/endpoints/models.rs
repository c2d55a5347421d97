//! `/v1/models`: the models that are served, as OpenAI, llama-server and Ollama describe it.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::details::details;
use crate::api::error::ApiError;
use crate::api::state::AppState;
use crate::engine::ModelFacts;

/// Longest part of an unknown name that an error repeats.
const MAX_NAME_CHARS: usize = 200;

pub(in crate::api) async fn list(State(state): State<AppState>) -> Json<Value> {
    let (models, data): (Vec<Value>, Vec<Value>) = state
        .models()
        .iter()
        .map(|served| {
            let (name, loaded) = (served.name(), served.now().ok());
            let facts = loaded.as_ref().map(|model| model.engine.facts());
            (ollama_model(name, facts, "completion"), model(&state, served.names(), name, facts))
        })
        .chain(state.models().beside_iter().map(|served| {
            let (name, loaded) = (served.name(), served.now().ok());
            let facts = loaded.as_ref().map(|engine| engine.facts());
            (ollama_model(name, facts, "embedding"), model(&state, served.names(), name, facts))
        }))
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
    if let Some(served) = models.find(&id) {
        let loaded = served.now().ok();
        let facts = loaded.as_ref().map(|model| model.engine.facts());
        return Ok(Json(model(&state, served.names(), &id, facts)));
    }
    let served = models
        .find_beside(&id)
        .ok_or_else(|| models.unknown(&id.chars().take(MAX_NAME_CHARS).collect::<String>()))?;
    let loaded = served.now().ok();
    let facts = loaded.as_ref().map(|engine| engine.facts());
    Ok(Json(model(&state, served.names(), &id, facts)))
}

fn model(state: &AppState, names: &[String], id: &str, facts: Option<&ModelFacts>) -> Value {
    let aliases: Vec<&String> = names.iter().filter(|name| *name != id).collect();
    let meta = facts.map(|f| {
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
fn ollama_model(name: &str, facts: Option<&ModelFacts>, capability: &str) -> Value {
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
        "capabilities": [capability],
        "parameters": "",
        "details": details(facts),
    })
}
