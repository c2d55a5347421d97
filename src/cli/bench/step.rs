//! A step of a conversation's scenario: requests, and what they cost the server.

use serde::Serialize;

use super::client::Sample;
use super::load::milliseconds;
use super::stats::{Spread, median};

/// Requests with the same part in a scenario. Tokens are sums over them, medians of the
/// repetitions; `None` where the server does not tell.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Step {
    pub(super) step: String,
    pub(super) prompt_tokens: Option<f64>,
    pub(super) cached_tokens: Option<f64>,
    pub(super) computed_tokens: Option<f64>,
    /// Tokens of messages that no request before had in that place, about, without those of the
    /// template.
    pub(super) new_tokens: f64,
    /// Times to first token, of all repetitions.
    pub(super) ttft_ms: Option<Spread>,
}

/// One request's figures.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    prompt_tokens: Option<u64>,
    cached_tokens: Option<u64>,
    new_tokens: f64,
    ttft_ms: f64,
}

/// The requests of each step of one repetition.
pub(super) type Steps = Vec<(String, Vec<Asked>)>;

impl Asked {
    pub(super) fn of(sample: &Sample, new_tokens: f64) -> Asked {
        Asked {
            prompt_tokens: sample.usage.map(|usage| usage.prompt_tokens),
            cached_tokens: sample.usage.and_then(|usage| usage.cached_tokens()),
            new_tokens,
            ttft_ms: milliseconds(sample.first()),
        }
    }
}

/// The same steps of several repetitions.
pub(super) fn merged(runs: &[Steps]) -> Vec<Step> {
    let Some(first) = runs.first() else { return Vec::new() };
    let step = |(position, (name, _)): (usize, &(String, Vec<Asked>))| {
        let requests = || runs.iter().map(move |run| &run[position].1);
        let sum = |value: fn(&Asked) -> Option<u64>| {
            median(requests().filter_map(|all| {
                all.iter().map(value).sum::<Option<u64>>().map(|total| total as f64)
            }))
        };
        Step {
            step: name.clone(),
            prompt_tokens: sum(|asked| asked.prompt_tokens),
            cached_tokens: sum(|asked| asked.cached_tokens),
            computed_tokens: sum(|asked| {
                Some(asked.prompt_tokens?.saturating_sub(asked.cached_tokens?))
            }),
            new_tokens: median(requests().map(|all| all.iter().map(|a| a.new_tokens).sum()))
                .unwrap_or_default(),
            ttft_ms: Spread::of(requests().flatten().map(|asked| asked.ttft_ms)),
        }
    };
    first.iter().enumerate().map(step).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_step_has_the_sums_of_its_requests_and_the_medians_of_its_repetitions() {
        let asked = |prompt, cached, ttft_ms| Asked {
            prompt_tokens: Some(prompt),
            cached_tokens: cached,
            new_tokens: 5.0,
            ttft_ms,
        };
        let run = |cached| {
            vec![("all".to_owned(), vec![asked(100, cached, 10.0), asked(50, Some(0), 30.0)])]
        };
        let steps = merged(&[run(Some(90)), run(Some(70)), run(Some(80))]);
        assert_eq!(steps.len(), 1);
        assert_eq!(steps[0].prompt_tokens, Some(150.0));
        assert_eq!(steps[0].cached_tokens, Some(80.0));
        assert_eq!(steps[0].computed_tokens, Some(70.0));
        assert_eq!(steps[0].new_tokens, 10.0);
        assert_eq!(steps[0].ttft_ms.unwrap().max, 30.0);
        assert_eq!(merged(&[run(None)])[0].computed_tokens, None, "the server does not tell");
    }
}
