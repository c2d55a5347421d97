//! Reading request bodies: bounded in size and in silence, before any handler runs.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http::header;
use http_body_util::BodyExt;
use tokio::time::Instant;

use super::access::Record;
use super::{ApiError, AppState};

/// Bytes that allow one second more: slow links may send large bodies, but a client that sends a
/// byte now and then must not hold a connection for hours.
const BYTES_PER_SECOND: usize = 16 << 10;
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
    let (limit, patience) = {
        let settings = state.settings();
        (settings.limits.body_bytes, Duration::from_secs(settings.limits.body_timeout))
    };
    let read = tokio::select! {
        biased;
        read = read(body, announced, limit, patience) => read,
        // What it asks for would not be begun any more.
        () = state.drain_begun() => Err(ApiError::shutting_down()),
    };
    match read {
        Ok(bytes) => {
            if let Some(record) = parts.extensions.get::<Record>() {
                record.set_body_bytes(bytes.len());
            }
            next.run(Request::from_parts(parts, Body::from(bytes))).await
        }
        Err(error) => error.into_response(),
    }
}

/// `patience`: how long the client may be silent, and how long it may take beside what its bytes
/// allow.
async fn read(
    mut body: Body,
    announced: Option<u64>,
    limit: u64,
    patience: Duration,
) -> Result<Bytes, ApiError> {
    if announced.is_some_and(|length| length > limit) {
        return Err(ApiError::BodyTooLarge { limit });
    }
    let mut bytes = BytesMut::with_capacity(announced.map_or(0, |n| n.min(AHEAD as u64) as usize));
    let start = Instant::now();
    loop {
        let earned = Duration::from_secs((bytes.len() / BYTES_PER_SECOND) as u64);
        let deadline = (Instant::now() + patience).min(start + patience + earned);
        let frame = tokio::time::timeout_at(deadline, body.frame());
        let Some(frame) = frame.await.map_err(|_| ApiError::RequestTimeout)? else { break };
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

    const PATIENCE: Duration = Duration::from_secs(30);

    fn chunks(sizes: &[usize]) -> Body {
        let chunks: Vec<_> =
            sizes.iter().map(|&n| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; n]))).collect();
        Body::from_stream(futures_util::stream::iter(chunks))
    }

    #[tokio::test]
    async fn a_body_may_have_exactly_the_limit() {
        assert_eq!(read(chunks(&[4, 6]), None, 10, PATIENCE).await.unwrap().len(), 10);
        assert_eq!(read(chunks(&[10]), Some(10), 10, PATIENCE).await.unwrap().len(), 10);
        assert!(read(chunks(&[]), None, 10, PATIENCE).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn too_large_a_body_is_refused_whether_announced_or_not() {
        let too_large = Err(ApiError::BodyTooLarge { limit: 10 });
        assert_eq!(read(chunks(&[1]), Some(11), 10, PATIENCE).await, too_large);
        assert_eq!(read(chunks(&[4, 7]), None, 10, PATIENCE).await, too_large);
    }

    #[tokio::test]
    async fn a_body_that_trickles_is_a_timeout_and_one_that_flows_is_not() {
        let pieces = |size: usize, n: usize| {
            Body::from_stream(futures_util::stream::unfold(0, move |sent| async move {
                tokio::time::sleep(Duration::from_millis(2)).await;
                let piece = Bytes::from(vec![b'x'; size]);
                (sent < n).then_some((Ok::<_, std::io::Error>(piece), sent + 1))
            }))
        };
        let patience = Duration::from_millis(20);
        let trickle = read(pieces(1, 1000), None, 1 << 20, patience).await;
        assert_eq!(trickle, Err(ApiError::RequestTimeout));
        let flow = read(pieces(16 << 10, 30), None, 1 << 20, patience).await;
        assert_eq!(flow.unwrap().len(), 30 * (16 << 10));
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
