//! Counters and histograms that connections and requests feed as they go.

use std::fmt;
use std::time::Duration;

use http::{Method, StatusCode};
use prometheus::core::Collector;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

/// Whole answers take longer than their first token.
const LONG_SECONDS: [f64; 17] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
    1800.0,
];
/// Powers of two and of four, up to the largest contexts.
const TOKENS: [f64; 14] = [
    1.0, 4.0, 16.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 16384.0, 65536.0, 131_072.0,
    262_144.0,
];

/// What connections and requests feed.
pub(crate) struct Counts {
    dialect: fn(route: Option<&str>) -> &'static str,
    pub(crate) in_flight: IntGauge,
    pub(crate) connections: IntGauge,
    pub(super) connections_accepted: IntCounter,
    refused: IntCounterVec,
    requests: IntCounterVec,
    durations: HistogramVec,
    prompt_tokens: HistogramVec,
    generated_tokens: HistogramVec,
    rejected: IntCounter,
    disconnects: IntCounter,
}

impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counts").finish_non_exhaustive()
    }
}

/// What is known of a request when it has ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended<'a> {
    pub(super) route: Option<&'a str>,
    pub(super) method: &'a Method,
    pub(super) status: Option<StatusCode>,
    pub(super) complete: bool,
    pub(super) duration: Duration,
    pub(super) prompt_tokens: Option<u64>,
    pub(super) generated_tokens: Option<u64>,
}

/// Why a connection was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
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
    /// Registers all of them in `r`. `dialect`: the name of a route's API.
    #[allow(clippy::expect_used)] // names and buckets are constants, and every test builds them
    pub(super) fn new(r: &Registry, dialect: fn(Option<&str>) -> &'static str) -> Self {
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
            dialect,
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
                &["dialect", "route", "method", "status"],
            ),
            durations: histogram(
                "strixhalo_http_request_duration_seconds",
                "From a request's headers to the last byte of its answer.",
                &["dialect", "route", "status"],
                &LONG_SECONDS,
            ),
            prompt_tokens: histogram(
                "strixhalo_prompt_tokens",
                "Tokens of a request's prompts, cached ones included.",
                &["dialect", "route", "status"],
                &TOKENS,
            ),
            generated_tokens: histogram(
                "strixhalo_generated_tokens",
                "Tokens generated for a request, all choices together.",
                &["dialect", "route", "status"],
                &TOKENS,
            ),
            rejected: counter(
                "strixhalo_queue_rejected_total",
                "Requests answered with 429 because the queue was full.",
            ),
            disconnects: counter(
                "strixhalo_client_disconnects_total",
                "Requests whose client left before it had the whole answer.",
            ),
        };
        for reason in [Refusal::Limit, Refusal::Descriptors] {
            counts.refused.with_label_values(&[reason.reason()]);
        }
        counts
    }

    pub(super) fn refused(&self, refusal: Refusal) {
        self.refused.with_label_values(&[refusal.reason()]).inc();
    }

    /// A request whose headers could not be read, or did not come.
    pub(super) fn unreadable(&self, status: StatusCode) {
        self.requests
            .with_label_values(&[(self.dialect)(None), "other", "other", status.as_str()])
            .inc();
    }

    pub(super) fn ended(&self, ended: Ended<'_>) {
        let dialect = (self.dialect)(ended.route);
        let route = ended.route.unwrap_or("other");
        let status = ended.status.map_or(499, |status| status.as_u16());
        let text = status.to_string();
        self.requests.with_label_values(&[dialect, route, method(ended.method), &text]).inc();
        let labels = &[dialect, route, &text];
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
pub(crate) fn registered<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> C {
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
    fn labels_have_few_values_whatever_clients_send() {
        let counts = Counts::new(&Registry::new(), |_| "none");
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
        let requests = counts.requests.with_label_values(&["none", "other", "other", "404"]);
        assert_eq!(requests.get(), 3);
    }
}
