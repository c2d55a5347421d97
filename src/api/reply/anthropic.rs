//! Anthropic's answers, and its form of errors.

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use super::sse::COMMENT;
use super::{Collected, Dialect};
use crate::api::generation::{AnswerEvent, Ending, Started};
use crate::engine::FinishReason;
use crate::http::Problem;
use crate::protocol::anthropic::{
    Answer, Head, StopReason, StreamWriter, Usage, blocks, write_event,
};

/// Writes one answer.
pub(in crate::api) struct Anthropic {
    head: Head,
    request_id: String,
    /// `None` until the stream has begun, which waits for what the caches have of the prompt.
    writer: Option<StreamWriter>,
}

impl Anthropic {
    pub(in crate::api) fn new(model: &str, request_id: &str) -> Self {
        let random = (0..24).map(|_| fastrand::alphanumeric());
        let id = "msg_".chars().chain(random).collect();
        Self {
            head: Head { id, model: model.to_owned() },
            request_id: request_id.to_owned(),
            writer: None,
        }
    }

    /// The stream's writer; one that begins says first what the prompt costs.
    fn writer(&mut self, started: &Started, cached: u32, out: &mut Vec<u8>) -> &mut StreamWriter {
        let Self { head, writer, .. } = self;
        writer.get_or_insert_with(|| {
            let mut writer = StreamWriter::default();
            writer.start(head, usage(started, cached, 0), out);
            writer
        })
    }
}

impl Dialect for Anthropic {
    fn start(&mut self, _: &Started, _: &mut Vec<u8>) {}

    fn event(&mut self, started: &Started, _: usize, event: AnswerEvent, out: &mut Vec<u8>) {
        match event {
            AnswerEvent::Begun { cached_tokens } => {
                self.writer(started, cached_tokens, out);
            }
            AnswerEvent::Output { parts, timings, .. } => {
                let writer = self.writer(started, timings.cached_tokens, out);
                parts.iter().for_each(|part| writer.part(part, out));
            }
            AnswerEvent::Progress(_)
            | AnswerEvent::PromptLogprobs(_)
            | AnswerEvent::PromptDone
            | AnswerEvent::Done(_)
            | AnswerEvent::Failed(_) => {}
        }
    }

    fn finish(&mut self, started: &Started, endings: &[Ending], out: &mut Vec<u8>) {
        let Some(ending) = endings.first() else { return };
        let usage = final_usage(started, ending);
        let cached = ending.summary.timings.cached_tokens;
        self.writer(started, cached, out).finish(&stop_reason(ending), usage, out);
    }

    fn error(&self, problem: &Problem, out: &mut Vec<u8>) {
        let request_id = Some(self.request_id.clone());
        write_event(out, "error", &error_body(&Problem { request_id, ..problem.clone() }));
    }

    fn whole(&self, started: &Started, choices: &[Collected]) -> Vec<u8> {
        let Some(Collected { parts, ending, .. }) = choices.first() else { return Vec::new() };
        let stop = stop_reason(ending);
        let answer = Answer {
            id: &self.head.id,
            role: "assistant",
            model: &self.head.model,
            content: blocks(parts),
            stop_reason: Some(stop.name()),
            stop_sequence: stop.sequence(),
            usage: final_usage(started, ending),
        };
        // Our types have string keys and a Vec takes every write: there is no way to fail.
        serde_json::to_vec(&answer).unwrap_or_default()
    }

    /// Before the beginning of a message no event may come.
    fn keep_alive(&self) -> Bytes {
        match self.writer {
            Some(_) => Bytes::from_static(StreamWriter::PING),
            None => COMMENT,
        }
    }
}

fn usage(started: &Started, cached: u32, output: u32) -> Usage {
    let prompt = started.prompt_tokens.first().map_or(0, |&tokens| tokens as u64);
    Usage::new(prompt, cached.into(), output.into())
}

fn final_usage(started: &Started, ending: &Ending) -> Usage {
    let timings = &ending.summary.timings;
    usage(started, timings.cached_tokens, timings.predicted_tokens)
}

/// A call that is whole is to be run, whatever string would have come behind it.
fn stop_reason(ending: &Ending) -> StopReason {
    match &ending.summary.finish {
        FinishReason::EndOfGeneration | FinishReason::StopString(_) if ending.called => {
            StopReason::ToolUse
        }
        FinishReason::EndOfGeneration => StopReason::EndTurn,
        FinishReason::StopString(sequence) => StopReason::StopSequence(sequence.clone()),
        FinishReason::Length | FinishReason::ContextFull | FinishReason::Shutdown => {
            StopReason::MaxTokens
        }
    }
}

/// Anthropic's error object with our `param` and `code`:
/// `{"type":"error","error":{"type","message","param","code"},"request_id"}`.
pub(in crate::api) fn error_body(problem: &Problem) -> Value {
    let kind = match problem.status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::NOT_FOUND => "not_found_error",
        StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => "timeout_error",
        // Anthropic's own status for it, 529, is known to few proxies.
        StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
        status if status.is_server_error() => "api_error",
        _ => "invalid_request_error",
    };
    let mut error = json!({
        "type": kind,
        "message": message(problem),
        "param": problem.param,
        "code": problem.code,
    });
    for (name, number) in &problem.numbers {
        error[name] = json!(number);
    }
    json!({"type": "error", "error": error, "request_id": problem.request_id})
}

/// The message; of a prompt that does not fit the one by which Claude Code knows that it must
/// shorten the conversation, `prompt is too long: N tokens > M maximum`. It takes no `>=`, so `M` is
/// what a prompt may have: the answer needs a token of the context.
fn message(problem: &Problem) -> String {
    let number = |wanted: &str| problem.numbers.iter().find(|(name, _)| *name == wanted);
    match (problem.code, number("n_prompt_tokens"), number("n_ctx")) {
        ("context_length_exceeded", Some((_, tokens)), Some((_, n_ctx))) => format!(
            "prompt is too long: {tokens} tokens > {} maximum (the context of a slot is {n_ctx})",
            n_ctx.saturating_sub(1)
        ),
        _ => problem.message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ApiError;
    use crate::engine::{Summary, Timings};

    fn ending(finish: FinishReason, called: bool) -> Ending {
        let summary = Summary { finish, timings: Timings::default(), slot: 0, seed: 0 };
        Ending { summary, called, reasoning_tokens: 0 }
    }

    #[test]
    fn answers_end_with_anthropics_reasons() {
        let stop = |finish, called| stop_reason(&ending(finish, called));
        let string = || FinishReason::StopString("x".to_owned());
        assert_eq!(stop(FinishReason::EndOfGeneration, false), StopReason::EndTurn);
        assert_eq!(stop(FinishReason::EndOfGeneration, true), StopReason::ToolUse);
        assert_eq!(stop(string(), false), StopReason::StopSequence("x".to_owned()));
        assert_eq!(stop(string(), true), StopReason::ToolUse);
        for called in [false, true] {
            for finish in [FinishReason::Length, FinishReason::ContextFull, FinishReason::Shutdown]
            {
                assert_eq!(stop(finish, called), StopReason::MaxTokens);
            }
        }
    }

    #[test]
    fn errors_have_anthropics_types() {
        let problem = |status: u16| Problem {
            status: StatusCode::from_u16(status).unwrap_or_default(),
            code: "c",
            message: "m".to_owned(),
            param: Some("messages[0]".to_owned()),
            numbers: Vec::new(),
            request_id: Some("r".to_owned()),
        };
        for (status, kind) in [
            (400, "invalid_request_error"),
            (401, "authentication_error"),
            (403, "permission_error"),
            (404, "not_found_error"),
            (405, "invalid_request_error"),
            (408, "timeout_error"),
            (413, "request_too_large"),
            (415, "invalid_request_error"),
            (429, "rate_limit_error"),
            (500, "api_error"),
            (501, "api_error"),
            (503, "overloaded_error"),
            (504, "timeout_error"),
        ] {
            assert_eq!(
                error_body(&problem(status)),
                json!({"type": "error", "request_id": "r", "error":
                    {"type": kind, "message": "m", "param": "messages[0]", "code": "c"}})
            );
        }
    }

    #[test]
    fn streams_are_kept_alive_and_fail_in_anthropics_form() {
        let mut dialect = Anthropic::new("m", "r");
        assert_eq!(dialect.keep_alive(), COMMENT);
        dialect.writer = Some(StreamWriter::default());
        assert_eq!(dialect.keep_alive(), StreamWriter::PING);
        let mut out = Vec::new();
        dialect.error(&ApiError::SlowReader.problem(), &mut out);
        let text = String::from_utf8_lossy(&out);
        assert!(text.starts_with("event: error\ndata: {\"type\":\"error\",\"error\":{"), "{text}");
        assert!(text.ends_with("\"request_id\":\"r\"}\n\n"), "{text}");
    }

    #[test]
    fn a_prompt_that_does_not_fit_is_told_as_claude_code_looks_for_it() {
        let say = |tokens| {
            let error = ApiError::ContextLengthExceeded { tokens, n_ctx: 512, param: "messages" };
            error_body(&error.problem())["error"]["message"].clone()
        };
        let text = |tokens| {
            format!(
                "prompt is too long: {tokens} tokens > 511 maximum (the context of a slot is 512)"
            )
        };
        assert_eq!(say(512), json!(text(512)));
        assert_eq!(say(9000), json!(text(9000)));
    }
}
