//! The scenario `rps`: connections that each send one-token requests, one after the other.

use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::client::ClientError;
use super::load::milliseconds;
use super::stats::Spread;
use super::target::Target;

/// Prompt size of a request: what is measured is everything but the model.
const PROMPT_TOKENS: u32 = 16;
/// After this many errors a connection gives up.
const MAX_ERRORS: usize = 10;

/// What was measured.
#[derive(Debug, Serialize)]
pub(super) struct RpsResult {
    pub(super) connections: u32,
    pub(super) seconds: f64,
    pub(super) requests: usize,
    pub(super) requests_per_second: f64,
    /// Of one request, milliseconds.
    pub(super) latency_ms: Option<Spread>,
    pub(super) errors: Vec<String>,
}

/// Sends requests over `connections` connections for `duration`; those under way at its end are
/// finished and counted, and so is their time.
pub(super) fn run(
    target: &Target,
    connections: u32,
    duration: Duration,
    index: &mut u64,
) -> RpsResult {
    let started = Instant::now();
    let deadline = started + duration;
    let first = *index;
    let results: Vec<(Vec<f64>, Vec<String>)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..u64::from(connections))
            .map(|number| {
                scope.spawn(move || {
                    let mine = (1..).map(|i: u64| first + number + i * u64::from(connections));
                    connection(target, deadline, mine)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| (vec![], vec!["the client thread died".to_owned()]))
            })
            .collect()
    });
    let seconds = started.elapsed().as_secs_f64();
    let (latencies, errors): (Vec<_>, Vec<_>) = results.into_iter().unzip();
    let latencies = latencies.concat();
    let most = latencies.len() as u64 + u64::from(connections) * (MAX_ERRORS as u64 + 2);
    *index = first + most * u64::from(connections);
    RpsResult {
        connections,
        seconds,
        requests: latencies.len(),
        requests_per_second: latencies.len() as f64 / seconds.max(1e-9),
        latency_ms: Spread::of(latencies),
        errors: errors.concat(),
    }
}

fn connection(
    target: &Target,
    deadline: Instant,
    indices: impl Iterator<Item = u64>,
) -> (Vec<f64>, Vec<String>) {
    let client = target.client.keeping_its_connection();
    let target = Target { client, ..target.clone() };
    let (mut latencies, mut errors) = (Vec::new(), Vec::new());
    for index in indices {
        let sent = Instant::now();
        if sent >= deadline || errors.len() >= MAX_ERRORS {
            break;
        }
        let answer = target.complete(&target.prompts.make(PROMPT_TOKENS, index), 1);
        match answer.and_then(|event| match event.error() {
            Some(message) => Err(ClientError::Answer(message)),
            None => Ok(()),
        }) {
            Ok(()) => latencies.push(milliseconds(sent.elapsed())),
            Err(error) => errors.push(error.to_string()),
        }
    }
    (latencies, errors)
}
