//! `/api/chat`.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;

use super::{dialect, load, note_context, resolve};
use crate::api::endpoints::body::JsonBody;
use crate::api::error::ApiError;
use crate::api::generation::{Task, chat_prompt, start};
use crate::api::reply::respond;
use crate::api::state::AppState;
use crate::http::RequestLog;
use crate::protocol::ollama::{Form, OllamaChatBody};

pub(in crate::api) async fn chat(
    State(state): State<AppState>,
    Extension(log): Extension<RequestLog>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<OllamaChatBody>,
) -> Result<Response, ApiError> {
    let call = body.check(&state.settings())?;
    let asked = call.options;
    let model = resolve(&state, asked.options.model.as_deref())?.clone();
    log.model(model.name());
    let Some(conversation) = call.conversation else {
        return load(&state, &model, Form::Chat, asked.options.stream).await;
    };
    note_context(&model, &asked);
    let (dialect, reply, loaded) = dialect(Form::Chat, &model, &asked, &log);
    let loading = model.is_loading();
    let began = log.start();
    let task = Task::new(&state, &headers, model, asked.options, log)
        .with_logprobs(asked.top_logprobs)
        .answering(&conversation);
    let work = start(state.clone(), task, move |model| {
        loaded.get_or_init(|| began.elapsed());
        Ok(vec![chat_prompt(model, &conversation, None)?])
    });
    respond(dialect, reply, loading, work).await
}
