//! A response as it travels: what it says of itself, and how it ended.

use serde::Serialize;
use serde_json::{Map, Value};

/// What a response says from its first event on.
#[derive(Debug, Clone, Default)]
pub struct Head {
    /// Letters and digits that no other response has, from which its ids are made.
    pub random: String,
    /// Unix time of the request, seconds.
    pub created: u64,
    /// The model's name.
    pub model: String,
    /// Fields of the request that the response repeats.
    pub echo: Map<String, Value>,
}

impl Head {
    /// The response's id.
    pub fn id(&self) -> String {
        format!("resp_{}", self.random)
    }
}

/// How a response that did not fail ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// It was cut before the model ended it.
    pub is_cut: bool,
    /// What it took.
    pub usage: ResponseUsage,
}

/// Why a response failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// One of OpenAI's words.
    pub code: &'static str,
    /// One line for people.
    pub message: String,
}

/// Token counts of a response.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // OpenAI's fields
pub struct ResponseUsage {
    pub input_tokens: u64,
    pub input_tokens_details: InputTokensDetails,
    pub output_tokens: u64,
    pub output_tokens_details: OutputTokensDetails,
    pub total_tokens: u64,
}

/// The part of the input tokens that a cache held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct InputTokensDetails {
    pub cached_tokens: u64,
    /// A price of OpenAI's; here nothing is charged.
    pub cache_write_tokens: u64,
}

/// The part of the output tokens that are thoughts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct OutputTokensDetails {
    pub reasoning_tokens: u64,
}

impl ResponseUsage {
    /// Sums up.
    pub fn new(input: u64, cached: u64, output: u64, reasoning: u64) -> Self {
        Self {
            input_tokens: input,
            input_tokens_details: InputTokensDetails {
                cached_tokens: cached,
                cache_write_tokens: 0,
            },
            output_tokens: output,
            output_tokens_details: OutputTokensDetails { reasoning_tokens: reasoning },
            total_tokens: input + output,
        }
    }
}

/// A whole response, or how far it is.
#[derive(Debug, Serialize)]
pub(super) struct Response<'a> {
    pub(super) id: String,
    pub(super) object: &'static str,
    pub(super) created_at: u64,
    pub(super) status: &'static str,
    pub(super) background: bool,
    pub(super) error: Option<&'a Failure>,
    pub(super) incomplete_details: Option<IncompleteDetails>,
    pub(super) model: &'a str,
    pub(super) output: &'a [Value],
    pub(super) usage: Option<ResponseUsage>,
    #[serde(flatten)]
    pub(super) echo: &'a Map<String, Value>,
}

/// Why a response is incomplete.
#[derive(Debug, Serialize)]
pub(super) struct IncompleteDetails {
    pub(super) reason: &'static str,
}

impl<'a> Response<'a> {
    pub(super) fn new(head: &'a Head, status: &'static str, output: &'a [Value]) -> Self {
        Self {
            id: head.id(),
            object: "response",
            created_at: head.created,
            status,
            background: false,
            error: None,
            incomplete_details: None,
            model: &head.model,
            output,
            usage: None,
            echo: &head.echo,
        }
    }

    pub(super) fn ended(head: &'a Head, outcome: Outcome, output: &'a [Value]) -> Self {
        let status = if outcome.is_cut { "incomplete" } else { "completed" };
        let details = IncompleteDetails { reason: "max_output_tokens" };
        Self {
            incomplete_details: outcome.is_cut.then_some(details),
            usage: Some(outcome.usage),
            ..Self::new(head, status, output)
        }
    }
}
