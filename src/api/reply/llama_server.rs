//! Answers of llama-server's `/completion` and `/infill`.

use serde_json::Value;

use super::openai::{error_body, logprobs};
use super::sse::write_event;
use super::{Collected, Dialect, ReplyOptions};
use crate::api::generation::{AnswerEvent, Ending, Started};
use crate::chat::output::Event;
use crate::engine::{FinishReason, OutputToken, Vocabulary};
use crate::http::Problem;
use crate::protocol::llama_server::{End, NativeWriter, Place, Said};
use crate::protocol::openai::ChatTokenLogprob;

/// Writes one answer.
pub(in crate::api) struct Native {
    writer: NativeWriter,
    /// Log probabilities were asked for.
    shows_probabilities: bool,
}

impl Native {
    /// `settings`: what the answer is made with, without the seed.
    pub(in crate::api) fn new(
        model: &str,
        options: ReplyOptions,
        settings: Value,
        response_fields: Vec<String>,
    ) -> Self {
        let mut writer = NativeWriter::new(model, settings);
        writer.response_fields = response_fields;
        writer.return_tokens = options.return_tokens;
        writer.timings_per_token = options.timings_per_token;
        Self { writer, shows_probabilities: options.logprobs.is_some() }
    }

    fn probabilities(
        &self,
        vocabulary: &Vocabulary,
        tokens: &[OutputToken],
    ) -> Option<Vec<ChatTokenLogprob>> {
        self.shows_probabilities.then(|| logprobs::chat(vocabulary, tokens).content)
    }
}

impl Dialect for Native {
    fn start(&mut self, _: &Started, _: &mut Vec<u8>) {}

    fn event(&mut self, started: &Started, index: usize, event: AnswerEvent, out: &mut Vec<u8>) {
        let Some(place) = place(started, index) else { return };
        match event {
            AnswerEvent::Progress(progress) => {
                write_event(out, &self.writer.progress(place, progress.into()));
            }
            AnswerEvent::Output { parts, tokens, timings } => {
                let text = text(&parts);
                let said = Said {
                    text: &text,
                    probabilities: self.probabilities(&started.vocabulary, &tokens),
                    tokens: tokens.iter().map(|token| token.id).collect(),
                };
                if let Some(chunk) = self.writer.output(place, said, timings.into()) {
                    write_event(out, &chunk);
                }
            }
            AnswerEvent::Done(ending) => write_event(out, &self.writer.last(place, &end(&ending))),
            AnswerEvent::Begun { .. }
            | AnswerEvent::PromptLogprobs(_)
            | AnswerEvent::PromptDone
            | AnswerEvent::Failed(_) => {}
        }
    }

    /// Nothing: each choice has its last chunk, and llama-server writes no `[DONE]` here.
    fn finish(&mut self, _: &Started, _: &[Ending], _: &mut Vec<u8>) {}

    fn error(&self, problem: &Problem, out: &mut Vec<u8>) {
        write_event(out, &error_body(problem));
    }

    /// An object, or a list of them if there are several choices.
    fn whole(&self, started: &Started, choices: &[Collected]) -> Vec<u8> {
        let answers = choices.iter().enumerate().filter_map(|(index, choice)| {
            let said = Said {
                text: &choice.text,
                probabilities: self.probabilities(&started.vocabulary, &choice.tokens),
                tokens: choice.tokens.iter().map(|token| token.id).collect(),
            };
            Some(self.writer.whole(place(started, index)?, said, &end(&choice.ending)))
        });
        let mut answers: Vec<Value> = answers.collect();
        let body = match answers.len() {
            1 => answers.remove(0),
            _ => Value::Array(answers),
        };
        // Its keys are strings and a Vec takes every write: there is no way to fail.
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

fn place(started: &Started, index: usize) -> Option<Place<'_>> {
    let choice = started.choices.get(index)?;
    Some(Place {
        index: choice.index,
        prompt: choice.prompt.as_deref().unwrap_or_default(),
        prompt_tokens: started.prompt_tokens_of(index),
    })
}

fn end(ending: &Ending) -> End {
    let summary = &ending.summary;
    let (stop_type, stopping_word) = match &summary.finish {
        FinishReason::EndOfGeneration => ("eos", ""),
        FinishReason::StopString(word) => ("word", word.as_str()),
        FinishReason::Length | FinishReason::ContextFull | FinishReason::Shutdown => ("limit", ""),
    };
    End {
        slot: summary.slot,
        seed: summary.seed,
        stop_type,
        stopping_word: stopping_word.to_owned(),
        truncated: summary.finish == FinishReason::ContextFull,
        timings: summary.timings.into(),
    }
}

/// All of the answer is text: nothing is read out of it.
fn text(parts: &[Event]) -> String {
    let text = |part: &Event| match part {
        Event::Text(text) => Some(text.clone()),
        _ => None,
    };
    parts.iter().filter_map(text).collect()
}
