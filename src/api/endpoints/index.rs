//! `/`: what this server is, and where its endpoints are.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::{HeaderMap, header};
use serde_json::json;

use crate::api::state::AppState;

/// Paths that the index names, with the prefix.
#[derive(Debug, Clone)]
pub(in crate::api) struct ListedPaths(pub(in crate::api) Vec<String>);

/// What some of Ollama's clients compare the text with.
const OLLAMA_IS_RUNNING: &str = "Ollama is running";

/// JSON; a text for clients that ask for one, which those of Ollama do if they look at it at all.
pub(in crate::api) async fn index(
    State(state): State<AppState>,
    headers: HeaderMap,
    Extension(ListedPaths(endpoints)): Extension<ListedPaths>,
) -> Response {
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let wants_text = accepts.is_some_and(|types| types.trim_start().starts_with("text/plain"));
    if wants_text && state.settings().server.ollama {
        return OLLAMA_IS_RUNNING.into_response();
    }
    Json(json!({
        "name": env!("CARGO_PKG_NAME"),
        "version": env!("CARGO_PKG_VERSION"),
        "endpoints": endpoints,
    }))
    .into_response()
}
