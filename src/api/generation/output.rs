//! How a request's output is held to its form and read: the format of the model's calls, the
//! grammar, the thinking budget.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::answer::Reader;
use super::prompt::Tokenized;
use super::task::Task;
use crate::api::error::ApiError;
use crate::api::metrics::Counts;
use crate::api::model::LoadedModel;
use crate::chat::constraint::{self, ConstraintError, Loosened, Plan};
use crate::chat::output::{Format, Opening, Parser};
use crate::chat::{ReasoningFormat, ResponseFormat, Tool, ToolChoice, Tools};
use crate::engine::{
    GenerationError, GenerationRequest, Grammar, GrammarError, ThinkingBudget, Token,
};
use crate::http::Error;

/// How the outputs of one prompt are made and read.
pub(super) struct OutputPlan {
    /// `None`: all text is the answer's.
    format: Option<&'static Format>,
    tools: Arc<[Tool]>,
    thoughts_in_text: bool,
    /// Text has a form of its own, such as a schema's.
    has_form: bool,
    /// The grammar allows nothing but calls.
    only_calls: bool,
    opening: Opening,
    /// The grammar of the output, and that without thoughts.
    grammars: Option<(Grammar, Option<Grammar>)>,
    visible: Arc<[Token]>,
    thinking: Option<ThinkingBudget>,
}

impl OutputPlan {
    /// Compiles the grammar, if there is one. Blocking: milliseconds for ordinary schemas, a second
    /// for one that is then refused.
    pub(super) fn new(
        model: &LoadedModel,
        task: &Task,
        prompt: &Tokenized,
        counts: &Counts,
    ) -> Result<Self, ApiError> {
        let chat = task.chat.as_ref();
        let template = chat.and(model.template.as_ref().ok());
        let none = Tools::default();
        let tools = chat.map_or(&none, |chat| &chat.tools);
        let format = template.and_then(|template| template.format());
        let format = constraint::format_of_calls(format, tools.choice);
        let vocabulary = model.engine.vocabulary();
        // Tokens of ordinary text, as Qwen's tags are, are read and constrained by their text.
        let control = |text: &str| {
            vocabulary.special(text).filter(|&token| vocabulary.piece(token, false).is_empty())
        };
        let special = |text: &str| u32::try_from(control(text)?).ok();
        let response = &task.options.format;
        let plan = constraint::plan(format, tools, response, prompt.opening, &special);
        let plan = plan.map_err(|error| refused(&error))?;
        let grammars = plan.map(|plan| compile(model, task, &plan, tools, counts)).transpose()?;
        let tags = format.map(Format::tags).unwrap_or_default();
        let budget = prompt.thinking_budget.or_else(|| forced_budget(model, task, prompt));
        let thinking = format.zip(budget).map(|(format, tokens)| ThinkingBudget {
            tokens,
            close: vocabulary.tokenize(&format!("\n{}\n\n", format.think.1), false, true).into(),
            begins: format.think.0.to_owned(),
            ends: format.think.1.to_owned(),
            open: prompt.opening == Opening::Thinking,
        });
        Ok(Self {
            format,
            tools: tools.callable().cloned().collect(),
            thoughts_in_text: chat
                .is_some_and(|chat| chat.reasoning.format == ReasoningFormat::None),
            has_form: *response != ResponseFormat::Text,
            only_calls: tools.choice == ToolChoice::Required && grammars.is_some(),
            opening: prompt.opening,
            grammars,
            visible: tags.into_iter().filter_map(control).collect(),
            thinking,
        })
    }

    /// Refuses a `logit_bias` with which no text of the grammar can begin.
    pub(super) fn check_bias(&self, bias: &[(Token, f32)]) -> Result<(), ApiError> {
        let forbidden = bias.iter().filter(|(_, bias)| *bias == f32::NEG_INFINITY);
        let forbidden: Vec<Token> = forbidden.map(|(token, _)| *token).collect();
        match &self.grammars {
            Some((grammar, _))
                if !forbidden.is_empty() && !grammar.can_begin_without(&forbidden) =>
            {
                Err(GenerationError::Forbidden.into())
            }
            _ => Ok(()),
        }
    }

    /// Gives the sequence what the engine must know.
    pub(super) fn apply(&self, sequence: &mut GenerationRequest) {
        if let Some((grammar, direct)) = &self.grammars {
            sequence.grammar = Some(grammar.clone());
            sequence.direct_grammar.clone_from(direct);
        }
        sequence.visible = self.visible.clone();
        sequence.thinking.clone_from(&self.thinking);
    }

    /// Reads one output.
    pub(super) fn reader(&self) -> Reader {
        Reader::new(self.format.map(|format| {
            let parser = Parser::new(format, self.tools.clone(), self.opening);
            let parser = if self.only_calls { parser.with_only_calls() } else { parser };
            let parser = if self.has_form { parser.with_text_or_calls() } else { parser };
            if self.thoughts_in_text { parser.with_thoughts_in_text() } else { parser }
        }))
    }
}

/// The thinking budget of an answer that must have a form, where the request has none: a quarter of its
/// tokens, so that thoughts leave room for the answer. `None`: the answer is free.
fn forced_budget(model: &LoadedModel, task: &Task, prompt: &Tokenized) -> Option<u32> {
    let calls = task.chat.as_ref().map(|chat| chat.tools.choice) == Some(ToolChoice::Required);
    if !calls && task.options.format == ResponseFormat::Text {
        return None;
    }
    let prompt = u32::try_from(prompt.tokens.len()).unwrap_or(u32::MAX);
    let room = model.engine.facts().n_ctx_slot.saturating_sub(prompt);
    Some(task.options.max_tokens.map_or(room, |most| most.min(room)) / 4)
}

/// The grammar of `plan`, and that without thoughts. A tool whose schema does not compile takes any
/// object instead, unless it is strict: clients cannot mend the schemas of their tools.
fn compile(
    model: &LoadedModel,
    task: &Task,
    plan: &Plan,
    tools: &Tools,
    counts: &Counts,
) -> Result<(Grammar, Option<Grammar>), ApiError> {
    let named = |tool: usize, why: &str| {
        let name = tools.offered.get(tool).map(|tool| tool.name.as_str()).unwrap_or_default();
        format!("{name}: {why}")
    };
    let left_out = |Loosened { tool, keyword, path }: &Loosened| {
        named(*tool, &format!("{path}: `{keyword}` is not enforced"))
    };
    let mut notes: Vec<String> = plan.notes.iter().map(left_out).collect();
    let compile = |loosened: &BTreeSet<usize>| {
        let grammar = model.engine.compile(&plan.grammar(loosened))?;
        let direct = plan.direct_grammar(loosened);
        let direct = direct.map(|direct| model.engine.compile(&direct)).transpose()?;
        Ok((grammar, direct))
    };
    let mut loosened = BTreeSet::new();
    let first = match compile(&loosened) {
        Ok(grammars) => {
            report(&notes, task, counts);
            return Ok(grammars);
        }
        Err(error @ GrammarError::Invalid(_)) => error,
        Err(error) => return Err(uncompiled(&error, task.options.format.path())),
    };
    for i in plan.tools() {
        let compiled = plan.tool_grammar(i).map(|grammar| model.engine.compile(&grammar));
        if let Some(Err(error @ GrammarError::Invalid(_))) = compiled {
            if let Some(tool) = tools.offered.get(i).filter(|tool| tool.strict) {
                return Err(uncompiled(&error, &tool.schema_path()));
            }
            notes.push(named(i, &error.to_string()));
            loosened.insert(i);
        }
    }
    if loosened.is_empty() {
        return Err(uncompiled(&first, task.options.format.path()));
    }
    report(&notes, task, counts);
    compile(&loosened).map_err(|error| uncompiled(&error, task.options.format.path()))
}

/// One line for a request: agents send the same tools with every turn.
fn report(notes: &[String], task: &Task, counts: &Counts) {
    notes.iter().for_each(|_| counts.loosened());
    if !notes.is_empty() {
        let notes = notes.join("; ");
        tracing::warn!(request = task.log.id(), "schemas of tools are loosened: {notes}");
    }
}

fn uncompiled(error: &GrammarError, path: &str) -> ApiError {
    match error {
        GrammarError::Invalid(_) => {}
        GrammarError::Busy => return ApiError::unavailable(error.to_string(), "busy"),
        GrammarError::Internal(why) => {
            tracing::error!("a grammar could not be compiled: {why}");
            return Error::Internal("the grammar could not be compiled").into();
        }
    }
    ApiError::InvalidRequest {
        message: format!("`{path}` cannot be enforced: {error}"),
        param: Some(path.to_owned()),
        code: "unsupported_value",
    }
}

fn refused(error: &ConstraintError) -> ApiError {
    ApiError::InvalidRequest {
        message: error.to_string(),
        param: Some(error.parameter().to_owned()),
        code: match error {
            ConstraintError::Keyword { .. } | ConstraintError::TooLarge { .. } => {
                "unsupported_value"
            }
            ConstraintError::NoTools | ConstraintError::Grammar { .. } => "invalid_value",
        },
    }
}
