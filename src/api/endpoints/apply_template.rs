//! `/apply-template`: the prompt that a chat would have.

use axum::extract::State;
use axum::{Extension, Json};
use serde::Serialize;

use super::body::JsonBody;
use crate::api::error::ApiError;
use crate::api::generation::{off_the_reactor, render};
use crate::api::state::AppState;
use crate::http::RequestLog;
use crate::protocol::openai::ChatBody;

#[derive(Debug, Serialize)]
pub(in crate::api) struct AppliedTemplate {
    prompt: String,
}

pub(in crate::api) async fn apply_template(
    State(state): State<AppState>,
    Extension(log): Extension<RequestLog>,
    JsonBody(body): JsonBody<ChatBody>,
) -> Result<Json<AppliedTemplate>, ApiError> {
    let served = state.resolve(body.model())?.clone();
    let conversation = body.check_conversation(&state.settings())?;
    let model = served.loaded(state.http()).await?;
    let rendered = off_the_reactor(log.body_bytes(), move || render(&model, &conversation)).await?;
    Ok(Json(AppliedTemplate { prompt: rendered.prompt }))
}
