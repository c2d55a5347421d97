//! Streams, which are server-sent events in most APIs: their frames, their keep-alive and their end.

use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use http::{HeaderValue, header};
use serde::Serialize;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::Dialect;
use crate::api::error::ApiError;
use crate::api::generation::{AnswerEvent, Ending, Running};
use crate::engine::GenerationError;

/// A comment: clients ignore it, but it shows them and proxies that the stream lives. One line, without
/// a blank one after it, at which some decoders would emit an empty event.
pub(super) const COMMENT: Bytes = Bytes::from_static(b": keep-alive\n");

/// Events that are ready together travel in one write, up to about this many bytes.
const MAX_FRAME: usize = 16 << 10;

type Work = Pin<Box<dyn Future<Output = Result<Running, ApiError>> + Send>>;

/// Answers with a stream. Errors of `work` are plain answers, unless the model is still loading
/// when the client needs its first sign of life.
pub(super) async fn respond(
    dialect: Box<dyn Dialect>,
    ping_interval: Option<Duration>,
    loading: bool,
    mut work: Work,
) -> Result<Response, ApiError> {
    let media_type = dialect.media_type();
    let mut frames =
        Frames { dialect, source: Source::Over, ready: Vec::new(), ping: None, spoke: false };
    match ping_interval.filter(|_| loading) {
        None => frames.started(work.await?),
        Some(wait) => match tokio::time::timeout(wait, &mut work).await {
            Ok(running) => frames.started(running?),
            Err(_) => frames.source = Source::Starting(work),
        },
    }
    frames.ping = ping_interval.map(|interval| pings(&frames.source, interval));
    let body = stream::unfold(frames, |mut frames| async move {
        frames.next().await.map(|frame| (Ok::<_, Infallible>(frame), frames))
    });
    let mut response = Response::new(Body::from_stream(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies such as nginx would hold the events back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// Appends an event whose data is `value` as JSON.
pub(super) fn write_event(out: &mut Vec<u8>, value: &impl Serialize) {
    let start = out.len();
    out.extend_from_slice(b"data: ");
    // Our types have string keys and a Vec takes every write: there is no way to fail.
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.truncate(start);
        return;
    }
    out.extend_from_slice(b"\n\n");
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
    Starting(Work),
    Running(Box<Progressing>),
    Over,
}

/// Sequences, and those of their endings that have come.
struct Progressing {
    running: Running,
    endings: Vec<Option<Ending>>,
}

struct Frames {
    dialect: Box<dyn Dialect>,
    source: Source,
    /// Bytes that go out with the next frame.
    ready: Vec<u8>,
    ping: Option<Interval>,
    /// Something was sent since the last tick.
    spoke: bool,
}

enum Step {
    Tick,
    Started(Result<Running, ApiError>),
    Event(Option<(usize, AnswerEvent)>),
}

impl Frames {
    /// The next bytes to send; `None` ends the stream.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let step = self.step().await?;
            match step {
                Step::Tick if std::mem::take(&mut self.spoke) => continue,
                Step::Tick => return Some(self.dialect.keep_alive()),
                Step::Started(Ok(running)) => self.started(running),
                Step::Started(Err(error)) => self.fail(&error),
                Step::Event(event) => self.events(event),
            }
            if !self.ready.is_empty() {
                self.spoke = true;
                return Some(std::mem::take(&mut self.ready).into());
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
            Source::Starting(work) => tokio::select! {
                biased;
                running = work => Step::Started(running),
                _ = tick => Step::Tick,
            },
            Source::Running(progressing) => tokio::select! {
                biased;
                event = progressing.running.events.next() => Step::Event(event),
                _ = tick => Step::Tick,
            },
        })
    }

    fn started(&mut self, running: Running) {
        self.dialect.start(&running.started, &mut self.ready);
        let endings = vec![None; running.started.choices.len()];
        self.source = Source::Running(Box::new(Progressing { running, endings }));
    }

    /// Writes `first` and what else is ready.
    fn events(&mut self, first: Option<(usize, AnswerEvent)>) {
        let Self { dialect, source: Source::Running(progressing), ready, .. } = self else {
            return;
        };
        let Progressing { running, endings } = &mut **progressing;
        let mut next = first;
        let result = loop {
            match next {
                None => {
                    let all: Option<Vec<Ending>> = endings.iter().cloned().collect();
                    break all.ok_or(GenerationError::Stopped).map(|all| {
                        dialect.finish(&running.started, &all, ready);
                        true
                    });
                }
                Some((_, AnswerEvent::Failed(error))) => break Err(error),
                Some((index, event)) => {
                    if let (AnswerEvent::Done(done), Some(ending)) =
                        (&event, endings.get_mut(index))
                    {
                        *ending = Some(done.clone());
                    }
                    dialect.event(&running.started, index, event, ready);
                }
            }
            if ready.len() >= MAX_FRAME {
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
            Err(error) => self.fail(&error.into()),
        }
    }

    /// Ends the stream. The other choices end too: dropping their streams cancels them.
    fn fail(&mut self, error: &ApiError) {
        self.source = Source::Over;
        self.dialect.error(&error.problem(), &mut self.ready);
    }
}
