//! What is answered while the model loads. Answers of a loaded model are tested on the binary.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use futures_util::StreamExt;
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::ServiceExt;

use crate::api::{AppState, LoadState, Models, ServedModel, router};
use crate::config::Settings;
use crate::http::load_keys;

struct Loading {
    state: AppState,
    served: ServedModel,
    load: watch::Sender<LoadState>,
}

fn loading(change: impl FnOnce(&mut Settings)) -> Loading {
    let mut settings = Settings::default();
    change(&mut settings);
    let (load, seen) = watch::channel(LoadState::Loading { progress: 0.5 });
    let keys = load_keys(&settings).unwrap();
    let served = ServedModel::new(vec!["tiny".to_owned()], seen);
    let models = Models::new(vec![served.clone()]);
    Loading { state: AppState::new(settings, keys, models, 0), served, load }
}

impl Loading {
    async fn post(&self, path: &str, body: Value) -> Response {
        let request = Request::post(path).body(Body::from(body.to_string())).unwrap();
        router(self.state.clone()).oneshot(request).await.unwrap()
    }

    fn fail(&self) {
        self.load.send_replace(LoadState::Failed("the file is damaged".to_owned()));
    }
}

async fn json_of(response: Response) -> Value {
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

fn chat(fields: Value) -> Value {
    let mut body = json!({"messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn faults_that_need_no_model_are_told_while_it_loads() {
    let server = loading(|s| s.server.strict_model_names = true);
    let response = server.post("/v1/chat/completions", chat(json!({"n": 0, "stream": true}))).await;
    assert_eq!(response.status(), 400);
    assert_eq!(json_of(response).await["error"]["param"], "n");
    let response = server.post("/v1/completions", json!({"prompt": "a", "model": "b"})).await;
    assert_eq!(response.status(), 404);
    let response = server.post("/apply-template", json!({"messages": []})).await;
    assert_eq!(response.status(), 400);
}

#[tokio::test]
async fn every_endpoint_that_needs_a_model_refuses_another_one_under_strict_names() {
    let server = loading(|s| s.server.strict_model_names = true);
    for (path, mut body) in [
        ("/v1/chat/completions", chat(json!({}))),
        ("/v1/completions", json!({"prompt": "a"})),
        ("/completion", json!({"prompt": "a"})),
        ("/infill", json!({"input_prefix": "a", "input_suffix": "b"})),
        ("/apply-template", chat(json!({}))),
        ("/tokenize", json!({"content": "a"})),
        ("/detokenize", json!({"tokens": [1]})),
    ] {
        body["model"] = json!("gpt-4");
        let response = server.post(path, body.clone()).await;
        assert_eq!(response.status(), 404, "{path}");
        assert_eq!(json_of(response).await["error"]["code"], "model_not_found", "{path}");
    }
    for path in ["/props", "/slots"] {
        for (query, status) in [("", 200), ("?model=tiny", 200), ("?model=gpt%2D4", 404)] {
            let request = Request::get(format!("{path}{query}")).body(Body::empty()).unwrap();
            let response = router(server.state.clone()).oneshot(request).await.unwrap();
            assert_eq!(response.status(), status, "{path}{query}");
        }
    }
}

#[tokio::test]
async fn held_requests_are_told_when_the_model_cannot_be_loaded() {
    let server = loading(|_| ());
    let held = server.post("/v1/chat/completions", chat(json!({})));
    let (response, ()) = tokio::join!(held, async {
        tokio::task::yield_now().await;
        assert_eq!(server.served.held(), 1);
        server.fail();
    });
    assert_eq!(response.status(), 503);
    assert_eq!(json_of(response).await["error"]["code"], "load_failed");
}

#[tokio::test]
async fn a_held_stream_gets_comments_and_then_its_error_as_an_event() {
    let server = loading(|s| s.limits.sse_ping_interval = 1);
    let response = server.post("/v1/chat/completions", chat(json!({"stream": true}))).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    let mut body = response.into_body().into_data_stream();
    // No blank line: decoders that emit an event at each of them would emit an empty one.
    assert_eq!(body.next().await.unwrap().unwrap(), ": keep-alive\n");
    assert_eq!(body.next().await.unwrap().unwrap(), ": keep-alive\n");
    server.fail();
    let event = body.next().await.unwrap().unwrap();
    let event = std::str::from_utf8(&event).unwrap().strip_prefix("data: ").unwrap();
    let event: Value = serde_json::from_str(event).unwrap();
    assert_eq!(event["error"]["code"], "load_failed");
    assert!(body.next().await.is_none());
}

#[tokio::test]
async fn a_held_stream_of_ollama_gets_empty_lines_and_then_its_error_as_a_line() {
    let server = loading(|s| s.limits.sse_ping_interval = 1);
    let response = server.post("/api/chat", chat(json!({}))).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    let mut body = response.into_body().into_data_stream();
    let first = body.next().await.unwrap().unwrap();
    assert!(first.ends_with(b"\n"));
    let first: Value = serde_json::from_slice(&first).unwrap();
    assert_eq!(first["message"], json!({"role": "assistant", "content": ""}));
    assert_eq!((&first["model"], &first["done"]), (&json!("tiny:latest"), &json!(false)));
    server.fail();
    let error = body.next().await.unwrap().unwrap();
    assert_eq!(error, "{\"error\":\"the file is damaged\"}\n");
    assert!(body.next().await.is_none());
}

#[tokio::test]
async fn a_held_request_whose_client_leaves_is_forgotten() {
    let server = loading(|_| ());
    let held = server.post("/v1/chat/completions", chat(json!({})));
    assert!(tokio::time::timeout(Duration::from_millis(20), held).await.is_err());
    assert_eq!(server.served.held(), 0);
}
