//! Reading request bodies: bounded in size and in silence, before any handler runs.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http::header;
use http_body_util::BodyExt;

use super::{ApiError, AppState};

/// A client that sends nothing of its body for this long is given up.
const SILENCE: Duration = Duration::from_secs(30);
/// Memory taken ahead for a body, whatever its `Content-Length` promises.
const AHEAD: usize = 1 << 20;

/// Hands the request on with its whole body in memory, so that handlers meet neither bodies above
/// `limits.body_bytes` nor ones that stop halfway.
pub(super) async fn read_body(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    let (parts, body) = request.into_parts();
    let announced = parts
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.parse().ok());
    match read(body, announced, state.settings().limits.body_bytes, SILENCE).await {
        Ok(bytes) => next.run(Request::from_parts(parts, Body::from(bytes))).await,
        Err(error) => error.into_response(),
    }
}

async fn read(
    mut body: Body,
    announced: Option<u64>,
    limit: u64,
    silence: Duration,
) -> Result<Bytes, ApiError> {
    if announced.is_some_and(|length| length > limit) {
        return Err(ApiError::BodyTooLarge { limit });
    }
    let mut bytes = BytesMut::with_capacity(announced.map_or(0, |n| n.min(AHEAD as u64) as usize));
    while let Some(frame) =
        tokio::time::timeout(silence, body.frame()).await.map_err(|_| ApiError::RequestTimeout)?
    {
        let frame = frame.map_err(|_| ApiError::InvalidRequest {
            message: "the request body ended early or is not valid HTTP".to_owned(),
            param: None,
            code: "invalid_body",
        })?;
        if let Ok(data) = frame.into_data() {
            if (bytes.len() + data.len()) as u64 > limit {
                return Err(ApiError::BodyTooLarge { limit });
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes.freeze())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn chunks(sizes: &[usize]) -> Body {
        let chunks: Vec<_> =
            sizes.iter().map(|&n| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; n]))).collect();
        Body::from_stream(futures_util::stream::iter(chunks))
    }

    #[tokio::test]
    async fn a_body_may_have_exactly_the_limit() {
        assert_eq!(read(chunks(&[4, 6]), None, 10, SILENCE).await.unwrap().len(), 10);
        assert_eq!(read(chunks(&[10]), Some(10), 10, SILENCE).await.unwrap().len(), 10);
        assert!(read(chunks(&[]), None, 10, SILENCE).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn too_large_a_body_is_refused_whether_announced_or_not() {
        let too_large = Err(ApiError::BodyTooLarge { limit: 10 });
        assert_eq!(read(chunks(&[1]), Some(11), 10, SILENCE).await, too_large);
        assert_eq!(read(chunks(&[4, 7]), None, 10, SILENCE).await, too_large);
    }

    #[tokio::test]
    async fn a_body_that_stops_coming_is_a_timeout() {
        let silent = Body::from_stream(futures_util::stream::pending::<std::io::Result<Bytes>>());
        assert_eq!(
            read(silent, None, 10, Duration::from_millis(5)).await,
            Err(ApiError::RequestTimeout)
        );
    }
}
