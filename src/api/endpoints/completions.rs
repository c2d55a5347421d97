//! `/v1/completions`.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;

use super::body::JsonBody;
use crate::api::error::ApiError;
use crate::api::generation::{Task, named_conversation, start, text_prompt};
use crate::api::reply::{ReplyOptions, openai, respond};
use crate::api::state::AppState;
use crate::http::RequestLog;
use crate::protocol::openai::CompletionBody;

pub(in crate::api) async fn completions(
    State(state): State<AppState>,
    Extension(log): Extension<RequestLog>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<CompletionBody>,
) -> Result<Response, ApiError> {
    let call = body.check(&state.settings())?;
    let model = state.resolve(call.options.model.as_deref())?;
    log.model(model.name());
    let reply = ReplyOptions::new(&call.options, call.logprobs);
    let dialect = openai::Text::new(model.name(), reply);
    let task = Task {
        conversation: named_conversation(&state, &headers, &call.options),
        model: model.clone(),
        options: call.options,
        log,
        logprobs: call.logprobs,
        echo_logprobs: call.echo,
        chat: None,
    };
    let work = start(state.clone(), task, move |model| {
        let path = |i: usize| {
            if call.single { "prompt".to_owned() } else { format!("prompt[{i}]") }
        };
        let prompts = call.prompts.iter().enumerate();
        prompts.map(|(i, prompt)| text_prompt(model, prompt, &path(i), call.echo)).collect()
    });
    respond(dialect, reply, model.is_loading(), work).await
}
