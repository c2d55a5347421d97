//! The form of `/v1/responses`.

use std::sync::Arc;

use http::StatusCode;

use super::{Collected, Dialect};
use crate::api::generation::{AnswerEvent, Ending, Started};
use crate::api::stored_responses::{Owner, StoredResponse, StoredResponses};
use crate::engine::FinishReason;
use crate::http::Problem;
use crate::protocol::openai::responses::{Encoder, Failure, Outcome, ResponseUsage};

/// Writes one response.
pub(in crate::api) struct Responses {
    encoder: Encoder,
    keep: Option<Keep>,
}

/// How a response is kept.
pub(in crate::api) struct Keep {
    pub(in crate::api) store: Arc<StoredResponses>,
    pub(in crate::api) owner: Owner,
    /// The response that it goes on from.
    pub(in crate::api) previous: Option<String>,
    /// The request's own items, a JSON array.
    pub(in crate::api) input: Vec<u8>,
}

impl Responses {
    pub(in crate::api) fn new(encoder: Encoder, keep: Option<Keep>) -> Self {
        Self { encoder, keep }
    }

    fn keep(&self, response: &[u8]) {
        let Some(Keep { store, owner, previous, input }) = &self.keep else { return };
        let stored = StoredResponse {
            owner: *owner,
            previous: previous.clone(),
            input: input.clone().into(),
            response: response.to_vec().into(),
        };
        store.insert(self.encoder.head().id(), stored);
    }
}

impl Dialect for Responses {
    fn start(&mut self, _: &Started, out: &mut Vec<u8>) {
        self.encoder.start(out);
    }

    fn event(&mut self, _: &Started, _: usize, event: AnswerEvent, out: &mut Vec<u8>) {
        if let AnswerEvent::Output { parts, .. } = event {
            parts.iter().for_each(|part| self.encoder.part(part, out));
        }
    }

    fn finish(&mut self, started: &Started, endings: &[Ending], out: &mut Vec<u8>) {
        let whole = self.encoder.finish(outcome(started, endings.first()), out);
        self.keep(&whole);
    }

    fn error(&self, problem: &Problem, out: &mut Vec<u8>) {
        // OpenAI has few words; the message says the rest.
        let code = match (problem.status, problem.code) {
            (_, code @ "context_length_exceeded") => code,
            (StatusCode::TOO_MANY_REQUESTS, _) => "rate_limit_exceeded",
            (StatusCode::BAD_REQUEST, _) => "invalid_prompt",
            _ => "server_error",
        };
        self.encoder.fail(&Failure { code, message: problem.message.clone() }, out);
    }

    fn whole(&self, started: &Started, choices: &[Collected]) -> Vec<u8> {
        let choice = choices.first();
        let parts = choice.map(|choice| choice.parts.as_slice()).unwrap_or_default();
        let outcome = outcome(started, choice.map(|choice| &choice.ending));
        let whole = self.encoder.clone().whole(parts, outcome);
        self.keep(&whole);
        whole
    }
}

/// How the one output ended.
fn outcome(started: &Started, ending: Option<&Ending>) -> Outcome {
    let summary = ending.map(|ending| &ending.summary);
    let timings = summary.map(|summary| summary.timings).unwrap_or_default();
    let is_whole = summary.is_some_and(|summary| match summary.finish {
        FinishReason::EndOfGeneration | FinishReason::StopString(_) => true,
        FinishReason::Length | FinishReason::ContextFull | FinishReason::Shutdown => false,
    });
    let usage = ResponseUsage::new(
        started.prompt_tokens.iter().map(|&n| n as u64).sum(),
        timings.cached_tokens.into(),
        timings.predicted_tokens.into(),
        ending.map_or(0, |ending| ending.reasoning_tokens.into()),
    );
    Outcome { is_cut: !is_whole, usage }
}
