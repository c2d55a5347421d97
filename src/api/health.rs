//! `/health`: whether the server answers requests yet.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::error::openai_error;
use super::{ApiError, AppState, LoadState};

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/health", get(health)).route("/v1/health", get(health))
}

/// 200 `{"status":"ok"}`, or 503 with llama-server's error and how far loading is.
async fn health(State(state): State<AppState>) -> Response {
    match state.load_state() {
        LoadState::Ready(_) => Json(json!({"status": "ok"})).into_response(),
        LoadState::Loading { progress } => {
            let message = "loading model".to_owned();
            // Two digits: the float's own would show noise.
            let progress = (f64::from(progress.clamp(0.0, 1.0)) * 100.0).round() / 100.0;
            unavailable(
                ApiError::unavailable(message, "loading"),
                json!({"status": "loading", "progress": progress}),
            )
        }
        LoadState::Failed(message) => {
            unavailable(ApiError::unavailable(message, "load_failed"), json!({"status": "failed"}))
        }
    }
}

fn unavailable(error: ApiError, status: Value) -> Response {
    let mut body = openai_error(&error.problem());
    if let (Value::Object(body), Value::Object(status)) = (&mut body, status) {
        body.extend(status);
    }
    let response = error.into_response();
    (response.status(), response.headers().clone(), Json(body)).into_response()
}
