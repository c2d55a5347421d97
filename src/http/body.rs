//! Reading request bodies: bounded in size and in silence, before any handler runs.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http::header;
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::{Context, Error, RequestLog};

/// Bytes that allow one second more: slow links may send large bodies, but a client that sends a
/// byte now and then must not hold a connection for hours, whatever it sent before.
const MIN_BYTES_PER_SECOND: u32 = 16 << 10;
/// Memory taken ahead for a body, whatever its `Content-Length` promises, and the piece in which
/// larger ones take their share of [`MAX_PIECES`].
const PIECE_BYTES: usize = 1 << 20;
/// Pieces for all bodies together that are larger than one and have not been parsed yet: 512 MiB.
const MAX_PIECES: usize = 512;

static LARGE_BODIES: LazyLock<Arc<Semaphore>> =
    LazyLock::new(|| Arc::new(Semaphore::new(MAX_PIECES)));

/// A large body; its memory is given back with the last piece of it that somebody holds.
struct Large {
    bytes: Bytes,
    _pieces: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Large {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Hands the request on with its whole body in memory, so that handlers meet neither bodies above
/// `limits.body_bytes` nor ones that stop halfway.
pub(crate) async fn read_body(
    State(context): State<Context>,
    request: Request,
    next: Next,
) -> Response {
    let (parts, body) = request.into_parts();
    let announced = parts
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.parse().ok());
    let (limit, timeout) = {
        let settings = context.settings();
        (settings.limits.body_bytes, Duration::from_secs(settings.limits.body_timeout))
    };
    let read = tokio::select! {
        biased;
        read = read(body, announced, limit, timeout, &LARGE_BODIES) => read,
        // What it asks for would not be begun any more.
        () = context.drain_begun() => Err(Error::shutting_down()),
    };
    match read {
        Ok(bytes) => {
            if let Some(log) = parts.extensions.get::<RequestLog>() {
                log.set_body_bytes(bytes.len());
            }
            next.run(Request::from_parts(parts, Body::from(bytes))).await
        }
        Err(error) => error.into_response(),
    }
}

/// `timeout`: how long the client may be silent, and how far it may fall behind
/// [`MIN_BYTES_PER_SECOND`]. `large`: pieces of [`PIECE_BYTES`] bytes for bodies above that.
async fn read(
    mut body: Body,
    announced: Option<u64>,
    limit: u64,
    timeout: Duration,
    large: &Arc<Semaphore>,
) -> Result<Bytes, Error> {
    let limit = limit.min((MAX_PIECES * PIECE_BYTES) as u64);
    if announced.is_some_and(|length| length > limit) {
        return Err(Error::BodyTooLarge { limit });
    }
    let mut bytes =
        BytesMut::with_capacity(announced.map_or(0, |n| n.min(PIECE_BYTES as u64) as usize));
    let mut pieces: Option<OwnedSemaphorePermit> = None;
    let mut deadline = Instant::now() + timeout;
    loop {
        let frame = tokio::time::timeout_at(deadline, body.frame());
        let Some(frame) = frame.await.map_err(|_| Error::RequestTimeout)? else { break };
        let frame = frame.map_err(|_| Error::Invalid {
            message: "the request body ended early or is not valid HTTP".to_owned(),
            code: "invalid_body",
        })?;
        if let Ok(data) = frame.into_data() {
            if (bytes.len() + data.len()) as u64 > limit {
                return Err(Error::BodyTooLarge { limit });
            }
            let earned = Duration::from_secs(1) * data.len() as u32 / MIN_BYTES_PER_SECOND;
            deadline = (deadline + earned).min(Instant::now() + timeout);
            bytes.extend_from_slice(&data);
            let held = pieces.as_ref().map_or(1, |pieces| pieces.num_permits() + 1);
            let more = bytes.len().div_ceil(PIECE_BYTES).saturating_sub(held);
            if more > 0 {
                let begun = Instant::now();
                let more = tokio::time::timeout(timeout, take(large, more)).await;
                let more = more.ok().flatten().ok_or_else(no_room)?;
                // It was not the client that took so long.
                deadline += begun.elapsed();
                match &mut pieces {
                    Some(pieces) => pieces.merge(more),
                    None => pieces = Some(more),
                }
            }
        }
    }
    let bytes = bytes.freeze();
    Ok(match pieces {
        Some(pieces) => Bytes::from_owner(Large { bytes, _pieces: pieces }),
        None => bytes,
    })
}

async fn take(large: &Arc<Semaphore>, n: usize) -> Option<OwnedSemaphorePermit> {
    // It is never closed.
    large.clone().acquire_many_owned(u32::try_from(n).ok()?).await.ok()
}

fn no_room() -> Error {
    Error::Unavailable {
        message: "too many large request bodies are being read; try again later".to_owned(),
        code: "busy",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    async fn read(
        body: Body,
        announced: Option<u64>,
        limit: u64,
        timeout: Duration,
    ) -> Result<Bytes, Error> {
        super::read(body, announced, limit, timeout, &Arc::new(Semaphore::new(MAX_PIECES))).await
    }

    fn chunks(sizes: &[usize]) -> Body {
        let chunks: Vec<_> =
            sizes.iter().map(|&n| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; n]))).collect();
        Body::from_stream(futures_util::stream::iter(chunks))
    }

    #[tokio::test]
    async fn a_body_may_have_exactly_the_limit() {
        assert_eq!(read(chunks(&[4, 6]), None, 10, TIMEOUT).await.unwrap().len(), 10);
        assert_eq!(read(chunks(&[10]), Some(10), 10, TIMEOUT).await.unwrap().len(), 10);
        assert!(read(chunks(&[]), None, 10, TIMEOUT).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn too_large_a_body_is_refused_whether_announced_or_not() {
        let too_large = Err(Error::BodyTooLarge { limit: 10 });
        assert_eq!(read(chunks(&[1]), Some(11), 10, TIMEOUT).await, too_large);
        assert_eq!(read(chunks(&[4, 7]), None, 10, TIMEOUT).await, too_large);
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
        let timeout = Duration::from_millis(20);
        let trickle = read(pieces(1, 1000), None, 1 << 20, timeout).await;
        assert_eq!(trickle, Err(Error::RequestTimeout));
        let flow = read(pieces(16 << 10, 30), None, 1 << 20, timeout).await;
        assert_eq!(flow.unwrap().len(), 30 * (16 << 10));
    }

    #[tokio::test]
    async fn a_body_that_stops_coming_is_a_timeout() {
        let silent = Body::from_stream(futures_util::stream::pending::<std::io::Result<Bytes>>());
        assert_eq!(
            read(silent, None, 10, Duration::from_millis(5)).await,
            Err(Error::RequestTimeout)
        );
    }

    #[tokio::test]
    async fn what_a_client_sent_at_first_buys_it_no_time_to_trickle() {
        let trickle = futures_util::stream::unfold(1 << 20, |size| async move {
            tokio::time::sleep(Duration::from_millis(2)).await;
            Some((Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; size])), 1))
        });
        let begun = Instant::now();
        let end = read(Body::from_stream(trickle), None, 2 << 20, Duration::from_millis(20)).await;
        assert_eq!(end, Err(Error::RequestTimeout));
        assert!(begun.elapsed() < Duration::from_secs(30), "a megabyte would buy 64 s");
    }

    #[tokio::test]
    async fn large_bodies_share_memory_until_they_are_dropped() {
        let large = Arc::new(Semaphore::new(3));
        let body = || chunks(&[PIECE_BYTES; 3]);
        let read = |timeout| super::read(body(), None, 1 << 30, timeout, &large);
        let first = read(TIMEOUT).await.unwrap();
        assert_eq!((first.len(), large.available_permits()), (3 * PIECE_BYTES, 1));
        let refused = read(Duration::from_millis(5)).await.unwrap_err();
        assert_eq!(refused.status(), http::StatusCode::SERVICE_UNAVAILABLE);
        let waits = tokio::join!(read(TIMEOUT), async {
            tokio::task::yield_now().await;
            drop(first);
        });
        assert!(waits.0.is_ok());
        drop(waits);
        assert_eq!(large.available_permits(), 3);
        assert_eq!(
            super::read(chunks(&[PIECE_BYTES]), None, 1 << 30, TIMEOUT, &large)
                .await
                .unwrap()
                .len(),
            PIECE_BYTES
        );
    }
}
