//! `/v1/embeddings` and llama-server's `/embedding`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};

use super::body::JsonBody;
use crate::api::error::ApiError;
use crate::api::generation::{embed, embedding_tokens};
use crate::api::model::Purpose;
use crate::api::state::AppState;
use crate::http::RequestLog;
use crate::protocol::llama_server::{EmbeddingCall, NativeEmbedding};
use crate::protocol::openai::{EmbeddingsAnswer, EmbeddingsCall};
use crate::protocol::{normalize, shorten};

pub(in crate::api) async fn embeddings(
    State(state): State<AppState>,
    Extension(log): Extension<RequestLog>,
    JsonBody(call): JsonBody<EmbeddingsCall>,
) -> Result<Response, ApiError> {
    let served = state.resolve_for(Purpose::Embed, call.model.as_deref())?;
    let EmbeddingsCall { input, encoding, dimensions, .. } = call;
    let texts = input.clone();
    let mut done = embed(
        &state,
        served,
        &log,
        |i| input.path(i),
        move |engine| {
            check_dimensions(dimensions, engine.dimensions())?;
            embedding_tokens(engine, &texts, false)
        },
    )
    .await?;
    done.vectors.iter_mut().for_each(|vector| shorten(vector, dimensions));
    let answer = EmbeddingsAnswer::new(served.name(), done.vectors, encoding, done.tokens);
    Ok(Json(answer).into_response())
}

/// Also `/embeddings`.
pub(in crate::api) async fn native(
    State(state): State<AppState>,
    Extension(log): Extension<RequestLog>,
    JsonBody(call): JsonBody<EmbeddingCall>,
) -> Result<Response, ApiError> {
    let served = state.resolve_for(Purpose::Embed, call.model.as_deref())?;
    let EmbeddingCall { content, norm, .. } = call;
    let texts = content.clone();
    let tokenize = move |engine: &_| embedding_tokens(engine, &texts, false);
    let mut done = embed(&state, served, &log, |i| content.path(i), tokenize).await?;
    done.vectors.iter_mut().for_each(|vector| normalize(vector, norm));
    Ok(Json(NativeEmbedding::list(done.vectors)).into_response())
}

/// Whether the model makes as many values as a vector is to be cut to.
pub(super) fn check_dimensions(asked: Option<usize>, most: usize) -> Result<(), ApiError> {
    match asked {
        Some(asked) if asked > most => {
            let message = format!("`dimensions` is {asked}, and the model's vectors have {most}");
            Err(ApiError::invalid("dimensions", message))
        }
        _ => Ok(()),
    }
}
