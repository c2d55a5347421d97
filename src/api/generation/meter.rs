//! Measures one sequence as its events pass by, for the log of its request and the metrics.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::api::cache_names;
use crate::api::metrics::{Counts, Sequences};
use crate::engine::{GenerationEvent, Timings};
use crate::http::{CacheLookup, RequestLog};

/// Measures one sequence. It works in the request's own task on what the engine's events tell:
/// a token costs a few atomic additions, and no lock.
pub(super) struct Meter {
    log: RequestLog,
    counts: Arc<Counts>,
    histograms: Sequences,
    /// Its prompt's index in the request.
    prompt: usize,
    submitted: Instant,
    /// A slot has taken it.
    started: bool,
    /// Tokens generated so far, and the time that took.
    predicted: u32,
    predicted_time: Duration,
}

impl Meter {
    /// For a sequence that is submitted now.
    pub(super) fn new(log: RequestLog, counts: Arc<Counts>, prompt: usize) -> Self {
        Self {
            histograms: counts.sequences(log.route().as_deref()),
            log,
            counts,
            prompt,
            submitted: Instant::now(),
            started: false,
            predicted: 0,
            predicted_time: Duration::ZERO,
        }
    }

    pub(super) fn event(&mut self, event: &GenerationEvent) {
        match event {
            GenerationEvent::Started { cached_tokens, source, miss, .. } => {
                self.started = true;
                self.histograms.queue_time.observe(self.submitted.elapsed().as_secs_f64());
                self.counts.looked_up(*cached_tokens);
                let lookup = CacheLookup {
                    cached: *cached_tokens,
                    from: source.map(cache_names::source),
                    miss_reason: miss.map(cache_names::miss),
                };
                self.log.looked_up(self.prompt, lookup);
            }
            GenerationEvent::Output { timings, .. } => self.generated(timings),
            GenerationEvent::Done(summary) => {
                let timings = &summary.timings;
                self.generated(timings);
                self.counts.served(timings.prompt_time + timings.predicted_time);
            }
            GenerationEvent::Failed(error) => self.log.failed(error.to_string()),
            GenerationEvent::Progress(_)
            | GenerationEvent::PromptLogprobs(_)
            | GenerationEvent::PromptDone => {}
        }
    }

    fn generated(&mut self, timings: &Timings) {
        let tokens = timings.predicted_tokens.saturating_sub(self.predicted);
        if tokens == 0 {
            return;
        }
        let mut gaps = tokens;
        if self.predicted == 0 {
            gaps -= 1;
            if let Some(time) = self.log.first_token() {
                self.histograms.first_token.observe(time.as_secs_f64());
            }
        }
        // The engine's clock: a client that reads slowly changes nothing. Tokens whose text was
        // held back come together.
        let time = timings.predicted_time.saturating_sub(self.predicted_time);
        for _ in 0..gaps {
            self.histograms.token_gap.observe((time / gaps).as_secs_f64());
        }
        self.predicted = timings.predicted_tokens;
        self.predicted_time = timings.predicted_time;
    }
}

impl Drop for Meter {
    /// Also when the client has left: what was generated until then counts.
    fn drop(&mut self) {
        if self.started {
            self.log.add_completion(self.predicted);
        }
    }
}
