//! A whole answer: everything is collected, then written at once.

use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use http::header;

use super::{Collected, Dialect, ReplyOptions};
use crate::api::error::ApiError;
use crate::api::generation::Running;
use crate::engine::{
    FinishReason, GenerationError, GenerationEvent, OutputToken, Summary, Token, TokenLogprobs,
};

/// A choice on its way.
#[derive(Default)]
struct Collecting {
    text: String,
    tokens: Vec<OutputToken>,
    prompt: Vec<(Token, Option<TokenLogprobs>)>,
    summary: Option<Summary>,
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
            GenerationEvent::Started { .. }
            | GenerationEvent::Progress(_)
            | GenerationEvent::PromptDone => {}
            GenerationEvent::PromptLogprobs(prompt) => collecting.prompt = prompt,
            GenerationEvent::Output { text, tokens, .. } => {
                collecting.text.push_str(&text);
                if options.shows_tokens() {
                    collecting.tokens.extend(tokens);
                }
            }
            GenerationEvent::Done(summary) => collecting.summary = Some(summary),
            GenerationEvent::Failed(error) => return Err(error.into()),
        }
    }
    let all: Option<Vec<Collected>> = all.into_iter().map(Collecting::done).collect();
    let all = all.ok_or(GenerationError::Stopped)?;
    let in_vain =
        |s: &Summary| s.finish == FinishReason::Shutdown && s.timings.predicted_tokens == 0;
    if all.iter().all(|choice| in_vain(&choice.summary)) {
        // An empty answer would be taken for the model's; this one is asked again elsewhere.
        return Err(ApiError::shutting_down());
    }
    let body = dialect.whole(&running.started, &all);
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

impl Collecting {
    /// The choice, if it has ended.
    fn done(self) -> Option<Collected> {
        let Self { text, tokens, prompt, summary } = self;
        Some(Collected { text, tokens, prompt, summary: summary? })
    }
}
