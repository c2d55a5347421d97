//! A whole answer: everything is collected, then written at once.

use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use http::header;

use super::{Collected, CollectedCall, Dialect, ReplyOptions};
use crate::api::error::ApiError;
use crate::api::generation::{AnswerEvent, Ending, Running};
use crate::chat::output::Event;
use crate::engine::{FinishReason, GenerationError, OutputToken, Token, TokenLogprobs};

/// A choice on its way.
#[derive(Default)]
struct Collecting {
    text: String,
    reasoning: String,
    calls: Vec<CollectedCall>,
    parts: Vec<Event>,
    tokens: Vec<OutputToken>,
    prompt: Vec<(Token, Option<TokenLogprobs>)>,
    ending: Option<Ending>,
}

pub(super) async fn respond(
    dialect: &impl Dialect,
    options: &ReplyOptions,
    mut running: Running,
) -> Result<Response, ApiError> {
    let mut all: Vec<Collecting> = running
        .started
        .choices
        .iter()
        .map(|c| Collecting { text: c.preface.clone().unwrap_or_default(), ..Default::default() })
        .collect();
    while let Some((choice, event)) = running.events.next().await {
        let Some(collecting) = all.get_mut(choice) else { continue };
        match event {
            AnswerEvent::Begun { .. } | AnswerEvent::Progress(_) | AnswerEvent::PromptDone => {}
            AnswerEvent::PromptLogprobs(prompt) => collecting.prompt = prompt,
            AnswerEvent::Output { parts, tokens, .. } => {
                parts.into_iter().for_each(|part| collecting.add(part));
                if options.shows_tokens() {
                    collecting.tokens.extend(tokens);
                }
            }
            AnswerEvent::Done(ending) => collecting.ending = Some(ending),
            AnswerEvent::Failed(error) => return Err(error.into()),
        }
    }
    let all: Option<Vec<Collected>> = all.into_iter().map(Collecting::done).collect();
    let all = all.ok_or(GenerationError::Stopped)?;
    let in_vain = |choice: &Collected| {
        let summary = &choice.ending.summary;
        summary.finish == FinishReason::Shutdown && summary.timings.predicted_tokens == 0
    };
    if all.iter().all(in_vain) {
        // An empty answer would be taken for the model's; this one is asked again elsewhere.
        return Err(ApiError::shutting_down());
    }
    let body = dialect.whole(&running.started, &all);
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

impl Collecting {
    fn add(&mut self, part: Event) {
        match &part {
            Event::Reasoning(text) => self.reasoning.push_str(text),
            Event::Text(text) => self.text.push_str(text),
            Event::Call { name, .. } => {
                self.calls.push(CollectedCall { name: name.clone(), arguments: String::new() });
            }
            // Calls do not overlap.
            Event::Arguments { fragment, .. } => {
                if let Some(call) = self.calls.last_mut() {
                    call.arguments.push_str(fragment);
                }
            }
            Event::CallEnd { .. } | Event::CallCut { .. } => {}
        }
        match (self.parts.last_mut(), part) {
            (Some(Event::Reasoning(all)), Event::Reasoning(text))
            | (Some(Event::Text(all)), Event::Text(text))
            | (
                Some(Event::Arguments { fragment: all, .. }),
                Event::Arguments { fragment: text, .. },
            ) => {
                all.push_str(&text);
            }
            (_, part) => self.parts.push(part),
        }
    }

    /// The choice, if it has ended.
    fn done(self) -> Option<Collected> {
        let Self { text, reasoning, calls, parts, tokens, prompt, ending } = self;
        Some(Collected { text, reasoning, calls, parts, tokens, prompt, ending: ending? })
    }
}
