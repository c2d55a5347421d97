//! What there is, as Ollama tells it: `/api/version`, `/api/tags`, `/api/ps` and `/api/show`.

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{resolve, tagged, untagged};
use crate::api::endpoints::body::JsonBody;
use crate::api::endpoints::details::details;
use crate::api::error::ApiError;
use crate::api::model::{Described, LoadedModel};
use crate::api::state::AppState;
use crate::chat::output::Call;
use crate::engine::ModelFacts;
use crate::protocol::ollama::ShowBody;

/// The version of Ollama whose API this is: clients refuse older ones, and choose what they send.
const OLLAMA_VERSION: &str = "0.12.11";
/// When a model goes that stays: far away, and a date in every language.
const NEVER: &str = "2300-01-01T00:00:00Z";

pub(in crate::api) async fn version() -> Json<Value> {
    let server = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));
    Json(json!({"version": OLLAMA_VERSION, "server": server}))
}

/// All models, by their first names.
pub(in crate::api) async fn tags(State(state): State<AppState>) -> Json<Value> {
    let models: Vec<Value> = state
        .models()
        .described()
        .map(|served| Value::Object(listed(&state, served.name(), served.facts.as_ref())))
        .collect();
    Json(json!({"models": models}))
}

/// The models that are loaded.
pub(in crate::api) async fn running(State(state): State<AppState>) -> Json<Value> {
    let running = |served: Described<'_>| {
        let facts = served.facts.as_ref()?;
        let mut fields = listed(&state, served.name(), Some(facts));
        let on_gpu = facts.allocations.placement().gpu_layers > 0;
        fields.shift_remove("modified_at");
        fields.insert("expires_at".to_owned(), json!(NEVER));
        fields.insert("size_vram".to_owned(), json!(if on_gpu { facts.size } else { 0 }));
        fields.insert("context_length".to_owned(), json!(facts.n_ctx_slot));
        Some(Value::Object(fields))
    };
    let models: Vec<Value> = state.models().described().filter_map(running).collect();
    Json(json!({"models": models}))
}

/// One model, once it is loaded.
pub(in crate::api) async fn show(
    State(state): State<AppState>,
    JsonBody(body): JsonBody<ShowBody>,
) -> Result<Json<Value>, ApiError> {
    let beside = untagged(&state, body.model()).and_then(|name| state.models().find_beside(name));
    if let Some(served) = beside {
        let engine = served.loaded(state.http()).await?;
        let facts = engine.facts();
        let of = |key: &str| format!("{}.{key}", facts.architecture);
        let num_ctx = format!("num_ctx {}", facts.n_ctx_slot);
        return Ok(Json(json!({
            "modelfile": format!("FROM {}\nPARAMETER {num_ctx}\n", tagged(served.name())),
            "parameters": num_ctx,
            "template": "",
            "details": details(Some(facts)),
            "model_info": {
                "general.architecture": facts.architecture,
                "general.basename": facts.name,
                "general.parameter_count": facts.n_params,
                of("context_length"): facts.n_ctx_slot,
                of("embedding_length"): engine.dimensions(),
            },
            "capabilities": ["embedding"],
            "modified_at": started(&state),
        })));
    }
    let served = resolve(&state, body.model())?;
    let model = served.loaded(state.http()).await?;
    let facts = model.engine.facts();
    let sampling = &state.settings().sampling;
    let template = model.template.as_ref().ok();
    let architecture = &facts.architecture;
    let of = |key: &str| format!("{architecture}.{key}");
    // The context that a conversation has here, which is what clients want to know.
    let context = facts.n_ctx_slot.min(facts.n_ctx_train.max(1));
    let parameters = format!(
        "num_ctx {}\ntemperature {}\ntop_k {}\ntop_p {}\nmin_p {}",
        facts.n_ctx_slot, sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p
    );
    let modelfile: String = parameters.lines().map(|line| format!("PARAMETER {line}\n")).collect();
    Ok(Json(json!({
        "modelfile": format!("FROM {}\n{modelfile}", tagged(served.name())),
        "parameters": parameters,
        "template": template.map(|template| template.source()).unwrap_or_default(),
        "details": details(Some(facts)),
        "model_info": {
            "general.architecture": architecture,
            "general.basename": facts.name,
            "general.parameter_count": facts.n_params,
            of("context_length"): context,
            of("embedding_length"): facts.n_embd,
        },
        "capabilities": capabilities(&model),
        "modified_at": started(&state),
    })))
}

fn listed(state: &AppState, name: &str, facts: Option<&ModelFacts>) -> Map<String, Value> {
    let name = tagged(name);
    let listed = json!({
        "name": name,
        "model": name,
        "modified_at": started(state),
        "size": facts.map_or(0, |facts| facts.size),
        "digest": digest(&name, facts),
        "details": details(facts),
    });
    match listed {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// What tells a model from another: Ollama's clients shorten it and compare it. The file itself is
/// not read for it, which would take minutes.
fn digest(name: &str, facts: Option<&ModelFacts>) -> String {
    let mut hasher = Sha256::new();
    hasher.update(name);
    if let Some(facts) = facts {
        hasher.update(facts.size.to_le_bytes());
        hasher.update(facts.n_params.to_le_bytes());
        hasher.update(&facts.ftype);
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The process's start, as the time at which a model changed: its file may be older, what is served
/// is not.
fn started(state: &AppState) -> String {
    let seconds = i64::try_from(state.started()).unwrap_or(0);
    let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(&Rfc3339).unwrap_or_default()
}

fn capabilities(model: &LoadedModel) -> Vec<&'static str> {
    let mut capabilities = vec!["completion"];
    if let Ok(template) = &model.template {
        let call = template.format().map(|format| &format.call);
        if call.is_some_and(|call| !matches!(call, Call::None)) {
            capabilities.push("tools");
        }
        if template.can_disable_thinking() || matches!(call, Some(Call::None | Call::Harmony)) {
            capabilities.push("thinking");
        }
    }
    if model.engine.vocabulary().fim().is_some() {
        capabilities.push("insert");
    }
    capabilities
}
