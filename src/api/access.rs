//! Around every request: its id, its line in the log, and an answer even if a handler panics.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::ApiError;

/// The header that carries a request's id, in both directions.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_ID_BYTES: usize = 128;
const MAX_LOGGED_PATH: usize = 200;

/// Identifies a request in logs and in `/slots`: the client's `X-Request-Id` if it is harmless,
/// else 32 random hexadecimal digits. A request extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    fn of(headers: &HeaderMap) -> Self {
        let harmless = |id: &&str| {
            (1..=MAX_ID_BYTES).contains(&id.len())
                && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:/+=@".contains(&b))
        };
        match headers.get(X_REQUEST_ID).and_then(|v| v.to_str().ok()).filter(harmless) {
            Some(id) => Self(id.to_owned()),
            None => Self(format!("{:032x}", fastrand::u128(..))),
        }
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Gives the request its id, logs it when its answer is complete, and answers 500 to a panic.
pub(super) async fn access(mut request: Request, next: Next) -> Response {
    let id = RequestId::of(request.headers());
    let mut record = Record {
        path: request.uri().path().chars().take(MAX_LOGGED_PATH).collect(),
        method: request.method().clone(),
        id: id.clone(),
        start: Instant::now(),
        status: None,
        complete: false,
    };
    request.extensions_mut().insert(id.clone());
    let mut response = match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => {
            tracing::error!(request = id.as_str(), "a handler panicked; this is a bug");
            ApiError::Internal("an internal error; the server's log says more").into_response()
        }
    };
    record.status = Some(response.status());
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    response.map(|body| Body::new(Logged { body, record }))
}

/// Writes the log line when it is dropped: the answer is complete, or the client is gone.
struct Record {
    method: Method,
    path: String,
    id: RequestId,
    start: Instant,
    /// `None` until there is an answer.
    status: Option<StatusCode>,
    complete: bool,
}

impl Drop for Record {
    fn drop(&mut self) {
        let Self { method, path, id, status, complete, .. } = self;
        let request = id.as_str();
        let ms = self.start.elapsed().as_millis() as u64;
        let status = status.map(|s| s.as_u16());
        // Monitors ask every few seconds; that is no news.
        let quiet = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
            && status.is_some_and(|s| s < 400 || s == 503);
        match (status, *complete) {
            (Some(status), true) if quiet => {
                tracing::debug!(request, status, ms, "{method} {path}");
            }
            (Some(status), true) => tracing::info!(request, status, ms, "{method} {path}"),
            (Some(status), false) => {
                tracing::info!(request, status, ms, "{method} {path}: the client left early");
            }
            (None, _) => {
                tracing::info!(request, ms, "{method} {path}: the client left before the answer");
            }
        }
    }
}

/// An answer's body with the record of its request.
struct Logged {
    body: Body,
    record: Record,
}

impl HttpBody for Logged {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.record.complete |= frame.is_none();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        // A body of known length is never asked for the frame after its last; and nobody reads
        // the answer's body of a HEAD request.
        self.record.complete |= self.body.is_end_stream() || self.record.method == Method::HEAD;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(value: &[u8]) -> RequestId {
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.insert(X_REQUEST_ID, value);
        }
        RequestId::of(&headers)
    }

    #[test]
    fn a_clients_id_is_kept_if_it_is_harmless_and_replaced_otherwise() {
        assert_eq!(id(b"req-1_a.b:c").as_str(), "req-1_a.b:c");
        for bad in [&b""[..], b"a b", b"\xff\xfe", b"\x1b[31m", &[b'a'; 129]] {
            let id = id(bad);
            assert_eq!(id.as_str().len(), 32, "{id:?}");
            assert!(id.as_str().bytes().all(|b| b.is_ascii_hexdigit()));
        }
    }
}
