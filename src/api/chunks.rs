//! A stream's chunks: engine events to the text of server-sent events.

use serde::Serialize;

use super::generate::{Choice, Reply, Running, Shape, ids, total_timings, usage};
use super::logprobs::{self, TextColumns};
use super::numbers::finish_reason;
use crate::engine::{
    GenerationError, GenerationEvent, OutputToken, Summary, Token, TokenLogprobs, Vocabulary,
};
use crate::protocol::llama_server::{Progress, Timings};
use crate::protocol::openai::{ChatDelta, Delta, FINGERPRINT, TextChoice, TextLogprobs, Usage};

/// Writes the chunks of one answer.
pub(super) struct Chunks {
    reply: Reply,
    vocabulary: Vocabulary,
    prompt_tokens: Vec<usize>,
    choices: Vec<Progressing>,
    /// Each chunk up to its choices; it never changes.
    envelope: Vec<u8>,
}

/// A choice on its way.
struct Progressing {
    choice: Choice,
    /// Its first chunk (the role, the echoed prompt) is written.
    opened: bool,
    prompt: Vec<(Token, Option<TokenLogprobs>)>,
    columns: TextColumns,
    summary: Option<Summary>,
}

/// What a chunk carries beside its choices.
#[derive(Default)]
struct Extra {
    usage: Option<Usage>,
    timings: Option<Timings>,
    progress: Option<Progress>,
}

/// What one chunk says about a choice.
#[derive(Default)]
struct Part<'a> {
    role: bool,
    text: Option<&'a str>,
    tokens: &'a [OutputToken],
    /// The legacy columns of an echoed prompt.
    prompt_columns: Option<TextLogprobs>,
    finish: Option<&'static str>,
}

impl Chunks {
    pub(super) fn new(reply: Reply, running: &mut Running) -> Self {
        let alternatives = reply.logprobs.is_some_and(|n| n > 0);
        let choices = std::mem::take(&mut running.choices)
            .into_iter()
            .map(|choice| Progressing {
                choice,
                opened: false,
                prompt: Vec::new(),
                columns: TextColumns::new(alternatives),
                summary: None,
            })
            .collect();
        Self {
            envelope: envelope(&reply),
            reply,
            vocabulary: running.vocabulary.clone(),
            prompt_tokens: std::mem::take(&mut running.prompt_tokens),
            choices,
        }
    }

    /// Appends what `event` of the choice at `index` is to the client, which may be nothing.
    pub(super) fn event(
        &mut self,
        index: usize,
        event: GenerationEvent,
        out: &mut Vec<u8>,
    ) -> Result<(), GenerationError> {
        match event {
            GenerationEvent::Started { .. } => {}
            GenerationEvent::Progress(progress) => {
                let role = self.choices.get_mut(index).is_some_and(|c| {
                    // The echoed prompt waits for the end of reading, the role does not.
                    c.choice.preface.is_none() && !std::mem::replace(&mut c.opened, true)
                });
                let part = Part { role, text: role.then_some(""), ..Default::default() };
                let extra = Extra { progress: Some(progress.into()), ..Default::default() };
                self.write(out, index, part, extra);
            }
            GenerationEvent::PromptLogprobs(prompt) => {
                if let Some(c) = self.choices.get_mut(index) {
                    c.prompt = prompt;
                }
            }
            GenerationEvent::PromptDone => self.open(index, out),
            GenerationEvent::Output { text, tokens, timings } => {
                self.open(index, out);
                let says_tokens = self.reply.logprobs.is_some() || self.reply.return_tokens;
                if !text.is_empty() || (says_tokens && !tokens.is_empty()) {
                    let part = Part { text: Some(&text), tokens: &tokens, ..Default::default() };
                    let timings = self.reply.timings_per_token.then(|| timings.into());
                    self.write(out, index, part, Extra { timings, ..Default::default() });
                }
            }
            GenerationEvent::Done(summary) => {
                self.open(index, out);
                let finish = Some(finish_reason(&summary.finish));
                // With a usage chunk to come, that is the last one, which carries the timings.
                let last = self.choices.len() > 1 || !self.reply.include_usage;
                let timings = last.then(|| summary.timings.into());
                if let Some(c) = self.choices.get_mut(index) {
                    c.summary = Some(summary);
                }
                let part = Part { finish, ..Default::default() };
                self.write(out, index, part, Extra { timings, ..Default::default() });
            }
            GenerationEvent::Failed(error) => return Err(error),
        }
        Ok(())
    }

    /// Appends the end of the stream, once there are no more events.
    pub(super) fn finish(&self, out: &mut Vec<u8>) -> Result<(), GenerationError> {
        let summaries: Option<Vec<_>> = self.choices.iter().map(|c| c.summary.clone()).collect();
        let summaries = summaries.ok_or(GenerationError::Stopped)?;
        if self.reply.include_usage {
            let usage = Some(usage(&self.prompt_tokens, &summaries));
            let timings = Some(total_timings(&summaries));
            self.chunk(out, None::<&()>, Extra { usage, timings, progress: None });
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
        Ok(())
    }

    /// The chunk before all text: the assistant's role, or the echoed prompt.
    fn open(&mut self, index: usize, out: &mut Vec<u8>) {
        let Some(c) = self.choices.get_mut(index) else { return };
        if std::mem::replace(&mut c.opened, true) {
            return;
        }
        let preface = c.choice.preface.take();
        let prompt = std::mem::take(&mut c.prompt);
        let prompt_columns = (!prompt.is_empty()).then(|| {
            let text = preface.as_deref().unwrap_or_default();
            c.columns.prompt(&self.vocabulary, &prompt, c.choice.added, text)
        });
        let role = self.reply.shape == Shape::Chat;
        if role || preface.is_some() || prompt_columns.is_some() {
            let text = Some(preface.as_deref().unwrap_or_default());
            let part = Part { role, text, prompt_columns, ..Default::default() };
            self.write(out, index, part, Extra::default());
        }
    }

    fn write(&mut self, out: &mut Vec<u8>, index: usize, part: Part<'_>, extra: Extra) {
        let Some(c) = self.choices.get_mut(index) else { return };
        let says_logprobs = self.reply.logprobs.is_some() && !part.tokens.is_empty();
        let tokens =
            (self.reply.return_tokens && !part.tokens.is_empty()).then(|| ids(part.tokens));
        match self.reply.shape {
            Shape::Chat => {
                let choice = ChatDelta {
                    index: c.choice.index,
                    delta: Delta { role: part.role.then_some("assistant"), content: part.text },
                    logprobs: says_logprobs.then(|| logprobs::chat(&self.vocabulary, part.tokens)),
                    finish_reason: part.finish,
                    tokens,
                };
                self.chunk(out, Some(&choice), extra);
            }
            Shape::Text => {
                let columns =
                    says_logprobs.then(|| c.columns.output(&self.vocabulary, part.tokens));
                let choice = TextChoice {
                    index: c.choice.index,
                    text: part.text.unwrap_or_default(),
                    logprobs: part.prompt_columns.or(columns),
                    finish_reason: part.finish,
                    tokens,
                };
                self.chunk(out, Some(&choice), extra);
            }
        }
    }

    fn chunk(&self, out: &mut Vec<u8>, choice: Option<&impl Serialize>, extra: Extra) {
        out.extend_from_slice(&self.envelope);
        if let Some(choice) = choice {
            json(out, choice);
        }
        out.push(b']');
        field(out, "usage", extra.usage.as_ref());
        field(out, "timings", extra.timings.as_ref());
        field(out, "prompt_progress", extra.progress.as_ref());
        out.extend_from_slice(b"}\n\n");
    }
}

/// `data: {"id": .., "choices":[`, without the rest.
fn envelope(reply: &Reply) -> Vec<u8> {
    #[derive(Serialize)]
    struct Envelope<'a> {
        id: &'a str,
        object: &'static str,
        created: u64,
        model: &'a str,
        system_fingerprint: &'static str,
    }
    let mut out = b"data: ".to_vec();
    json(
        &mut out,
        &Envelope {
            id: &reply.id,
            object: match reply.shape {
                Shape::Chat => "chat.completion.chunk",
                Shape::Text => "text_completion",
            },
            created: reply.created,
            model: &reply.model,
            system_fingerprint: FINGERPRINT,
        },
    );
    out.pop();
    out.extend_from_slice(b",\"choices\":[");
    out
}

fn field(out: &mut Vec<u8>, name: &str, value: Option<&impl Serialize>) {
    if let Some(value) = value {
        out.extend_from_slice(format!(",\"{name}\":").as_bytes());
        json(out, value);
    }
}

pub(super) fn json(out: &mut Vec<u8>, value: &impl Serialize) {
    let start = out.len();
    // Our types have string keys and a Vec takes every write: there is no way to fail.
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.truncate(start);
        out.extend_from_slice(b"null");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn reply(shape: Shape) -> Reply {
        Reply {
            shape,
            id: "x-1".to_owned(),
            created: 7,
            model: "a \"model\"".to_owned(),
            stream: true,
            include_usage: true,
            return_tokens: false,
            timings_per_token: false,
            logprobs: None,
            ping_interval: None,
        }
    }

    #[test]
    fn an_envelope_and_its_end_are_json() {
        for (shape, object) in
            [(Shape::Chat, "chat.completion.chunk"), (Shape::Text, "text_completion")]
        {
            let mut out = envelope(&reply(shape));
            json(&mut out, &Delta { role: Some("assistant"), content: Some("\n") });
            out.push(b']');
            field(&mut out, "usage", Some(&Usage::new(1, 0, 2)));
            out.push(b'}');
            let text = String::from_utf8(out).unwrap();
            let chunk: serde_json::Value =
                serde_json::from_str(text.strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!(chunk["object"], object);
            assert_eq!(chunk["model"], "a \"model\"");
            assert_eq!(chunk["choices"][0]["content"], "\n");
            assert_eq!(chunk["usage"]["total_tokens"], 3);
            assert!(!text.contains('\n'), "an event is one line");
        }
    }
}
