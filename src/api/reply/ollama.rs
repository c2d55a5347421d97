//! Ollama's answers: an object, or a stream of lines with an object each.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::openai::logprobs;
use super::{Collected, Dialect};
use crate::api::generation::{AnswerEvent, Ending, Started};
use crate::engine::{FinishReason, OutputToken, Vocabulary};
use crate::http::Problem;
use crate::protocol::ollama::{Form, Measures, Said, Writer, nanoseconds};
use crate::protocol::openai::ChatTokenLogprob;

/// The media type of streams.
pub(in crate::api) const LINES: &str = "application/x-ndjson";

/// Writes one answer.
pub(in crate::api) struct Ollama {
    writer: Writer,
    shows_logprobs: bool,
    began: Instant,
    loaded: LoadTime,
}

/// How long a request waited for its model, once that is known.
pub(in crate::api) type LoadTime = Arc<OnceLock<Duration>>;

impl Ollama {
    /// `began`: when the request's headers came.
    pub(in crate::api) fn new(
        form: Form,
        model: &str,
        shows_logprobs: bool,
        began: Instant,
        loaded: LoadTime,
    ) -> Self {
        Self { writer: Writer::new(form, model), shows_logprobs, began, loaded }
    }

    fn measures(&self, started: &Started, ending: Option<&Ending>) -> Measures {
        let timings = ending.map(|ending| ending.summary.timings).unwrap_or_default();
        Measures {
            total_duration: nanoseconds(self.began.elapsed()),
            load_duration: nanoseconds(self.loaded.get().copied().unwrap_or_default()),
            prompt_eval_count: started.prompt_tokens.iter().map(|&n| n as u64).sum(),
            prompt_eval_duration: nanoseconds(timings.prompt_time),
            eval_count: timings.predicted_tokens.into(),
            eval_duration: nanoseconds(timings.predicted_time),
        }
    }

    fn logprobs(
        &self,
        vocabulary: &Vocabulary,
        tokens: &[OutputToken],
    ) -> Option<Vec<ChatTokenLogprob>> {
        self.shows_logprobs.then(|| logprobs::chat(vocabulary, tokens).content)
    }
}

impl Dialect for Ollama {
    fn media_type(&self) -> &'static str {
        LINES
    }

    fn keep_alive(&self) -> Bytes {
        let mut line = Vec::new();
        self.writer.keep_alive(&now(), &mut line);
        line.into()
    }

    fn start(&mut self, _: &Started, _: &mut Vec<u8>) {}

    fn event(&mut self, started: &Started, _: usize, event: AnswerEvent, out: &mut Vec<u8>) {
        if let AnswerEvent::Output { parts, tokens, .. } = event {
            let logprobs = self.logprobs(&started.vocabulary, &tokens);
            self.writer.output(&now(), &parts, logprobs, out);
        }
    }

    fn finish(&mut self, started: &Started, endings: &[Ending], out: &mut Vec<u8>) {
        let measures = self.measures(started, endings.first());
        self.writer.done(&now(), reason(endings.first()), measures, out);
    }

    fn error(&self, problem: &Problem, out: &mut Vec<u8>) {
        out.extend_from_slice(error_body(problem).to_string().as_bytes());
        out.push(b'\n');
    }

    fn whole(&self, started: &Started, choices: &[Collected]) -> Vec<u8> {
        let Some(choice) = choices.first() else { return Vec::new() };
        let said = Said {
            thinking: &choice.reasoning,
            text: &choice.text,
            calls: choice
                .calls
                .iter()
                .map(|call| (call.name.as_str(), call.arguments.as_str()))
                .collect(),
        };
        let ending = Some(&choice.ending);
        let logprobs = self.logprobs(&started.vocabulary, &choice.tokens);
        self.writer.whole(&now(), &said, logprobs, reason(ending), self.measures(started, ending))
    }
}

/// Ollama's word for the end of an answer.
fn reason(ending: Option<&Ending>) -> &'static str {
    match ending.map(|ending| &ending.summary.finish) {
        Some(FinishReason::EndOfGeneration | FinishReason::StopString(_)) => "stop",
        _ => "length",
    }
}

/// The present time as Ollama writes it.
pub(in crate::api) fn now() -> String {
    OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default()
}

/// Ollama's error object: `{"error": "..."}`, with the path of the field at fault in its text.
pub(in crate::api) fn error_body(problem: &Problem) -> Value {
    let message = match &problem.param {
        Some(param) if !problem.message.contains(param.as_str()) => {
            format!("{param}: {}", problem.message)
        }
        _ => problem.message.clone(),
    };
    json!({"error": message})
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn an_error_names_its_field_once() {
        let problem = |message: &str| Problem {
            status: StatusCode::BAD_REQUEST,
            code: "invalid_value",
            message: message.to_owned(),
            param: Some("options.top_p".to_owned()),
            numbers: Vec::new(),
            request_id: None,
        };
        let body = error_body(&problem("`top_p` is wrong"));
        assert_eq!(body, json!({"error": "options.top_p: `top_p` is wrong"}));
        let body = error_body(&problem("`options.top_p` is wrong"));
        assert_eq!(body, json!({"error": "`options.top_p` is wrong"}));
    }
}
