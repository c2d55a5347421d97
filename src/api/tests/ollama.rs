//! Ollama's routes where no model is needed.

#![allow(clippy::unwrap_used)]

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};

use super::harness::{ask, loading, send};

#[tokio::test]
async fn ollamas_api_can_be_closed() {
    for (open, status) in [(true, 200), (false, 404)] {
        let app = loading(|s| s.server.ollama = open);
        let (found, _, body) = ask(&app, "GET", "/api/tags").await;
        assert_eq!(found, status);
        if !open {
            assert_eq!(body["error"]["code"], "not_found");
        }
        let endpoints = ask(&app, "GET", "/").await.2["endpoints"].clone();
        let is_listed = endpoints.as_array().unwrap().contains(&json!("/api/chat"));
        assert_eq!(is_listed, open);
    }
}

#[tokio::test]
async fn the_index_is_a_text_for_those_who_ask_for_one() {
    let text = async |open: bool, accept: Option<&str>| {
        let app = loading(|s| s.server.ollama = open);
        let mut request = Request::get("/");
        if let Some(accept) = accept {
            request = request.header("accept", accept);
        }
        let (status, _, body) = send(&app, request.body(Body::empty()).unwrap()).await;
        assert_eq!(status, 200);
        String::from_utf8(body).unwrap()
    };
    assert_eq!(text(true, Some("text/plain")).await, "Ollama is running");
    for (open, accept) in [
        (true, None),
        (true, Some("*/*")),
        (true, Some("application/json, text/plain, */*")),
        (false, Some("text/plain")),
    ] {
        let body: Value = serde_json::from_str(&text(open, accept).await).unwrap();
        assert_eq!(body["name"], "strixhalo");
    }
    assert_eq!(ask(&loading(|_| ()), "HEAD", "/").await.0, 200);
}

#[tokio::test]
async fn refusals_before_the_endpoint_have_ollamas_form_too() {
    let app = loading(|s| s.server.api_keys = vec!["sesame".to_owned()]);
    let (status, _, body) = ask(&app, "GET", "/api/tags").await;
    assert_eq!(status, 401);
    assert!(body["error"].as_str().unwrap().contains("API key"), "{body}");
    for (name, value) in [("authorization", "Bearer sesame"), ("x-api-key", "sesame")] {
        let request = Request::get("/api/tags").header(name, value).body(Body::empty()).unwrap();
        let (status, _, body) = send(&app, request).await;
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (status.as_u16(), &body["models"][0]["name"]),
            (200, &json!("org/tiny-model:latest"))
        );
    }
    let (status, headers, body) = ask(&loading(|_| ()), "GET", "/api/chat").await;
    assert_eq!((status.as_u16(), &headers["allow"]), (405, &"POST".parse().unwrap()));
    assert!(body["error"].is_string());
}

#[tokio::test]
async fn what_needs_the_library_says_what_to_do_instead() {
    let app = loading(|_| ());
    for (method, path, instead) in [
        ("POST", "/api/pull", "--model"),
        ("DELETE", "/api/delete", "--model"),
        ("HEAD", "/api/blobs/sha256:29", ""),
    ] {
        let (status, _, body) = ask(&app, method, path).await;
        assert_eq!(status, 501, "{path}");
        if method != "HEAD" {
            assert!(body["error"].as_str().unwrap().contains(instead), "{body}");
        }
    }
}
