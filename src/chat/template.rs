//! The model's chat template, rendered as its authors' tools render it.

mod capabilities;
mod conversation;
mod environment;
mod tojson;

use minijinja::Environment;
use minijinja::value::Serde;
use serde_json::{Map, Value, json};

use self::capabilities::Capabilities;
use self::conversation::edge_text;
use self::environment::{NAME, Raised};
use super::output::{self, Format};
use super::{Content, Conversation, Message, Role};

/// The template that llama-server calls `chatml`: each message between `<|im_start|>` and
/// `<|im_end|>`, without tools.
pub const CHATML: &str = include_str!("template/chatml.jinja");

/// Stands where a continued message's text ends. Private-use characters survive everything
/// that templates do to text.
const CUT: &str = "\u{f8d3}\u{f0b5e}\u{f8d4}";
/// Stands where a user message's text begins.
const START: char = '\u{f0b5f}';

/// A parsed chat template.
#[derive(Debug)]
pub struct Template {
    source: String,
    bos: String,
    eos: String,
    environment: Environment<'static>,
    capabilities: Capabilities,
    format: Option<&'static Format>,
}

/// A rendered prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub prompt: String,
    /// Byte offsets in `prompt` at which the texts of user messages begin, ascending. Empty
    /// where the template hides them.
    pub message_starts: Vec<usize>,
}

/// The template is not valid Jinja, or uses what we do not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(pub String);

/// The template refused the messages or failed on them; the text is the template's own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RenderError(pub String);

impl Template {
    /// Parses `source`. `bos` and `eos` are the model's tokens as text. Renders some short
    /// conversations to find out in which form the template takes messages.
    pub fn new(source: &str, bos: Option<&str>, eos: Option<&str>) -> Result<Self, TemplateError> {
        let environment =
            environment::environment(source).map_err(|error| TemplateError(explain(&error)))?;
        let mut template = Self {
            source: source.to_owned(),
            bos: bos.unwrap_or_default().to_owned(),
            eos: eos.unwrap_or_default().to_owned(),
            environment,
            capabilities: Capabilities::probe(|_| None),
            format: None,
        };
        template.environment.set_fuel(Some(environment::PROBE_FUEL));
        template.capabilities = Capabilities::probe(|messages| {
            let Value::Array(messages) = messages else { return None };
            template.run(messages, &Conversation::default(), false).ok()
        });
        template.format = output::detect(|request| Some(template.render(request).ok()?.prompt));
        template.environment.set_fuel(Some(environment::FUEL));
        Ok(template)
    }

    /// The template's text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// How the model writes thoughts and calls, as far as the template shows.
    pub fn format(&self) -> Option<&'static Format> {
        self.format
    }

    /// Renders a conversation. Blocking; bounded by fuel.
    pub fn render(&self, request: &Conversation) -> Result<Rendered, RenderError> {
        let continued = request.messages.last().filter(|last| {
            request.continue_final_message
                && last.role == Role::Assistant
                && last.tool_calls.as_ref().is_none_or(Vec::is_empty)
        });
        match continued {
            None => {
                let messages = self.values(&request.messages);
                self.with_starts(messages, |messages| {
                    self.run(messages, request, request.add_generation_prompt)
                })
            }
            Some(last) => self.render_continued(request, last),
        }
    }

    /// Renders all messages with a mark at the end of the last, and cuts there.
    fn render_continued(
        &self,
        request: &Conversation,
        last: &Message,
    ) -> Result<Rendered, RenderError> {
        let mut messages = self.values(&request.messages);
        let text = last.content.as_ref().map(Content::text).unwrap_or_default();
        let thoughts = last.reasoning_content.as_deref().unwrap_or_default();
        if let Some(value) = messages.last_mut() {
            if text.is_empty() && !thoughts.is_empty() {
                value["reasoning_content"] = format!("{thoughts}{CUT}").into();
            } else if let Some(content) = edge_text(value, false) {
                content.push_str(CUT);
            }
        }
        let marked = self.with_starts(messages, |messages| self.run(messages, request, false));
        if let Ok(mut marked) = marked
            && let Some(at) = marked.prompt.rfind(CUT)
        {
            marked.prompt.truncate(at);
            marked.message_starts.retain(|start| *start <= at);
            return Ok(marked);
        }
        // The template looks into the text or hides it: open a new message, and put the text in.
        let before = request.messages.split_last().map(|(_, before)| before).unwrap_or_default();
        let messages = self.values(before);
        let mut rendered =
            self.with_starts(messages, |messages| self.run(messages, request, true))?;
        rendered.prompt.push_str(&text);
        Ok(rendered)
    }

    fn values(&self, messages: &[Message]) -> Vec<Value> {
        let keeps_developer =
            ["'developer'", "\"developer\""].iter().any(|role| self.source.contains(role));
        conversation::values(messages, self.capabilities, keeps_developer)
    }

    /// Renders twice, the second time with a mark at the start of each user message. Where that
    /// changes anything but the marks, nothing is known about the starts.
    fn with_starts(
        &self,
        messages: Vec<Value>,
        run: impl Fn(Vec<Value>) -> Result<String, RenderError>,
    ) -> Result<Rendered, RenderError> {
        let mut marked = messages.clone();
        let mut has_user = false;
        for message in marked.iter_mut().filter(|message| message["role"] == "user") {
            if let Some(text) = edge_text(message, true) {
                // Behind leading space, which templates strip.
                let at = text.len() - text.trim_start().len();
                text.insert(at, START);
                has_user = true;
            }
        }
        let prompt = run(messages)?;
        let marked = match has_user && !prompt.contains(START) {
            true => run(marked).unwrap_or_default(),
            false => String::new(),
        };
        let mut message_starts = Vec::new();
        let mut plain = String::with_capacity(marked.len());
        for (index, piece) in marked.split(START).enumerate() {
            if index > 0 {
                message_starts.push(plain.len());
            }
            plain.push_str(piece);
        }
        if plain != prompt {
            message_starts.clear();
        }
        Ok(Rendered { prompt, message_starts })
    }

    fn run(
        &self,
        messages: Vec<Value>,
        request: &Conversation,
        add_generation_prompt: bool,
    ) -> Result<String, RenderError> {
        let variables = self.variables(messages, request, add_generation_prompt);
        self.environment
            .get_template(NAME)
            .and_then(|template| template.render(Serde(variables)))
            .map_err(|error| RenderError(explain(&error)))
    }

    /// What transformers gives to a template, and what llama-server adds.
    fn variables(
        &self,
        messages: Vec<Value>,
        request: &Conversation,
        add_generation_prompt: bool,
    ) -> Map<String, Value> {
        let now = environment::now();
        let mut variables = Map::new();
        let mut set = |name: &str, value: Value| {
            variables.insert(name.to_owned(), value);
        };
        set("bos_token", self.bos.as_str().into());
        set("eos_token", self.eos.as_str().into());
        set("enable_thinking", true.into());
        set("date_string", environment::strftime("%d %b %Y", now).into());
        set("datetime", environment::strftime("%b %d %Y", now).into());
        if let Some(effort) = request.kwargs.get("reasoning_effort") {
            set("reasoning_strength", effort.clone());
        }
        if let Some(Value::Bool(keep)) = request.kwargs.get("preserve_reasoning") {
            set("preserve_thinking", (*keep).into());
            for name in ["clear_thinking", "truncate_history_thinking", "drop_thinking"] {
                set(name, (!keep).into());
            }
        }
        for (name, value) in &request.kwargs {
            set(name, value.clone());
        }
        set("messages", messages.into());
        set("tools", if request.tools.is_empty() { Value::Null } else { json!(request.tools) });
        set("add_generation_prompt", add_generation_prompt.into());
        variables
    }
}

/// What the template said, or where it failed, on one line.
fn explain(error: &minijinja::Error) -> String {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(Raised(message)) = cause.downcast_ref::<Raised>() {
            return one_line(message);
        }
        source = cause.source();
    }
    if error.kind() == minijinja::ErrorKind::OutOfFuel {
        return "the chat template takes too long on these messages".to_owned();
    }
    let place = error.line().map(|line| format!(" in line {line}")).unwrap_or_default();
    let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
    let code = error
        .range()
        .and_then(|range| error.template_source()?.get(range))
        .map(|code| format!(" (`{:.120}`)", code.trim()))
        .unwrap_or_default();
    one_line(&format!("the chat template fails{place}: {}{detail}{code}", error.kind()))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
