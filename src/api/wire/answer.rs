//! Answers, whole and in chunks, in OpenAI's shapes with llama-server's additions.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::engine::{self, FinishReason};

/// A whole answer; `C` is `ChatChoice` or `TextChoice`.
#[derive(Debug, Serialize)]
#[allow(missing_docs)] // OpenAI's fields
pub struct Answer<'a, C> {
    pub id: &'a str,
    pub object: &'static str,
    pub created: u64,
    pub model: &'a str,
    pub system_fingerprint: &'static str,
    pub choices: Vec<C>,
    pub usage: Usage,
    pub timings: Timings,
}

/// What answers carry as `system_fingerprint`.
pub const FINGERPRINT: &str = concat!("strixhalo-", env!("CARGO_PKG_VERSION"));

/// A choice of a whole chat answer.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct ChatChoice {
    pub index: u32,
    pub message: AnswerMessage,
    pub logprobs: Option<ChatLogprobs>,
    pub finish_reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Vec<engine::Token>>,
}

/// The message of a whole chat answer.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct AnswerMessage {
    pub role: &'static str,
    pub content: String,
}

/// A choice of a chat chunk.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct ChatDelta<'a> {
    pub index: u32,
    pub delta: Delta<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<ChatLogprobs>,
    pub finish_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Vec<engine::Token>>,
}

/// What a chat chunk adds to the message.
#[derive(Debug, Default, Serialize)]
#[allow(missing_docs)]
pub struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<&'a str>,
}

/// A choice of a text completion, whole or in a chunk.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct TextChoice<'a> {
    pub index: u32,
    pub text: &'a str,
    pub logprobs: Option<TextLogprobs>,
    pub finish_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Vec<engine::Token>>,
}

/// Log probabilities in the chat API's shape.
#[derive(Debug, Default, Serialize)]
#[allow(missing_docs)]
pub struct ChatLogprobs {
    pub content: Vec<ChatTokenLogprob>,
}

/// One token in the chat API's shape. `token` is lossy where `bytes` are not whole characters.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct ChatTokenLogprob {
    #[serde(flatten)]
    pub token: TokenLogprob,
    pub top_logprobs: Vec<TokenLogprob>,
}

/// A token and its log probability.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct TokenLogprob {
    pub id: engine::Token,
    pub token: String,
    pub bytes: Vec<u8>,
    pub logprob: f32,
}

/// Log probabilities in the legacy shape of completions: columns of equal length.
#[derive(Debug, Default, Serialize)]
pub struct TextLogprobs {
    /// Each token's text; `bytes:\xNN` where it is not whole characters.
    pub tokens: Vec<String>,
    /// Each token's log probability; the first of a prompt has none.
    pub token_logprobs: Vec<Option<f32>>,
    /// The alternatives, best first, and the token itself.
    pub top_logprobs: Vec<Option<Alternatives>>,
    /// Characters of the choice's text before the token.
    pub text_offset: Vec<u64>,
}

/// An object of token texts and log probabilities that keeps its order.
#[derive(Debug)]
pub struct Alternatives(pub Vec<(String, f32)>);

impl Serialize for Alternatives {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (token, logprob) in &self.0 {
            map.serialize_entry(token, logprob)?;
        }
        map.end()
    }
}

/// Token counts of a request: each prompt once, all choices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Usage {
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    pub total_tokens: u64,
    pub prompt_tokens_details: PromptTokensDetails,
}

/// The part of the prompt tokens that a slot held already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct PromptTokensDetails {
    pub cached_tokens: u64,
}

impl Usage {
    /// Sums up.
    pub fn new(prompt_tokens: u64, cached_tokens: u64, completion_tokens: u64) -> Self {
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens + completion_tokens,
            prompt_tokens_details: PromptTokensDetails { cached_tokens },
        }
    }
}

/// llama-server's `timings`: counts, milliseconds, tokens per second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Timings {
    pub cache_n: u32,
    pub prompt_n: u32,
    pub prompt_ms: f64,
    pub prompt_per_token_ms: f64,
    pub prompt_per_second: f64,
    pub predicted_n: u32,
    pub predicted_ms: f64,
    pub predicted_per_token_ms: f64,
    pub predicted_per_second: f64,
}

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
        }
    }
}

/// JSON has no infinity: what has not been measured counts as 0.
fn ratio(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}

/// llama-server's `prompt_progress`.
#[derive(Debug, Clone, Copy, Serialize)]
#[allow(missing_docs)]
pub struct Progress {
    pub total: u32,
    pub cache: u32,
    pub processed: u32,
    pub time_ms: u64,
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

/// OpenAI's word for the end of a generation.
pub fn finish_reason(reason: &FinishReason) -> &'static str {
    match reason {
        FinishReason::EndOfGeneration | FinishReason::StopString(_) => "stop",
        FinishReason::Length | FinishReason::ContextFull | FinishReason::Shutdown => "length",
    }
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
            predicted_time: Duration::ZERO,
            queue_time: Duration::ZERO,
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
    fn usage_has_openais_names() {
        assert_eq!(
            serde_json::to_value(Usage::new(5, 2, 7)).unwrap(),
            serde_json::json!({
                "prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12,
                "prompt_tokens_details": {"cached_tokens": 2}
            })
        );
    }

    #[test]
    fn cut_answers_end_with_length() {
        assert_eq!(finish_reason(&FinishReason::EndOfGeneration), "stop");
        assert_eq!(finish_reason(&FinishReason::StopString("x".to_owned())), "stop");
        assert_eq!(finish_reason(&FinishReason::Length), "length");
        assert_eq!(finish_reason(&FinishReason::ContextFull), "length");
        assert_eq!(finish_reason(&FinishReason::Shutdown), "length");
    }
}
