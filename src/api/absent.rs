//! Routes of llama-server that this server does not have: a clear 501 instead of a 404 that
//! looks like a wrong address.

use axum::Router;
use axum::extract::OriginalUri;
use axum::routing::{delete, get, post};
use http::Method;

use super::{ApiError, AppState};

const POST: &[&str] = &[
    "/completion",
    "/completions",
    "/infill",
    "/embedding",
    "/embeddings",
    "/v1/embeddings",
    "/rerank",
    "/reranking",
    "/v1/rerank",
    "/v1/reranking",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/responses",
    "/v1/responses",
    "/responses/input_tokens",
    "/v1/responses/input_tokens",
    "/chat/completions/input_tokens",
    "/v1/chat/completions/input_tokens",
    "/v1/chat/completions/control",
    "/audio/transcriptions",
    "/v1/audio/transcriptions",
    "/v1/streams/lookup",
    "/slots/{id}",
];

pub(super) fn routes() -> Router<AppState> {
    POST.iter()
        .fold(Router::new(), |router, path| router.route(path, post(absent)))
        .route("/lora-adapters", get(absent).post(absent))
        .route("/v1/stream", get(absent))
        .route("/v1/stream", delete(absent))
}

async fn absent(method: Method, OriginalUri(uri): OriginalUri) -> ApiError {
    ApiError::NotImplemented(format!("{method} {} is not a part of this server yet", uri.path()))
}
