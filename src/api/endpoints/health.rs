//! `/health`: whether the server answers requests yet.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::{Value, json};

use crate::api::error::ApiError;
use crate::api::model::{LoadState, ServedModel};
use crate::api::state::AppState;
use crate::http::RequestLog;

/// 200 `{"status":"ok"}` with what computes the first model, or 503 with llama-server's error and how far loading is.
pub(in crate::api) async fn health(
    State(state): State<AppState>,
    Extension(log): Extension<RequestLog>,
) -> Response {
    let unavailable = |message: String, code, status: Value| {
        let error = ApiError::unavailable(message, code);
        let mut body = state.http().error_body(log.route().as_deref(), &error.problem());
        if let (Value::Object(body), Value::Object(status)) = (&mut body, status) {
            body.extend(status);
        }
        let response = error.into_response();
        (response.status(), response.headers().clone(), Json(body)).into_response()
    };
    let mut states = state.models().iter().map(ServedModel::load_state);
    match states.find(|state| !matches!(state, LoadState::Ready(_))) {
        None | Some(LoadState::Ready(_)) => Json(ok(&state)).into_response(),
        Some(LoadState::Loading { progress }) => {
            let message = "loading model".to_owned();
            // Two digits: the float's own would show noise.
            let progress = (f64::from(progress.clamp(0.0, 1.0)) * 100.0).round() / 100.0;
            unavailable(message, "loading", json!({"status": "loading", "progress": progress}))
        }
        Some(LoadState::Testing) => unavailable(
            "testing the GPU".to_owned(),
            "loading",
            json!({"status": "testing", "progress": 0.0}),
        ),
        Some(LoadState::Failed(message)) => {
            unavailable(message, "load_failed", json!({"status": "failed"}))
        }
    }
}

/// A server that lost its GPU answers as well, only slowly: so this says what computes.
fn ok(state: &AppState) -> Value {
    let Some(model) = state.models().iter().find_map(|served| served.now().ok()) else {
        return json!({"status": "ok"});
    };
    let placed = model.engine.facts().allocations.placement();
    json!({
        "status": "ok",
        "backend": placed.backend(),
        "device": placed.devices.join(","),
        "gpu_layers": placed.gpu_layers,
        "layers": placed.layers,
    })
}
