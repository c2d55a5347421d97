//! The fields that chat and completions share, beside sampling.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::config::Settings;
use crate::protocol::body::{BodyError, Integer, Object, fields};
use crate::protocol::logit_bias::BiasField;
use crate::protocol::response_format::{self, ResponseFormatField};
use crate::protocol::sampling::{SamplingFields, count, integer};
use crate::protocol::session::session;
use crate::protocol::speculation::speculation;
use crate::protocol::stop::StopField;
use crate::protocol::{MAX_ALTERNATIVES, MAX_CHOICES, Options, Sampling};

/// The fields as sent.
#[derive(Debug, Default, Deserialize)]
struct OptionFields {
    model: Option<String>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    n: Option<Integer>,
    n_cmpl: Option<Integer>,
    n_predict: Option<Integer>,
    max_completion_tokens: Option<Integer>,
    max_tokens: Option<Integer>,
    stop: Option<StopField>,
    logit_bias: Option<BiasField>,
    cache_prompt: Option<bool>,
    speculation: Option<Value>,
    /// llama-server's name for the most tokens of a draft.
    #[serde(rename = "speculative.n_max")]
    speculative_n_max: Option<Integer>,
    /// OpenAI's name for what shares a cache: a conversation.
    prompt_cache_key: Option<String>,
    /// Whatever the client notes down; of it, `user_id` may name a session.
    metadata: Option<Value>,
    id_slot: Option<Integer>,
    return_progress: Option<bool>,
    return_tokens: Option<bool>,
    timings_per_token: Option<bool>,
    t_max_predict_ms: Option<Integer>,
    sse_ping_interval: Option<Integer>,
    n_probs: Option<Integer>,
    /// A flag in chats, a number in completions; each checks its own.
    logprobs: Option<Value>,
    post_sampling_probs: Option<bool>,
    n_indent: Option<Integer>,
    response_format: Option<ResponseFormatField>,
    grammar: Option<String>,
    grammar_lazy: Option<bool>,
    json_schema: Option<Value>,
    lora: Option<Vec<Value>>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

/// The shared fields as sent, with the right types.
#[derive(Debug)]
pub(in crate::protocol) struct RawOptions {
    sampling: SamplingFields,
    fields: OptionFields,
}

impl RawOptions {
    /// The names of the shared fields, in two groups.
    pub(in crate::protocol) fn fields() -> [&'static [&'static str]; 2] {
        [fields::<SamplingFields>(), fields::<OptionFields>()]
    }

    /// Reads a body's shared fields, a group at a time: serde's `flatten` would lose the paths of
    /// errors.
    pub(in crate::protocol) fn parse(object: &Object) -> Result<Self, BodyError> {
        Ok(Self { sampling: object.parse()?, fields: object.parse()? })
    }

    /// The model asked for.
    pub(in crate::protocol) fn model(&self) -> Option<&str> {
        self.fields.model.as_deref()
    }

    /// Checks ranges, and refuses what cannot be done.
    pub(in crate::protocol) fn check(self, settings: &Settings) -> Result<Options, BodyError> {
        self.fields.check(self.sampling.over(&settings.sampling)?, settings)
    }
}

impl OptionFields {
    fn check(self, sampling: Sampling, settings: &Settings) -> Result<Options, BodyError> {
        self.refuse_what_is_missing_here()?;
        let most = i128::from(i32::MAX);

        let mut n = 1;
        let (name, sent) = match self.n {
            Some(_) => ("n", self.n),
            None => ("n_cmpl", self.n_cmpl),
        };
        integer(&mut n, sent, name, 1, MAX_CHOICES.into())?;

        // llama-server takes the first of these that is there.
        let (name, sent) = [
            ("n_predict", self.n_predict),
            ("max_completion_tokens", self.max_completion_tokens),
            ("max_tokens", self.max_tokens),
        ]
        .into_iter()
        .find(|(_, sent)| sent.is_some())
        .unwrap_or(("max_tokens", None));
        let mut max_tokens = i64::from(settings.sampling.n_predict);
        integer(&mut max_tokens, sent, name, -1, most)?;

        let mut id_slot = -1i64;
        integer(&mut id_slot, self.id_slot, "id_slot", -1, most)?;
        let mut max_predict_ms = -1i64;
        integer(&mut max_predict_ms, self.t_max_predict_ms, "t_max_predict_ms", -1, most)?;
        let mut ping = i64::try_from(settings.limits.sse_ping_interval).unwrap_or(i64::MAX);
        integer(&mut ping, self.sse_ping_interval, "sse_ping_interval", -1, most)?;

        let format = response_format::check(self.response_format, self.json_schema, self.grammar)?;

        Ok(Options {
            model: self.model,
            stream: self.stream.unwrap_or(false),
            include_usage: self.stream_options.and_then(|o| o.include_usage).unwrap_or(false),
            n,
            max_tokens: u32::try_from(max_tokens).ok(),
            sampling,
            logit_bias: self.logit_bias.unwrap_or_default().check()?,
            stop: self.stop.unwrap_or_default().check("stop")?,
            cache_prompt: self.cache_prompt.unwrap_or(settings.context.cache_prompt),
            speculation: speculation(self.speculation.as_ref(), self.speculative_n_max, settings)?,
            prompt_cache_key: self.prompt_cache_key.filter(|key| !key.is_empty()),
            session: self.metadata.as_ref().and_then(|m| m["user_id"].as_str()).and_then(session),
            id_slot: u32::try_from(id_slot).ok(),
            progress: self.return_progress.unwrap_or(false),
            return_tokens: self.return_tokens.unwrap_or(false),
            timings_per_token: self.timings_per_token.unwrap_or(false),
            max_predict_ms: u64::try_from(max_predict_ms).ok().filter(|&ms| ms > 0),
            ping_interval: u64::try_from(ping)
                .ok()
                .filter(|&seconds| seconds > 0)
                .map(Duration::from_secs),
            format,
            n_probs: count(self.n_probs, "n_probs", MAX_ALTERNATIVES)?.filter(|&n| n > 0),
        })
    }

    /// Answers that ignored these would be wrong in a way the client cannot see.
    fn refuse_what_is_missing_here(&self) -> Result<(), BodyError> {
        if self.lora.as_ref().is_some_and(|adapters| !adapters.is_empty()) {
            return Err(BodyError::unsupported("lora", "no LoRA adapters are loaded"));
        }
        if self.n_indent.is_some_and(|Integer(spaces)| spaces > 0) {
            return Err(BodyError::unsupported(
                "n_indent",
                "`n_indent` is not a part of this server yet; leave it out",
            ));
        }
        if self.grammar_lazy == Some(true) {
            return Err(BodyError::unsupported(
                "grammar_lazy",
                "a grammar holds from the beginning here; leave out `grammar_lazy`, or offer `tools`",
            ));
        }
        let probs = self.n_probs.is_some_and(|n| n.0 > 0)
            || matches!(&self.logprobs, Some(Value::Bool(true) | Value::Number(_)));
        if self.post_sampling_probs == Some(true) && probs {
            return Err(BodyError::unsupported(
                "post_sampling_probs",
                "probabilities after sampling are not a part of this server; leave out \
                 `post_sampling_probs`",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Options, BodyError> {
        RawOptions::parse(&Object::read(json.as_bytes(), &RawOptions::fields())?)?
            .check(&Settings::default())
    }

    fn refused(json: &str) -> (String, &'static str) {
        let error = read(json).unwrap_err();
        (error.param.unwrap(), error.code)
    }

    #[test]
    fn an_empty_body_takes_the_settings() {
        let options = read("{}").unwrap();
        assert_eq!((options.n, options.max_tokens, options.stream), (1, None, false));
        assert!(options.cache_prompt);
        assert_eq!(options.ping_interval, Some(Duration::from_secs(10)));
        assert_eq!(options.n_probs, None);
        assert_eq!(options.id_slot, None);
    }

    #[test]
    fn the_first_name_of_the_token_limit_wins() {
        let limit = |json: &str| read(json).unwrap().max_tokens;
        assert_eq!(limit(r#"{"max_tokens":5}"#), Some(5));
        assert_eq!(limit(r#"{"max_tokens":5,"max_completion_tokens":6}"#), Some(6));
        assert_eq!(limit(r#"{"max_tokens":5,"max_completion_tokens":6,"n_predict":7}"#), Some(7));
        assert_eq!(limit(r#"{"max_tokens":5,"n_predict":null}"#), Some(5));
        assert_eq!(limit(r#"{"max_tokens":0}"#), Some(0));
        assert_eq!(limit(r#"{"max_tokens":-1}"#), None);
        assert_eq!(limit(r#"{"max_tokens":9007199254740991}"#), Some(i32::MAX as u32));
        assert_eq!(refused(r#"{"max_tokens":-5}"#), ("max_tokens".to_owned(), "invalid_value"));
        assert_eq!(refused(r#"{"n_predict":-2}"#).0, "n_predict");
    }

    #[test]
    fn wrong_types_and_ranges_name_their_field() {
        for (json, field, code) in [
            (r#"{"model":5}"#, "model", "invalid_type"),
            (r#"{"stream":"yes"}"#, "stream", "invalid_type"),
            (
                r#"{"stream_options":{"include_usage":1}}"#,
                "stream_options.include_usage",
                "invalid_type",
            ),
            (r#"{"stop":5}"#, "stop", "invalid_type"),
            (r#"{"logit_bias":"x"}"#, "logit_bias", "invalid_type"),
            (r#"{"response_format":"json"}"#, "response_format", "invalid_type"),
            (r#"{"response_format":{}}"#, "response_format.type", "missing_field"),
            (r#"{"n":0}"#, "n", "invalid_value"),
            (r#"{"n":129}"#, "n", "invalid_value"),
            (r#"{"n_cmpl":129}"#, "n_cmpl", "invalid_value"),
            (r#"{"id_slot":-2}"#, "id_slot", "invalid_value"),
            (r#"{"n_probs":1001}"#, "n_probs", "invalid_value"),
            (r#"{"sse_ping_interval":-2}"#, "sse_ping_interval", "invalid_value"),
            (r#"{"max_tokens":"10"}"#, "max_tokens", "invalid_type"),
            (r#"{"prompt_cache_key":5}"#, "prompt_cache_key", "invalid_type"),
        ] {
            assert_eq!(refused(json), (field.to_owned(), code), "{json}");
        }
    }

    #[test]
    fn what_is_not_there_yet_is_refused_and_its_neutral_values_are_not() {
        for (json, field) in [
            (r#"{"response_format":{"type":"xml"}}"#, "response_format.type"),
            (r#"{"lora":[{"id":0,"scale":1}]}"#, "lora"),
            (r#"{"post_sampling_probs":true,"n_probs":2}"#, "post_sampling_probs"),
            (r#"{"post_sampling_probs":true,"logprobs":true}"#, "post_sampling_probs"),
            (r#"{"post_sampling_probs":true,"logprobs":3}"#, "post_sampling_probs"),
            (r#"{"n_indent":4}"#, "n_indent"),
        ] {
            assert_eq!(refused(json), (field.to_owned(), "unsupported_value"), "{json}");
        }
        read(
            r#"{"response_format":{"type":"text"},"grammar":"","json_schema":null,"lora":[],
                "user":"u","metadata":{},
                "store":true,"service_tier":"auto","parallel_tool_calls":false,"verbose":true,
                "post_sampling_probs":true,"logprobs":false,"n_indent":0}"#,
        )
        .unwrap();
    }

    #[test]
    fn conversations_are_named_by_a_key_or_a_session() {
        let names = |json: &str| {
            let options = read(json).unwrap();
            (options.prompt_cache_key, options.session)
        };
        let own = |text: &str| Some(text.to_owned());
        assert_eq!(names(r#"{"prompt_cache_key":"k"}"#), (own("k"), None));
        assert_eq!(names(r#"{"prompt_cache_key":""}"#), (None, None));
        let user = |id: &str| names(&format!(r#"{{"metadata":{{"user_id":{id}}}}}"#));
        assert_eq!(user(r#""user_a_account_b_session_c""#), (None, own("c")));
        // What the client notes down for itself is its own business.
        for other in [r#""alice""#, "5", "null", "{}"] {
            assert_eq!(user(other), (None, None), "{other}");
        }
        assert_eq!(names(r#"{"metadata":["x"],"prompt_cache_key":null}"#), (None, None));
    }

    #[test]
    fn pings_are_switched_off_by_zero_and_minus_one() {
        let ping = |json: &str| read(json).unwrap().ping_interval;
        assert_eq!(ping(r#"{"sse_ping_interval":3}"#), Some(Duration::from_secs(3)));
        assert_eq!(ping(r#"{"sse_ping_interval":-1}"#), None);
        assert_eq!(ping(r#"{"sse_ping_interval":0}"#), None);
    }
}
