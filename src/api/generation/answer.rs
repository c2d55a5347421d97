//! A sequence's text told apart: reasoning, text and tool calls, as events for the dialects.

use crate::chat::output::{End, Event, Parser};
use crate::engine::{
    FinishReason, GenerationError, GenerationEvent, OutputToken, PromptProgress, Summary, Timings,
    Token, TokenLogprobs,
};

/// One event of a choice. Order: `Begun`, any `Progress`, `PromptLogprobs` if asked for, `PromptDone`, any
/// `Output`, then one `Done`. `Failed` may end it at any point.
#[derive(Debug, Clone)]
pub(in crate::api) enum AnswerEvent {
    /// A slot has taken it; so many of its prompt's tokens need no computing.
    Begun { cached_tokens: u32 },
    /// Part of the prompt has been read.
    Progress(PromptProgress),
    /// Log probabilities of the prompt's tokens.
    PromptLogprobs(Vec<(Token, Option<TokenLogprobs>)>),
    /// The whole prompt has been read.
    PromptDone,
    /// New parts of the answer, and the tokens that came since the last event; either may be none.
    Output { parts: Vec<Event>, tokens: Vec<OutputToken>, timings: Timings },
    /// The choice is complete.
    Done(Ending),
    /// The choice was given up.
    Failed(GenerationError),
}

/// How a choice ended.
#[derive(Debug, Clone)]
pub(in crate::api) struct Ending {
    pub(in crate::api) summary: Summary,
    /// It called tools, and each call is whole.
    pub(in crate::api) called: bool,
    /// Tokens that it was thinking with.
    pub(in crate::api) reasoning_tokens: u32,
}

/// Reads the events of one sequence.
pub(super) struct Reader {
    /// `None`: all text is the answer's.
    parser: Option<Parser>,
    called: bool,
    cut: bool,
    reasoning_tokens: u32,
    timings: Timings,
}

impl Reader {
    pub(super) fn new(parser: Option<Parser>) -> Self {
        Self { parser, called: false, cut: false, reasoning_tokens: 0, timings: Timings::default() }
    }

    /// What an event of the engine is to the client, in order.
    pub(super) fn read(&mut self, event: GenerationEvent) -> Vec<AnswerEvent> {
        match event {
            GenerationEvent::Started { cached_tokens, .. } => {
                vec![AnswerEvent::Begun { cached_tokens }]
            }
            GenerationEvent::Progress(progress) => vec![AnswerEvent::Progress(progress)],
            GenerationEvent::PromptLogprobs(prompt) => vec![AnswerEvent::PromptLogprobs(prompt)],
            GenerationEvent::PromptDone => vec![AnswerEvent::PromptDone],
            GenerationEvent::Output { text, tokens, timings } => {
                self.timings = timings;
                if self.parser.as_ref().is_some_and(Parser::in_reasoning) {
                    let tokens = u32::try_from(tokens.len()).unwrap_or(u32::MAX);
                    self.reasoning_tokens = self.reasoning_tokens.saturating_add(tokens);
                }
                let parts = match &mut self.parser {
                    Some(parser) => parser.push(&text),
                    None if text.is_empty() => Vec::new(),
                    None => vec![Event::Text(text)],
                };
                vec![self.output(parts, tokens)]
            }
            GenerationEvent::Done(summary) => {
                let end = match summary.finish {
                    FinishReason::EndOfGeneration => End::Model,
                    _ => End::Cut,
                };
                let parts = self.parser.take().map(|mut parser| parser.finish(end));
                let last = parts.filter(|parts| !parts.is_empty());
                let last = last.map(|parts| self.output(parts, Vec::new()));
                let done = AnswerEvent::Done(Ending {
                    called: self.called && !self.cut,
                    reasoning_tokens: self.reasoning_tokens,
                    summary,
                });
                last.into_iter().chain([done]).collect()
            }
            GenerationEvent::Failed(error) => vec![AnswerEvent::Failed(error)],
        }
    }

    fn output(&mut self, parts: Vec<Event>, tokens: Vec<OutputToken>) -> AnswerEvent {
        for part in &parts {
            self.called |= matches!(part, Event::Call { .. });
            self.cut |= matches!(part, Event::CallCut { .. });
        }
        AnswerEvent::Output { parts, tokens, timings: self.timings }
    }
}
