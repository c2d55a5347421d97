//! Anthropic's `/v1/messages` and `/v1/messages/count_tokens`.

use axum::extract::State;
use axum::response::Response;
use axum::{Extension, Json};
use http::HeaderMap;
use serde_json::{Value, json};

use super::body::JsonBody;
use crate::api::error::ApiError;
use crate::api::generation::{
    Task, chat_prompt, count_tokens as count, note_skipped_tools, off_the_reactor, relocated, start,
};
use crate::api::reply::{ReplyOptions, anthropic, respond};
use crate::api::state::AppState;
use crate::http::RequestLog;
use crate::protocol::anthropic::MessagesBody;

pub(in crate::api) async fn messages(
    State(state): State<AppState>,
    Extension(log): Extension<RequestLog>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<MessagesBody>,
) -> Result<Response, ApiError> {
    let call = body.check(&state.settings())?;
    let model = state.resolve(call.options.model.as_deref())?;
    log.model(model.name());
    note_skipped_tools(&log, &call.skipped_tools);
    let reply = ReplyOptions::new(&call.options, None);
    let dialect = anthropic::Anthropic::new(model.name(), log.id());
    let task =
        Task::new(&state, &headers, model.clone(), call.options, log).answering(&call.conversation);
    let work = start(state.clone(), task, move |model| {
        let prompt = chat_prompt(model, &call.conversation, None);
        Ok(vec![prompt.map_err(|error| relocated(error, &call.places, "messages"))?])
    });
    respond(dialect, reply, model.is_loading(), work).await
}

pub(in crate::api) async fn count_tokens(
    State(state): State<AppState>,
    Extension(log): Extension<RequestLog>,
    JsonBody(body): JsonBody<MessagesBody>,
) -> Result<Json<Value>, ApiError> {
    let served = state.resolve(body.model())?.clone();
    let (conversation, places) = body.check_conversation(&state.settings())?;
    let model = served.loaded(state.http()).await?;
    let tokens = off_the_reactor(log.body_bytes(), move || {
        count(&model, &conversation).map_err(|error| relocated(error, &places, "messages"))
    })
    .await?;
    Ok(Json(json!({"input_tokens": tokens})))
}
