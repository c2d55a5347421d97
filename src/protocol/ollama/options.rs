//! The fields that Ollama's chats and generations share.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::chat::{Reasoning, ResponseFormat};
use crate::config::Settings;
use crate::protocol::body::{BodyError, Integer, Object, fields};
use crate::protocol::sampling::{SamplingFields, count, integer};
use crate::protocol::speculation::speculation;
use crate::protocol::stop::StopField;
use crate::protocol::thinking::RawThinking;
use crate::protocol::{MAX_ALTERNATIVES, Options};

/// What a request asks for beside its text, checked as far as that needs no model.
#[derive(Debug, Clone)]
pub struct OllamaOptions {
    /// What all generating endpoints share.
    pub options: Options,
    /// Report each token's log probability and this many alternatives.
    pub top_logprobs: Option<u32>,
    /// The context that the client would have; it is what the server was started with.
    pub num_ctx: Option<u32>,
}

/// The fields as sent. `keep_alive`, `truncate` and `shift` say nothing to a server that keeps its
/// model and never cuts a prompt: they are not read.
#[derive(Debug, Deserialize)]
struct SharedFields {
    model: Option<String>,
    stream: Option<bool>,
    format: Option<Value>,
    options: Option<Map<String, Value>>,
    logprobs: Option<bool>,
    top_logprobs: Option<Integer>,
}

/// Those of `options` that are no sampling values of llama-server. Others configure Ollama's own
/// loading of models, and are not read.
#[derive(Debug, Deserialize)]
struct InnerFields {
    num_predict: Option<Integer>,
    num_ctx: Option<Integer>,
    stop: Option<StopField>,
}

/// The shared fields as sent, with the right types.
#[derive(Debug)]
pub(super) struct RawOllama {
    fields: SharedFields,
    thinking: RawThinking,
    inner: InnerFields,
    sampling: SamplingFields,
}

/// The only switch of thinking that Ollama has.
const THINK: &[&str] = &["think"];
/// Where the sampling values stand.
const OPTIONS: &str = "options";

impl RawOllama {
    /// The names of the shared fields, in groups.
    pub(super) fn fields() -> [&'static [&'static str]; 2] {
        [fields::<SharedFields>(), THINK]
    }

    /// Reads a body's shared fields.
    pub(super) fn parse(object: &Object) -> Result<Self, BodyError> {
        let mut shared: SharedFields = object.parse()?;
        let options = Object::from(shared.options.take().unwrap_or_default());
        let inside = |error: BodyError| error.inside(OPTIONS);
        Ok(Self {
            fields: shared,
            thinking: object.parse()?,
            inner: options.parse().map_err(inside)?,
            sampling: options.parse().map_err(inside)?,
        })
    }

    /// Checks ranges, and puts what `think` says into the template's variables.
    pub(super) fn check(
        self,
        settings: &Settings,
        kwargs: &mut Map<String, Value>,
    ) -> Result<(OllamaOptions, Reasoning), BodyError> {
        let inside = |error: BodyError| error.inside(OPTIONS);
        let reasoning = self.thinking.apply(kwargs)?;
        let sampling = self.sampling.over(&settings.sampling).map_err(inside)?;
        // -1 is no limit, and -2 fills the context, which is the same here.
        let mut max_tokens = i64::from(settings.sampling.n_predict);
        let most = i128::from(i32::MAX);
        integer(&mut max_tokens, self.inner.num_predict, "num_predict", -2, most)
            .map_err(inside)?;
        let alternatives = count(self.fields.top_logprobs, "top_logprobs", MAX_ALTERNATIVES)?;
        let top_logprobs = match (self.fields.logprobs, alternatives) {
            (Some(true), top) => Some(top.unwrap_or(0)),
            (_, Some(1..)) => {
                return Err(BodyError::value(
                    "top_logprobs",
                    "`top_logprobs` needs `\"logprobs\": true`",
                ));
            }
            _ => None,
        };
        let num_ctx = self.inner.num_ctx.and_then(|Integer(n)| u32::try_from(n).ok());
        let options = Options {
            model: self.fields.model,
            stream: self.fields.stream.unwrap_or(true),
            include_usage: false,
            n: 1,
            max_tokens: u32::try_from(max_tokens).ok(),
            sampling,
            logit_bias: Vec::new(),
            stop: self.inner.stop.unwrap_or_default().check("options.stop")?,
            cache_prompt: settings.context.cache_prompt,
            speculation: speculation(None, None, settings)?,
            prompt_cache_key: None,
            session: None,
            id_slot: None,
            progress: false,
            return_tokens: false,
            timings_per_token: false,
            max_predict_ms: None,
            ping_interval: (settings.limits.sse_ping_interval > 0)
                .then(|| Duration::from_secs(settings.limits.sse_ping_interval)),
            format: format_of(self.fields.format)?,
            n_probs: None,
        };
        Ok((OllamaOptions { options, top_logprobs, num_ctx }, reasoning))
    }
}

/// `"json"` or a schema; an empty text is none.
fn format_of(format: Option<Value>) -> Result<ResponseFormat, BodyError> {
    match format {
        None | Some(Value::Null) => Ok(ResponseFormat::Text),
        Some(Value::String(name)) if name.is_empty() => Ok(ResponseFormat::Text),
        Some(Value::String(name)) if name == "json" => Ok(ResponseFormat::JsonObject),
        Some(schema @ Value::Object(_)) => {
            Ok(ResponseFormat::JsonSchema { schema, path: "format" })
        }
        Some(Value::String(_)) => {
            Err(BodyError::value("format", "`format` must be \"json\" or a JSON schema"))
        }
        Some(_) => {
            Err(BodyError::wrong_type("format", "`format` must be \"json\" or a JSON schema"))
        }
    }
}

/// Refuses pictures.
pub(super) fn refuse_images(path: &str, images: Option<&[Value]>) -> Result<(), BodyError> {
    match images.is_some_and(|images| !images.is_empty()) {
        true => Err(BodyError::unsupported(
            path,
            format!("the model reads text only; leave out `{path}`"),
        )),
        false => Ok(()),
    }
}
