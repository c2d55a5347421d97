//! All routes behind what surrounds them: the log, CORS, keys, limits, errors.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, OriginalUri, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_request};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use http::uri::PathAndQuery;
use http::{Method, StatusCode, Uri, header};
use prometheus::Registry;
use tower::ServiceExt;
use tower_http::cors::CorsLayer;

use super::endpoints::index::ListedPaths;
use super::metrics::Counts;
use super::model::Models;
use super::routes::{self, Kind};
use super::state::AppState;
use crate::config::Settings;
use crate::http::{
    Context, Error, Keys, RequestLog, catch_panics, log_requests, note_route, origin, read_body,
    write_errors,
};

/// Longest part of an unknown path that an error repeats.
const MAX_PATH_CHARS: usize = 200;

impl AppState {
    /// `started`: Unix time of the process's start, seconds.
    pub fn new(settings: Settings, keys: Keys, models: Models, started: u64) -> Self {
        let registry = Registry::new();
        let dialects = routes::dialects(&settings);
        let http = Context::new(settings, keys, &registry, dialects);
        let served = http.settings();
        let generating = routes::served(&served).filter(|route| route.kind == Kind::Generate);
        let counts = Counts::new(&registry, generating.map(|route| route.path));
        Self::with(http, models, started, counts, registry)
    }
}

/// The whole HTTP surface, under `server.api_prefix`.
pub fn router(state: AppState) -> Router {
    let context = state.http();
    let settings = state.settings();
    let prefix = prefix(&settings.server.api_prefix);
    // Braces would be parameters.
    let pattern = prefix.replace('{', "{{").replace('}', "}}");
    let mut app = Router::new().without_v07_checks();
    for route in routes::served(&settings) {
        let methods = (route.methods)();
        let methods = match route.kind {
            Kind::Work | Kind::Generate => {
                methods.route_layer(from_fn_with_state(context.clone(), read_body))
            }
            Kind::Open | Kind::Inspect | Kind::Unsupported => methods,
        };
        app = match (route.path, pattern.as_str()) {
            ("/", "") => app.route("/", methods),
            ("/", prefix) => app.route(prefix, methods),
            (path, prefix) => app.route(&format!("{prefix}{path}"), methods),
        };
    }
    let listed = routes::served(&settings).filter(|route| route.listed);
    let listed = listed.map(|route| format!("{prefix}{}", route.path)).collect();
    // Requests are refused with the route known: counted under it, and in its form of errors. A
    // preflight is for CORS, further out.
    let app = app
        .fallback(no_route)
        .layer(DefaultBodyLimit::disable())
        .layer(Extension(ListedPaths(listed)))
        .layer(from_fn_with_state(context.clone(), admit))
        .layer(from_fn_with_state(context.clone(), origin::refuse_foreign_pages))
        .layer(from_fn_with_state(Arc::<str>::from(pattern), note_route))
        .with_state(state.clone());
    // As a fallback of a second router: layers of the first run before axum has put the allowed
    // methods into a 405, and before routing, so that `/v1/models/` and `/v1//models` are found.
    let app = Router::new()
        .fallback_service(app)
        .layer(map_request(with_single_slashes))
        .layer(from_fn(wrong_method));
    let app = match origin::layer(&settings.server.cors_origins) {
        Some(cors) => with_cors(app, cors),
        None => app,
    };
    app.layer(from_fn(catch_panics))
        .layer(from_fn_with_state(context.clone(), write_errors))
        .layer(from_fn_with_state(context.clone(), log_requests))
}

/// CORS for all but an OPTIONS that is no preflight: that asks for the methods of a route.
fn with_cors(app: Router, cors: CorsLayer) -> Router {
    let plain = app.clone();
    let shared = app.layer(cors);
    let choose = move |request: Request| {
        let is_preflight = request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        let asks_methods = request.method() == Method::OPTIONS && !is_preflight;
        if asks_methods { plain.clone() } else { shared.clone() }.oneshot(request)
    };
    Router::new().fallback_service(tower::service_fn(choose))
}

/// `/llm` from `llm`, `/llm` or `/llm/`; empty for none.
fn prefix(setting: &str) -> String {
    match single_slashes(setting.trim()).as_str() {
        "/" => String::new(),
        path => path.to_owned(),
    }
}

/// `/v1/models` from `//v1//models/`.
fn single_slashes(path: &str) -> String {
    let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
    format!("/{}", parts.join("/"))
}

/// Clients append `/chat/completions` to a base URL that may end with a slash.
async fn with_single_slashes(mut request: Request) -> Request {
    let uri = request.uri();
    let path = uri.path();
    if path.contains("//") || path.len() > 1 && path.ends_with('/') {
        let path = single_slashes(path);
        let target = uri.query().map_or(path.clone(), |query| format!("{path}?{query}"));
        let mut parts = uri.clone().into_parts();
        // Both cannot fail: what they are made from was a path and a URI.
        parts.path_and_query = PathAndQuery::try_from(target).ok();
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}

async fn no_route(OriginalUri(uri): OriginalUri) -> Error {
    Error::NoRoute { path: uri.path().chars().take(MAX_PATH_CHARS).collect() }
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

/// Lets requests in: not while the server drains, and not without a key where one is asked for.
async fn admit(State(context): State<Context>, request: Request, next: Next) -> Response {
    if context.is_draining() {
        return Error::shutting_down().into_response();
    }
    let route = request.extensions().get::<RequestLog>().and_then(RequestLog::route);
    let is_open =
        request.method() == Method::OPTIONS || route.is_some_and(|route| routes::is_open(&route));
    if is_open || context.keys().admit(request.headers()) {
        next.run(request).await
    } else {
        Error::Unauthorized.into_response()
    }
}
