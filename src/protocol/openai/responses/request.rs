//! The body of `POST /v1/responses` and `/v1/responses/input_tokens`.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::items::{Turns, reference, short, wrong_type};
use super::names::ToolNames;
use super::tools::{self, CheckedTools};
use crate::chat::{Conversation, Message, ResponseFormat, Role, ToolChoice};
use crate::config::Settings;
use crate::protocol::Options;
use crate::protocol::body::{BodyError, FromJson, Integer, Object, fields};
use crate::protocol::openai::options::RawOptions;
use crate::protocol::sampling::integer;
use crate::protocol::thinking::RawThinking;

/// Most items of a request, those of the responses before it included.
pub const MAX_ITEMS: usize = 100_000;

/// A checked request for a response.
#[derive(Debug, Clone)]
pub struct ResponsesCall {
    /// What the prompt is made of.
    pub conversation: Conversation,
    /// Where each message stands in the request, such as `input[2]`.
    pub places: Vec<String>,
    /// What all generating endpoints share.
    pub options: Options,
    /// The names of the tools.
    pub names: ToolNames,
    /// Types of tools that are left out, as only other servers run them.
    pub skipped_tools: Vec<String>,
    /// Thoughts are shown as a summary (`reasoning.summary`).
    pub summarizes: bool,
    /// The oldest turns are left out if the prompt is too long (`truncation`).
    pub truncates: bool,
    /// The client wants the response to be kept.
    pub store: bool,
    /// Its own items, without those of the responses before it; references are resolved.
    pub input: Vec<Value>,
    /// Fields that the response repeats.
    pub echo: Map<String, Value>,
}

/// What earlier responses hold.
#[derive(Debug, Default)]
pub struct History {
    /// The items of the response that this one goes on from, and of those before it.
    pub items: Vec<Value>,
    /// The items that references name, by their ids.
    pub found: HashMap<String, Value>,
}

/// A body as sent: well-formed JSON with the right types, not checked beyond that.
#[derive(Debug)]
pub struct ResponsesBody {
    fields: ResponsesFields,
    thinking: RawThinking,
    options: RawOptions,
}

#[derive(Debug, Deserialize)]
struct ResponsesFields {
    input: Option<Value>,
    instructions: Option<String>,
    tools: Option<Vec<Value>>,
    tool_choice: Option<Value>,
    parallel_tool_calls: Option<bool>,
    text: Option<TextField>,
    reasoning: Option<Value>,
    max_output_tokens: Option<Integer>,
    truncation: Option<String>,
    previous_response_id: Option<String>,
    store: Option<bool>,
    include: Option<Vec<String>>,
    metadata: Option<Map<String, Value>>,
    prompt_cache_key: Option<String>,
    safety_identifier: Option<String>,
    user: Option<String>,
    background: Option<bool>,
    conversation: Option<Value>,
    prompt: Option<Value>,
    top_logprobs: Option<Integer>,
}

#[derive(Debug, Default, Deserialize)]
struct TextField {
    format: Option<Map<String, Value>>,
    verbosity: Option<String>,
}

impl FromJson for ResponsesBody {
    fn from_json(body: &[u8]) -> Result<Self, BodyError> {
        let [options, sampling] = RawOptions::fields();
        let thinking = fields::<RawThinking>();
        let own = fields::<ResponsesFields>();
        let object = Object::read(body, &[own, thinking, options, sampling])?;
        Ok(Self {
            fields: object.parse()?,
            thinking: object.parse()?,
            options: RawOptions::parse(&object)?,
        })
    }
}

impl ResponsesBody {
    /// The model asked for.
    pub fn model(&self) -> Option<&str> {
        self.options.model()
    }

    /// The response that this one goes on from.
    pub fn previous_response_id(&self) -> Option<&str> {
        self.fields.previous_response_id.as_deref()
    }

    /// The ids of the items that references of the request name.
    pub fn references(&self) -> Vec<String> {
        let items = self.fields.input.as_ref().and_then(Value::as_array);
        items.into_iter().flatten().filter_map(reference).map(str::to_owned).collect()
    }

    /// Checks all that needs no model.
    pub fn check(
        self,
        settings: &Settings,
        mut history: History,
    ) -> Result<ResponsesCall, BodyError> {
        let Self { fields, thinking, options } = self;
        fields.refuse_what_is_missing_here()?;
        let mut options = options.check(settings)?;
        if options.n != 1 {
            return Err(BodyError::unsupported("n", "a response has one output; leave out `n`"));
        }
        let text = fields.text.as_ref();
        if let Some(format) = text.and_then(|text| text.format.as_ref()) {
            options.format = response_format(format)?;
        }
        let mut max_tokens = options.max_tokens.map_or(-1, i64::from);
        let most = i128::from(i32::MAX);
        integer(&mut max_tokens, fields.max_output_tokens, "max_output_tokens", -1, most)?;
        options.max_tokens = u32::try_from(max_tokens).ok();
        let summarizes = fields.summarizes()?;
        let truncates = match fields.truncation.as_deref() {
            None | Some("disabled") => false,
            Some("auto") => true,
            Some(_) => {
                let message = "`truncation` must be \"auto\" or \"disabled\"";
                return Err(BodyError::value("truncation", message));
            }
        };
        let tools = fields.tools.as_deref();
        let tools = tools::check(tools, fields.tool_choice.as_ref(), fields.parallel_tool_calls)?;
        let CheckedTools { definitions, tools, names, skipped } = tools;
        if matches!(options.format, ResponseFormat::Grammar(_))
            && tools.choice == ToolChoice::Required
        {
            let message = "`grammar` excludes a `tool_choice` that forces a call";
            return Err(BodyError::value("grammar", message));
        }
        let input = fields.items(&mut history.found)?;
        let mut turns = Turns::new(&names);
        if let Some(instructions) = &fields.instructions {
            turns.say(Role::System, instructions, "instructions");
        }
        if history.items.len() + input.len() > MAX_ITEMS {
            let message = format!("a conversation may have {MAX_ITEMS} items at most");
            return Err(BodyError::value("input", message));
        }
        for item in &history.items {
            // What was stored has been read before.
            turns.add(item, "previous_response_id")?;
        }
        for (i, item) in input.iter().enumerate() {
            turns.add(item, &format!("input[{i}]"))?;
        }
        let Turns { messages, places, .. } = turns;
        if messages.is_empty() {
            return Err(BodyError::value("input", "`input` must have at least one message"));
        }
        // What an earlier response said is a turn of its own, unless it was cut.
        let is_open = match (input.last(), history.items.last()) {
            (None, Some(stored)) => stored["status"] == "incomplete",
            _ => true,
        };
        let continued = is_open && messages.last().is_some_and(Message::can_be_continued);
        let mut kwargs = settings.model.chat_template_kwargs.clone();
        let reasoning = thinking.apply(&mut kwargs)?;
        let store = fields.store.unwrap_or(true);
        let echo = fields.echo(&options);
        let conversation = Conversation {
            messages,
            tools: definitions,
            tool_use: tools,
            add_generation_prompt: !continued,
            continue_final_message: continued,
            kwargs,
            reasoning,
        };
        Ok(ResponsesCall {
            conversation,
            places,
            options,
            names,
            skipped_tools: skipped,
            summarizes,
            truncates,
            store,
            input,
            echo,
        })
    }
}

impl ResponsesFields {
    /// Answers that ignored these would be wrong in a way the client cannot see.
    fn refuse_what_is_missing_here(&self) -> Result<(), BodyError> {
        if self.background == Some(true) {
            let message = "responses in the background are not a part of this server";
            return Err(BodyError::unsupported("background", message));
        }
        if self.conversation.as_ref().is_some_and(|value| !value.is_null()) {
            let message =
                "conversations are not kept here; send `previous_response_id` or all items";
            return Err(BodyError::unsupported("conversation", message));
        }
        if self.prompt.as_ref().is_some_and(|value| !value.is_null()) {
            let message = "there are no stored prompts here; send `instructions` and `input`";
            return Err(BodyError::unsupported("prompt", message));
        }
        let includes = self.include.iter().flatten();
        let wanted = includes.enumerate().find(|(_, what)| what.ends_with(".logprobs"));
        if let Some((i, _)) = wanted {
            let message = "log probabilities are a part of `/v1/chat/completions` only";
            return Err(BodyError::unsupported(format!("include[{i}]"), message));
        }
        if self.top_logprobs.is_some_and(|Integer(n)| n > 0) {
            let message = "log probabilities are a part of `/v1/chat/completions` only";
            return Err(BodyError::unsupported("top_logprobs", message));
        }
        Ok(())
    }

    /// Whether the client asks for a summary of the thoughts. It gets the thoughts: no second model
    /// is at hand to sum them up.
    fn summarizes(&self) -> Result<bool, BodyError> {
        let reasoning = self.reasoning.as_ref();
        let given = |name: &str| reasoning?.get(name).filter(|value| !value.is_null());
        // The second is the field's old name.
        for name in ["summary", "generate_summary"] {
            let path = format!("reasoning.{name}");
            match given(name).map(Value::as_str) {
                None => {}
                Some(Some("auto" | "concise" | "detailed")) => return Ok(true),
                Some(Some("none")) => return Ok(false),
                Some(Some(_)) => {
                    let message = format!("`{path}` must be auto, concise or detailed");
                    return Err(BodyError::value(path, message));
                }
                Some(None) => return Err(wrong_type(&path, "a string")),
            }
        }
        Ok(false)
    }

    /// The request's own items, with those that references stand for.
    fn items(&self, found: &mut HashMap<String, Value>) -> Result<Vec<Value>, BodyError> {
        let mut items = match &self.input {
            // The model goes on from the earlier response.
            None | Some(Value::Null) if self.previous_response_id.is_some() => {
                return Ok(Vec::new());
            }
            None | Some(Value::Null) => return Err(BodyError::missing("input")),
            Some(Value::String(text)) => {
                return Ok(vec![json!({"type": "message", "role": "user", "content": text})]);
            }
            Some(Value::Array(items)) => items.clone(),
            Some(_) => return Err(wrong_type("input", "a string or an array of items")),
        };
        for (i, item) in items.iter_mut().enumerate() {
            let Some(id) = reference(item) else { continue };
            // Each stands for one item once: many of a large one would fill the memory.
            *item = found.remove(id).ok_or_else(|| {
                let path = format!("input[{i}].id");
                let id = short(id);
                let message =
                    format!("`{path}` names `{id}`, which is no stored item, or is here twice");
                BodyError::value(path, message)
            })?;
        }
        Ok(items)
    }

    /// The fields that a response repeats, as far as they are in effect.
    fn echo(self, options: &Options) -> Map<String, Value> {
        let p = &options.sampling.values;
        let text = self.text.unwrap_or_default();
        let reasoning = |name: &str| self.reasoning.as_ref().map_or(&Value::Null, |r| &r[name]);
        let fields = json!({
            "instructions": self.instructions,
            "max_output_tokens": self.max_output_tokens.and(options.max_tokens),
            "max_tool_calls": null,
            "metadata": self.metadata.unwrap_or_default(),
            "parallel_tool_calls": self.parallel_tool_calls.unwrap_or(true),
            "previous_response_id": self.previous_response_id,
            "prompt_cache_key": self.prompt_cache_key,
            "reasoning": {"effort": reasoning("effort"), "summary": reasoning("summary")},
            "safety_identifier": self.safety_identifier,
            "service_tier": "default",
            "store": self.store.unwrap_or(true),
            "temperature": short_float(p.temperature),
            "text": {
                "format": text.format.map_or(json!({"type": "text"}), Value::Object),
                "verbosity": text.verbosity.as_deref().unwrap_or("medium"),
            },
            "tool_choice": self.tool_choice.filter(|v| !v.is_null()).unwrap_or_else(|| "auto".into()),
            "tools": self.tools.unwrap_or_default(),
            "top_logprobs": 0,
            "top_p": short_float(p.top_p),
            "truncation": self.truncation.as_deref().unwrap_or("disabled"),
            "user": self.user,
        });
        match fields {
            Value::Object(fields) => fields,
            _ => Map::new(),
        }
    }
}

/// The shortest number that a setting of single precision is: 0.7 and not 0.699999988.
fn short_float(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

/// `text.format`.
fn response_format(format: &Map<String, Value>) -> Result<ResponseFormat, BodyError> {
    const SCHEMA: &str = "text.format.schema";
    let kind = match format.get("type") {
        Some(Value::String(kind)) => kind.as_str(),
        None | Some(Value::Null) => return Err(BodyError::missing("text.format.type")),
        Some(_) => return Err(wrong_type("text.format.type", "a string")),
    };
    match (kind, format.get("schema")) {
        ("text", _) => Ok(ResponseFormat::Text),
        ("json_object", _) => Ok(ResponseFormat::JsonObject),
        ("json_schema", Some(schema @ (Value::Object(_) | Value::Bool(_)))) => {
            Ok(ResponseFormat::JsonSchema { schema: schema.clone(), path: SCHEMA })
        }
        ("json_schema", None | Some(Value::Null)) => Err(BodyError::missing(SCHEMA)),
        ("json_schema", Some(_)) => Err(wrong_type(SCHEMA, "a JSON schema, an object")),
        (other, _) => Err(BodyError::unsupported(
            "text.format.type",
            format!(
                "`text.format.type` must be \"text\", \"json_object\" or \"json_schema\", not `{}`",
                short(other)
            ),
        )),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
