//! Measures one sequence as its events pass by, for the record of its request.

use super::access::Record;
use crate::engine::{GenerationEvent, Timings};

/// Measures one sequence. It works in the request's own task and hands its sums over at the end,
/// so that a token costs no shared state.
pub(super) struct Meter {
    record: Record,
    /// Its prompt's cached tokens count.
    counts_prompt: bool,
    /// A slot has taken it.
    started: bool,
    /// Tokens generated so far.
    predicted: u32,
}

impl Meter {
    pub(super) fn new(record: Record, counts_prompt: bool) -> Self {
        Self { record, counts_prompt, started: false, predicted: 0 }
    }

    pub(super) fn event(&mut self, event: &GenerationEvent) {
        match event {
            GenerationEvent::Started { cached_tokens, .. } => {
                self.started = true;
                if self.counts_prompt {
                    self.record.add_cached(*cached_tokens);
                }
            }
            GenerationEvent::Output { timings, .. } => self.generated(timings),
            GenerationEvent::Done(summary) => self.generated(&summary.timings),
            GenerationEvent::Failed(error) => self.record.failed(error.clone()),
            GenerationEvent::Progress(_)
            | GenerationEvent::PromptLogprobs(_)
            | GenerationEvent::PromptDone => {}
        }
    }

    fn generated(&mut self, timings: &Timings) {
        if self.predicted == 0 && timings.predicted_tokens > 0 {
            self.record.first_token();
        }
        self.predicted = timings.predicted_tokens;
    }
}

impl Drop for Meter {
    /// Also when the client has left: what was generated until then counts.
    fn drop(&mut self) {
        if self.started {
            self.record.add_completion(self.predicted);
        }
    }
}
