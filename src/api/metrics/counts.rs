//! Counters and histograms that requests and connections feed as they go.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

/// Routes whose series exist from the start, so that the first request is seen as an increase.
const GENERATING: [&str; 3] = ["/v1/chat/completions", "/chat/completions", "/v1/completions"];

/// Whole requests and waits: from what feels immediate to what clients give up on.
const SECONDS: [f64; 15] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0];
/// Whole answers take longer than their first token.
const LONG_SECONDS: [f64; 17] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
    1800.0,
];
/// Between two tokens: 1000 a second down to one in five seconds.
const GAP_SECONDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 5.0];
/// Powers of two and of four, up to the largest contexts.
const TOKENS: [f64; 14] = [
    1.0, 4.0, 16.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 16384.0, 65536.0, 131_072.0,
    262_144.0,
];

/// Retry-After before any request has been served, in seconds.
const UNKNOWN_WAIT: u64 = 5;
/// Longest Retry-After: OpenAI's clients do not heed longer ones.
const LONGEST_WAIT: f64 = 60.0;

/// Counters and histograms that requests and connections feed.
pub(in crate::api) struct Counts {
    registry: Registry,
    pub(in crate::api) in_flight: IntGauge,
    pub(in crate::api) connections: IntGauge,
    pub(in crate::api) connections_accepted: IntCounter,
    refused: IntCounterVec,
    requests: IntCounterVec,
    durations: HistogramVec,
    prompt_tokens: HistogramVec,
    generated_tokens: HistogramVec,
    queue_times: HistogramVec,
    first_tokens: HistogramVec,
    token_gaps: HistogramVec,
    lookups: IntCounter,
    hits: IntCounter,
    cached_tokens: IntCounter,
    rejected: IntCounter,
    disconnects: IntCounter,
    /// Seconds that a sequence keeps its slot, averaged, as bits; 0: not known yet.
    slot_seconds: AtomicU64,
}

impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counts").finish_non_exhaustive()
    }
}

/// The histograms of one route, for one request.
#[derive(Debug)]
pub(in crate::api) struct Sequences {
    pub(in crate::api) queue_time: Histogram,
    pub(in crate::api) first_token: Histogram,
    pub(in crate::api) token_gap: Histogram,
}

/// What is known of a request when it has ended.
#[derive(Debug, Clone, Copy)]
pub(in crate::api) struct Ended<'a> {
    pub(in crate::api) route: Option<&'a str>,
    pub(in crate::api) method: &'a Method,
    pub(in crate::api) status: Option<StatusCode>,
    pub(in crate::api) complete: bool,
    pub(in crate::api) duration: Duration,
    pub(in crate::api) prompt_tokens: Option<u64>,
    pub(in crate::api) generated_tokens: Option<u64>,
}

/// Why a connection was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::api) enum Refusal {
    /// `limits.connections`.
    Limit,
    /// The process or the machine has no file descriptor left.
    Descriptors,
}

impl Refusal {
    fn reason(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Descriptors => "descriptors",
        }
    }
}

impl Counts {
    #[allow(clippy::expect_used)] // names and buckets are constants, and every test builds them
    pub(in crate::api) fn new() -> Self {
        let registry = Registry::new();
        let r = &registry;
        let histogram = |name: &str, help: &str, labels: &[&str], buckets: &[f64]| {
            let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            registered(r, HistogramVec::new(opts, labels).expect("a valid histogram"))
        };
        let counters = |name: &str, help: &str, labels: &[&str]| {
            registered(r, IntCounterVec::new(Opts::new(name, help), labels).expect("a counter"))
        };
        let counter = |name: &str, help: &str| {
            registered(r, IntCounter::new(name, help).expect("a valid counter"))
        };
        let gauge = |name: &str, help: &str| {
            registered(r, IntGauge::new(name, help).expect("a valid gauge"))
        };
        let counts = Self {
            in_flight: gauge("strixhalo_http_requests_in_flight", "Requests being answered."),
            connections: gauge("strixhalo_connections", "Open client connections."),
            connections_accepted: counter(
                "strixhalo_connections_accepted_total",
                "Client connections that were served.",
            ),
            refused: counters(
                "strixhalo_connections_refused_total",
                "Client connections that were turned away, by reason: limit or descriptors.",
                &["reason"],
            ),
            requests: counters(
                "strixhalo_http_requests_total",
                "Requests that have ended; status 499: the client left before the answer.",
                &["route", "method", "status"],
            ),
            durations: histogram(
                "strixhalo_http_request_duration_seconds",
                "From a request's headers to the last byte of its answer.",
                &["route", "status"],
                &LONG_SECONDS,
            ),
            prompt_tokens: histogram(
                "strixhalo_prompt_tokens",
                "Tokens of a request's prompts, cached ones included.",
                &["route", "status"],
                &TOKENS,
            ),
            generated_tokens: histogram(
                "strixhalo_generated_tokens",
                "Tokens generated for a request, all choices together.",
                &["route", "status"],
                &TOKENS,
            ),
            queue_times: histogram(
                "strixhalo_queue_time_seconds",
                "Time that a sequence waited for a slot.",
                &["route"],
                &SECONDS,
            ),
            first_tokens: histogram(
                "strixhalo_time_to_first_token_seconds",
                "From a request's headers to its first token; one that may begin a stop string counts when it is sent.",
                &["route"],
                &SECONDS,
            ),
            token_gaps: histogram(
                "strixhalo_inter_token_latency_seconds",
                "Time between two tokens of a sequence.",
                &["route"],
                &GAP_SECONDS,
            ),
            lookups: counter(
                "strixhalo_prefix_lookups_total",
                "Prompts that were looked up in the slots' caches.",
            ),
            hits: counter(
                "strixhalo_prefix_hits_total",
                "Prompts of which a slot held the beginning.",
            ),
            cached_tokens: counter(
                "strixhalo_prefix_cached_tokens_total",
                "Prompt tokens that need not be computed because a slot held them.",
            ),
            rejected: counter(
                "strixhalo_queue_rejected_total",
                "Requests answered with 429 because the queue was full.",
            ),
            disconnects: counter(
                "strixhalo_client_disconnects_total",
                "Requests whose client left before it had the whole answer.",
            ),
            slot_seconds: AtomicU64::new(0),
            registry: registry.clone(),
        };
        for reason in [Refusal::Limit, Refusal::Descriptors] {
            counts.refused.with_label_values(&[reason.reason()]);
        }
        for route in GENERATING {
            counts.sequences(Some(route));
        }
        counts
    }

    pub(super) fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }

    /// `route` is a template, so that there are few.
    pub(in crate::api) fn sequences(&self, route: Option<&str>) -> Sequences {
        let route = &[route.unwrap_or("other")];
        Sequences {
            queue_time: self.queue_times.with_label_values(route),
            first_token: self.first_tokens.with_label_values(route),
            token_gap: self.token_gaps.with_label_values(route),
        }
    }

    /// A prompt was looked up in the slots' caches, and so many of its tokens were there.
    pub(in crate::api) fn looked_up(&self, cached: u32) {
        self.lookups.inc();
        if cached > 0 {
            self.hits.inc();
            self.cached_tokens.inc_by(cached.into());
        }
    }

    /// A sequence has kept its slot for so long.
    pub(in crate::api) fn served(&self, slot_time: Duration) {
        let average = f64::from_bits(self.slot_seconds.load(Ordering::Relaxed));
        let sample = slot_time.as_secs_f64();
        let next = if average == 0.0 { sample } else { average + (sample - average) * 0.1 };
        // Two at once may lose one: it is an estimate.
        self.slot_seconds.store(next.to_bits(), Ordering::Relaxed);
    }

    /// Seconds after which a queue of `waiting` sequences before `slots` slots should be half
    /// as long.
    pub(in crate::api) fn retry_after(&self, waiting: usize, slots: u32) -> u64 {
        let average = f64::from_bits(self.slot_seconds.load(Ordering::Relaxed));
        if average == 0.0 {
            return UNKNOWN_WAIT;
        }
        let rounds = (waiting as f64 / 2.0 / f64::from(slots.max(1))).max(1.0);
        (average * rounds).ceil().clamp(1.0, LONGEST_WAIT) as u64
    }

    pub(in crate::api) fn refused(&self, refusal: Refusal) {
        self.refused.with_label_values(&[refusal.reason()]).inc();
    }

    /// A request whose headers could not be read, or did not come.
    pub(in crate::api) fn unreadable(&self, status: StatusCode) {
        self.requests.with_label_values(&["other", "other", status.as_str()]).inc();
    }

    pub(in crate::api) fn ended(&self, ended: Ended<'_>) {
        let route = ended.route.unwrap_or("other");
        let status = ended.status.map_or(499, |status| status.as_u16());
        let text = status.to_string();
        self.requests.with_label_values(&[route, method(ended.method), &text]).inc();
        let labels = &[route, &text];
        self.durations.with_label_values(labels).observe(ended.duration.as_secs_f64());
        if let Some(tokens) = ended.prompt_tokens {
            self.prompt_tokens.with_label_values(labels).observe(tokens as f64);
        }
        if let Some(tokens) = ended.generated_tokens {
            self.generated_tokens.with_label_values(labels).observe(tokens as f64);
        }
        if status == 429 {
            self.rejected.inc();
        }
        if !ended.complete {
            self.disconnects.inc();
        }
    }
}

#[allow(clippy::expect_used)] // no two have one name, and every test builds them
fn registered<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> C {
    registry.register(Box::new(metric.clone())).expect("a new name");
    metric
}

/// A client may invent methods; there must be few values of a label.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_follows_how_long_requests_keep_their_slots() {
        let counts = Counts::new();
        assert_eq!(counts.retry_after(256, 2), UNKNOWN_WAIT);
        counts.served(Duration::from_millis(100));
        assert_eq!(counts.retry_after(1, 4), 1);
        assert_eq!(counts.retry_after(256, 4), 4);
        for _ in 0..100 {
            counts.served(Duration::from_secs(20));
        }
        assert_eq!(counts.retry_after(8, 4), 20);
        assert_eq!(counts.retry_after(10_000, 4), 60);
    }

    #[test]
    fn labels_have_few_values_whatever_clients_send() {
        let counts = Counts::new();
        for name in ["BREW", "PROPFIND", "X"] {
            let method = Method::from_bytes(name.as_bytes()).unwrap_or_default();
            counts.ended(Ended {
                route: None,
                method: &method,
                status: Some(StatusCode::NOT_FOUND),
                complete: true,
                duration: Duration::ZERO,
                prompt_tokens: None,
                generated_tokens: None,
            });
        }
        let requests = counts.requests.with_label_values(&["other", "other", "404"]);
        assert_eq!(requests.get(), 3);
    }
}
