//! Queues the sequences of a request and merges their events.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use super::answer::{AnswerEvent, Reader};
use super::blocking::{compiling, off_the_reactor, one_at_a_time};
use super::meter::Meter;
use super::output::OutputPlan;
use super::prompt::{self, Tokenized};
use super::task::{Choice, Started, Task};
use crate::api::error::ApiError;
use crate::api::metrics::Counts;
use crate::api::model::LoadedModel;
use crate::api::state::AppState;
use crate::engine::{
    self, FinishReason, GenerationError, GenerationEvent, GenerationStream, SubmitError, Summary,
};
use crate::http::RequestLog;

type Events = BoxStream<'static, (usize, GenerationEvent)>;
type Answers = BoxStream<'static, (usize, AnswerEvent)>;

/// Sequences that the engine works on. Dropping this cancels them.
pub(in crate::api) struct Running {
    pub(in crate::api) started: Started,
    /// Events of all choices, by the choice's index.
    pub(in crate::api) events: Answers,
}

/// Waits for the model, tokenizes with `tokenize` off the reactor, and queues the sequences.
pub(in crate::api) async fn start<F>(
    state: AppState,
    mut task: Task,
    tokenize: F,
) -> Result<Running, ApiError>
where
    F: FnOnce(&LoadedModel) -> Result<Vec<Tokenized>, ApiError> + Send + 'static,
{
    let (timeout, most) = {
        let settings = state.settings();
        (settings.limits.request_timeout, settings.limits.max_tokens)
    };
    let options = &mut task.options;
    if most > 0 {
        options.max_tokens = Some(options.max_tokens.map_or(most, |asked| asked.min(most)));
    }
    let deadline = (timeout > 0).then(|| task.log.start() + Duration::from_secs(timeout));
    let work = async {
        let model = task.model.loaded(state.http()).await?;
        let counts = state.counts().clone();
        let bytes = task.log.body_bytes();
        let uses_dry = prompt::sampling_params(&task.options.sampling).uses_dry();
        let has_grammar = task.may_have_grammar();
        let of_model = model.clone();
        let tokenize = move || tokenize(&of_model);
        let queue =
            move |prompts: Vec<Tokenized>| submit(&model, &task, &counts, deadline, &prompts);
        if uses_dry {
            one_at_a_time(bytes, move || queue(tokenize()?)).await
        } else if has_grammar {
            let prompts = off_the_reactor(bytes, tokenize).await?;
            compiling(move || queue(prompts)).await
        } else {
            off_the_reactor(bytes, move || queue(tokenize()?)).await
        }
    };
    match deadline {
        None => work.await,
        Some(deadline) => tokio::time::timeout_at(deadline.into(), work)
            .await
            .map_err(|_| ApiError::DeadlineExceeded)?,
    }
}

fn submit(
    model: &LoadedModel,
    task: &Task,
    counts: &Arc<Counts>,
    deadline: Option<Instant>,
    prompts: &[Tokenized],
) -> Result<Running, ApiError> {
    let Task { options, log, .. } = task;
    log.prompt_tokens(prompts.iter().map(|p| p.tokens.len()).sum());
    let mut sequences = prompt::sequences(model, task, prompts)?;
    // Completions alone have several prompts, and their outputs are all held to the same form.
    let first = prompts.first().ok_or_else(|| ApiError::invalid("prompt", "there is no prompt"))?;
    let plan = OutputPlan::new(model, task, first, counts)?;
    if let Some(first) = sequences.first() {
        plan.check_bias(&first.sampling.logit_bias)?;
    }
    for sequence in &mut sequences {
        sequence.deadline = deadline;
        plan.apply(sequence);
    }
    let readers = sequences.iter().map(|_| plan.reader()).collect();
    let prompt_tokens = prompts.iter().map(|p| p.tokens.len()).collect();
    let choices = prompts
        .iter()
        .flat_map(|prompt| (0..options.n).map(move |_| prompt))
        .zip(0..)
        .map(|(prompt, index)| Choice {
            index,
            preface: prompt.preface.clone(),
            prompt: prompt.shown.clone(),
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
    counts.energy.work_begins();
    let events = merge(streams, options.n as usize, log, counts);
    let log = log.clone();
    let vocabulary = model.engine.vocabulary().clone();
    Ok(Running {
        started: Started { vocabulary, prompt_tokens, choices },
        events: read(end_together(events, move || log.succeeded()), readers),
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
        let meter = Meter::new(log.clone(), counts.clone(), choice / n);
        stream::unfold((stream, meter), move |(mut stream, mut meter)| async move {
            let event = stream.next().await?;
            meter.event(&event);
            Some(((choice, event), (stream, meter)))
        })
        .boxed()
    }));
    events.boxed()
}

/// `readers`: one for each choice.
fn read(events: Events, mut readers: Vec<Reader>) -> Answers {
    let read = move |(choice, event)| {
        let events = readers.get_mut(choice).map(|reader: &mut Reader| reader.read(event));
        stream::iter(events.unwrap_or_default().into_iter().map(move |event| (choice, event)))
    };
    events.flat_map(read).boxed()
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
}
