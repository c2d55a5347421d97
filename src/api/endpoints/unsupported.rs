//! Routes of llama-server and Ollama that this server does not have: a clear 501 that names the right
//! way, instead of a 404 that looks like a wrong address.

use axum::extract::OriginalUri;
use http::Method;

use crate::api::error::ApiError;

const NO_DOWNLOADS: &str = "models are files of the machine: download a GGUF file, and start the \
    server with `--model FILE` (`model.path`)";
const NO_LIBRARY: &str = "models are files of the machine: the server neither makes, copies nor \
    removes them; `--model FILE` (`model.path`) chooses one, `--alias` names it";

/// What to do instead, by the end of a route's path.
const INSTEAD: &[(&str, &str)] = &[
    (
        "/chat/completions/control",
        "a running answer is not steered: bound its thinking by `thinking_budget_tokens`, or close \
         the connection to end it",
    ),
    ("/lora-adapters", "adapters are not loaded: merge them into the model's file"),
    (
        "/v1/stream",
        "streams are not kept for a client that comes back: ask again, the prompt is cached",
    ),
    ("/v1/streams/lookup", "streams are not kept for a client that comes back: ask again"),
    ("/api/pull", NO_DOWNLOADS),
    ("/api/push", NO_LIBRARY),
    ("/api/create", NO_LIBRARY),
    ("/api/copy", NO_LIBRARY),
    ("/api/delete", NO_LIBRARY),
];

pub(in crate::api) async fn unsupported(method: Method, OriginalUri(uri): OriginalUri) -> ApiError {
    let path = uri.path();
    let instead = match path {
        path if path.contains("/api/blobs/") => Some(NO_LIBRARY),
        path => INSTEAD.iter().find(|(end, _)| path.ends_with(end)).map(|(_, instead)| *instead),
    };
    ApiError::NotImplemented(match instead {
        Some(instead) => format!("{method} {path} is not a part of this server: {instead}"),
        None => format!("{method} {path} is not a part of this server yet"),
    })
}
