//! Counters and histograms that generations feed as they go.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, Registry};

use super::energy::Energy;
use crate::http::registered;

/// Whole requests and waits: from what feels immediate to what clients give up on.
const SECONDS: [f64; 15] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0];
/// Between two tokens: 1000 a second down to one in five seconds.
const GAP_SECONDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Retry-After before any request has been served, in seconds.
const UNKNOWN_WAIT: u64 = 5;
/// Longest Retry-After: OpenAI's clients do not heed longer ones.
const MAX_WAIT: f64 = 60.0;

/// What generations feed.
pub(in crate::api) struct Counts {
    queue_times: HistogramVec,
    first_tokens: HistogramVec,
    token_gaps: HistogramVec,
    lookups: IntCounter,
    hits: IntCounter,
    cached_tokens: IntCounter,
    loosened_schemas: IntCounter,
    /// What computing took.
    pub(in crate::api) energy: Energy,
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

impl Counts {
    /// Registers all of them in `r`. The series of the routes `generating` exist from the start, so
    /// that the first request is seen as an increase.
    #[allow(clippy::expect_used)] // names and buckets are constants, and every test builds them
    pub(in crate::api) fn new(
        r: &Registry,
        generating: impl Iterator<Item = &'static str>,
    ) -> Self {
        let histogram = |name: &str, help: &str, labels: &[&str], buckets: &[f64]| {
            let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            registered(r, HistogramVec::new(opts, labels).expect("a valid histogram"))
        };
        let counter = |name: &str, help: &str| {
            registered(r, IntCounter::new(name, help).expect("a valid counter"))
        };
        let counts = Self {
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
            loosened_schemas: counter(
                "strixhalo_tool_schemas_loosened_total",
                "Schemas of tools of which a part could not be enforced.",
            ),
            energy: Energy::new(r),
            slot_seconds: AtomicU64::new(0),
        };
        for route in generating {
            counts.sequences(Some(route));
        }
        counts
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

    /// A part of a tool's schema could not be enforced.
    pub(in crate::api) fn loosened(&self) {
        self.loosened_schemas.inc();
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
        (average * rounds).ceil().clamp(1.0, MAX_WAIT) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_follows_how_long_requests_keep_their_slots() {
        let counts = Counts::new(&Registry::new(), std::iter::empty());
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
}
