//! Grammars of one loaded model: compiled where they cannot hurt, and kept.

mod cache;
mod vocabulary;

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use llguidance::api::TopLevelGrammar;
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::InferenceCapabilities;
use llguidance::{Matcher, ParserFactory};

use self::cache::Cache;
use super::matcher::{Constraint, one_line};
use crate::engine::{Grammar, GrammarError, Vocabulary};

/// Compiling recurses: 400 references of a schema, one behind another, overflow 2 MiB, 5,000 take
/// less than this. Only what is used becomes memory.
const STACK: usize = 256 << 20;

/// Grammars that are compiled at once: each takes one processor.
const RUNNING: usize = 2;

/// Callers that wait for one of those.
const WAITING: usize = 16;

/// How long a caller waits, for its turn and for the result. The bounds below end a compilation
/// within a second.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest grammar, bytes.
const MAX_TEXT: usize = 1 << 20;

/// Compiles grammars for one loaded model and keeps those used last.
pub(crate) struct Constraints(Arc<Compiler>);

struct Compiler {
    vocabulary: Vocabulary,
    /// Made at the first grammar: a quarter of a second and 50 MB for 150,000 tokens.
    factory: OnceLock<Result<ParserFactory, GrammarError>>,
    state: Mutex<State>,
    /// Tells of every end of a compilation.
    ended: Condvar,
}

#[derive(Default)]
struct State {
    running: usize,
    waiting: usize,
    cache: Cache,
}

impl fmt::Debug for Constraints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Constraints").finish_non_exhaustive()
    }
}

impl Constraints {
    pub(crate) fn new(vocabulary: Vocabulary) -> Self {
        Self(Arc::new(Compiler {
            vocabulary,
            factory: OnceLock::new(),
            state: Mutex::default(),
            ended: Condvar::new(),
        }))
    }

    /// See [`Engine::compile`](crate::engine::Engine::compile).
    pub(crate) fn compile(&self, lark: &str) -> Result<Grammar, GrammarError> {
        if lark.len() > MAX_TEXT {
            return Err(GrammarError::Invalid("the grammar is too long".to_owned()));
        }
        let until = Instant::now() + PATIENCE;
        if let Some(known) = self.0.begin(lark, until)? {
            return Ok(known);
        }
        let turn = Turn(self.0.clone());
        let text = lark.to_owned();
        let (sender, receiver) = mpsc::channel();
        thread::Builder::new()
            .name("grammar".to_owned())
            .stack_size(STACK)
            .spawn(move || {
                let made = turn.0.build(&text);
                if let Ok(grammar) = &made {
                    turn.0.state().cache.put(text, grammar.clone());
                }
                drop(turn);
                // Its caller may have lost patience.
                let _ = sender.send(made);
            })
            .map_err(|error| GrammarError::Internal(error.to_string()))?;
        receiver.recv_timeout(until.saturating_duration_since(Instant::now())).map_err(|error| {
            match error {
                mpsc::RecvTimeoutError::Timeout => {
                    GrammarError::Invalid("the grammar takes too long to compile".to_owned())
                }
                mpsc::RecvTimeoutError::Disconnected => {
                    GrammarError::Internal("the compiler of grammars failed".to_owned())
                }
            }
        })?
    }
}

/// The right to compile, from [`Compiler::begin`].
struct Turn(Arc<Compiler>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.state().running -= 1;
        self.0.ended.notify_all();
    }
}

impl Compiler {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of it is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The compiled grammar, if it is known; else the right to compile it has been taken.
    fn begin(&self, lark: &str, until: Instant) -> Result<Option<Grammar>, GrammarError> {
        let mut state = self.state();
        loop {
            if let Some(known) = state.cache.get(lark) {
                return Ok(Some(known));
            }
            if state.running < RUNNING {
                state.running += 1;
                return Ok(None);
            }
            let left = until.saturating_duration_since(Instant::now());
            if state.waiting >= WAITING || left.is_zero() {
                return Err(GrammarError::Busy);
            }
            state.waiting += 1;
            state = self.ended.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            state.waiting -= 1;
        }
    }

    fn build(&self, lark: &str) -> Result<Grammar, GrammarError> {
        let factory = self.factory.get_or_init(|| factory(&self.vocabulary));
        let factory = factory.as_ref().map_err(Clone::clone)?;
        let parser = factory.create_parser(TopLevelGrammar::from_lark(lark.to_owned()));
        let mut start = Constraint::new(Matcher::new(parser));
        // Some are found to be too involved at their first mask only.
        start.mask().map_err(|error| refused(&error.to_string()))?;
        Ok(Grammar { start: Arc::new(start) })
    }
}

fn factory(vocabulary: &Vocabulary) -> Result<ParserFactory, GrammarError> {
    let started = Instant::now();
    let slices = SlicedBiasComputer::general_slices();
    let capabilities = InferenceCapabilities::default();
    let mut factory = ParserFactory::new(&vocabulary::tokens(vocabulary), capabilities, &slices)
        .map_err(|error| GrammarError::Internal(one_line(&error)))?;
    factory.quiet();
    let limits = factory.limits_mut();
    // Seven milliseconds of the engine thread for one token, and 100 MB for one sequence.
    limits.step_lexer_fuel = 100_000;
    limits.max_lexer_states = 50_000;
    // They would show a text cut inside a character, which is a panic.
    limits.verbose_errors = false;
    tracing::debug!(ms = started.elapsed().as_millis(), "the vocabulary is ready for grammars");
    Ok(factory)
}

/// What the sender is told. llguidance catches its panics; their texts are for the log.
fn refused(error: &str) -> GrammarError {
    if error.starts_with("panic: ") {
        tracing::error!(error, "a grammar could not be compiled");
        return GrammarError::Invalid("the grammar could not be compiled".to_owned());
    }
    GrammarError::Invalid(error.to_owned())
}
