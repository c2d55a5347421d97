//! The scenarios `decode`, `edit`, `prose` and `prefill`: N streams start together, each one request.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::client::{ClientError, Sample};
use super::sse::Timings;
use super::stats::{Spread, median};
use super::target::Target;

/// One load: what is asked of the server in each repetition.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Load {
    pub(super) streams: u32,
    pub(super) prompt_tokens: u32,
    pub(super) max_tokens: u32,
}

/// A load with what was measured.
#[derive(Debug, Serialize)]
pub(super) struct LoadResult {
    pub(super) load: Load,
    pub(super) median: Medians,
    pub(super) errors: usize,
    runs: Vec<Run>,
}

/// Medians: of the requests of all repetitions, or (`total_*`, `requests_per_second`) of the
/// repetitions. `None` where nothing was measured.
#[derive(Debug, Serialize)]
pub(super) struct Medians {
    pub(super) prompt_tokens: Option<f64>,
    pub(super) cached_tokens: Option<f64>,
    pub(super) completion_tokens: Option<f64>,
    /// Chunks with text. Fewer than tokens: the server sends several tokens in a chunk.
    pub(super) chunks: Option<f64>,
    /// Time to first token, milliseconds.
    pub(super) ttft_ms: Option<Spread>,
    /// Time between chunks of one stream, milliseconds, all streams and repetitions together.
    pub(super) inter_token_ms: Option<Spread>,
    /// Tokens/s of one stream from its first token to its last.
    pub(super) stream_tokens_per_second: Option<f64>,
    /// Tokens/s of all streams, from the start of the first to the end of the last.
    pub(super) total_tokens_per_second: Option<f64>,
    /// Prompt tokens that were not cached, by time to first token.
    pub(super) prefill_tokens_per_second: Option<f64>,
    /// As the server itself measured.
    pub(super) server_prefill_tokens_per_second: Option<f64>,
    /// As the server itself measured.
    pub(super) server_decode_tokens_per_second: Option<f64>,
    pub(super) requests_per_second: Option<f64>,
    /// Tokens of an answer that speculation drafted, where the server tells.
    pub(super) drafted_tokens: Option<f64>,
    /// And those of them that came.
    pub(super) accepted_tokens: Option<f64>,
}

/// One repetition.
#[derive(Debug, Serialize)]
struct Run {
    wall_seconds: f64,
    requests: Vec<Request>,
    pub(super) errors: Vec<String>,
    #[serde(skip)]
    gaps_ms: Vec<f64>,
}

/// One request's figures.
#[derive(Debug, Serialize)]
struct Request {
    prompt_tokens: Option<u64>,
    cached_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    chunks: usize,
    ttft_ms: f64,
    duration_ms: f64,
    stream_tokens_per_second: Option<f64>,
    prefill_tokens_per_second: Option<f64>,
    server: Option<Timings>,
    finish_reason: Option<String>,
}

impl Request {
    fn of(sample: &Sample) -> Request {
        let usage = sample.usage;
        let cached = usage.and_then(|usage| usage.cached_tokens());
        // All chunks but the first, in the time after the first: with one token a chunk this is
        // the pace of decoding. Tokens of the first chunk cannot be told, one is assumed.
        let decoding = sample.end.saturating_sub(sample.first()).as_secs_f64();
        let decoded = usage.map(|usage| usage.completion_tokens.saturating_sub(1) as f64);
        let fresh = usage
            .map(|usage| usage.prompt_tokens.saturating_sub(cached.unwrap_or(0)) as f64)
            .filter(|tokens| *tokens > 0.0);
        Request {
            prompt_tokens: usage.map(|usage| usage.prompt_tokens),
            cached_tokens: cached,
            completion_tokens: usage.map(|usage| usage.completion_tokens),
            chunks: sample.texts.len(),
            ttft_ms: milliseconds(sample.first()),
            duration_ms: milliseconds(sample.end),
            stream_tokens_per_second: decoded
                .filter(|tokens| *tokens > 0.0 && decoding > 0.0)
                .map(|tokens| tokens / decoding),
            prefill_tokens_per_second: fresh
                .map(|tokens| tokens / sample.first().as_secs_f64().max(1e-9)),
            server: sample.timings,
            finish_reason: sample.finish_reason.clone(),
        }
    }
}

/// Runs a load `repeat` times. `index` counts the prompts made so far, so that none is used twice.
pub(super) fn run(target: &Target, load: Load, repeat: u32, index: &mut u64) -> LoadResult {
    let mut runs = Vec::new();
    for _ in 0..repeat {
        let run = run_once(target, load, index);
        // What failed for every stream will fail again, after another time limit maybe.
        let hopeless = run.requests.is_empty();
        runs.push(run);
        if hopeless {
            break;
        }
    }
    LoadResult {
        load,
        median: medians(&runs),
        errors: runs.iter().map(|run| run.errors.len()).sum(),
        runs,
    }
}

fn run_once(target: &Target, load: Load, index: &mut u64) -> Run {
    let prompts: Vec<String> = (0..load.streams)
        .map(|_| {
            *index += 1;
            target.prompts.make(load.prompt_tokens, *index)
        })
        .collect();
    let barrier = Barrier::new(prompts.len());
    let started = Instant::now();
    let results: Vec<Result<Sample, ClientError>> = thread::scope(|scope| {
        let threads: Vec<_> = prompts
            .iter()
            .map(|prompt| {
                scope.spawn(|| {
                    barrier.wait();
                    target.stream(prompt, load.max_tokens, || true)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err(ClientError::Answer("the client thread died".into())))
            })
            .collect()
    });
    let mut run = Run { wall_seconds: 0.0, requests: vec![], errors: vec![], gaps_ms: vec![] };
    let mut first_sent = None;
    let mut last_end = started;
    for result in results {
        match result {
            Ok(sample) => {
                first_sent = Some(first_sent.map_or(sample.sent, |t: Instant| t.min(sample.sent)));
                last_end = last_end.max(sample.sent + sample.end);
                run.requests.push(Request::of(&sample));
                run.gaps_ms.extend(sample.gaps().map(milliseconds));
            }
            Err(error) => run.errors.push(error.to_string()),
        }
    }
    run.wall_seconds = last_end.duration_since(first_sent.unwrap_or(started)).as_secs_f64();
    run
}

fn medians(runs: &[Run]) -> Medians {
    let requests = || runs.iter().flat_map(|run| &run.requests);
    let of = |value: fn(&Request) -> Option<f64>| median(requests().filter_map(value));
    let count = |value: Option<u64>| value.map(|count| count as f64);
    // A repetition in which some streams failed was not the load that was asked for.
    let whole = || runs.iter().filter(|run| run.errors.is_empty() && run.wall_seconds > 0.0);
    Medians {
        prompt_tokens: median(requests().filter_map(|r| count(r.prompt_tokens))),
        cached_tokens: median(requests().filter_map(|r| count(r.cached_tokens))),
        completion_tokens: median(requests().filter_map(|r| count(r.completion_tokens))),
        chunks: of(|r| Some(r.chunks as f64)),
        ttft_ms: Spread::of(requests().map(|r| r.ttft_ms)),
        inter_token_ms: Spread::of(runs.iter().flat_map(|run| run.gaps_ms.iter().copied())),
        stream_tokens_per_second: of(|r| r.stream_tokens_per_second),
        total_tokens_per_second: median(whole().filter_map(|run| {
            let tokens: Option<u64> = run.requests.iter().map(|r| r.completion_tokens).sum();
            Some(tokens? as f64 / run.wall_seconds)
        })),
        prefill_tokens_per_second: of(|r| r.prefill_tokens_per_second),
        server_prefill_tokens_per_second: of(|r| r.server?.prompt_per_second),
        server_decode_tokens_per_second: of(|r| r.server?.predicted_per_second),
        requests_per_second: median(
            whole().map(|run| run.requests.len() as f64 / run.wall_seconds),
        ),
        drafted_tokens: of(|r| r.server?.draft_n.map(|n| n as f64)),
        accepted_tokens: of(|r| r.server?.draft_n_accepted.map(|n| n as f64)),
    }
}

impl LoadResult {
    /// The different error messages.
    pub(super) fn messages(&self) -> impl Iterator<Item = &str> {
        self.runs.iter().flat_map(|run| run.errors.iter().map(String::as_str))
    }
}

/// A duration in milliseconds.
pub(super) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn sample(texts: &[u64], end: u64, usage: &str) -> Sample {
        Sample {
            sent: Instant::now(),
            texts: texts.iter().map(|ms| Duration::from_millis(*ms)).collect(),
            end: Duration::from_millis(end),
            finish_reason: Some("length".into()),
            usage: serde_json::from_str(usage).unwrap(),
            timings: None,
        }
    }

    #[test]
    fn a_requests_figures_follow_from_its_times_and_usage() {
        let request = Request::of(&sample(
            &[500, 600, 700],
            1000,
            r#"{"prompt_tokens":110,"completion_tokens":6,
                "prompt_tokens_details":{"cached_tokens":10}}"#,
        ));
        assert_eq!(request.ttft_ms, 500.0);
        assert_eq!(request.duration_ms, 1000.0);
        assert_eq!(request.chunks, 3);
        assert_eq!(request.stream_tokens_per_second, Some(10.0));
        assert_eq!(request.prefill_tokens_per_second, Some(200.0));
    }

    #[test]
    fn one_token_has_no_pace_and_an_answer_without_text_starts_at_its_end() {
        let request =
            Request::of(&sample(&[], 250, r#"{"prompt_tokens":50,"completion_tokens":1}"#));
        assert_eq!(request.ttft_ms, 250.0);
        assert_eq!(request.stream_tokens_per_second, None);
        assert_eq!(request.prefill_tokens_per_second, Some(200.0));
    }

    #[test]
    fn without_usage_there_are_times_but_no_rates() {
        let request = Request::of(&sample(&[10, 20], 20, "null"));
        assert_eq!(request.ttft_ms, 10.0);
        assert_eq!(request.stream_tokens_per_second, None);
        assert_eq!(request.prefill_tokens_per_second, None);
    }

    #[test]
    fn a_repetition_with_failed_streams_does_not_count_towards_the_total() {
        let run = |errors: Vec<String>, wall_seconds| Run {
            wall_seconds,
            requests: vec![Request::of(&sample(
                &[1],
                2,
                r#"{"prompt_tokens":1,"completion_tokens":20}"#,
            ))],
            errors,
            gaps_ms: vec![],
        };
        let medians = medians(&[run(vec![], 2.0), run(vec!["refused".into()], 1.0)]);
        assert_eq!(medians.total_tokens_per_second, Some(10.0));
        assert_eq!(medians.requests_per_second, Some(0.5));
        assert_eq!(medians.inter_token_ms, None);
    }
}
