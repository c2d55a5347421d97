//! `/api/embed` and the older `/api/embeddings`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};

use super::{tagged, untagged};
use crate::api::endpoints::body::JsonBody;
use crate::api::endpoints::embeddings::check_dimensions;
use crate::api::error::ApiError;
use crate::api::generation::{Embedded, embed as embedded, embedding_tokens};
use crate::api::model::{Purpose, ServedEmbedding};
use crate::api::state::AppState;
use crate::http::RequestLog;
use crate::protocol::ollama::{EmbedAnswer, EmbedCall, OldEmbeddingsAnswer, OldEmbeddingsCall};
use crate::protocol::{EmbeddingTexts, shorten};

pub(in crate::api) async fn embed(
    State(state): State<AppState>,
    Extension(log): Extension<RequestLog>,
    JsonBody(call): JsonBody<EmbedCall>,
) -> Result<Response, ApiError> {
    let served = state.resolve_for(Purpose::Embed, untagged(&state, call.model.as_deref()))?;
    let EmbedCall { input, truncate, dimensions, .. } = call;
    let mut done = vectors(&state, served, &log, input, truncate, dimensions).await?;
    done.vectors.iter_mut().for_each(|vector| shorten(vector, dimensions));
    let answer = EmbedAnswer {
        model: &tagged(served.name()),
        embeddings: done.vectors,
        total_duration: log.start().elapsed(),
        load_duration: done.load_time,
        prompt_eval_count: done.tokens,
    };
    Ok(Json(answer).into_response())
}

pub(in crate::api) async fn embeddings(
    State(state): State<AppState>,
    Extension(log): Extension<RequestLog>,
    JsonBody(call): JsonBody<OldEmbeddingsCall>,
) -> Result<Response, ApiError> {
    let served = state.resolve_for(Purpose::Embed, untagged(&state, call.model.as_deref()))?;
    let done = vectors(&state, served, &log, call.prompt, true, None).await?;
    let embedding = done.vectors.into_iter().next().unwrap_or_default();
    Ok(Json(OldEmbeddingsAnswer { embedding }).into_response())
}

/// The vectors of the texts; of none, once the model is there.
async fn vectors(
    state: &AppState,
    served: &ServedEmbedding,
    log: &RequestLog,
    texts: Option<EmbeddingTexts>,
    truncate: bool,
    dimensions: Option<usize>,
) -> Result<Embedded, ApiError> {
    let paths = texts.clone();
    let path = |i| paths.as_ref().map_or_else(String::new, |texts| texts.path(i));
    embedded(state, served, log, path, move |engine| {
        check_dimensions(dimensions, engine.dimensions())?;
        let Some(texts) = texts else { return Ok(Vec::new()) };
        embedding_tokens(engine, &texts, truncate)
    })
    .await
}
