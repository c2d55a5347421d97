//! Engine events to bytes: whole answers and streams, in the form of one API or another.

pub(super) mod anthropic;
mod collect;
pub(super) mod llama_server;
pub(super) mod ollama;
pub(super) mod openai;
pub(super) mod responses;
mod sse;

use std::time::Duration;

use axum::response::Response;
use bytes::Bytes;

use super::error::ApiError;
use super::generation::{AnswerEvent, Ending, Running, Started};
use crate::chat::output::Event;
use crate::engine::{OutputToken, Token, TokenLogprobs};
use crate::http::Problem;
use crate::protocol::Options;

/// How a client wants its answer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ReplyOptions {
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    pub(super) return_tokens: bool,
    pub(super) timings_per_token: bool,
    /// Alternatives per token, if log probabilities were asked for.
    pub(super) logprobs: Option<u32>,
    /// Calls are written in OpenAI's old form (`function_call`).
    pub(super) legacy_functions: bool,
    /// Silence on a stream after which a comment is sent.
    pub(super) ping_interval: Option<Duration>,
}

impl ReplyOptions {
    pub(super) fn new(options: &Options, logprobs: Option<u32>) -> Self {
        Self {
            stream: options.stream,
            include_usage: options.include_usage,
            return_tokens: options.return_tokens,
            timings_per_token: options.timings_per_token,
            logprobs,
            legacy_functions: false,
            ping_interval: options.ping_interval,
        }
    }

    /// Whether the answer says more of tokens than their text.
    fn shows_tokens(&self) -> bool {
        self.logprobs.is_some() || self.return_tokens
    }
}

/// Writes one answer in the form of an API. Streams are server-sent events unless it says otherwise.
pub(super) trait Dialect: Send + 'static {
    /// The media type of its streams.
    fn media_type(&self) -> &'static str {
        "text/event-stream"
    }

    /// Appends what a stream begins with, before any event.
    fn start(&mut self, started: &Started, out: &mut Vec<u8>);

    /// Appends what an event of the choice at `index` is to the client, which may be nothing. The
    /// event is never `Failed`.
    fn event(&mut self, started: &Started, index: usize, event: AnswerEvent, out: &mut Vec<u8>);

    /// Appends the end of a stream whose choices are all done.
    fn finish(&mut self, started: &Started, endings: &[Ending], out: &mut Vec<u8>);

    /// Appends an error, after which a stream ends.
    fn error(&self, problem: &Problem, out: &mut Vec<u8>);

    /// What a stream that is silent for too long is kept alive with.
    fn keep_alive(&self) -> Bytes {
        sse::COMMENT
    }

    /// The JSON of a whole answer.
    fn whole(&self, started: &Started, choices: &[Collected]) -> Vec<u8>;
}

/// All of a choice.
#[derive(Debug)]
pub(super) struct Collected {
    /// Its text, with the text that it begins with.
    text: String,
    /// What it thought.
    reasoning: String,
    /// The tools that it called.
    calls: Vec<CollectedCall>,
    /// The parts of all these in their order, neighbors of a kind joined.
    parts: Vec<Event>,
    /// Its tokens, if the answer shows them.
    tokens: Vec<OutputToken>,
    /// The prompt's tokens, if their log probabilities were asked for.
    prompt: Vec<(Token, Option<TokenLogprobs>)>,
    ending: Ending,
}

/// A call of a tool.
#[derive(Debug, Default)]
pub(super) struct CollectedCall {
    name: String,
    arguments: String,
}

/// Answers a request whose sequences `work` starts; errors until then are plain answers. `loading`:
/// the model is not there yet.
pub(super) async fn respond(
    dialect: impl Dialect,
    options: ReplyOptions,
    loading: bool,
    work: impl Future<Output = Result<Running, ApiError>> + Send + 'static,
) -> Result<Response, ApiError> {
    let work = Box::pin(work);
    if options.stream {
        sse::respond(Box::new(dialect), options.ping_interval, loading, work).await
    } else {
        collect::respond(&dialect, &options, work.await?).await
    }
}
