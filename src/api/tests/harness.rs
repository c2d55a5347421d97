//! The HTTP surface of a server whose model loads, asked without a socket.

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::sync::watch;
use tower::ServiceExt;

use crate::api::{AppState, LoadState, Models, ServedModel, router};
use crate::config::Settings;
use crate::http::load_keys;

pub(super) fn state_with(change: impl FnOnce(&mut Settings), load: LoadState) -> AppState {
    let mut settings = Settings::default();
    change(&mut settings);
    let keys = load_keys(&settings).unwrap();
    let names = vec!["org/tiny-model".to_owned(), "tiny".to_owned()];
    let models = Models::new(vec![ServedModel::new(names, watch::channel(load).1)]);
    AppState::new(settings, keys, models, 1_700_000_000)
}

pub(super) fn loading(change: impl FnOnce(&mut Settings)) -> Router {
    router(state_with(change, LoadState::Loading { progress: 0.43 }))
}

pub(super) async fn send(
    router: &Router,
    request: Request<Body>,
) -> (StatusCode, HeaderMap, Vec<u8>) {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    (parts.status, parts.headers, body.collect().await.unwrap().to_bytes().to_vec())
}

pub(super) async fn ask(
    router: &Router,
    method: &str,
    path: &str,
) -> (StatusCode, HeaderMap, Value) {
    let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    let (status, headers, body) = send(router, request).await;
    (status, headers, serde_json::from_slice(&body).unwrap_or(Value::Null))
}
