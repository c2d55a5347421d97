//! What the engine measured, in the words of the APIs.

use crate::api::generation::Ending;
use crate::engine::{self, FinishReason};
use crate::protocol::llama_server::{Progress, Timings};
use crate::protocol::openai::Usage;

impl From<engine::Timings> for Timings {
    fn from(t: engine::Timings) -> Self {
        let prompt_ms = t.prompt_time.as_secs_f64() * 1e3;
        let predicted_ms = t.predicted_time.as_secs_f64() * 1e3;
        Self {
            cache_n: t.cached_tokens,
            prompt_n: t.prompt_tokens,
            prompt_ms,
            prompt_per_token_ms: ratio(prompt_ms, t.prompt_tokens.into()),
            prompt_per_second: ratio(f64::from(t.prompt_tokens) * 1e3, prompt_ms),
            predicted_n: t.predicted_tokens,
            predicted_ms,
            predicted_per_token_ms: ratio(predicted_ms, t.predicted_tokens.into()),
            predicted_per_second: ratio(f64::from(t.predicted_tokens) * 1e3, predicted_ms),
            draft_n: t.drafted_tokens,
            draft_n_accepted: (t.drafted_tokens > 0).then_some(t.accepted_tokens),
        }
    }
}

/// JSON has no infinity: what has not been measured counts as 0.
fn ratio(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}

impl From<engine::PromptProgress> for Progress {
    fn from(p: engine::PromptProgress) -> Self {
        Self {
            total: p.total,
            cache: p.cached,
            processed: p.processed,
            time_ms: u64::try_from(p.elapsed.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// OpenAI's word for the end of a choice; `legacy`: calls are functions.
pub(super) fn finish_reason(ending: &Ending, legacy: bool) -> &'static str {
    match &ending.summary.finish {
        FinishReason::EndOfGeneration | FinishReason::StopString(_) if ending.called => {
            if legacy {
                "function_call"
            } else {
                "tool_calls"
            }
        }
        FinishReason::EndOfGeneration | FinishReason::StopString(_) => "stop",
        FinishReason::Length | FinishReason::ContextFull | FinishReason::Shutdown => "length",
    }
}

/// Each prompt counts once, all choices count. Of a prompt that is what its worst choice found in
/// the caches: the others may have found what that one computed.
pub(super) fn usage(prompt_tokens: &[usize], endings: &[Ending]) -> Usage {
    let per_prompt = (endings.len() / prompt_tokens.len().max(1)).max(1);
    let cached = |choices: &[Ending]| {
        let timings = choices.iter().map(|e| &e.summary.timings);
        // One that had no time to begin was not looked up.
        let begun = timings.filter(|t| t.cached_tokens > 0 || t.prompt_tokens > 0);
        begun.map(|t| u64::from(t.cached_tokens)).min().unwrap_or(0)
    };
    Usage::new(
        prompt_tokens.iter().map(|&n| n as u64).sum(),
        endings.chunks(per_prompt).map(cached).sum(),
        endings.iter().map(|e| u64::from(e.summary.timings.predicted_tokens)).sum(),
    )
    .with_reasoning(endings.iter().map(|e| u64::from(e.reasoning_tokens)).sum())
}

/// The sum over all sequences, so that the rates are those of one sequence on average.
pub(super) fn total_timings(endings: &[Ending]) -> Timings {
    let mut total = engine::Timings::default();
    for Ending { summary: engine::Summary { timings, .. }, .. } in endings {
        total.cached_tokens = total.cached_tokens.saturating_add(timings.cached_tokens);
        total.prompt_tokens = total.prompt_tokens.saturating_add(timings.prompt_tokens);
        total.prompt_time = total.prompt_time.saturating_add(timings.prompt_time);
        total.predicted_tokens = total.predicted_tokens.saturating_add(timings.predicted_tokens);
        total.predicted_time = total.predicted_time.saturating_add(timings.predicted_time);
        total.drafted_tokens = total.drafted_tokens.saturating_add(timings.drafted_tokens);
        total.accepted_tokens = total.accepted_tokens.saturating_add(timings.accepted_tokens);
    }
    total.into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn timings_have_llama_servers_names_and_no_infinities() {
        let timings = Timings::from(engine::Timings {
            cached_tokens: 3,
            prompt_tokens: 10,
            prompt_time: Duration::from_millis(20),
            predicted_tokens: 0,
            ..engine::Timings::default()
        });
        assert_eq!(
            serde_json::to_value(timings).unwrap(),
            serde_json::json!({
                "cache_n": 3, "prompt_n": 10, "prompt_ms": 20.0, "prompt_per_token_ms": 2.0,
                "prompt_per_second": 500.0, "predicted_n": 0, "predicted_ms": 0.0,
                "predicted_per_token_ms": 0.0, "predicted_per_second": 0.0
            })
        );
    }

    #[test]
    fn drafts_are_told_where_there_were_any() {
        let timings = engine::Timings { drafted_tokens: 9, ..engine::Timings::default() };
        let value = serde_json::to_value(Timings::from(timings)).unwrap();
        assert_eq!((&value["draft_n"], &value["draft_n_accepted"]), (&9.into(), &0.into()));
    }

    #[test]
    fn cut_answers_end_with_length() {
        let word = |finish: FinishReason, called| {
            let mut ending = ending(0, 0);
            (ending.summary.finish, ending.called) = (finish, called);
            finish_reason(&ending, false)
        };
        let stop_string = || FinishReason::StopString("x".to_owned());
        assert_eq!(word(FinishReason::EndOfGeneration, false), "stop");
        assert_eq!(word(stop_string(), false), "stop");
        assert_eq!(word(FinishReason::EndOfGeneration, true), "tool_calls");
        assert_eq!(word(stop_string(), true), "tool_calls");
        for called in [false, true] {
            assert_eq!(word(FinishReason::Length, called), "length");
            assert_eq!(word(FinishReason::ContextFull, called), "length");
            assert_eq!(word(FinishReason::Shutdown, called), "length");
        }
    }

    fn ending(cached: u32, predicted: u32) -> Ending {
        let summary = engine::Summary {
            finish: FinishReason::Length,
            timings: engine::Timings {
                cached_tokens: cached,
                predicted_tokens: predicted,
                predicted_time: Duration::from_millis(10),
                ..Default::default()
            },
            slot: 0,
            seed: 0,
        };
        Ending { summary, called: false, reasoning_tokens: predicted / 2 }
    }

    #[test]
    fn usage_counts_each_prompt_once_and_every_choice() {
        let endings = [ending(2, 5), ending(7, 6), ending(3, 1), ending(9, 1)];
        assert_eq!(usage(&[10, 20], &endings), Usage::new(30, 5, 13).with_reasoning(5));
        assert_eq!(usage(&[10], &endings[..1]), Usage::new(10, 2, 5).with_reasoning(2));
        // The second choice computed the prompt, the first one waited for it, the last one came
        // too late.
        let mut computed = ending(0, 1);
        computed.summary.timings.prompt_tokens = 10;
        assert_eq!(usage(&[10], &[ending(9, 1), computed, ending(0, 0)]), Usage::new(10, 0, 2));
    }

    #[test]
    fn timings_of_several_choices_are_summed() {
        let timings = total_timings(&[ending(0, 5), ending(0, 15)]);
        assert_eq!((timings.predicted_n, timings.predicted_ms), (20, 20.0));
        assert_eq!(timings.predicted_per_second, 1000.0);
    }
}
