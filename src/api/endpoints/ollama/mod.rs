//! Ollama's API, as far as a server has it that keeps the models which it was started with.

pub(in crate::api) mod chat;
pub(in crate::api) mod embed;
pub(in crate::api) mod generate;
pub(in crate::api) mod models;

use std::sync::{Arc, Once};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header;

use crate::api::error::ApiError;
use crate::api::model::ServedModel;
use crate::api::reply::ReplyOptions;
use crate::api::reply::ollama::{self, Ollama};
use crate::api::state::AppState;
use crate::http::RequestLog;
use crate::protocol::ollama::{Form, OllamaOptions, Writer};

/// The tag of a name without one.
const DEFAULT_TAG: &str = ":latest";

/// The model that answers a request for `asked`, whose default tag may be there or not.
fn resolve<'a>(state: &'a AppState, asked: Option<&str>) -> Result<&'a ServedModel, ApiError> {
    state.resolve(untagged(state, asked))
}

/// The name without its default tag, if a model has it without.
fn untagged<'a>(state: &AppState, asked: Option<&'a str>) -> Option<&'a str> {
    let models = state.models();
    let known = |name: &&str| models.find(name).is_some() || models.find_beside(name).is_some();
    let bare = asked.and_then(|name| name.strip_suffix(DEFAULT_TAG));
    bare.filter(known).or(asked)
}

/// A name as Ollama's clients know it: with a tag.
fn tagged(name: &str) -> String {
    match name.rsplit('/').next() {
        Some(last) if last.contains(':') => name.to_owned(),
        _ => format!("{name}{DEFAULT_TAG}"),
    }
}

/// How the answer to a request is written.
fn dialect(
    form: Form,
    model: &ServedModel,
    asked: &OllamaOptions,
    log: &RequestLog,
) -> (Ollama, ReplyOptions, ollama::LoadTime) {
    let loaded = ollama::LoadTime::default();
    let name = tagged(model.name());
    let shows_logprobs = asked.top_logprobs.is_some();
    let dialect = Ollama::new(form, &name, shows_logprobs, log.start(), Arc::clone(&loaded));
    (dialect, ReplyOptions::new(&asked.options, asked.top_logprobs), loaded)
}

/// Answers a request that only wants the model to be there, once it is.
async fn load(
    state: &AppState,
    model: &ServedModel,
    form: Form,
    stream: bool,
) -> Result<Response, ApiError> {
    model.loaded(state.http()).await?;
    let mut body = Vec::new();
    Writer::new(form, &tagged(model.name())).loaded(&ollama::now(), &mut body);
    let media_type = if stream { ollama::LINES } else { "application/json" };
    Ok(([(header::CONTENT_TYPE, media_type)], Body::from(body)).into_response())
}

/// Says once that a context is what the server was started with.
fn note_context(model: &ServedModel, asked: &OllamaOptions) {
    static SAID: Once = Once::new();
    let Some(n_ctx) = model.now().ok().map(|model| model.engine.facts().n_ctx_slot) else { return };
    if asked.num_ctx.is_some_and(|wanted| wanted > n_ctx) {
        SAID.call_once(|| {
            tracing::warn!(
                "a client asks for a context of {} tokens (`num_ctx`); a slot has {n_ctx}, and a \
                 request cannot change that: set `context.ctx_size`",
                asked.num_ctx.unwrap_or_default()
            );
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_tag() {
        assert_eq!(tagged("qwen3"), "qwen3:latest");
        assert_eq!(tagged("qwen3:8b"), "qwen3:8b");
        assert_eq!(tagged("host:80/qwen3"), "host:80/qwen3:latest");
    }
}
