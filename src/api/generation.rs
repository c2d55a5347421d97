//! The endpoints that generate, and the one that shows what they would read.

use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use axum::{Extension, Json, Router};
use serde::Serialize;

use super::blocking::off_the_reactor;
use super::extract::JsonBody;
use super::generate::{Reply, Shape, respond, start};
use super::prompt::{chat_prompt, render, text_prompt};
use super::{ApiError, AppState};
use crate::http::RequestLog;
use crate::protocol::openai::{ChatBody, CompletionBody};

/// The routes, without `server.api_prefix`. `/completions` is llama-server's native form and
/// not among them.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/chat/completions", post(chat))
        .route("/v1/completions", post(completions))
        .route("/apply-template", post(apply_template))
}

async fn chat(
    State(state): State<AppState>,
    Extension(log): Extension<RequestLog>,
    JsonBody(body): JsonBody<ChatBody>,
) -> Result<Response, ApiError> {
    let call = body.check(&state.settings())?;
    check_model(&state, call.options.model.as_deref())?;
    log.model(state.model_name());
    let reply = Reply::new(Shape::Chat, &state, &call.options, call.top_logprobs);
    let work = start(state.clone(), call.options, log, call.top_logprobs, false, move |model| {
        Ok(vec![chat_prompt(model, &call.conversation, call.echo)?])
    });
    respond(&state, reply, work).await
}

async fn completions(
    State(state): State<AppState>,
    Extension(log): Extension<RequestLog>,
    JsonBody(body): JsonBody<CompletionBody>,
) -> Result<Response, ApiError> {
    let call = body.check(&state.settings())?;
    check_model(&state, call.options.model.as_deref())?;
    log.model(state.model_name());
    let reply = Reply::new(Shape::Text, &state, &call.options, call.logprobs);
    let work = start(state.clone(), call.options, log, call.logprobs, call.echo, move |model| {
        let path = |i: usize| {
            if call.single { "prompt".to_owned() } else { format!("prompt[{i}]") }
        };
        let prompts = call.prompts.iter().enumerate();
        prompts.map(|(i, prompt)| text_prompt(model, prompt, &path(i), call.echo)).collect()
    });
    respond(&state, reply, work).await
}

#[derive(Debug, Serialize)]
struct AppliedTemplate {
    prompt: String,
}

async fn apply_template(
    State(state): State<AppState>,
    Extension(log): Extension<RequestLog>,
    JsonBody(body): JsonBody<ChatBody>,
) -> Result<Json<AppliedTemplate>, ApiError> {
    let conversation = body.check_conversation(&state.settings())?;
    let model = state.model().await?;
    let rendered = off_the_reactor(log.body_bytes(), move || render(&model, &conversation)).await?;
    Ok(Json(AppliedTemplate { prompt: rendered.prompt }))
}

/// Another model's name is an error only if the settings say so.
fn check_model(state: &AppState, asked: Option<&str>) -> Result<(), ApiError> {
    match asked {
        Some(asked)
            if state.settings().server.strict_model_names
                && !state.model_names().iter().any(|name| name == asked) =>
        {
            Err(ApiError::NoModel {
                asked: asked.to_owned(),
                served: state.model_names().join(", "),
            })
        }
        _ => Ok(()),
    }
}
