//! One client connection: HTTP/1.1 with bounds on how long a client may be silent.
//!
//! hyper's own header timeout also runs between two requests of a kept connection and would cut
//! pooled connections off after it, just as their client uses them again. Here the time for
//! headers begins with their first byte, and an idle connection has its own, longer time.

use std::convert::Infallible;
use std::fmt::Display;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{self, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};
use tokio_util::io::{InspectReader, InspectWriter};
use tower::ServiceExt;

use super::closing::{LINGER_SILENCE_TIMEOUT, LINGER_TIMEOUT, linger, raw_answer};
use super::socket::{self, Stream};
use super::{Context, Error};

/// An idle connection is closed after this; longer than the 90 s after which the pools of common
/// clients close it, so that no request meets a connection that is just being closed.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// Request line and headers together.
const MAX_HEADER_BYTES: usize = 64 << 10;
/// How a connection begins that speaks HTTP/2 without having asked.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What hyper may buffer of a connection's input.
const MAX_BUFFER_BYTES: usize = 128 << 10;
/// A connection may have a request under way when the drain begins. Its headers get so long to
/// arrive, and it is then told to come again; without that it would be reset.
const LAST_REQUEST_TIMEOUT: Duration = Duration::from_millis(500);
/// How far the server's life is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Serving.
    Serve,
    /// Running requests may finish; connections close after them.
    Drain,
    /// Everything ends now.
    Cut,
}

/// The kernel gives up a client that takes nothing of its answer for so long, or for
/// `limits.stream_stall_timeout` if that is longer. Its generation is another matter: the engine
/// buffers its output, and drops it when the buffer has been full for that time.
const MIN_WRITE_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 3 } else { 120 });

/// How long a client may be silent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    /// While its headers come: `limits.header_timeout`.
    pub(super) headers: Duration,
    /// While it takes nothing of its answer: `limits.stream_stall_timeout`.
    pub(super) write: Duration,
    /// Between two requests: [`IDLE_TIMEOUT`].
    pub(super) idle: Duration,
}

/// Serves the requests of one connection, until it closes or `stage` says so.
pub(super) async fn serve_connection(
    stream: Stream,
    router: Router,
    context: Context,
    timeouts: Timeouts,
    mut stage: watch::Receiver<Stage>,
) {
    let progress = Arc::new(Progress::default());
    let client = socket::client(&stream);
    socket::set_write_timeout(&stream, timeouts.write.max(MIN_WRITE_TIMEOUT));
    let service = {
        let progress = progress.clone();
        service_fn(move |mut request: Request<Incoming>| {
            if let Some(client) = client {
                request.extensions_mut().insert(client);
            }
            Box::pin(answer(request, router.clone(), progress.clone()))
        })
    };
    let (reads, writes) = (progress.clone(), progress.clone());
    let stream = InspectReader::new(stream, move |bytes| {
        if !bytes.is_empty() {
            reads.received();
        }
    });
    let io = TokioIo::new(InspectWriter::new(stream, move |_| writes.sent()));
    let mut connection = http1::Builder::new()
        .half_close(false)
        .header_read_timeout(None)
        .max_header_size(MAX_HEADER_BYTES)
        .max_buf_size(MAX_BUFFER_BYTES)
        .serve_connection(io, service);

    let mut silence = Box::pin(tokio::time::sleep(timeouts.headers));
    let end = loop {
        let run = poll_fn(|cx| {
            if let Poll::Ready(result) = connection.poll_without_shutdown(cx) {
                return Poll::Ready(End::Closed(result));
            }
            let Some(deadline) = progress.deadline(timeouts) else { return Poll::Pending };
            poll_until(silence.as_mut(), deadline, cx).map(|()| End::Silent)
        });
        tokio::select! {
            end = run => break end,
            changed = stage.changed() => {
                let now = *stage.borrow_and_update();
                if changed.is_err() || now == Stage::Cut {
                    return;
                }
                // hyper would close a connection on which nothing has come yet, and wait for headers
                // of which a part has. Such a request is refused with an answer that closes it.
                if !progress.allow_last_request() {
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
        }
    };
    let parts = connection.into_parts();
    let mut io = parts.io.into_inner().into_inner().into_inner();
    let (mut unread, too_slow, draining) = {
        let state = progress.lock();
        (state.unread, state.too_slow, state.last_request.is_some())
    };
    // No request came out of it, so nobody else logs these.
    let unreadable = |status: StatusCode, why: &dyn Display| {
        context.counts().unreadable(status);
        let client = client.map(tracing::field::display);
        tracing::info!(status = status.as_u16(), client, "a request that cannot be read: {why}");
    };
    match end {
        End::Closed(Ok(())) => {}
        // hyper does not answer it.
        End::Closed(Err(error)) if parts.read_buf.starts_with(HTTP2_PREFACE) => {
            unreadable(StatusCode::BAD_REQUEST, &error);
            unread = true;
            let error = Error::Invalid {
                message: "HTTP/2 is not spoken here; use HTTP/1.1".to_owned(),
                code: "invalid_http",
            };
            let _ = io.write_all(&raw_answer(&context, error)).await;
        }
        // hyper answered these, without a body.
        End::Closed(Err(error)) if error.is_parse_too_large() => {
            unreadable(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, &error);
        }
        End::Closed(Err(error)) if error.is_parse() => {
            unreadable(StatusCode::BAD_REQUEST, &error);
        }
        End::Closed(Err(error)) => tracing::debug!("connection ended: {error}"),
        End::Silent if parts.read_buf.is_empty() => {}
        End::Silent => {
            unread = true;
            // The client may be gone.
            let error = if draining { Error::shutting_down() } else { Error::RequestTimeout };
            unreadable(error.status(), &error);
            let _ = io.write_all(&raw_answer(&context, error)).await;
        }
    }
    let _ = io.shutdown().await;
    if unread {
        let brief = too_slow || *stage.borrow() != Stage::Serve;
        tokio::select! {
            () = linger(&mut io, if brief { LINGER_SILENCE_TIMEOUT } else { LINGER_TIMEOUT }) => {}
            _ = stage.changed() => {}
        }
    }
}

enum End {
    Closed(hyper::Result<()>),
    /// The client did not send what was due.
    Silent,
}

fn poll_until(
    mut sleep: Pin<&mut Sleep>,
    deadline: Instant,
    cx: &mut task::Context<'_>,
) -> Poll<()> {
    if sleep.deadline() != deadline {
        sleep.as_mut().reset(deadline);
    }
    sleep.poll(cx)
}

async fn answer(
    request: Request<Incoming>,
    router: Router,
    progress: Arc<Progress>,
) -> Result<Response, Infallible> {
    progress.start();
    let upload = |body| Upload { body, finished: false, progress: progress.clone() };
    let request = request.map(|body| Body::new(upload(body)));
    let mut response = router.oneshot(request).await.into_response();
    let close = {
        let mut state = progress.lock();
        // A body that did not come in time is not waited for any longer.
        state.too_slow = response.status() == StatusCode::REQUEST_TIMEOUT;
        state.too_slow || state.unread
    };
    // Reading what is left of a body for the next request's sake costs more than a new connection.
    if close {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let answering = Answering(progress);
    Ok(response.map(|body| {
        Body::new(body.map_err(move |error| {
            // Lives as long as the body.
            let _ = &answering;
            error
        }))
    }))
}

/// What the client owes at the moment.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// A request's headers, since the connection was accepted or the first of them came.
    Headers(Instant),
    /// Nothing: a request is being answered.
    Busy,
    /// Nothing: hyper has the whole answer, of which the client may still take parts, and the
    /// connection is kept for a next request.
    Idle(Instant),
}

/// Shared by the parts of one connection, all polled in one task.
#[derive(Debug)]
struct Progress(Mutex<ProgressState>);

#[derive(Debug)]
struct ProgressState {
    phase: Phase,
    /// The current request's body has not been read to its end, and will not be.
    unread: bool,
    /// The body came too slowly.
    too_slow: bool,
    /// Since when the server drains, if the connection had a request under way then.
    last_request: Option<Instant>,
}

impl Default for Progress {
    fn default() -> Self {
        Self(Mutex::new(ProgressState {
            phase: Phase::Headers(Instant::now()),
            unread: false,
            too_slow: false,
            last_request: None,
        }))
    }
}

impl Progress {
    fn lock(&self) -> MutexGuard<'_, ProgressState> {
        // Values that are assigned whole: valid whoever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on a request that may be under way has [`LAST_REQUEST_TIMEOUT`] to come; false if none is.
    fn allow_last_request(&self) -> bool {
        let mut state = self.lock();
        let under_way = matches!(state.phase, Phase::Headers(_));
        if under_way {
            state.last_request = Some(Instant::now());
        }
        under_way
    }

    fn start(&self) {
        let mut state = self.lock();
        (state.phase, state.unread) = (Phase::Busy, false);
    }

    fn received(&self) {
        let mut state = self.lock();
        if matches!(state.phase, Phase::Idle(_)) {
            state.phase = Phase::Headers(Instant::now());
        }
    }

    /// The client takes its answer: it is not idle yet.
    fn sent(&self) {
        let mut state = self.lock();
        if let Phase::Idle(since) = &mut state.phase {
            *since = Instant::now();
        }
    }

    /// When the client must have done what it owes; `None`: it owes nothing.
    fn deadline(&self, timeouts: Timeouts) -> Option<Instant> {
        let state = self.lock();
        match state.phase {
            Phase::Headers(since) => {
                let due = since + timeouts.headers;
                Some(state.last_request.map_or(due, |at| due.min(at + LAST_REQUEST_TIMEOUT)))
            }
            Phase::Idle(since) => Some(since + timeouts.idle),
            Phase::Busy => None,
        }
    }
}

/// A request's body, which notes whether it was read.
struct Upload {
    body: Incoming,
    finished: bool,
    progress: Arc<Progress>,
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.finished |= frame.is_none();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.finished && !self.body.is_end_stream() {
            self.progress.lock().unread = true;
        }
    }
}

/// Held by an answer's body, whose end is the connection's next idle phase.
struct Answering(Arc<Progress>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.lock().phase = Phase::Idle(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use axum::routing::get;
    use prometheus::Registry;
    use serde_json::Value;
    use tokio::io::AsyncReadExt;
    use tokio::net::UnixStream;

    use super::*;
    use crate::config::Settings;
    use crate::http::{Dialects, Keys};

    #[tokio::test]
    async fn a_client_that_takes_its_answer_slowly_is_not_idle_until_it_has_all_of_it() {
        const BYTES: usize = 8 << 20;
        const PIECE: usize = 512 << 10;
        let router = Router::new().route("/", get(|| async { vec![b'x'; BYTES] }));
        let context = Context::new(
            Settings::default(),
            Keys::default(),
            &Registry::new(),
            Dialects { name: |_| "none", write_error: |_, _| Value::Null },
        );
        let long = Duration::from_secs(60);
        let idle = Duration::from_millis(500);
        let timeouts = Timeouts { headers: long, write: long, idle };
        let (mut client, server) = UnixStream::pair().unwrap();
        let (_stage, seen) = watch::channel(Stage::Serve);
        let task =
            tokio::spawn(serve_connection(Stream::Right(server), router, context, timeouts, seen));
        client.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let begun = Instant::now();
        let mut piece = vec![0; PIECE];
        for _ in 0..BYTES / PIECE {
            client.read_exact(&mut piece).await.unwrap();
            tokio::time::sleep(idle / 6).await;
        }
        assert!(begun.elapsed() > 2 * idle);
        // The rest, which is the length of the head, and the end that idleness brings.
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert!(rest.len() < 1000);
        task.await.unwrap();
    }
}
