//! The layer that writes errors in the form of the API that was called.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderValue, header};

use super::access_log::RequestLog;
use super::context::Context;
use super::error::Problem;

/// Gives error answers their body, in the form of the request's route.
pub(crate) async fn write_errors(
    State(context): State<Context>,
    request: Request,
    next: Next,
) -> Response {
    let log = request.extensions().get::<RequestLog>().cloned();
    let mut response = next.run(request).await;
    let Some(mut problem) = response.extensions_mut().remove::<Problem>() else { return response };
    problem.request_id = log.as_ref().map(|log| log.id().to_owned());
    let path = log.and_then(|log| log.route().or_else(|| log.path_without_route()));
    let body = context.error_body(path.as_deref(), &problem).to_string();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    *response.body_mut() = Body::from(body);
    response
}
