//! How fast steps are, measured, and how much of a prompt the next step may take.

use std::time::Duration;

/// No step is planned longer than this: nothing can interrupt a decode, so it bounds how late a
/// cancel or a new request is noticed.
const LONGEST_STEP: Duration = Duration::from_secs(1);

/// Tokens in the first prompt step, before any speed is known.
const FIRST_CHUNK: usize = 64;

/// Fewer prompt tokens than this in a step cost more in repeated reading of the weights than
/// they save in latency.
const SMALLEST_CHUNK: usize = 16;

/// Measured speeds of the running model.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Time a step may take while streams decode.
    target: Duration,
    /// Seconds of a step that only decodes.
    decode: Average,
    /// Prompt tokens per second.
    prompt: Average,
}

impl Pace {
    pub(crate) fn new(target: Duration) -> Self {
        Self { target, decode: Average::default(), prompt: Average::default() }
    }

    /// Learns from a step of `decoding` sequences and `prompt` prompt tokens.
    pub(crate) fn observe(&mut self, decoding: usize, prompt: usize, took: Duration) {
        let seconds = took.as_secs_f64();
        if prompt == 0 {
            self.decode.add(seconds);
        } else if prompt >= SMALLEST_CHUNK {
            let own = if decoding > 0 { self.decode.value.unwrap_or(0.0) } else { 0.0 };
            // Most of a step may be the decoding streams' share; what remains is a lower bound.
            let own = own.min(seconds * 0.75);
            self.prompt.add(prompt as f64 / (seconds - own).max(1e-6));
        }
    }

    /// Prompt tokens that the next step may take beside `decoding` running streams.
    pub(crate) fn prompt_budget(&self, decoding: usize, n_batch: usize) -> usize {
        let Some(speed) = self.prompt.value else {
            return FIRST_CHUNK.min(n_batch);
        };
        let seconds = if decoding > 0 {
            (self.target.as_secs_f64() - self.decode.value.unwrap_or(0.0)).max(0.0)
        } else {
            LONGEST_STEP.as_secs_f64()
        };
        let tokens = (speed * seconds) as usize;
        // Whole multiples keep the shapes of the compute graph few.
        let tokens = if tokens >= 64 { tokens / 32 * 32 } else { tokens };
        tokens.max(SMALLEST_CHUNK).min(n_batch.saturating_sub(decoding).max(1))
    }
}

/// An average in which the last few values count most.
#[derive(Debug, Default)]
struct Average {
    value: Option<f64>,
}

impl Average {
    fn add(&mut self, sample: f64) {
        self.value = Some(match self.value {
            None => sample,
            Some(old) => old + (sample - old) * 0.3,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(speed: usize, decode_ms: u64) -> Pace {
        let mut pace = Pace::new(Duration::from_millis(200));
        pace.observe(1, 0, Duration::from_millis(decode_ms));
        pace.observe(0, speed, Duration::from_secs(1));
        pace
    }

    #[test]
    fn the_first_prompt_step_is_small() {
        assert_eq!(Pace::new(Duration::from_millis(200)).prompt_budget(0, 2048), 64);
    }

    #[test]
    fn beside_streams_a_step_stays_near_the_target() {
        assert_eq!(pace(1000, 40).prompt_budget(1, 2048), 160);
    }

    #[test]
    fn alone_a_prompt_takes_whole_batches_but_no_step_longer_than_a_second() {
        assert_eq!(pace(10_000, 40).prompt_budget(0, 2048), 2048);
        assert_eq!(pace(400, 40).prompt_budget(0, 2048), 384);
    }

    #[test]
    fn a_prompt_goes_on_even_where_decoding_alone_misses_the_target() {
        assert_eq!(pace(100, 500).prompt_budget(4, 2048), SMALLEST_CHUNK);
    }
}
