//! The routes that need no model, and what every answer has.

#![allow(clippy::unwrap_used, clippy::panic)]

use axum::Router;
use axum::body::Body;
use axum::middleware::{from_fn, from_fn_with_state};
use http::Request;
use serde_json::{Value, json};

use super::harness::{ask, loading, send, state_with};
use crate::api::{LoadState, router};
use crate::http::{catch_panics, log_requests, write_errors};

#[tokio::test]
async fn an_unknown_route_is_a_json_404() {
    let (status, headers, body) = ask(&loading(|_| ()), "GET", "/v2/x?key=secret").await;
    assert_eq!(status, 404);
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(
        body,
        json!({"error": {
            "message": "no route /v2/x", "type": "not_found_error", "param": null,
            "code": "not_found",
        }})
    );
}

#[tokio::test]
async fn a_wrong_method_is_405_with_the_methods_that_are_right() {
    let app = loading(|_| ());
    for (method, path, allow) in [
        ("POST", "/health", "GET, HEAD"),
        ("DELETE", "/v1/models", "GET, HEAD"),
        ("PUT", "/v1/models/org/tiny-model", "GET, HEAD"),
        ("GET", "/tokenize", "POST"),
        ("GET", "/v1/embeddings", "POST"),
        ("DELETE", "/props", "GET, HEAD, POST"),
    ] {
        let (status, headers, body) = ask(&app, method, path).await;
        assert_eq!(status, 405, "{method} {path}");
        assert_eq!(headers["allow"], allow, "{method} {path}");
        assert_eq!(body["error"]["code"], "method_not_allowed");
        assert!(body["error"]["message"].as_str().unwrap().contains(allow), "{body}");
    }
}

#[tokio::test]
async fn a_route_of_llama_server_that_is_not_here_says_so() {
    let app = loading(|_| ());
    for path in ["/slots/3?action=save", "/v1/chat/completions/control"] {
        let (status, _, body) = ask(&app, "POST", path).await;
        assert_eq!(status, 501, "{path}");
        assert_eq!(body["error"]["type"], "not_implemented_error");
        let named = path.split('?').next().unwrap();
        assert!(body["error"]["message"].as_str().unwrap().contains(named), "{body}");
    }
}

#[tokio::test]
async fn errors_before_the_endpoint_have_the_form_of_the_routes_api() {
    let state = state_with(|_| (), LoadState::Loading { progress: 0.0 });
    let app = router(state.clone());
    let check = |kind: &str, headers: &http::HeaderMap, body: &Value| {
        assert_eq!((&body["type"], &body["error"]["type"]), (&json!("error"), &json!(kind)));
        assert_eq!(body["request_id"], headers["request-id"].to_str().unwrap());
        assert_eq!(headers["request-id"], headers["x-request-id"]);
    };
    for path in ["/v1/messages", "/messages/count_tokens"] {
        let (status, headers, body) = ask(&app, "GET", path).await;
        assert_eq!(status, 405);
        check("invalid_request_error", &headers, &body);
    }
    state.http().start_draining();
    let (status, headers, body) = ask(&app, "POST", "/v1/messages").await;
    assert_eq!((status.as_u16(), &headers["connection"]), (503, &"close".parse().unwrap()));
    check("overloaded_error", &headers, &body);
}

#[tokio::test]
async fn health_tells_how_far_loading_is_and_whether_it_failed() {
    for path in ["/health", "/v1/health"] {
        let (status, headers, body) = ask(&loading(|_| ()), "GET", path).await;
        assert_eq!(status, 503);
        assert_eq!(headers["retry-after"], "10");
        assert_eq!(body["status"], "loading");
        assert_eq!(body["progress"], 0.43);
        assert_eq!(body["error"]["message"], "loading model");
        assert_eq!(body["error"]["code"], "loading");
        assert_eq!(ask(&loading(|_| ()), "HEAD", path).await.0, 503);
    }
    let failed = router(state_with(|_| (), LoadState::Failed("no memory".to_owned())));
    let (status, _, body) = ask(&failed, "GET", "/health").await;
    assert_eq!(status, 503);
    assert_eq!(body["status"], "failed");
    assert_eq!(body["error"]["message"], "no memory");
    assert_eq!(body["error"]["code"], "load_failed");
}

#[tokio::test]
async fn models_props_slots_and_metrics_answer_while_the_model_loads() {
    let app = loading(|s| s.sampling.top_p = 0.9);
    let (status, _, body) = ask(&app, "GET", "/v1/models").await;
    assert_eq!(status, 200);
    assert_eq!(body["object"], "list");
    assert_eq!(body["data"][0]["id"], "org/tiny-model");
    assert_eq!(body["data"][0]["aliases"], json!(["tiny"]));
    assert_eq!(body["data"][0]["created"], 1_700_000_000);
    assert_eq!(body["models"][0]["name"], "org/tiny-model");
    let (status, _, body) = ask(&app, "GET", "/props").await;
    assert_eq!(status, 200);
    assert_eq!(body["default_generation_settings"]["params"]["top_p"], 0.9);
    assert_eq!(body["total_slots"], 2);
    assert_eq!(ask(&app, "GET", "/slots").await.2, json!([]));
    assert_eq!(ask(&app, "GET", "/slots?fail_on_no_slot=1").await.0, 503);
    let request = Request::get("/metrics").body(Body::empty()).unwrap();
    let (status, headers, body) = send(&app, request).await;
    assert_eq!(status, 200);
    assert_eq!(headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(headers["process-start-time-unix"], "1700000000");
    let text = String::from_utf8(body).unwrap();
    assert!(text.contains("\nllamacpp:tokens_predicted_total 0\n"), "{text}");
}

#[tokio::test]
async fn a_model_is_found_by_each_of_its_names_and_slashes_may_be_escaped() {
    let app = loading(|_| ());
    for (path, id) in [
        ("/v1/models/org/tiny-model", "org/tiny-model"),
        ("/v1/models/org%2Ftiny-model", "org/tiny-model"),
        ("/models/tiny", "tiny"),
    ] {
        let (status, _, body) = ask(&app, "GET", path).await;
        assert_eq!((status.as_u16(), &body["id"]), (200, &json!(id)), "{path}");
    }
    for path in ["/v1/models/gpt-4", "/v1/models/%ff"] {
        let (status, _, body) = ask(&app, "GET", path).await;
        assert_eq!(status, 404);
        assert_eq!(body["error"]["code"], "model_not_found");
        assert!(body["error"]["message"].as_str().unwrap().contains("org/tiny-model, tiny"));
    }
}

#[tokio::test]
async fn slashes_more_than_one_or_behind_a_path_make_no_difference() {
    let app = loading(|_| ());
    for path in [
        "/v1/models/",
        "//v1/models",
        "//v1/models//",
        "/v1/models/tiny/",
        "/v1//models",
        "/v1///models//org%2Ftiny-model",
        "/slots//?a=//b",
    ] {
        assert_eq!(ask(&app, "GET", path).await.0, 200, "{path}");
    }
    assert_eq!(ask(&app, "GET", "//slots?a=//&fail_on_no_slot=1").await.0, 503);
    for path in ["/v1/chat/completions/", "//tokenize", "/v1//chat/completions"] {
        assert_eq!(ask(&app, "POST", path).await.0, 400, "{path}");
        assert_eq!(ask(&app, "GET", path).await.1["allow"], "POST", "{path}");
    }
    let prefixed = loading(|s| s.server.api_prefix = "/llm".to_owned());
    for path in ["/llm/", "//llm", "/llm/v1/models/", "//llm/v1/models", "/llm//v1/models"] {
        assert_eq!(ask(&prefixed, "GET", path).await.0, 200, "{path}");
    }
    let deep = loading(|s| s.server.api_prefix = "/a//b/".to_owned());
    for path in ["/a/b/v1/models", "/a//b//v1/models"] {
        assert_eq!(ask(&deep, "GET", path).await.0, 200, "{path}");
    }
    assert_eq!(ask(&app, "GET", "//nowhere/").await.2["error"]["message"], "no route //nowhere/");
}

#[tokio::test]
async fn endpoints_that_are_switched_off_say_so() {
    let app = loading(|s| {
        s.server.metrics = false;
        s.server.slots = false;
    });
    for (method, path) in [("GET", "/metrics"), ("GET", "/slots"), ("POST", "/props")] {
        let (status, _, body) = ask(&app, method, path).await;
        assert_eq!(status, 501, "{path}");
        assert!(body["error"]["message"].as_str().unwrap().contains("switched off"), "{body}");
    }
    let (status, _, body) = ask(&loading(|s| s.server.props = true), "POST", "/props").await;
    assert_eq!((status.as_u16(), body), (200, json!({"success": true})));
}

#[tokio::test]
async fn too_large_a_body_is_413_also_when_only_its_chunks_tell() {
    let app = loading(|s| s.limits.body_bytes = 100);
    let announced = Request::post("/tokenize")
        .header("content-type", "application/json")
        .header("content-length", "101")
        .body(Body::from(vec![b' '; 101]))
        .unwrap();
    let chunks = (0..3).map(|_| Ok::<_, std::io::Error>(vec![b' '; 40]));
    let chunked = Request::post("/tokenize")
        .header("content-type", "application/json")
        .body(Body::from_stream(futures_util::stream::iter(chunks)))
        .unwrap();
    for request in [announced, chunked] {
        let (status, _, body) = send(&app, request).await;
        assert_eq!(status, 413);
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"]["code"], "body_too_large");
        assert!(body["error"]["message"].as_str().unwrap().contains("100 bytes"));
    }
}

#[tokio::test]
async fn a_body_above_two_megabytes_is_read_when_the_limit_allows_it() {
    let app = router(state_with(|_| (), LoadState::Failed("no memory".to_owned())));
    let request = Request::post("/tokenize")
        .header("content-type", "application/json")
        .body(Body::from(json!({"content": "x".repeat(3 << 20)}).to_string()))
        .unwrap();
    assert_eq!(send(&app, request).await.0, 503);
}

#[tokio::test]
async fn a_bad_body_is_a_400_that_names_the_field() {
    let app = loading(|_| ());
    for (body, param) in [
        ("{\"content\": \"a\"", Value::Null),
        ("{\"content\": \"a\"} x", Value::Null),
        ("{\"content\": 5}", json!("content")),
        ("{\"content\": \"a\", \"add_special\": 1}", json!("add_special")),
    ] {
        let request = Request::post("/tokenize")
            .header("content-type", "application/json")
            .body(Body::from(body))
            .unwrap();
        let (status, _, answer) = send(&app, request).await;
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(status, 400, "{body}");
        assert_eq!(answer["error"]["param"], param, "{body}: {answer}");
    }
}

#[tokio::test]
async fn every_answer_carries_the_requests_id() {
    let app = loading(|_| ());
    let request =
        Request::get("/nowhere").header("x-request-id", "mine-1").body(Body::empty()).unwrap();
    assert_eq!(send(&app, request).await.1["x-request-id"], "mine-1");
    let (_, headers, _) = ask(&app, "GET", "/health").await;
    assert_eq!(headers["x-request-id"].len(), 32);
}

#[tokio::test]
async fn a_draining_server_refuses_new_requests_and_closes_the_connection() {
    let state = state_with(|_| (), LoadState::Loading { progress: 0.0 });
    state.http().start_draining();
    let (status, headers, body) = ask(&router(state), "GET", "/v1/models").await;
    assert_eq!(status, 503);
    assert_eq!(headers["connection"], "close");
    assert_eq!(body["error"]["code"], "shutting_down");
}

#[tokio::test]
async fn all_routes_move_under_the_prefix() {
    for setting in ["/llm", "llm/", "/llm"] {
        let app = loading(|s| {
            s.server.api_prefix = setting.to_owned();
            s.server.api_keys = vec!["sesame".to_owned()];
        });
        assert_eq!(ask(&app, "GET", "/llm/health").await.0, 503);
        assert_eq!(ask(&app, "GET", "/llm").await.0, 200);
        assert_eq!(ask(&app, "GET", "/llm/").await.0, 200);
        assert_eq!(ask(&app, "GET", "/llm/v1/models").await.0, 401);
        assert_eq!(ask(&app, "GET", "/health").await.0, 401);
        let request = Request::get("/llm/nowhere").header("x-api-key", "sesame");
        let (status, _, body) = send(&app, request.body(Body::empty()).unwrap()).await;
        assert_eq!(status, 404);
        assert!(String::from_utf8(body).unwrap().contains("no route /llm/nowhere"));
    }
    // What no router pattern may contain does not stop the server.
    for odd in ["/{a}", "/:a/*b", "//"] {
        assert_eq!(
            ask(&loading(|s| s.server.api_prefix = odd.to_owned()), "GET", "/x").await.0,
            404
        );
    }
}

#[tokio::test]
async fn requests_are_counted_under_their_route_without_the_prefix_and_refused_ones_too() {
    let app = loading(|s| {
        s.server.api_prefix = "/llm".to_owned();
        s.server.api_keys = vec!["sesame".to_owned()];
    });
    ask(&app, "GET", "/llm/health").await;
    ask(&app, "GET", "/llm/v1/models/org/tiny-model").await;
    ask(&app, "PUT", "/llm/v1/models").await;
    ask(&app, "GET", "/llm/sk-a-key-in-the-wrong-place").await;
    let request = Request::get("/llm/metrics").header("x-api-key", "sesame");
    let (_, _, body) = send(&app, request.body(Body::empty()).unwrap()).await;
    let text = String::from_utf8(body).unwrap();
    for (method, route, status) in [
        ("GET", "/health", 503),
        ("GET", "/v1/models/{*id}", 401),
        ("PUT", "/v1/models", 401),
        ("GET", "other", 401),
    ] {
        let dialect = if route.starts_with("/v1") { "openai" } else { "none" };
        let labels = format!(
            "dialect=\"{dialect}\",method=\"{method}\",route=\"{route}\",status=\"{status}\""
        );
        let line = format!("strixhalo_http_requests_total{{{labels}}} 1");
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    assert!(!text.contains("sk-a-key"));
}

#[tokio::test]
async fn a_panic_is_a_500_in_the_common_form() {
    async fn fails() {
        panic!("on purpose")
    }
    let context = state_with(|_| (), LoadState::Loading { progress: 0.0 }).http().clone();
    let app = Router::new()
        .route("/", axum::routing::get(fails))
        .layer(from_fn(catch_panics))
        .layer(from_fn_with_state(context.clone(), write_errors))
        .layer(from_fn_with_state(context, log_requests));
    let (status, headers, body) = ask(&app, "GET", "/").await;
    assert_eq!(status, 500);
    assert_eq!(body["error"]["type"], "server_error");
    assert!(!body.to_string().contains("on purpose"));
    assert!(headers.contains_key("x-request-id"));
}
