//! All routes, and what surrounds them: CORS, keys, limits, errors in one form.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, OriginalUri, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{Method, StatusCode, header};
use serde_json::{Value, json};

use super::{AppState, absent, generation, health, metrics, models, props, tokens};
use crate::http::{
    Context, Error, catch_panics, log_requests, note_route, origin, read_body, write_errors,
};

/// Longest part of an unknown path that an error repeats.
const MAX_NAMED_PATH: usize = 200;

/// The whole HTTP surface, under `server.api_prefix`.
pub fn router(state: AppState) -> Router {
    let context = state.http();
    let prefix = prefix(&state.settings().server.api_prefix);
    let routes = Router::new()
        .merge(generation::routes())
        .merge(tokens::routes())
        .merge(props::routes())
        .route_layer(from_fn_with_state(context.clone(), read_body))
        .layer(DefaultBodyLimit::disable())
        .merge(health::routes())
        .merge(models::routes())
        .merge(metrics::routes())
        .merge(absent::routes());
    let app = if prefix.is_empty() {
        routes.route("/", get(index))
    } else {
        // Braces would be parameters.
        let pattern = prefix.replace('{', "{{").replace('}', "}}");
        Router::new()
            .without_v07_checks()
            .nest(&pattern, routes)
            .route(&pattern, get(index))
            .route(&format!("{pattern}/"), get(index))
    };
    let prefix: Arc<str> = prefix.into();
    let gate = Gate { context: context.clone(), prefix: prefix.clone() };
    // These two run with the route known, so that refused requests are recorded under it.
    let app = app
        .fallback(no_route)
        .layer(from_fn_with_state(gate, admit))
        .layer(from_fn_with_state(prefix, note_route))
        .with_state(state.clone());
    // As a fallback of a second router: layers of the first run before axum has put the allowed
    // methods into a 405.
    let app = Router::new().fallback_service(app).layer(from_fn(wrong_method));
    let app = match origin::layer(&state.settings().server.cors_origins) {
        Some(cors) => app.layer(cors),
        None => app,
    };
    app.layer(from_fn(catch_panics))
        .layer(from_fn_with_state(context.clone(), write_errors))
        .layer(from_fn_with_state(context.clone(), log_requests))
}

/// `/llm` from `llm`, `/llm` or `/llm/`; empty for none.
fn prefix(setting: &str) -> String {
    match setting.trim().trim_matches('/') {
        "" => String::new(),
        path => format!("/{path}"),
    }
}

async fn index(State(state): State<AppState>) -> Json<Value> {
    let prefix = prefix(&state.settings().server.api_prefix);
    let endpoints = [
        "/health",
        "/v1/models",
        "/v1/chat/completions",
        "/v1/completions",
        "/apply-template",
        "/tokenize",
        "/detokenize",
        "/props",
        "/slots",
        "/metrics",
    ];
    Json(json!({
        "name": env!("CARGO_PKG_NAME"),
        "version": env!("CARGO_PKG_VERSION"),
        "endpoints": endpoints.map(|path| format!("{prefix}{path}")),
    }))
}

async fn no_route(OriginalUri(uri): OriginalUri) -> Error {
    Error::NoRoute { path: uri.path().chars().take(MAX_NAMED_PATH).collect() }
}

/// Puts the error body into axum's empty 405, and answers OPTIONS where CORS does not.
async fn wrong_method(request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let response = next.run(request).await;
    if response.status() != StatusCode::METHOD_NOT_ALLOWED {
        return response;
    }
    let Some(allow) = response.headers().get(header::ALLOW).and_then(|v| v.to_str().ok()) else {
        return response;
    };
    let allow = allow.replace(',', ", ");
    if method == Method::OPTIONS {
        return (StatusCode::NO_CONTENT, [(header::ALLOW, allow)]).into_response();
    }
    Error::MethodNotAllowed { method: method.to_string(), allow }.into_response()
}

#[derive(Debug, Clone)]
struct Gate {
    context: Context,
    prefix: Arc<str>,
}

/// Lets requests in: not while the server drains, and not without a key where one is asked for.
async fn admit(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    if gate.context.is_draining() {
        return Error::shutting_down().into_response();
    }
    let open = request.method() == Method::OPTIONS
        || request
            .uri()
            .path()
            .strip_prefix(&*gate.prefix)
            .is_some_and(|path| matches!(path, "" | "/" | "/health" | "/v1/health"));
    if open || gate.context.keys().admit(request.headers()) {
        next.run(request).await
    } else {
        Error::Unauthorized.into_response()
    }
}
