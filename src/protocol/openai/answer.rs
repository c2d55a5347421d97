//! Answers, whole and in chunks, in OpenAI's shapes with llama-server's additions.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::protocol::Token;
use crate::protocol::llama_server::{Progress, Timings};

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

/// A chunk of a streamed answer; `C` is `ChatDelta` or `TextChoice`. The last one may have no
/// choices.
#[derive(Debug, Serialize)]
#[allow(missing_docs)] // OpenAI's fields, then llama-server's
pub struct Chunk<'a, C> {
    pub id: &'a str,
    pub object: &'static str,
    pub created: u64,
    pub model: &'a str,
    pub system_fingerprint: &'static str,
    pub choices: &'a [C],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timings: Option<Timings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_progress: Option<Progress>,
}

/// What answers carry as `system_fingerprint`.
pub const FINGERPRINT: &str = concat!("strixhalo-", env!("CARGO_PKG_VERSION"));

/// A choice of a whole chat answer.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct ChatChoice<'a> {
    pub index: u32,
    pub message: AnswerMessage<'a>,
    pub logprobs: Option<ChatLogprobs>,
    pub finish_reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Vec<Token>>,
}

/// The message of a whole chat answer.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct AnswerMessage<'a> {
    pub role: &'static str,
    /// `null` in a message that only calls tools.
    pub content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<AnswerCall<'a>>,
    /// OpenAI's old form of one call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_call: Option<AnswerFunction<'a>>,
}

/// A call of a tool in a whole answer.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct AnswerCall<'a> {
    pub id: String,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub function: AnswerFunction<'a>,
}

/// What a call calls.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct AnswerFunction<'a> {
    pub name: &'a str,
    pub arguments: &'a str,
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
    pub tokens: Option<Vec<Token>>,
}

/// What a chat chunk adds to the message.
#[derive(Debug, Default, Serialize)]
#[allow(missing_docs)]
pub struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<CallDelta>,
    /// OpenAI's old form of one call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_call: Option<FunctionDelta>,
}

/// What a chat chunk adds to one call; the first has the id and the name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct CallDelta {
    pub index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    pub function: FunctionDelta,
}

/// What a chunk adds to a call's function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct FunctionDelta {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub arguments: String,
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
    pub tokens: Option<Vec<Token>>,
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
    pub id: Token,
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
    pub completion_tokens_details: CompletionTokensDetails,
}

/// The part of the prompt tokens that a slot held already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct PromptTokensDetails {
    pub cached_tokens: u64,
}

/// The part of the generated tokens that are thoughts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct CompletionTokensDetails {
    pub reasoning_tokens: u64,
}

impl Usage {
    /// Sums up; without thoughts.
    pub fn new(prompt_tokens: u64, cached_tokens: u64, completion_tokens: u64) -> Self {
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens + completion_tokens,
            prompt_tokens_details: PromptTokensDetails { cached_tokens },
            completion_tokens_details: CompletionTokensDetails::default(),
        }
    }

    /// With so many tokens of thoughts among those generated.
    pub fn with_reasoning(mut self, reasoning_tokens: u64) -> Self {
        self.completion_tokens_details = CompletionTokensDetails { reasoning_tokens };
        self
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn usage_has_openais_names() {
        assert_eq!(
            serde_json::to_value(Usage::new(5, 2, 7).with_reasoning(3)).unwrap(),
            serde_json::json!({
                "prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12,
                "prompt_tokens_details": {"cached_tokens": 2},
                "completion_tokens_details": {"reasoning_tokens": 3}
            })
        );
    }
}
