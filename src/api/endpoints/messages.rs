//! Anthropic's `/v1/messages` and `/v1/messages/count_tokens`.

use axum::extract::State;
use axum::response::Response;
use axum::{Extension, Json};
use http::HeaderMap;
use serde_json::{Value, json};

use super::body::JsonBody;
use crate::api::error::ApiError;
use crate::api::generation::{
    ChatAnswer, Task, chat_prompt, count_tokens as count, named_conversation, off_the_reactor,
    start,
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
    if !call.skipped_tools.is_empty() {
        let tools = call.skipped_tools.join(", ");
        tracing::warn!(request = log.id(), "tools that cannot run here are left out: {tools}");
    }
    let reply = ReplyOptions::new(&call.options, None);
    let dialect = anthropic::Anthropic::new(model.name(), log.id());
    let task = Task {
        conversation: named_conversation(&state, &headers, &call.options),
        model: model.clone(),
        options: call.options,
        log,
        logprobs: None,
        echo_logprobs: false,
        chat: Some(ChatAnswer::of(&call.conversation)),
    };
    let work = start(state.clone(), task, move |model| {
        Ok(vec![chat_prompt(model, &call.conversation, None)?])
    });
    respond(dialect, reply, model.is_loading(), work).await
}

pub(in crate::api) async fn count_tokens(
    State(state): State<AppState>,
    Extension(log): Extension<RequestLog>,
    JsonBody(body): JsonBody<MessagesBody>,
) -> Result<Json<Value>, ApiError> {
    let served = state.resolve(body.model())?.clone();
    let conversation = body.check_conversation(&state.settings())?;
    let model = served.loaded(state.http()).await?;
    let tokens = off_the_reactor(log.body_bytes(), move || count(&model, &conversation)).await?;
    Ok(Json(json!({"input_tokens": tokens})))
}
