//! The scenario `stall`: how long a running stream stands still while a long prompt arrives.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::client::{ClientError, Sample};
use super::load::milliseconds;
use super::stats::{Spread, median};
use super::target::Target;

/// Chunks of the running stream before the long prompt is sent.
const CHUNKS_BEFORE: usize = 16;

/// What is asked for.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct StallLoad {
    /// Prompt of the running stream.
    pub(super) prompt_tokens: u32,
    /// Most tokens of the running stream; it is cut off when the long prompt is done.
    pub(super) max_tokens: u32,
    pub(super) long_prompt_tokens: u32,
    /// Longest time to wait for the running stream to begin.
    #[serde(skip)]
    pub(super) timeout: Duration,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub(super) struct StallResult {
    pub(super) load: StallLoad,
    /// Times between chunks before the long prompt came, of all repetitions, milliseconds.
    pub(super) before_ms: Option<Spread>,
    /// Times between chunks while it was read: medians over the repetitions.
    pub(super) during_p50_ms: Option<f64>,
    pub(super) during_p99_ms: Option<f64>,
    pub(super) during_max_ms: Option<f64>,
    /// Chunks of the running stream in that time: median.
    pub(super) during_chunks: Option<f64>,
    /// The long prompt's time to first token: median.
    pub(super) long_ttft_ms: Option<f64>,
    pub(super) long_prompt_tokens: Option<f64>,
    runs: Vec<StallRun>,
    pub(super) errors: Vec<String>,
}

#[derive(Debug, Serialize)]
struct StallRun {
    #[serde(skip)]
    before_ms: Vec<f64>,
    during_ms: Option<Spread>,
    long_ttft_ms: f64,
    long_prompt_tokens: Option<u64>,
}

/// Runs the scenario `repeat` times; `index` as in [`super::load::run`].
pub(super) fn run(target: &Target, load: StallLoad, repeat: u32, index: &mut u64) -> StallResult {
    // Only a stream that goes on for as long as it is needed can be held up.
    let target = Target { ignore_eos: true, ..target.clone() };
    let (mut runs, mut errors) = (Vec::new(), Vec::new());
    for _ in 0..repeat {
        match run_once(&target, load, index) {
            Ok(run) => runs.push(run),
            Err(error) => {
                errors.push(error.to_string());
                break;
            }
        }
    }
    let during = |value: fn(Spread) -> f64| {
        median(runs.iter().filter_map(|run: &StallRun| run.during_ms.map(value)))
    };
    StallResult {
        load,
        before_ms: Spread::of(runs.iter().flat_map(|run| run.before_ms.iter().copied())),
        during_p50_ms: during(|gaps| gaps.p50),
        during_p99_ms: during(|gaps| gaps.p99),
        during_max_ms: during(|gaps| gaps.max),
        during_chunks: during(|gaps| gaps.count as f64),
        long_ttft_ms: median(runs.iter().map(|run| run.long_ttft_ms)),
        long_prompt_tokens: median(
            runs.iter().filter_map(|run| run.long_prompt_tokens.map(|count| count as f64)),
        ),
        runs,
        errors,
    }
}

fn run_once(target: &Target, load: StallLoad, index: &mut u64) -> Result<StallRun, ClientError> {
    let running_prompt = target.prompts.make(load.prompt_tokens, *index + 1);
    let long_prompt = target.prompts.make(load.long_prompt_tokens, *index + 2);
    *index += 2;
    let over = AtomicBool::new(false);
    let (chunk, chunks) = mpsc::channel();
    let (running, long) = thread::scope(|scope| {
        let running = scope.spawn(|| {
            // Moved in, so that the channel closes when the stream ends.
            let chunk = chunk;
            target.stream(&running_prompt, load.max_tokens, || {
                let _ = chunk.send(());
                !over.load(Ordering::Relaxed)
            })
        });
        let under_way = (0..CHUNKS_BEFORE).all(|_| chunks.recv_timeout(load.timeout).is_ok());
        let long = under_way.then(|| target.stream(&long_prompt, 1, || true));
        over.store(true, Ordering::Relaxed);
        let running = running
            .join()
            .unwrap_or_else(|_| Err(ClientError::Answer("the client thread died".into())));
        (running, long)
    });
    let running = running?;
    let long = long.unwrap_or_else(|| {
        Err(ClientError::Answer("the running stream ended before it was under way".into()))
    })?;
    let arrival = (long.sent, long.sent + long.first());
    if running.finish_reason.is_some() {
        return Err(ClientError::Answer(
            "the running stream reached its end while the long prompt was read; \
             give the server a larger context"
                .into(),
        ));
    }
    let (before, during) = split_gaps(&running, arrival);
    Ok(StallRun {
        before_ms: before,
        during_ms: Spread::of(during),
        long_ttft_ms: milliseconds(long.first()),
        long_prompt_tokens: long.usage.map(|usage| usage.prompt_tokens),
    })
}

/// The gaps that ended before `arrival.0`, and those that lie at least in part within `arrival`,
/// milliseconds.
fn split_gaps(sample: &Sample, arrival: (Instant, Instant)) -> (Vec<f64>, Vec<f64>) {
    let (mut before, mut during) = (Vec::new(), Vec::new());
    for pair in sample.texts.windows(2) {
        let (from, to) = (sample.sent + pair[0], sample.sent + pair[1]);
        let gap = milliseconds(to.duration_since(from));
        if to <= arrival.0 {
            before.push(gap);
        } else if from < arrival.1 {
            during.push(gap);
        }
    }
    (before, during)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_split_by_when_the_long_prompt_was_read() {
        let sent = Instant::now();
        let at = |ms| sent + Duration::from_millis(ms);
        let sample = Sample {
            sent,
            texts: [10, 20, 30, 530, 1030, 1040].map(Duration::from_millis).to_vec(),
            end: Duration::from_millis(1040),
            finish_reason: None,
            usage: None,
            timings: None,
        };
        let (before, during) = split_gaps(&sample, (at(31), at(1000)));
        assert_eq!(before, [10.0, 10.0]);
        assert_eq!(during, [500.0, 500.0]);
    }
}
