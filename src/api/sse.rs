//! Server-sent events: a stream's frames, its keep-alive comments and its end.

use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use http::{HeaderValue, header};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::chunks::{Chunks, json};
use super::error::openai_error;
use super::generate::{Reply, Running};
use super::{ApiError, AppState, LoadState};
use crate::engine::GenerationEvent;

/// A comment: clients ignore it, but it shows them and proxies that the stream lives.
const COMMENT: Bytes = Bytes::from_static(b": keep-alive\n\n");

/// Events that are ready together travel in one write, up to about this many bytes.
const FRAME: usize = 16 << 10;

pub(super) type Work = Pin<Box<dyn Future<Output = Result<Running, ApiError>> + Send>>;

/// Answers with a stream. Errors of `work` are plain answers, unless the model is still loading
/// when the client needs its first sign of life.
pub(super) async fn respond(
    state: &AppState,
    reply: Reply,
    mut work: Work,
) -> Result<Response, ApiError> {
    let loading = matches!(state.load_state(), LoadState::Loading { .. });
    let interval = reply.ping_interval;
    let source = match interval.filter(|_| loading) {
        None => Source::running(reply, work.await?),
        Some(patience) => match tokio::time::timeout(patience, &mut work).await {
            Ok(running) => Source::running(reply, running?),
            Err(_) => Source::Starting(Box::new((reply, work))),
        },
    };
    let frames = Frames { ping: interval.map(|i| pings(&source, i)), source, spoke: false };
    let body = stream::unfold(frames, |mut frames| async move {
        frames.next().await.map(|frame| (Ok::<_, Infallible>(frame), frames))
    });
    let mut response = Response::new(Body::from_stream(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies such as nginx would hold the events back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// The ticks at which a silent stream gets a comment. A stream that has waited for its headers
/// gets its first one at once.
fn pings(source: &Source, interval: Duration) -> Interval {
    let first = match source {
        Source::Starting(_) => Instant::now(),
        _ => Instant::now() + interval,
    };
    let mut ticks = tokio::time::interval_at(first, interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Where a stream's next frame comes from.
enum Source {
    /// The model is loading.
    Starting(Box<(Reply, Work)>),
    Running(Box<(Chunks, Running)>),
    Over,
}

impl Source {
    fn running(reply: Reply, mut running: Running) -> Self {
        let chunks = Chunks::new(reply, &mut running);
        Self::Running(Box::new((chunks, running)))
    }
}

struct Frames {
    source: Source,
    ping: Option<Interval>,
    /// Something was sent since the last tick.
    spoke: bool,
}

enum Step {
    Tick,
    Started(Result<Running, ApiError>),
    Event(Option<(usize, GenerationEvent)>),
}

impl Frames {
    /// The next bytes to send; `None` ends the stream.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let step = self.step().await?;
            let frame = match step {
                Step::Tick if std::mem::take(&mut self.spoke) => continue,
                Step::Tick => return Some(COMMENT),
                Step::Started(Ok(running)) => {
                    self.started(running);
                    continue;
                }
                Step::Started(Err(error)) => {
                    self.source = Source::Over;
                    error_event(&error)
                }
                Step::Event(event) => self.events(event),
            };
            if !frame.is_empty() {
                self.spoke = true;
                return Some(frame.into());
            }
        }
    }

    async fn step(&mut self) -> Option<Step> {
        let ping = &mut self.ping;
        let tick = async {
            match ping {
                Some(ping) => ping.tick().await,
                None => std::future::pending().await,
            }
        };
        Some(match &mut self.source {
            Source::Over => return None,
            Source::Starting(starting) => tokio::select! {
                biased;
                running = &mut starting.1 => Step::Started(running),
                _ = tick => Step::Tick,
            },
            Source::Running(running) => tokio::select! {
                biased;
                event = running.1.events.next() => Step::Event(event),
                _ = tick => Step::Tick,
            },
        })
    }

    fn started(&mut self, running: Running) {
        if let Source::Starting(starting) = std::mem::replace(&mut self.source, Source::Over) {
            self.source = Source::running(starting.0, running);
        }
    }

    /// Writes `first` and what else is ready.
    fn events(&mut self, first: Option<(usize, GenerationEvent)>) -> Vec<u8> {
        let mut out = Vec::new();
        let Source::Running(running) = &mut self.source else { return out };
        let (chunks, running) = &mut **running;
        let mut next = first;
        let result = loop {
            match next {
                None => break chunks.finish(&mut out).map(|()| true),
                Some((choice, event)) => {
                    if let Err(error) = chunks.event(choice, event, &mut out) {
                        break Err(error);
                    }
                }
            }
            if out.len() >= FRAME {
                break Ok(false);
            }
            match running.events.next().now_or_never() {
                Some(event) => next = event,
                None => break Ok(false),
            }
        };
        match result {
            Ok(false) => {}
            Ok(true) => self.source = Source::Over,
            Err(error) => {
                // The other choices end too: dropping their streams cancels them.
                self.source = Source::Over;
                out.extend(error_event(&error.into()));
            }
        }
        out
    }
}

fn error_event(error: &ApiError) -> Vec<u8> {
    let mut out = b"data: ".to_vec();
    json(&mut out, &openai_error(&error.problem()));
    out.extend_from_slice(b"\n\n");
    out
}
