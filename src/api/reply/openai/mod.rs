//! OpenAI's answers with llama-server's additions: chats and completions differ in their choices alone.

mod chat;
pub(super) mod logprobs;
mod measures;
mod text;

use std::marker::PhantomData;
use std::time::{SystemTime, UNIX_EPOCH};

use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use self::logprobs::TextColumns;
use self::measures::{finish_reason, total_timings, usage};
use super::sse::write_event;
use super::{Collected, Dialect, ReplyOptions};
use crate::api::generation::{AnswerEvent, Choice, Ending, Started};
use crate::chat::output::Event;
use crate::engine::{OutputToken, Token, TokenLogprobs, Vocabulary};
use crate::http::Problem;
use crate::protocol::llama_server::{Progress, Timings};
use crate::protocol::openai::{
    Answer, CallDelta, Chunk, FINGERPRINT, FunctionDelta, TextLogprobs, Usage,
};

/// Chat completions.
pub(in crate::api) type Chat = OpenAi<chat::ChatForm>;
/// Legacy completions.
pub(in crate::api) type Text = OpenAi<text::TextForm>;

/// What chats and completions differ in.
pub(in crate::api) trait Form: Send + 'static {
    const ID_PREFIX: &'static str;
    const OBJECT: &'static str;
    const CHUNK_OBJECT: &'static str;
    /// A choice's first chunk names the assistant's role.
    const HAS_ROLE: bool;

    /// A choice of a chunk.
    fn delta(part: Part<'_>, vocabulary: &Vocabulary, columns: &mut TextColumns) -> impl Serialize;

    /// A choice of a whole answer.
    fn whole(
        options: &ReplyOptions,
        vocabulary: &Vocabulary,
        choice: &Choice,
        collected: &Collected,
    ) -> impl Serialize;
}

/// Writes one answer.
pub(in crate::api) struct OpenAi<F> {
    head: Head,
    options: ReplyOptions,
    choices: Vec<Progressing>,
    form: PhantomData<F>,
}

/// What all chunks begin with.
struct Head {
    id: String,
    created: u64,
    model: String,
}

/// A choice of a stream on its way.
struct Progressing {
    index: u32,
    /// Its first chunk (the role, the echoed prompt) is written.
    opened: bool,
    prompt: Vec<(Token, Option<TokenLogprobs>)>,
    columns: TextColumns,
}

/// What one chunk says about a choice.
#[derive(Default)]
pub(in crate::api) struct Part<'a> {
    index: u32,
    role: bool,
    text: Option<&'a str>,
    reasoning: Option<&'a str>,
    calls: Vec<CallDelta>,
    legacy_functions: bool,
    tokens: &'a [OutputToken],
    /// The ids of `tokens`, if the chunk shows them.
    ids: Option<Vec<Token>>,
    shows_logprobs: bool,
    /// The legacy columns of an echoed prompt.
    prompt_columns: Option<TextLogprobs>,
    finish: Option<&'static str>,
}

/// What a chunk carries beside its choices.
#[derive(Default)]
struct Extra {
    usage: Option<Usage>,
    timings: Option<Timings>,
    progress: Option<Progress>,
}

impl<F: Form> OpenAi<F> {
    pub(in crate::api) fn new(model: &str, options: ReplyOptions) -> Self {
        let random = (0..32).map(|_| fastrand::alphanumeric());
        Self {
            head: Head {
                id: F::ID_PREFIX.chars().chain(random).collect(),
                created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
                model: model.to_owned(),
            },
            options,
            choices: Vec::new(),
            form: PhantomData,
        }
    }

    /// The chunk before all text: the assistant's role, or the echoed prompt.
    fn open(&mut self, started: &Started, index: usize, out: &mut Vec<u8>) {
        let (Some(c), Some(choice)) = (self.choices.get_mut(index), started.choices.get(index))
        else {
            return;
        };
        if std::mem::replace(&mut c.opened, true) {
            return;
        }
        let text = choice.preface.as_deref().unwrap_or_default();
        let prompt = std::mem::take(&mut c.prompt);
        let prompt_columns = (!prompt.is_empty())
            .then(|| c.columns.prompt(&started.vocabulary, &prompt, choice.added, text));
        if F::HAS_ROLE || choice.preface.is_some() || prompt_columns.is_some() {
            let part =
                Part { role: F::HAS_ROLE, text: Some(text), prompt_columns, ..Default::default() };
            self.write(started, index, part, Extra::default(), out);
        }
    }

    /// Appends a chunk with `part` of the choice at `index`, and what `extra` has beside choices.
    fn write(
        &mut self,
        started: &Started,
        index: usize,
        part: Part<'_>,
        extra: Extra,
        out: &mut Vec<u8>,
    ) {
        let Some(c) = self.choices.get_mut(index) else { return };
        let any = !part.tokens.is_empty();
        let part = Part {
            index: c.index,
            legacy_functions: self.options.legacy_functions,
            shows_logprobs: self.options.logprobs.is_some() && any,
            ids: (self.options.return_tokens && any).then(|| ids(part.tokens)),
            ..part
        };
        let choice = F::delta(part, &started.vocabulary, &mut c.columns);
        self.head.chunk(F::CHUNK_OBJECT, std::slice::from_ref(&choice), extra, out);
    }
}

impl Head {
    fn chunk(
        &self,
        object: &'static str,
        choices: &[impl Serialize],
        extra: Extra,
        out: &mut Vec<u8>,
    ) {
        let chunk = Chunk {
            id: &self.id,
            object,
            created: self.created,
            model: &self.model,
            system_fingerprint: FINGERPRINT,
            choices,
            usage: extra.usage,
            timings: extra.timings,
            prompt_progress: extra.progress,
        };
        write_event(out, &chunk);
    }
}

impl<F: Form> Dialect for OpenAi<F> {
    fn start(&mut self, started: &Started, _: &mut Vec<u8>) {
        let alternatives = self.options.logprobs.is_some_and(|n| n > 0);
        let choices = started.choices.iter().map(|choice| Progressing {
            index: choice.index,
            opened: false,
            prompt: Vec::new(),
            columns: TextColumns::new(alternatives),
        });
        self.choices = choices.collect();
    }

    fn event(&mut self, started: &Started, index: usize, event: AnswerEvent, out: &mut Vec<u8>) {
        match event {
            AnswerEvent::Begun { .. } | AnswerEvent::Failed(_) => {}
            AnswerEvent::Progress(progress) => {
                // The echoed prompt waits for the end of reading, the role does not.
                let echoes = started.choices.get(index).is_some_and(|c| c.preface.is_some());
                let opens = !echoes
                    && self
                        .choices
                        .get_mut(index)
                        .is_some_and(|c| !std::mem::replace(&mut c.opened, true));
                let role = opens && F::HAS_ROLE;
                let part = Part { role, text: opens.then_some(""), ..Default::default() };
                let extra = Extra { progress: Some(progress.into()), ..Default::default() };
                self.write(started, index, part, extra, out);
            }
            AnswerEvent::PromptLogprobs(prompt) => {
                if let Some(c) = self.choices.get_mut(index) {
                    c.prompt = prompt;
                }
            }
            AnswerEvent::PromptDone => self.open(started, index, out),
            AnswerEvent::Output { parts, tokens, timings } => {
                self.open(started, index, out);
                let mut deltas = deltas(&parts);
                if deltas.is_empty() && self.options.shows_tokens() && !tokens.is_empty() {
                    deltas.push(Part { text: Some(""), ..Default::default() });
                }
                for (i, part) in deltas.into_iter().enumerate() {
                    // The tokens come with the first of their texts.
                    let tokens = if i == 0 { tokens.as_slice() } else { &[] };
                    let timings = self.options.timings_per_token.then(|| timings.into());
                    let extra = Extra { timings, ..Default::default() };
                    self.write(started, index, Part { tokens, ..part }, extra, out);
                }
            }
            AnswerEvent::Done(ending) => {
                self.open(started, index, out);
                let summary = &ending.summary;
                let finish = Some(finish_reason(&ending, self.options.legacy_functions));
                // With a usage chunk to come, that is the last one, which carries the timings.
                let last = self.choices.len() > 1 || !self.options.include_usage;
                let timings = last.then(|| summary.timings.into());
                let part = Part { finish, ..Default::default() };
                self.write(started, index, part, Extra { timings, ..Default::default() }, out);
            }
        }
    }

    fn finish(&mut self, started: &Started, endings: &[Ending], out: &mut Vec<u8>) {
        if self.options.include_usage {
            let extra = Extra {
                usage: Some(usage(&started.prompt_tokens, endings)),
                timings: Some(total_timings(endings)),
                ..Default::default()
            };
            self.head.chunk(F::CHUNK_OBJECT, &[(); 0], extra, out);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn error(&self, problem: &Problem, out: &mut Vec<u8>) {
        write_event(out, &error_body(problem));
    }

    fn whole(&self, started: &Started, choices: &[Collected]) -> Vec<u8> {
        let endings: Vec<Ending> = choices.iter().map(|c| c.ending.clone()).collect();
        let choices = started.choices.iter().zip(choices);
        let answer = Answer {
            id: &self.head.id,
            object: F::OBJECT,
            created: self.head.created,
            model: &self.head.model,
            system_fingerprint: FINGERPRINT,
            choices: choices
                .map(|(choice, c)| F::whole(&self.options, &started.vocabulary, choice, c))
                .collect(),
            usage: usage(&started.prompt_tokens, &endings),
            timings: total_timings(&endings),
        };
        // Our types have string keys and a Vec takes every write: there is no way to fail.
        serde_json::to_vec(&answer).unwrap_or_default()
    }
}

/// The chunks of an output's parts, in order. Each has one kind of them, as clients read a chunk's
/// fields in an order of their own; pieces of one call are joined.
fn deltas(parts: &[Event]) -> Vec<Part<'_>> {
    let mut deltas: Vec<Part<'_>> = Vec::new();
    for part in parts {
        match part {
            Event::Text(text) => deltas.push(Part { text: Some(text), ..Default::default() }),
            Event::Reasoning(text) => {
                deltas.push(Part { reasoning: Some(text), ..Default::default() });
            }
            Event::Call { index, name } => {
                let function = FunctionDelta { name: Some(name.clone()), arguments: String::new() };
                let call = CallDelta {
                    index: *index,
                    id: Some(call_id()),
                    kind: Some("function"),
                    function,
                };
                deltas.push(Part { calls: vec![call], ..Default::default() });
            }
            Event::Arguments { index, fragment } => {
                let last = deltas.last_mut().and_then(|delta| delta.calls.last_mut());
                match last.filter(|call| call.index == *index) {
                    Some(call) => call.function.arguments.push_str(fragment),
                    None => {
                        let function = FunctionDelta { name: None, arguments: fragment.clone() };
                        let call = CallDelta { index: *index, id: None, kind: None, function };
                        deltas.push(Part { calls: vec![call], ..Default::default() });
                    }
                }
            }
            Event::CallEnd { .. } | Event::CallCut { .. } => {}
        }
    }
    deltas
}

/// A call's id, which the tool's result names.
fn call_id() -> String {
    "call_".chars().chain((0..24).map(|_| fastrand::alphanumeric())).collect()
}

fn ids(tokens: &[OutputToken]) -> Vec<Token> {
    tokens.iter().map(|token| token.id).collect()
}

/// OpenAI's error object: `{"error":{"message","type","param","code"}}`.
pub(in crate::api) fn error_body(problem: &Problem) -> Value {
    let kind = match problem.status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::NOT_FOUND => "not_found_error",
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => "timeout_error",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        StatusCode::INTERNAL_SERVER_ERROR => "server_error",
        StatusCode::NOT_IMPLEMENTED => "not_implemented_error",
        StatusCode::SERVICE_UNAVAILABLE => "unavailable_error",
        _ => "invalid_request_error",
    };
    let mut error = json!({
        "message": problem.message,
        "type": kind,
        "param": problem.param,
        "code": problem.code,
    });
    for (name, number) in &problem.numbers {
        error[name] = json!(number);
    }
    json!({"error": error})
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::protocol::openai::Delta;

    fn chunk<F: Form>(choices: &[Delta<'_>], extra: Extra) -> (String, Value) {
        let mut dialect = OpenAi::<F>::new("a \"model\"", ReplyOptions::default());
        (dialect.head.id, dialect.head.created) = ("x-1".to_owned(), 7);
        let mut out = Vec::new();
        dialect.head.chunk(F::CHUNK_OBJECT, choices, extra, &mut out);
        let text = String::from_utf8(out).unwrap();
        let data = text.strip_prefix("data: ").unwrap().strip_suffix("\n\n").unwrap();
        let json = serde_json::from_str(data).unwrap();
        assert!(!data.contains('\n'), "an event is one line");
        (data.to_owned(), json)
    }

    #[test]
    fn a_chunk_is_one_line_of_json() {
        let delta = Delta { role: Some("assistant"), content: Some("\n"), ..Default::default() };
        let extra = || Extra { usage: Some(Usage::new(1, 0, 2)), ..Default::default() };
        for ((text, json), object) in [
            (chunk::<chat::ChatForm>(&[delta], extra()), "chat.completion.chunk"),
            (chunk::<text::TextForm>(&[Delta::default()], extra()), "text_completion"),
        ] {
            assert!(
                text.starts_with(&format!("{{\"id\":\"x-1\",\"object\":\"{object}\",")),
                "{text}"
            );
            assert_eq!(json["model"], "a \"model\"");
            assert_eq!(json["usage"]["total_tokens"], 3);
            assert!(json.get("timings").is_none() && json.get("prompt_progress").is_none());
        }
        assert_eq!(chunk::<chat::ChatForm>(&[], extra()).1["choices"], json!([]));
    }
}
