//! Around every request: its line in the log, and an answer even if a handler panics.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{self, Poll, ready};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderValue, Method, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use percent_encoding::{CONTROLS, utf8_percent_encode};

use super::counts::{Counts, Ended};
use super::request_id::{REQUEST_ID, RequestId, X_REQUEST_ID};
use super::{Context, Error};

const MAX_LOGGED_PATH: usize = 200;

/// Where a request came from; a request extension that the connection sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Client {
    Ip(IpAddr),
    /// A socket in the file system.
    Unix,
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

/// What is known of one request, from which its log line and the metrics are made. A request
/// extension; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct RequestLog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    method: Method,
    path: String,
    id: RequestId,
    client: Option<Client>,
    start: Instant,
    counts: Arc<Counts>,
    work: Mutex<Work>,
}

/// What the layers below find out.
#[derive(Debug, Default)]
struct Work {
    /// The template of the matched route; `None`: there is none.
    route: Option<String>,
    /// The path that is no route's, without the prefix of all routes.
    path_without_route: Option<String>,
    body_bytes: usize,
    /// The served model's name, if the request generates.
    model: Option<String>,
    prompt_tokens: Option<u64>,
    /// By the prompt's index.
    lookups: BTreeMap<usize, CacheLookup>,
    completion_tokens: Option<u64>,
    first_token: Option<Duration>,
    /// Why a generation that had begun was given up.
    failure: Option<String>,
}

/// What the caches had of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CacheLookup {
    /// Tokens that need no computing.
    pub(crate) cached: u32,
    /// Where those came from.
    pub(crate) from: Option<&'static str>,
    /// Why it was not more.
    pub(crate) miss_reason: Option<&'static str>,
}

/// The path as a log may show it: a control character of Unicode, or one that turns the direction
/// of the text, could hide what the line says.
fn shown(path: &str) -> String {
    let path: String = path.chars().take(MAX_LOGGED_PATH).collect();
    utf8_percent_encode(&path, CONTROLS).to_string()
}

impl RequestLog {
    fn new(request: &Request, counts: Arc<Counts>) -> Self {
        counts.in_flight.inc();
        Self(Arc::new(Inner {
            method: request.method().clone(),
            path: shown(request.uri().path()),
            id: RequestId::of(request.headers()),
            client: request.extensions().get().copied(),
            start: Instant::now(),
            counts,
            work: Mutex::default(),
        }))
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        // Plain values that are assigned whole: valid whoever panicked.
        self.0.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn id(&self) -> &str {
        self.0.id.as_str()
    }

    pub(crate) fn set_route(&self, template: &str) {
        self.work().route = Some(template.to_owned());
    }

    pub(crate) fn route(&self) -> Option<String> {
        self.work().route.clone()
    }

    fn set_path_without_route(&self, path: &str) {
        self.work().path_without_route = Some(path.chars().take(MAX_LOGGED_PATH).collect());
    }

    pub(super) fn path_without_route(&self) -> Option<String> {
        self.work().path_without_route.clone()
    }

    pub(crate) fn start(&self) -> Instant {
        self.0.start
    }

    pub(crate) fn model(&self, name: &str) {
        self.work().model = Some(name.to_owned());
    }

    /// The size of the request's body, 0 until it is read.
    pub(crate) fn body_bytes(&self) -> usize {
        self.work().body_bytes
    }

    pub(crate) fn set_body_bytes(&self, n: usize) {
        self.work().body_bytes = n;
    }

    /// Tokens of all prompts together.
    pub(crate) fn prompt_tokens(&self, n: usize) {
        self.work().prompt_tokens = Some(n as u64);
    }

    /// A choice of this prompt was looked up. Of several choices the one that found the least
    /// counts, as in `usage`: the others may have found its tokens.
    pub(crate) fn looked_up(&self, prompt: usize, lookup: CacheLookup) {
        match self.work().lookups.entry(prompt) {
            Entry::Vacant(entry) => {
                entry.insert(lookup);
            }
            Entry::Occupied(mut entry) if lookup.cached < entry.get().cached => {
                entry.insert(lookup);
            }
            Entry::Occupied(_) => {}
        }
    }

    pub(crate) fn add_completion(&self, n: u32) {
        *self.work().completion_tokens.get_or_insert(0) += u64::from(n);
    }

    /// A choice's first token has been generated. For the request's first one: the time since
    /// its start.
    pub(crate) fn first_token(&self) -> Option<Duration> {
        let mut work = self.work();
        if work.first_token.is_some() {
            return None;
        }
        work.first_token = Some(self.0.start.elapsed());
        work.first_token
    }

    pub(crate) fn failed(&self, reason: String) {
        self.work().failure = Some(reason);
    }

    /// The failure of a choice was not one of the request.
    pub(crate) fn succeeded(&self) {
        self.work().failure = None;
    }

    /// Counts the request and writes its log line. `status`: `None` if there was no answer.
    /// `complete`: the client has taken all of it.
    fn end(&self, status: Option<StatusCode>, complete: bool) {
        let Inner { method, path, id, client, start, counts, .. } = &*self.0;
        let work = self.work();
        let duration = start.elapsed();
        counts.in_flight.dec();
        counts.ended(Ended {
            route: work.route.as_deref(),
            method,
            status,
            complete,
            duration,
            prompt_tokens: work.prompt_tokens,
            generated_tokens: work.completion_tokens,
        });
        let status = status.map(|s| s.as_u16());
        // Monitors ask every few seconds, which would fill the log.
        let quiet = complete
            && matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
            && status.is_some_and(|s| s < 400 || s == 503);
        let end = match (&work.failure, status, complete) {
            (Some(failure), ..) => format!(": {failure}"),
            (None, Some(_), true) => String::new(),
            (None, Some(_), false) => ": the client left early".to_owned(),
            (None, None, _) => ": the client left before the answer".to_owned(),
        };
        let ms = |duration: Duration| duration.as_millis() as u64;
        let lookups = || work.lookups.values();
        let cached_tokens: Option<u64> =
            (!work.lookups.is_empty()).then(|| lookups().map(|l| u64::from(l.cached)).sum());
        // Of several prompts one speaks for all.
        let cached_from = lookups().find_map(|lookup| lookup.from);
        let cache_miss_reason = lookups().find_map(|lookup| lookup.miss_reason);
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    request_id = id.as_str(),
                    model = work.model,
                    route = work.route,
                    status,
                    prompt_tokens = work.prompt_tokens,
                    cached_tokens,
                    cached_from,
                    cache_miss_reason,
                    completion_tokens = work.completion_tokens,
                    ttft_ms = work.first_token.map(ms),
                    duration_ms = ms(duration),
                    client = client.map(tracing::field::display),
                    "{method} {path}{end}"
                )
            };
        }
        if quiet { line!(debug) } else { line!(info) }
    }
}

/// Gives the request its id, and writes its line when it has ended.
pub(crate) async fn log_requests(
    State(context): State<Context>,
    mut request: Request,
    next: Next,
) -> Response {
    let log = RequestLog::new(&request, context.counts().clone());
    let mut ending = Ending { log: log.clone(), status: None, complete: false };
    let id = log.0.id.clone();
    request.extensions_mut().insert(id.clone());
    request.extensions_mut().insert(log);
    let mut response = next.run(request).await;
    ending.status = Some(response.status());
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(REQUEST_ID, value.clone());
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    response.map(|body| Body::new(Logged { body, ending }))
}

/// Answers 500 where a handler panics.
pub(crate) async fn catch_panics(request: Request, next: Next) -> Response {
    let id = request.extensions().get::<RequestId>().cloned();
    AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(|_| {
        let request_id = id.as_ref().map(RequestId::as_str);
        tracing::error!(request_id, "a handler panicked; this is a bug");
        Error::Internal("an internal error; the server's log says more").into_response()
    })
}

/// Puts the matched route into the log, without the prefix of all routes; unknown paths have none.
pub(crate) async fn note_route(
    State(prefix): State<Arc<str>>,
    request: Request,
    next: Next,
) -> Response {
    let extensions = request.extensions();
    if let Some(log) = extensions.get::<RequestLog>() {
        let below = |path: &'_ str| path.strip_prefix(&*prefix).map(str::to_owned);
        match extensions.get::<MatchedPath>().map(|path| below(path.as_str())) {
            Some(Some(path)) if path.is_empty() => log.set_route("/"),
            Some(Some(path)) => log.set_route(&path),
            Some(None) => {}
            None => {
                if let Some(path) = below(request.uri().path()) {
                    log.set_path_without_route(&path);
                }
            }
        }
    }
    next.run(request).await
}

/// Ends the log of a request when it is dropped: the answer is complete, or the client is gone.
struct Ending {
    log: RequestLog,
    /// `None` until there is an answer.
    status: Option<StatusCode>,
    complete: bool,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.log.end(self.status, self.complete);
    }
}

/// An answer's body with the end of its request. The body comes first: dropping it completes
/// the log.
struct Logged {
    body: Body,
    ending: Ending,
}

impl HttpBody for Logged {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.ending.complete |= frame.is_none();
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
        let head = self.ending.log.0.method == Method::HEAD;
        self.ending.complete |= self.body.is_end_stream() || head;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn of_a_prompts_choices_the_one_that_found_the_least_counts() {
        let counts = Arc::new(Counts::new(&prometheus::Registry::new(), |_| "none"));
        let log = RequestLog::new(&Request::default(), counts);
        let lookup = |cached, from| CacheLookup { cached, from, miss_reason: None };
        log.looked_up(0, lookup(9, Some("sequence")));
        log.looked_up(1, lookup(3, Some("disk")));
        log.looked_up(0, lookup(0, None));
        log.looked_up(0, lookup(9, Some("sequence")));
        let kept: Vec<CacheLookup> = log.work().lookups.values().copied().collect();
        assert_eq!(kept, [lookup(0, None), lookup(3, Some("disk"))]);
    }

    /// The line that a request leaves, as JSON.
    fn line(log: &RequestLog) -> serde_json::Value {
        let buffer = tempfile::NamedTempFile::new().unwrap();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_writer(buffer.reopen().unwrap())
            .finish();
        tracing::subscriber::with_default(subscriber, || log.end(Some(StatusCode::OK), true));
        serde_json::from_slice(&std::fs::read(buffer.path()).unwrap()).unwrap()
    }

    #[test]
    fn a_line_says_where_cached_tokens_came_from_once_that_is_known() {
        let mut request = Request::default();
        *request.method_mut() = Method::POST;
        let counts = Arc::new(Counts::new(&prometheus::Registry::new(), |_| "none"));
        let log = RequestLog::new(&request, counts);
        for field in ["cached_tokens", "cached_from", "cache_miss_reason"] {
            assert!(line(&log).get(field).is_none(), "{field}");
        }
        let miss_reason = Some("changed");
        log.looked_up(0, CacheLookup { cached: 4, from: None, miss_reason: None });
        log.looked_up(1, CacheLookup { cached: 3, from: Some("disk"), miss_reason });
        let line = line(&log);
        assert_eq!((&line["cached_tokens"], &line["cached_from"]), (&7.into(), &"disk".into()));
        assert_eq!(line["cache_miss_reason"], "changed");
    }

    #[test]
    fn a_path_is_logged_without_what_could_hide_the_rest_of_the_line() {
        assert_eq!(shown("/v1/models;a=%20~"), "/v1/models;a=%20~");
        assert_eq!(shown("/a\u{9b}31m\u{202e}b\u{e9}"), "/a%C2%9B31m%E2%80%AEb%C3%A9");
        assert_eq!(shown(&"/".repeat(900)).len(), MAX_LOGGED_PATH);
    }
}
