//! `/api/generate`.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;

use super::{dialect, load, note_context, resolve};
use crate::api::endpoints::body::JsonBody;
use crate::api::error::ApiError;
use crate::api::generation::{Task, chat_prompt, infill_prompt, relocated, start, text_prompt};
use crate::api::reply::respond;
use crate::api::state::AppState;
use crate::http::RequestLog;
use crate::protocol::PromptPiece;
use crate::protocol::ollama::{Form, OllamaGenerateBody, OllamaPrompt};

pub(in crate::api) async fn generate(
    State(state): State<AppState>,
    Extension(log): Extension<RequestLog>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<OllamaGenerateBody>,
) -> Result<Response, ApiError> {
    let settings = state.settings();
    let call = body.check(&settings)?;
    let (asked, prompt) = (call.options, call.prompt);
    let model = resolve(&state, asked.options.model.as_deref())?.clone();
    log.model(model.name());
    if matches!(prompt, OllamaPrompt::Nothing) {
        return load(&state, &model, Form::Generate, asked.options.stream).await;
    }
    note_context(&model, &asked);
    let (dialect, reply, loaded) = dialect(Form::Generate, &model, &asked, &log);
    let loading = model.is_loading();
    let began = log.start();
    let (batch, max_tokens) = (settings.context.batch, asked.options.max_tokens);
    let task =
        Task::new(&state, &headers, model, asked.options, log).with_logprobs(asked.top_logprobs);
    let task = match &prompt {
        OllamaPrompt::Question(question) => task.answering(question),
        OllamaPrompt::Nothing | OllamaPrompt::Text(_) | OllamaPrompt::Gap(_) => task,
    };
    let work = start(state.clone(), task, move |model| {
        loaded.get_or_init(|| began.elapsed());
        let prompt = match prompt {
            OllamaPrompt::Question(question) => {
                chat_prompt(model, &question, None).map_err(about_the_prompt)?
            }
            OllamaPrompt::Gap(gap) => infill_prompt(model, &gap, batch, max_tokens)?,
            OllamaPrompt::Text(text) => {
                text_prompt(model, &vec![PromptPiece::Text(text)], "prompt", false)?
            }
            OllamaPrompt::Nothing => return Err(ApiError::invalid("prompt", "there is no prompt")),
        };
        Ok(vec![prompt])
    });
    respond(dialect, reply, loading, work).await
}

/// An error about the messages that a prompt was made into, as one about the prompt.
fn about_the_prompt(error: ApiError) -> ApiError {
    match error {
        ApiError::ContextLengthExceeded { tokens, n_ctx, .. } => {
            ApiError::ContextLengthExceeded { tokens, n_ctx, param: "prompt" }
        }
        error => relocated(error, &[], "prompt"),
    }
}
