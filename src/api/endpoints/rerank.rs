//! `/v1/rerank` and its other names.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};

use super::body::JsonBody;
use crate::api::error::ApiError;
use crate::api::generation::embed;
use crate::api::model::Purpose;
use crate::api::state::AppState;
use crate::engine::EmbeddingEngine;
use crate::http::RequestLog;
use crate::protocol::rerank::{RerankAnswer, RerankCall};

pub(in crate::api) async fn rerank(
    State(state): State<AppState>,
    Extension(log): Extension<RequestLog>,
    JsonBody(call): JsonBody<RerankCall>,
) -> Result<Response, ApiError> {
    let served = state.resolve_for(Purpose::Rank, call.model.as_deref())?;
    let (query, documents) = (call.query.clone(), call.documents.clone());
    let tokenize = move |engine: &EmbeddingEngine| {
        let vocabulary = engine.vocabulary();
        Ok(documents.iter().map(|document| vocabulary.tokenize_pair(&query, document)).collect())
    };
    let done = embed(&state, served, &log, |i| call.path(i), tokenize).await?;
    // A classifier of several outputs says with the first how well a document answers.
    let score = |vector: &Vec<f32>| vector.first().copied().unwrap_or_default();
    let scores: Vec<f32> = done.vectors.iter().map(score).collect();
    Ok(Json(RerankAnswer::new(call, served.name(), &scores, done.tokens)).into_response())
}
