//! The scenarios of conversations: how much a server computes again of what it has read before.
//! All texts follow from the seed, those of the assistant too: they are never what the server has
//! written, as with clients that trim or edit an answer before they send it back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::arguments::Scenario;
use super::client::{ClientError, Sample};
use super::step::{Asked, Step, Steps, merged};
use super::target::Target;

/// Tokens of an answer, where only its first counts.
const ANSWER_TOKENS: u32 = 8;
/// Tokens of an assistant's message, and of the message that follows it: a new tail of about 20.
const TAIL: (u32, u32) = (8, 12);
/// The same in an agent's loop, where a tool's result follows.
const TOOL_TAIL: (u32, u32) = (40, 80);
/// Steps of the agent's loop in `repeat`.
const LOOP_STEPS: u32 = 3;
/// Sub-agents in `agents`.
const SUB_AGENTS: u32 = 3;
/// What a chat template adds to a message, at most.
const TEMPLATE_TOKENS: u32 = 16;
/// The first index of the texts of `resume`, which must be the same whatever ran before.
const RESUME_INDEX: u64 = 1 << 32;

/// What is asked for.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct ConversationLoad {
    pub(super) scenario: Scenario,
    /// Size of a conversation when it begins, or of the system prompt that several share.
    pub(super) tokens: u32,
    pub(super) conversations: u32,
    pub(super) turns: u32,
    /// Requests of `burst`, running streams of `join`.
    pub(super) at_once: u32,
    /// `resume` sends the turn that follows.
    pub(super) resumed: bool,
    /// Most tokens of a running stream; it is cut off when it is not needed any more.
    #[serde(skip)]
    pub(super) stream_tokens: u32,
    /// Longest time to wait for a running stream to begin.
    #[serde(skip)]
    pub(super) timeout: Duration,
}

impl ConversationLoad {
    /// Tokens that a slot must hold, about, answers included.
    pub(super) fn context_tokens(&self) -> u32 {
        let tail = |(answer, next): (u32, u32)| answer + next + 2 * TEMPLATE_TOKENS;
        let added = match self.scenario {
            Scenario::Repeat => LOOP_STEPS * tail(TOOL_TAIL),
            Scenario::Turns => self.turns * tail(TOOL_TAIL),
            Scenario::Rotate => self.turns * tail(TAIL),
            Scenario::Share => 2 * tail(TOOL_TAIL),
            _ => 2 * tail(TAIL),
        };
        // A tenth for texts that came out longer than asked for.
        let size = self.tokens.saturating_add(added).saturating_add(4 * TEMPLATE_TOKENS);
        size.saturating_add(size / 10)
    }
}

/// What was measured.
#[derive(Debug, Serialize)]
pub(super) struct ConversationResult {
    pub(super) load: ConversationLoad,
    pub(super) steps: Vec<Step>,
    pub(super) errors: Vec<String>,
}

/// What a request says.
type Messages = Vec<Value>;
/// Runs the scenario `repeat` times, each with new texts; `index` as in [`super::load::run`].
pub(super) fn run(
    target: &Target,
    load: ConversationLoad,
    repeat: u32,
    index: &mut u64,
) -> ConversationResult {
    let (mut runs, mut errors) = (Vec::new(), Vec::new());
    for repetition in 0..repeat {
        let first = match load.scenario {
            Scenario::Resume => RESUME_INDEX * u64::from(repetition + 1),
            _ => *index,
        };
        let mut run = Run { target, load, index: first, sent: Vec::new(), steps: Vec::new() };
        let done = run.scenario();
        if load.scenario != Scenario::Resume {
            *index = run.index;
        }
        match done {
            Ok(()) => runs.push(run.steps),
            Err(error) => {
                errors.push(error.to_string());
                break;
            }
        }
    }
    ConversationResult { load, steps: merged(&runs), errors }
}

/// One repetition of a scenario.
struct Run<'a> {
    target: &'a Target,
    load: ConversationLoad,
    /// Texts made so far.
    index: u64,
    /// The messages of all requests so far.
    sent: Vec<Messages>,
    steps: Steps,
}

impl Run<'_> {
    fn scenario(&mut self) -> Result<(), ClientError> {
        match self.load.scenario {
            Scenario::Repeat => self.repeat(),
            Scenario::Turns => self.turns(),
            Scenario::Rotate => self.rotate(),
            Scenario::Share => self.share(),
            Scenario::Burst => self.burst(),
            Scenario::Join => self.join(),
            Scenario::Agents => self.agents(),
            Scenario::Resume => self.resume(),
            // These are no conversations.
            Scenario::Decode
            | Scenario::Edit
            | Scenario::Prose
            | Scenario::Prefill
            | Scenario::Stall
            | Scenario::Rps
            | Scenario::Slots => Ok(()),
        }
    }

    /// The same request twice, another last message, an agent's loop.
    fn repeat(&mut self) -> Result<(), ClientError> {
        let mut messages = self.conversation(self.load.tokens);
        self.ask("first", &messages)?;
        self.ask("again", &messages)?;
        let other = self.message("user", self.load.tokens / 4);
        messages.pop();
        messages.push(other);
        self.ask("other end", &messages)?;
        for step in 1..=LOOP_STEPS {
            self.extend(&mut messages, TOOL_TAIL);
            self.ask(&format!("loop {step}"), &messages)?;
        }
        Ok(())
    }

    fn turns(&mut self) -> Result<(), ClientError> {
        let mut messages = self.conversation(self.load.tokens);
        self.ask("turn 1", &messages)?;
        for turn in 2..=self.load.turns {
            self.extend(&mut messages, TOOL_TAIL);
            self.ask(&format!("turn {turn}"), &messages)?;
        }
        Ok(())
    }

    /// Each conversation in turn.
    fn rotate(&mut self) -> Result<(), ClientError> {
        let mut all: Vec<Messages> =
            (0..self.load.conversations).map(|_| self.conversation(self.load.tokens)).collect();
        for round in 1..=self.load.turns {
            for messages in &mut all {
                if round > 1 {
                    self.extend(messages, TAIL);
                }
                self.ask(&format!("round {round}"), messages)?;
            }
        }
        Ok(())
    }

    /// Two conversations with the same system prompt.
    fn share(&mut self) -> Result<(), ClientError> {
        let system = self.message("system", self.load.tokens);
        let mut first = vec![system.clone(), self.message("user", TAIL.1)];
        self.extend(&mut first, TAIL);
        self.ask("first", &first)?;
        let second = vec![system, self.message("user", TAIL.1)];
        self.ask("second", &second)
    }

    /// Requests at once with the same system prompt.
    fn burst(&mut self) -> Result<(), ClientError> {
        let system = self.message("system", self.load.tokens);
        let all = self.beside(&system);
        self.ask_at_once("all", &all)
    }

    /// A request that comes while others with the same system prompt stream.
    fn join(&mut self) -> Result<(), ClientError> {
        let system = self.message("system", self.load.tokens);
        let all = self.beside(&system);
        all.iter().for_each(|messages| {
            self.note(messages);
        });
        let last = vec![system, self.message("user", TAIL.1)];
        // Only a stream that goes on can be joined.
        let endless = Target { ignore_eos: true, ..self.target.clone() };
        let (over, load) = (AtomicBool::new(false), self.load);
        let (begun, begins) = mpsc::channel();
        let (joined, streams) = thread::scope(|scope| {
            let streams: Vec<_> = all
                .iter()
                .map(|messages| {
                    let (begun, over, endless) = (begun.clone(), &over, &endless);
                    scope.spawn(move || {
                        // One word from each that has begun; the channel closes with the last.
                        let mut begun = Some(begun);
                        endless.chat(messages, load.stream_tokens, || {
                            begun.take().is_none_or(|begun| begun.send(()).is_ok())
                                && !over.load(Ordering::Relaxed)
                        })
                    })
                })
                .collect();
            drop(begun);
            let under_way = (0..all.len()).all(|_| begins.recv_timeout(load.timeout).is_ok());
            let joined = under_way.then(|| self.ask("joining", &last));
            over.store(true, Ordering::Relaxed);
            let streams: Vec<_> = streams
                .into_iter()
                .map(|stream| stream.join().unwrap_or_else(|_| Err(died())))
                .collect();
            (joined, streams)
        });
        for stream in streams {
            if stream?.finish_reason.is_some() {
                return Err(ClientError::Answer(
                    "a running stream reached its end before it was joined; \
                     give the server a larger context"
                        .into(),
                ));
            }
        }
        joined.unwrap_or_else(|| {
            Err(ClientError::Answer("the running streams did not all begin".into()))
        })
    }

    /// A parent, its sub-agents with the same system prompt, and the parent again.
    fn agents(&mut self) -> Result<(), ClientError> {
        let mut parent = self.conversation(self.load.tokens);
        self.ask("parent", &parent)?;
        for _ in 0..SUB_AGENTS {
            let task = self.message("user", TOOL_TAIL.1);
            let mut agent = vec![parent[0].clone(), task];
            self.ask("sub-agents", &agent)?;
            self.extend(&mut agent, TOOL_TAIL);
            self.ask("their next turns", &agent)?;
        }
        self.extend(&mut parent, TAIL);
        self.ask("parent again", &parent)
    }

    /// A conversation, or its next turn after the server was started anew.
    fn resume(&mut self) -> Result<(), ClientError> {
        let mut messages = self.conversation(self.load.tokens);
        if !self.load.resumed {
            return self.ask("before", &messages);
        }
        self.note(&messages);
        self.extend(&mut messages, TAIL);
        self.ask("next turn", &messages)
    }

    /// A system prompt, a question, an answer and a question: about `tokens` in equal parts.
    fn conversation(&mut self, tokens: u32) -> Messages {
        ["system", "user", "assistant", "user"].map(|role| self.message(role, tokens / 4)).to_vec()
    }

    /// One conversation for each request that comes at once.
    fn beside(&mut self, system: &Value) -> Vec<Messages> {
        let user = |run: &mut Self| vec![system.clone(), run.message("user", TAIL.1)];
        (0..self.load.at_once).map(|_| user(self)).collect()
    }

    fn message(&mut self, role: &str, tokens: u32) -> Value {
        self.index += 1;
        json!({"role": role, "content": self.target.prompts.make(tokens.max(1), self.index)})
    }

    fn extend(&mut self, messages: &mut Messages, (answer, next): (u32, u32)) {
        messages.push(self.message("assistant", answer));
        messages.push(self.message("user", next));
    }

    /// Remembers a request. Returns about how many tokens of it are new.
    fn note(&mut self, messages: &Messages) -> f64 {
        let known = self.sent.iter().map(|sent| common(sent, messages)).max().unwrap_or(0);
        let words = messages[known..].iter().map(words).sum();
        self.sent.push(messages.clone());
        self.target.prompts.tokens(words)
    }

    fn ask(&mut self, step: &str, messages: &Messages) -> Result<(), ClientError> {
        let new_tokens = self.note(messages);
        let sample = self.target.chat(messages, ANSWER_TOKENS, || true)?;
        self.take(step, &sample, new_tokens);
        Ok(())
    }

    fn ask_at_once(&mut self, step: &str, all: &[Messages]) -> Result<(), ClientError> {
        let new_tokens: Vec<f64> = all.iter().map(|messages| self.note(messages)).collect();
        let (target, barrier) = (self.target, Barrier::new(all.len()));
        let samples: Vec<Result<Sample, ClientError>> = thread::scope(|scope| {
            let threads: Vec<_> = all
                .iter()
                .map(|messages| {
                    scope.spawn(|| {
                        barrier.wait();
                        target.chat(messages, ANSWER_TOKENS, || true)
                    })
                })
                .collect();
            let join = |thread: thread::ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|_| Err(died()))
            };
            threads.into_iter().map(join).collect()
        });
        for (sample, new_tokens) in samples.into_iter().zip(new_tokens) {
            self.take(step, &sample?, new_tokens);
        }
        Ok(())
    }

    fn take(&mut self, step: &str, sample: &Sample, new_tokens: f64) {
        let asked = Asked::of(sample, new_tokens);
        match self.steps.iter_mut().find(|(name, _)| name == step) {
            Some((_, requests)) => requests.push(asked),
            None => self.steps.push((step.to_owned(), vec![asked])),
        }
    }
}

fn died() -> ClientError {
    ClientError::Answer("the client thread died".into())
}

/// Messages at the start of both.
fn common(one: &Messages, other: &Messages) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}

fn words(message: &Value) -> usize {
    message["content"].as_str().map_or(0, |text| text.split_whitespace().count())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::client::Client;
    use crate::cli::bench::prompt::PromptMaker;
    use crate::cli::bench::target::Endpoint;

    fn target() -> Target {
        Target {
            client: Client::new("http://127.0.0.1:1/v1", None, Duration::from_secs(1)),
            endpoint: Endpoint::Chat,
            model: String::new(),
            ignore_eos: false,
            temperature: 0.0,
            prompts: PromptMaker::new(1, 0, 1.0),
        }
    }

    fn load(scenario: Scenario) -> ConversationLoad {
        ConversationLoad {
            scenario,
            tokens: 400,
            conversations: 6,
            turns: 10,
            at_once: 8,
            resumed: false,
            stream_tokens: 100,
            timeout: Duration::from_secs(1),
        }
    }

    fn begin(target: &Target) -> Run<'_> {
        Run { target, load: load(Scenario::Turns), index: 0, sent: vec![], steps: vec![] }
    }

    #[test]
    fn the_new_tokens_of_a_request_are_those_after_the_messages_that_were_sent_before() {
        let target = target();
        let mut run = begin(&target);
        let mut messages = run.conversation(400);
        assert_eq!(run.note(&messages), 400.0);
        assert_eq!(run.note(&messages), 0.0);
        run.extend(&mut messages, TAIL);
        assert_eq!(run.note(&messages), 20.0);
        messages[1] = run.message("user", 10);
        assert_eq!(run.note(&messages), 10.0 + 200.0 + 20.0);
    }

    #[test]
    fn the_same_seed_makes_the_same_conversation_and_each_message_is_another() {
        let target = target();
        let messages = begin(&target).conversation(400);
        assert_eq!(begin(&target).conversation(400), messages);
        assert_ne!(messages[1]["content"], messages[3]["content"]);
    }

    #[test]
    fn a_server_that_is_not_there_is_an_error_of_each_scenario() {
        let target = target();
        for scenario in [Scenario::Repeat, Scenario::Burst, Scenario::Join, Scenario::Resume] {
            let result = run(&target, load(scenario), 3, &mut 0);
            assert_eq!((result.steps.len(), result.errors.len()), (0, 1), "{scenario:?}");
        }
    }
}
