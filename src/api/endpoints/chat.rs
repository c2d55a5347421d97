//! `/v1/chat/completions`.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;

use super::body::JsonBody;
use crate::api::error::ApiError;
use crate::api::generation::{Task, chat_prompt, start};
use crate::api::reply::{ReplyOptions, openai, respond};
use crate::api::state::AppState;
use crate::http::RequestLog;
use crate::protocol::openai::ChatBody;

pub(in crate::api) async fn chat(
    State(state): State<AppState>,
    Extension(log): Extension<RequestLog>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<ChatBody>,
) -> Result<Response, ApiError> {
    let call = body.check(&state.settings())?;
    let model = state.resolve(call.options.model.as_deref())?;
    log.model(model.name());
    let mut reply = ReplyOptions::new(&call.options, call.top_logprobs);
    reply.legacy_functions = call.legacy_functions;
    let dialect = openai::Chat::new(model.name(), reply);
    let task = Task::new(&state, &headers, model.clone(), call.options, log)
        .with_logprobs(call.top_logprobs)
        .answering(&call.conversation);
    let work = start(state.clone(), task, move |model| {
        Ok(vec![chat_prompt(model, &call.conversation, call.echo)?])
    });
    respond(dialect, reply, model.is_loading(), work).await
}
