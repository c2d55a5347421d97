//! The model's chat template, rendered as its authors' tools render it.

mod arguments;
mod capabilities;
mod conversation;
mod environment;
mod errors;
mod marks;
mod python;
mod source;
mod specials;
mod texts;
mod tojson;
mod values;

use std::time::{Duration, Instant};

use minijinja::Environment;
use serde_json::{Map, Value};

use self::capabilities::Capabilities;
use self::conversation::edge_text;
use self::environment::NAME;
pub use self::errors::{RenderError, TemplateError};
use self::errors::{TOO_LONG, explain};
use self::specials::Specials;
use self::texts::{Style, Texts};
use super::output::{self, Format};
use super::{Conversation, Message, Role};

/// The template that llama-server calls `chatml`: each message between `<|im_start|>` and
/// `<|im_end|>`, without tools.
pub const CHATML: &str = include_str!("template/chatml.jinja");

/// Stands where a continued message's text ends. Private-use characters survive everything
/// that templates do to text.
const CUT: &str = "\u{f8d3}\u{f0b5e}\u{f8d4}";

/// A parsed chat template.
#[derive(Debug)]
pub struct Template {
    source: String,
    bos: String,
    eos: String,
    environment: Environment<'static>,
    capabilities: Capabilities,
    format: Option<&'static Format>,
    can_disable_thinking: bool,
    specials: Option<Specials>,
}

/// A rendered prompt.
///
/// Only the template's own text yields special tokens, and what it builds around a text (`<|` and
/// a role and `|>`). Where a text of the request spells one, the prompt has a break inside of the
/// spelling, and its halves are to be tokenized apart. Where the template changes texts so that
/// the place of the break cannot be told (it escapes their characters or drops some), the
/// spelling gets a space behind its first character instead: `< |im_end|>`. The tags of the
/// thinking block that an assistant's text begins with are left as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub prompt: String,
    /// Byte offsets in `prompt` that lie inside of the spelling of a special token, ascending.
    /// Mostly empty; the tokens are then those of the text as it is.
    pub breaks: Vec<usize>,
    /// Byte offsets in `prompt` at which the texts of user messages begin, ascending. Empty
    /// where the template hides them.
    pub message_starts: Vec<usize>,
    /// Byte offsets in `prompt` at which the texts of messages of any role begin, ascending, as far
    /// as the template lets them be seen.
    pub borders: Vec<usize>,
    /// Byte offset in `prompt` at which the opening of the answer begins, which follows the
    /// messages (`<|im_start|>assistant`). `None`: there is none, or it is not known.
    pub opening: Option<usize>,
}

/// How long may be searched for the message that a template fails on.
const BLAME_TIMEOUT: Duration = Duration::from_millis(200);

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
            can_disable_thinking: false,
            specials: None,
        };
        template.environment.set_fuel(Some(environment::PROBE_FUEL));
        template.capabilities = Capabilities::probe(|messages| {
            let Value::Array(messages) = messages else { return None };
            template.run_plain(messages, &Conversation::default(), false).ok()
        });
        template.format = output::detect(|request| Some(template.render(request).ok()?.prompt));
        let opening = |thinks: bool| {
            let user = Message::new(Role::User, "Hi");
            let mut request = Conversation::default();
            request.kwargs.insert("enable_thinking".to_owned(), thinks.into());
            template.run_plain(template.values(&[user]), &request, true).ok()
        };
        template.can_disable_thinking = opening(true) != opening(false);
        template.environment.set_fuel(Some(environment::FUEL));
        Ok(template)
    }

    /// With the texts of the vocabulary's special tokens, which messages then cannot write.
    #[must_use]
    pub fn with_specials(mut self, texts: impl IntoIterator<Item = String>) -> Self {
        self.specials = Specials::new(texts);
        self
    }

    /// The template's text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// How the model writes thoughts and calls, as far as the template shows.
    pub fn format(&self) -> Option<&'static Format> {
        self.format
    }

    /// Whether `enable_thinking` makes a difference to the prompt.
    pub fn can_disable_thinking(&self) -> bool {
        self.can_disable_thinking
    }

    /// Most tokens of a thinking block in the answer: the request's limit, or none at all where it
    /// turns thinking off and the template has no switch for that. `None`: no limit.
    pub fn thinking_budget(&self, request: &Conversation) -> Option<u32> {
        let is_off = request.kwargs.get("enable_thinking") == Some(&Value::Bool(false));
        if is_off && !self.can_disable_thinking { Some(0) } else { request.reasoning.budget }
    }

    /// Renders a conversation. Blocking; bounded by fuel.
    pub fn render(&self, request: &Conversation) -> Result<Rendered, RenderError> {
        self.check_roles(&request.messages)?;
        let continued = request.messages.last().filter(|last| {
            request.continue_final_message
                && last.role == Role::Assistant
                && last.tool_calls.as_ref().is_none_or(Vec::is_empty)
        });
        let rendered = match continued {
            None => {
                let messages = self.values(&request.messages);
                self.rendered(messages, request, request.add_generation_prompt)
            }
            Some(last) => self.render_continued(request, last),
        };
        rendered.map_err(|error| self.blamed(request, error))
    }

    /// Templates that know a role print its messages.
    fn check_roles(&self, messages: &[Message]) -> Result<(), RenderError> {
        let mut known: Vec<&str> = Vec::new();
        for (i, message) in messages.iter().enumerate() {
            let Role::Other(role) = &message.role else { continue };
            if known.contains(&role.as_str()) {
                continue;
            }
            let user = || Message::new(Role::User, "Hi");
            let other = || Message::new(message.role.clone(), "Mark1");
            let prints = |messages: [Message; 2]| {
                self.run_plain(self.values(&messages), &Conversation::default(), false)
                    .is_ok_and(|prompt| prompt.contains("Mark1"))
            };
            if !prints([user(), other()]) && !prints([other(), user()]) {
                return Err(RenderError {
                    text: format!("the chat template does not know the role `{role}`"),
                    message: Some(i),
                });
            }
            known.push(role);
        }
        Ok(())
    }

    /// The error with the message at fault: the first one with which the messages up to it fail in
    /// the same way, and go on failing.
    fn blamed(&self, request: &Conversation, error: RenderError) -> RenderError {
        const MAX_RENDERINGS: usize = 32;
        let all = &request.messages;
        if error.message.is_some() || error.text == TOO_LONG || all.len() < 2 {
            return RenderError {
                message: error.message.or((all.len() == 1).then_some(0)),
                ..error
            };
        }
        let fails = |messages: &[Message]| {
            let failed = self.run_plain(self.values(messages), request, false).err();
            failed.is_some_and(|failed| failed.text == error.text)
        };
        let begin = Instant::now();
        let mut message = None;
        for count in (1..all.len()).rev().take(MAX_RENDERINGS) {
            if begin.elapsed() > BLAME_TIMEOUT {
                return error;
            }
            if !fails(&all[..count]) {
                message = Some(count);
                break;
            }
        }
        // Alone the first message always failed; the others may not without it.
        if message.is_none() && all.len() <= MAX_RENDERINGS && !fails(&all[1..]) {
            message = Some(0);
        }
        RenderError { message, ..error }
    }

    /// Renders all messages with a mark at the end of the last, and cuts there.
    fn render_continued(
        &self,
        request: &Conversation,
        last: &Message,
    ) -> Result<Rendered, RenderError> {
        let text = last.text();
        let thoughts = last.reasoning_content.as_deref().unwrap_or_default();
        let mut messages = self.values(&request.messages);
        if let Some(value) = messages.last_mut() {
            if text.is_empty() && !thoughts.is_empty() {
                value["reasoning_content"] = format!("{thoughts}{CUT}").into();
            } else if let Some(content) = edge_text(value, false) {
                content.push_str(CUT);
            }
        }
        if let Ok(mut marked) = self.rendered(messages, request, false)
            && let Some(at) = marked.prompt.rfind(CUT)
        {
            marked.prompt.truncate(at);
            marked.message_starts.retain(|start| *start <= at);
            marked.borders.retain(|border| *border <= at);
            marked.breaks.retain(|cut| *cut < at);
            return Ok(marked);
        }
        // The template looks into the text or hides it: open a new message, and put the text in.
        let before = request.messages.split_last().map(|(_, before)| before).unwrap_or_default();
        let mut rendered = self.rendered(self.values(before), request, true)?;
        let open = "<think>";
        let text = match text.is_empty() && !thoughts.is_empty() {
            true => format!("{open}\n{thoughts}"),
            false => text,
        };
        let mut text = text.as_str();
        if let Some(inside) = text.trim_start().strip_prefix(open)
            && rendered.prompt.trim_end().ends_with(open)
        {
            // The template has opened the block itself.
            text = inside.trim_start_matches('\n');
        }
        let offset = rendered.prompt.len();
        rendered.borders.extend(rendered.opening.take().into_iter().chain([offset]));
        if let Some(specials) = &self.specials {
            let cuts = specials.cuts(text, &specials::own_tags(text));
            rendered.breaks.extend(specials.inside(text, &cuts).iter().map(|cut| offset + cut));
        }
        rendered.prompt.push_str(text);
        Ok(rendered)
    }

    fn values(&self, messages: &[Message]) -> Vec<Value> {
        conversation::values(messages, self.capabilities, self.specials.as_ref())
    }

    /// Renders, with breaks where texts spell special tokens, and finds the borders.
    fn rendered(
        &self,
        messages: Vec<Value>,
        request: &Conversation,
        add_generation_prompt: bool,
    ) -> Result<Rendered, RenderError> {
        let mut rendered = self.with_breaks(messages, request, add_generation_prompt)?;
        if add_generation_prompt {
            rendered.opening = self.opening(request, &rendered.prompt);
        }
        Ok(rendered)
    }

    /// Where the opening of the answer begins: what ends the prompt of a few words, but not
    /// without it. The conversation itself may be too long to be rendered for this.
    fn opening(&self, request: &Conversation, prompt: &str) -> Option<usize> {
        let few = Conversation { kwargs: request.kwargs.clone(), ..Conversation::default() };
        let render = |opens: bool| {
            let messages = self.values(&[Message::new(Role::User, "Hi")]);
            self.run_plain(messages, &few, opens).ok()
        };
        let (with, without) = (render(true)?, render(false)?);
        let opening = with.strip_prefix(&without).filter(|opening| !opening.is_empty())?;
        prompt.ends_with(opening).then(|| prompt.len() - opening.len())
    }

    fn with_breaks(
        &self,
        messages: Vec<Value>,
        request: &Conversation,
        add_generation_prompt: bool,
    ) -> Result<Rendered, RenderError> {
        let run = |messages: &[Value], texts: &mut Texts| {
            self.run(messages, request, add_generation_prompt, texts)
        };
        // This rendering also tells whether any text spells a special token.
        let mut texts = Texts::new(self.specials.as_ref(), Style::Plain);
        let plain = run(&messages, &mut texts)?;
        let Some(specials) = self.specials.as_ref().filter(|_| texts.spells) else {
            let mut unchanged = Texts::new(None, Style::Plain);
            return Ok(marks::found(plain, &messages, |messages| run(messages, &mut unchanged)));
        };
        let mut spaced_texts = Texts::new(Some(specials), Style::Spaced);
        let spaced = run(&messages, &mut spaced_texts)?;
        // The marks are where they shall be if they came out like the spaces in their place.
        let tries = marks::marked(&messages).chain([messages.clone()]);
        for messages in tries.filter(|_| !marks::are_in(&plain)) {
            let mut texts = Texts::new(Some(specials), Style::Marked);
            let Ok(marked) = run(&messages, &mut texts) else { continue };
            let mut rendered = marks::taken_out(&marked);
            if specials::separated(&rendered.prompt, &rendered.breaks, ' ') == spaced {
                rendered.breaks = specials.inside(&rendered.prompt, &rendered.breaks);
                return Ok(rendered);
            }
        }
        Ok(marks::found(spaced, &messages, |messages| run(messages, &mut spaced_texts)))
    }

    fn run_plain(
        &self,
        messages: Vec<Value>,
        request: &Conversation,
        add_generation_prompt: bool,
    ) -> Result<String, RenderError> {
        self.run(&messages, request, add_generation_prompt, &mut Texts::new(None, Style::Plain))
    }

    fn run(
        &self,
        messages: &[Value],
        request: &Conversation,
        add_generation_prompt: bool,
        texts: &mut Texts,
    ) -> Result<String, RenderError> {
        let mut variables: Vec<(String, minijinja::Value)> = self
            .variables(request, add_generation_prompt)
            .iter()
            .map(|(name, value)| (name.clone(), texts.value(value)))
            .collect();
        // What the model's tokens are is the template's to say.
        let own = |text: &str| minijinja::Value::from(text);
        let mut set = |name: &str, value| variables.push((name.to_owned(), value));
        if !request.kwargs.contains_key("bos_token") {
            set("bos_token", own(&self.bos));
        }
        if !request.kwargs.contains_key("eos_token") {
            set("eos_token", own(&self.eos));
        }
        set("messages", texts.messages(messages));
        let tools: Vec<minijinja::Value> =
            request.tools.iter().map(|tool| texts.value(tool)).collect();
        let has_tools = !tools.is_empty();
        set("tools", if has_tools { tools.into() } else { minijinja::Value::from(()) });
        self.environment
            .get_template(NAME)
            .and_then(|template| template.render(minijinja::Value::from_pairs(variables)))
            .map_err(|error| RenderError { text: explain(&error), message: None })
    }

    /// What transformers gives to a template, and what llama-server adds.
    fn variables(&self, request: &Conversation, add_generation_prompt: bool) -> Map<String, Value> {
        let now = environment::now();
        let mut variables = Map::new();
        let mut set = |name: &str, value: Value| {
            variables.insert(name.to_owned(), value);
        };
        set("enable_thinking", true.into());
        set("date_string", environment::strftime("%d %b %Y", now).into());
        set("datetime", environment::strftime("%b %d %Y", now).into());
        if let Some(switch @ Value::Bool(_)) = request.kwargs.get("enable_thinking") {
            // DeepSeek's and Granite's name of the switch.
            set("thinking", switch.clone());
        }
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
        set("add_generation_prompt", add_generation_prompt.into());
        variables
    }
}

#[cfg(test)]
mod tests;
