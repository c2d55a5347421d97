//! Who may ask: keys, hosts and origins.

#![allow(clippy::unwrap_used)]

use axum::Router;
use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::Value;

use super::harness::{ask, loading, send, state_with};
use crate::api::{LoadState, router};
use crate::config::Settings;

#[tokio::test]
async fn without_the_key_only_health_the_index_and_options_are_open() {
    let app = loading(|s| s.server.api_keys = vec!["sesame".to_owned()]);
    for path in ["/v1/models", "/metrics", "/nowhere", "/healthy", "//v1/models", "/v1/models/"] {
        let (status, headers, body) = ask(&app, "GET", path).await;
        assert_eq!(status, 401, "{path}");
        assert_eq!(headers["www-authenticate"], "Bearer");
        assert_eq!(body["error"]["type"], "authentication_error");
        assert_eq!(body["error"]["code"], "invalid_api_key");
    }
    assert_eq!(ask(&app, "GET", "/health").await.0, 503);
    assert_eq!(ask(&app, "GET", "/v1/health").await.0, 503);
    assert_eq!(ask(&app, "HEAD", "/").await.0, 200);
    assert_eq!(ask(&app, "OPTIONS", "/v1/models").await.0, 204);
    for (name, value) in [("authorization", "bearer sesame"), ("x-api-key", "sesame")] {
        let request = Request::get("/v1/models").header(name, value).body(Body::empty()).unwrap();
        assert_eq!(send(&app, request).await.0, 200, "{name}");
    }
}

#[tokio::test]
async fn a_preflight_lets_the_sdks_headers_through_without_a_key() {
    let app = loading(|s| {
        s.server.api_keys = vec!["sesame".to_owned()];
        s.server.cors_origins = vec!["https://chat.example".to_owned()];
    });
    let wanted = "authorization,content-type,x-api-key,x-stainless-lang,x-stainless-retry-count";
    let preflight = |origin: &str| {
        Request::options("/v1/chat/completions")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", wanted)
            .body(Body::empty())
            .unwrap()
    };
    let (status, headers, _) = send(&app, preflight("https://chat.example")).await;
    assert_eq!(status, 200);
    assert_eq!(headers["access-control-allow-origin"], "https://chat.example");
    assert_eq!(headers["access-control-allow-headers"], wanted);
    assert!(headers["access-control-allow-methods"].to_str().unwrap().contains("POST"));
    let (_, headers, _) = send(&app, preflight("https://evil.example")).await;
    assert!(!headers.contains_key("access-control-allow-origin"));

    // Errors can be read by the page, too.
    let request = Request::get("/v1/models").header("origin", "https://chat.example");
    let (status, headers, _) = send(&app, request.body(Body::empty()).unwrap()).await;
    assert_eq!(status, 401);
    assert_eq!(headers["access-control-allow-origin"], "https://chat.example");
    assert!(headers["access-control-expose-headers"].to_str().unwrap().contains("x-request-id"));
}

#[tokio::test]
async fn any_origin_may_be_allowed_and_none_is_by_default() {
    let request = || Request::get("/").header("origin", "null").body(Body::empty()).unwrap();
    let any = loading(|s| s.server.cors_origins = vec!["*".to_owned()]);
    assert_eq!(send(&any, request()).await.1["access-control-allow-origin"], "*");
    let (_, headers, _) = send(&loading(|_| ()), request()).await;
    assert!(!headers.contains_key("access-control-allow-origin"));
}

fn local(change: impl FnOnce(&mut Settings)) -> Router {
    let state = state_with(change, LoadState::Loading { progress: 0.43 });
    state.http().set_loopback_only(true);
    router(state)
}

async fn ask_with(app: &Router, method: &str, headers: &[(&str, &str)]) -> (StatusCode, Value) {
    let mut request = Request::builder().method(method).uri("/v1/models");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (status, _, body) = send(app, request.body(Body::empty()).unwrap()).await;
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

#[tokio::test]
async fn a_server_of_this_machine_without_a_key_refuses_foreign_names_and_pages() {
    let app = local(|_| ());
    for headers in [
        &[][..],
        &[("host", "localhost:8091")],
        &[("host", "127.0.0.1:8091"), ("origin", "http://localhost:3000")],
        &[("host", "[::1]:8091"), ("origin", "https://127.0.0.1:8443")],
        &[("host", "localhost"), ("origin", "http://[::1]:3000")],
        &[("host", "localhost"), ("origin", "http://ui.localhost:3000")],
        &[("host", "")],
    ] {
        assert_eq!(ask_with(&app, "GET", headers).await.0, 200, "{headers:?}");
    }
    for (headers, code) in [
        (&[("host", "evil.example")][..], "host_not_allowed"),
        (&[("host", "evil.example:8091")], "host_not_allowed"),
        (&[("host", "localhost"), ("origin", "https://evil.example")], "origin_not_allowed"),
        (&[("host", "localhost"), ("origin", "null")], "origin_not_allowed"),
    ] {
        for method in ["GET", "POST", "OPTIONS"] {
            let (status, body) = ask_with(&app, method, headers).await;
            assert_eq!(status, 403, "{method} {headers:?}");
            assert_eq!(body["error"]["type"], "permission_error");
            assert_eq!(body["error"]["code"], code);
        }
    }
}

#[tokio::test]
async fn foreign_pages_are_refused_under_the_route_and_preflights_are_left_to_cors() {
    let app = local(|_| ());
    let page = [("host", "localhost"), ("origin", "https://evil.example")];
    assert_eq!(ask_with(&app, "GET", &page).await.0, 403);
    let (_, _, text) = send(&app, Request::get("/metrics").body(Body::empty()).unwrap()).await;
    let text = String::from_utf8(text).unwrap();
    let labels = r#"dialect="openai",method="GET",route="/v1/models",status="403""#;
    let line = format!("strixhalo_http_requests_total{{{labels}}} 1");
    assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    let preflight = |origin: &str| {
        Request::options("/v1/models")
            .header("host", "localhost")
            .header("origin", origin)
            .header("access-control-request-method", "GET")
            .body(Body::empty())
            .unwrap()
    };
    let allowed = "access-control-allow-origin";
    let (status, headers, _) = send(&app, preflight("https://evil.example")).await;
    assert_eq!((status.as_u16(), headers.contains_key(allowed)), (200, false));
    let (_, headers, _) = send(&app, preflight("http://localhost:3000")).await;
    assert_eq!(headers[allowed], "http://localhost:3000");
}

#[tokio::test]
async fn names_and_origins_of_a_local_server_can_be_added() {
    let foreign = [("host", "chat.example"), ("origin", "https://chat.example")];
    let app = local(|s| s.server.allowed_hosts = vec!["chat.example".to_owned()]);
    assert_eq!(ask_with(&app, "GET", &foreign).await.0, 200);
    let origin = [("host", "localhost"), ("origin", "https://ui.example")];
    let app = local(|s| s.server.cors_origins = vec!["https://ui.example".to_owned()]);
    assert_eq!(ask_with(&app, "GET", &origin).await.0, 200);
    // The default is replaced, not added to.
    let page = [("host", "localhost"), ("origin", "http://localhost:3000")];
    assert_eq!(ask_with(&app, "GET", &page).await.0, 403);
    let app = local(|s| s.server.cors_origins = vec!["*".to_owned()]);
    assert_eq!(ask_with(&app, "GET", &origin).await.0, 200);
}

#[tokio::test]
async fn a_host_name_that_is_listened_on_is_a_local_servers_own() {
    let named = [("host", "strixhalo:8091"), ("origin", "http://strixhalo:8091")];
    let app = local(|s| s.server.host = vec!["StrixHalo".to_owned(), "0.0.0.0".to_owned()]);
    assert_eq!(ask_with(&app, "GET", &named).await.0, 200);
    assert_eq!(ask_with(&app, "GET", &[("host", "0.0.0.0:8091")]).await.0, 403);
}

#[tokio::test]
async fn any_name_of_a_local_server_may_be_allowed_without_any_page() {
    let app = local(|s| s.server.allowed_hosts = vec!["*".to_owned()]);
    for headers in [
        &[("host", "chat.example")][..],
        &[("host", "chat.example:8443"), ("origin", "https://chat.example:8443")],
        &[("host", "chat.example"), ("origin", "http://localhost:3000")],
    ] {
        assert_eq!(ask_with(&app, "GET", headers).await.0, 200, "{headers:?}");
    }
    for origin in ["null", "file://", "https://evil.example"] {
        let (status, body) =
            ask_with(&app, "GET", &[("host", "localhost"), ("origin", origin)]).await;
        assert_eq!(status, 403, "{origin}");
        assert_eq!(body["error"]["code"], "origin_not_allowed");
    }
}

#[tokio::test]
async fn with_a_key_or_in_a_network_any_name_is_answered() {
    let foreign = [("host", "evil.example"), ("origin", "https://evil.example")];
    let with_key = local(|s| s.server.api_keys = vec!["sesame".to_owned()]);
    assert_eq!(ask_with(&with_key, "GET", &foreign).await.0, 401);
    assert_eq!(ask_with(&loading(|_| ()), "GET", &foreign).await.0, 200);
}

#[tokio::test]
async fn pages_of_this_machine_may_call_by_default() {
    let request = Request::get("/").header("origin", "http://localhost:3000");
    let (_, headers, _) = send(&loading(|_| ()), request.body(Body::empty()).unwrap()).await;
    assert_eq!(headers["access-control-allow-origin"], "http://localhost:3000");
}
