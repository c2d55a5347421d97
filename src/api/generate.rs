//! Running sequences: from a prepared request to events, and to one JSON body.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use super::blocking::{off_the_reactor, one_at_a_time};
use super::logprobs::{self, TextColumns};
use super::meter::Meter;
use super::metrics::Counts;
use super::numbers::finish_reason;
use super::prompt::{self, Tokenised};
use super::{ApiError, AppState, Model, sse};
use crate::engine::{
    self, DrySampler, FinishReason, GenerationError, GenerationEvent, GenerationStream,
    OutputToken, SamplingParams, SubmitError, Summary, Token, TokenLogprobs, Vocabulary,
};
use crate::http::RequestLog;
use crate::protocol::Options;
use crate::protocol::llama_server::Timings;
use crate::protocol::openai::{Answer, AnswerMessage, ChatChoice, FINGERPRINT, TextChoice, Usage};

/// Which API an answer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Chat,
    Text,
}

/// How the client wants its answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) shape: Shape,
    pub(super) id: String,
    pub(super) created: u64,
    pub(super) model: String,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    pub(super) return_tokens: bool,
    pub(super) timings_per_token: bool,
    /// Alternatives per token, if log probabilities were asked for.
    pub(super) logprobs: Option<u32>,
    pub(super) ping_interval: Option<Duration>,
}

impl Reply {
    pub(super) fn new(
        shape: Shape,
        state: &AppState,
        options: &Options,
        logprobs: Option<u32>,
    ) -> Self {
        let prefix = match shape {
            Shape::Chat => "chatcmpl-",
            Shape::Text => "cmpl-",
        };
        let random = (0..32).map(|_| fastrand::alphanumeric());
        Self {
            shape,
            id: prefix.chars().chain(random).collect(),
            created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
            model: state.model_name().to_owned(),
            stream: options.stream,
            include_usage: options.include_usage,
            return_tokens: options.return_tokens,
            timings_per_token: options.timings_per_token,
            logprobs,
            ping_interval: options.ping_interval,
        }
    }
}

type Events = BoxStream<'static, (usize, GenerationEvent)>;

/// Sequences that the engine works on. Dropping this cancels them.
pub(super) struct Running {
    pub(super) vocabulary: Vocabulary,
    /// Tokens of each prompt.
    pub(super) prompt_tokens: Vec<usize>,
    pub(super) choices: Vec<Choice>,
    /// Events of all choices, by the choice's index.
    pub(super) events: Events,
}

/// What is known of one choice before it begins.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) index: u32,
    /// Text that comes before what is generated.
    pub(super) preface: Option<String>,
    /// Tokens at the start of the prompt that are not in its text.
    pub(super) added: usize,
}

/// Tokenises with `tokenise` off the reactor, and queues the sequences.
pub(super) async fn start<F>(
    state: AppState,
    mut options: Options,
    log: RequestLog,
    logprobs: Option<u32>,
    echo_logprobs: bool,
    tokenise: F,
) -> Result<Running, ApiError>
where
    F: FnOnce(&Model) -> Result<Vec<Tokenised>, ApiError> + Send + 'static,
{
    let (timeout, most) = {
        let settings = state.settings();
        (settings.limits.request_timeout, settings.limits.max_tokens)
    };
    if most > 0 {
        options.max_tokens = Some(options.max_tokens.map_or(most, |asked| asked.min(most)));
    }
    let deadline = (timeout > 0).then(|| log.start() + Duration::from_secs(timeout));
    let work = async {
        let model = state.model().await?;
        // The text is tokenised from wherever a token may end within it.
        let breakers = &mut options.sampling.values.dry_sequence_breakers;
        breakers.retain(|text| model.engine.vocabulary().can_spell(text));
        let dry = dry_sampler(&model, &prompt::sampling_params(&options.sampling)).await?;
        off_the_reactor(log.body_bytes(), move || {
            let prompts = tokenise(&model)?;
            let dry = dry.as_ref();
            submit(
                &model,
                &options,
                dry,
                &log,
                state.counts(),
                logprobs,
                echo_logprobs,
                deadline,
                &prompts,
            )
        })
        .await
    };
    match deadline {
        None => work.await,
        Some(deadline) => tokio::time::timeout_at(deadline.into(), work)
            .await
            .map_err(|_| ApiError::DeadlineExceeded)?,
    }
}

async fn dry_sampler(
    model: &Arc<Model>,
    params: &SamplingParams,
) -> Result<Option<Arc<DrySampler>>, ApiError> {
    if !params.uses_dry() {
        return Ok(None);
    }
    if let Some(known) = model.engine.known_dry_sampler(params) {
        return Ok(Some(known));
    }
    let (model, params) = (model.clone(), params.clone());
    one_at_a_time(move || Some(model.engine.dry_sampler(&params))).await
}

#[allow(clippy::too_many_arguments)]
fn submit(
    model: &Model,
    options: &Options,
    dry: Option<&Arc<DrySampler>>,
    log: &RequestLog,
    counts: &Arc<Counts>,
    logprobs: Option<u32>,
    echo_logprobs: bool,
    deadline: Option<Instant>,
    prompts: &[Tokenised],
) -> Result<Running, ApiError> {
    log.prompt_tokens(prompts.iter().map(|p| p.tokens.len()).sum());
    let mut sequences =
        prompt::sequences(model, log.id(), options, logprobs, echo_logprobs, prompts)?;
    for sequence in &mut sequences {
        sequence.deadline = deadline;
        sequence.dry = dry.cloned();
    }
    let prompt_tokens = prompts.iter().map(|p| p.tokens.len()).collect();
    let choices = prompts
        .iter()
        .flat_map(|prompt| (0..options.n).map(move |_| prompt))
        .zip(0..)
        .map(|(prompt, index)| Choice {
            index,
            preface: prompt.preface.clone(),
            added: prompt.added,
        })
        .collect();
    let streams = model.engine.submit(sequences).map_err(|error| match error {
        SubmitError::QueueFull { waiting } => {
            let slots = model.engine.facts().n_slots;
            let retry_after = counts.retry_after(waiting, slots);
            ApiError::QueueFull { waiting, retry_after }
        }
        SubmitError::Stopped => ApiError::shutting_down(),
    })?;
    let events = merge(streams, options.n as usize, log, counts);
    let log = log.clone();
    Ok(Running {
        vocabulary: model.engine.vocabulary().clone(),
        prompt_tokens,
        choices,
        events: end_together(events, move || log.succeeded()),
    })
}

/// `n`: choices of each prompt.
fn merge(
    streams: Vec<GenerationStream>,
    n: usize,
    log: &RequestLog,
    counts: &Arc<Counts>,
) -> Events {
    let events = stream::select_all(streams.into_iter().enumerate().map(|(choice, stream)| {
        // Each prompt's cached tokens count once, as in `usage`.
        let meter = Meter::new(log.clone(), counts.clone(), choice % n == 0);
        stream::unfold((stream, meter), move |(mut stream, mut meter)| async move {
            let event = stream.next().await?;
            meter.event(&event);
            Some(((choice, event), (stream, meter)))
        })
        .boxed()
    }));
    events.boxed()
}

/// A choice that had no time to begin fails the request only if no other one generated anything;
/// else it is empty and ends with `length`, so that nothing is lost of the others.
/// `excused` is called for each such choice.
fn end_together(events: Events, excused: impl Fn() + Send + 'static) -> Events {
    struct State<F> {
        events: Events,
        excused: F,
        generated: bool,
        late: Vec<(usize, GenerationError)>,
    }
    async fn next<F: Fn()>(mut state: State<F>) -> Option<((usize, GenerationEvent), State<F>)> {
        while let Some((choice, event)) = state.events.next().await {
            match event {
                GenerationEvent::Failed(
                    error @ (GenerationError::DeadlineExceeded | GenerationError::ShuttingDown),
                ) => state.late.push((choice, error)),
                event => {
                    state.generated |= matches!(
                        &event,
                        GenerationEvent::Done(end) if end.timings.predicted_tokens > 0
                    );
                    return Some(((choice, event), state));
                }
            }
        }
        let (choice, error) = state.late.pop()?;
        let event = if state.generated {
            (state.excused)();
            let timings = engine::Timings::default();
            GenerationEvent::Done(Summary {
                finish: FinishReason::Length,
                timings,
                slot: 0,
                seed: 0,
            })
        } else {
            GenerationEvent::Failed(error)
        };
        Some(((choice, event), state))
    }
    let state = State { events, excused, generated: false, late: Vec::new() };
    stream::unfold(state, next).boxed()
}

/// Answers a request whose sequences `work` starts: errors until then are plain ones.
pub(super) async fn respond(
    state: &AppState,
    reply: Reply,
    work: impl Future<Output = Result<Running, ApiError>> + Send + 'static,
) -> Result<Response, ApiError> {
    if reply.stream {
        return sse::respond(state, reply, Box::pin(work)).await;
    }
    let work = Box::pin(work);
    collect(&reply, work.await?).await
}

/// All of a choice.
#[derive(Debug, Default)]
struct Collected {
    text: String,
    tokens: Vec<OutputToken>,
    prompt: Vec<(Token, Option<TokenLogprobs>)>,
    summary: Option<Summary>,
}

async fn collect(reply: &Reply, mut running: Running) -> Result<Response, ApiError> {
    let mut all: Vec<Collected> = running
        .choices
        .iter_mut()
        .map(|c| Collected { text: c.preface.take().unwrap_or_default(), ..Default::default() })
        .collect();
    while let Some((choice, event)) = running.events.next().await {
        let Some(collected) = all.get_mut(choice) else { continue };
        match event {
            GenerationEvent::Started { .. }
            | GenerationEvent::Progress(_)
            | GenerationEvent::PromptDone => {}
            GenerationEvent::PromptLogprobs(prompt) => collected.prompt = prompt,
            GenerationEvent::Output { text, tokens, .. } => {
                collected.text.push_str(&text);
                if reply.logprobs.is_some() || reply.return_tokens {
                    collected.tokens.extend(tokens);
                }
            }
            GenerationEvent::Done(summary) => collected.summary = Some(summary),
            GenerationEvent::Failed(error) => return Err(error.into()),
        }
    }
    let summaries: Option<Vec<_>> = all.iter().map(|c| c.summary.clone()).collect();
    let summaries = summaries.ok_or(GenerationError::Stopped)?;
    let in_vain =
        |s: &Summary| s.finish == FinishReason::Shutdown && s.timings.predicted_tokens == 0;
    if summaries.iter().all(in_vain) {
        // An empty answer would be taken for the model's; this one is asked again elsewhere.
        return Err(ApiError::shutting_down());
    }
    let answer = AnswerParts {
        usage: usage(&running.prompt_tokens, &summaries),
        timings: total_timings(&summaries),
    };
    Ok(match reply.shape {
        Shape::Chat => chat_answer(reply, &running, &all, answer),
        Shape::Text => text_answer(reply, &running, &all, answer),
    })
}

struct AnswerParts {
    usage: Usage,
    timings: Timings,
}

fn chat_answer(
    reply: &Reply,
    running: &Running,
    all: &[Collected],
    parts: AnswerParts,
) -> Response {
    let choices = running.choices.iter().zip(all).map(|(choice, c)| ChatChoice {
        index: choice.index,
        message: AnswerMessage { role: "assistant", content: c.text.clone() },
        logprobs: reply.logprobs.map(|_| logprobs::chat(&running.vocabulary, &c.tokens)),
        finish_reason: c.summary.as_ref().map_or("length", |s| finish_reason(&s.finish)),
        tokens: reply.return_tokens.then(|| ids(&c.tokens)),
    });
    answer(reply, "chat.completion", choices.collect(), parts)
}

fn text_answer(
    reply: &Reply,
    running: &Running,
    all: &[Collected],
    parts: AnswerParts,
) -> Response {
    let choices = running.choices.iter().zip(all).map(|(choice, c)| TextChoice {
        index: choice.index,
        text: &c.text,
        logprobs: reply.logprobs.map(|alternatives| {
            let mut columns = TextColumns::new(alternatives > 0);
            let mut logprobs =
                columns.prompt(&running.vocabulary, &c.prompt, choice.added, &c.text);
            logprobs.extend(columns.output(&running.vocabulary, &c.tokens));
            logprobs
        }),
        finish_reason: c.summary.as_ref().map(|s| finish_reason(&s.finish)),
        tokens: reply.return_tokens.then(|| ids(&c.tokens)),
    });
    answer(reply, "text_completion", choices.collect(), parts)
}

fn answer<C: serde::Serialize>(
    reply: &Reply,
    object: &'static str,
    choices: Vec<C>,
    parts: AnswerParts,
) -> Response {
    Json(Answer {
        id: &reply.id,
        object,
        created: reply.created,
        model: &reply.model,
        system_fingerprint: FINGERPRINT,
        choices,
        usage: parts.usage,
        timings: parts.timings,
    })
    .into_response()
}

pub(super) fn ids(tokens: &[OutputToken]) -> Vec<Token> {
    tokens.iter().map(|token| token.id).collect()
}

/// Each prompt counts once, all choices count.
pub(super) fn usage(prompt_tokens: &[usize], summaries: &[Summary]) -> Usage {
    let per_prompt = (summaries.len() / prompt_tokens.len().max(1)).max(1);
    let cached = |s: &Summary| u64::from(s.timings.cached_tokens);
    Usage::new(
        prompt_tokens.iter().map(|&n| n as u64).sum(),
        summaries.iter().step_by(per_prompt).map(cached).sum(),
        summaries.iter().map(|s| u64::from(s.timings.predicted_tokens)).sum(),
    )
}

/// The sum over all sequences, so that the rates are those of one sequence on average.
pub(super) fn total_timings(summaries: &[Summary]) -> Timings {
    let mut total = engine::Timings::default();
    for Summary { timings, .. } in summaries {
        total.cached_tokens = total.cached_tokens.saturating_add(timings.cached_tokens);
        total.prompt_tokens = total.prompt_tokens.saturating_add(timings.prompt_tokens);
        total.prompt_time = total.prompt_time.saturating_add(timings.prompt_time);
        total.predicted_tokens = total.predicted_tokens.saturating_add(timings.predicted_tokens);
        total.predicted_time = total.predicted_time.saturating_add(timings.predicted_time);
    }
    total.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(cached: u32, predicted: u32) -> Summary {
        Summary {
            finish: FinishReason::Length,
            timings: engine::Timings {
                cached_tokens: cached,
                predicted_tokens: predicted,
                predicted_time: Duration::from_millis(10),
                ..Default::default()
            },
            slot: 0,
            seed: 0,
        }
    }

    /// The words of events, in the order in which they come out.
    async fn ended(events: Vec<(usize, GenerationEvent)>) -> Vec<String> {
        let ended = end_together(stream::iter(events).boxed(), || ());
        ended
            .map(|(choice, event)| match event {
                GenerationEvent::Done(end) => format!("{choice} {:?}", end.finish),
                GenerationEvent::Failed(error) => format!("{choice} {error:?}"),
                other => format!("{choice} {other:?}"),
            })
            .collect()
            .await
    }

    #[tokio::test]
    async fn a_choice_that_had_no_time_to_begin_takes_no_finished_one_with_it() {
        let late = (1, GenerationEvent::Failed(GenerationError::DeadlineExceeded));
        let done = |choice, generated| (choice, GenerationEvent::Done(summary(0, generated)));
        let both = ended(vec![late.clone(), done(0, 3)]).await;
        assert_eq!(both, ["0 Length", "1 Length"]);
        assert_eq!(ended(vec![done(0, 3), late.clone()]).await, both);
        // What was cut before its first token, too, generated nothing.
        assert_eq!(ended(vec![late.clone(), done(0, 0)]).await, ["0 Length", "1 DeadlineExceeded"]);
        assert_eq!(ended(vec![late]).await, ["1 DeadlineExceeded"]);
        let broken = (1, GenerationEvent::Failed(GenerationError::Compute));
        assert_eq!(ended(vec![done(0, 3), broken]).await, ["0 Length", "1 Compute"]);
    }

    #[test]
    fn usage_counts_each_prompt_once_and_every_choice() {
        let summaries = [summary(2, 5), summary(7, 6), summary(3, 1), summary(9, 1)];
        assert_eq!(usage(&[10, 20], &summaries), Usage::new(30, 5, 13));
        assert_eq!(usage(&[10], &summaries[..1]), Usage::new(10, 2, 5));
    }

    #[test]
    fn timings_of_several_choices_are_summed() {
        let timings = total_timings(&[summary(0, 5), summary(0, 15)]);
        assert_eq!((timings.predicted_n, timings.predicted_ms), (20, 20.0));
        assert_eq!(timings.predicted_per_second, 1000.0);
    }
}
