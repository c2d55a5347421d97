//! The body of `POST /v1/messages` and `/v1/messages/count_tokens`.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::content::{self, SentMessage};
use super::tools;
use crate::chat::{Conversation, Message, ResponseFormat};
use crate::config::Settings;
use crate::protocol::Options;
use crate::protocol::body::{BodyError, FromJson, Integer, Object, fields};
use crate::protocol::sampling::{SamplingFields, integer};
use crate::protocol::session::session;
use crate::protocol::speculation::speculation;
use crate::protocol::stop::StopField;
use crate::protocol::thinking::RawThinking;

/// Most tokens of an answer where the request does not say, as in llama-server. Anthropic's API
/// insists on a number.
const MAX_TOKENS: u32 = 4096;

/// A checked request.
#[derive(Debug, Clone)]
pub struct MessagesCall {
    /// What the prompt is made of.
    pub conversation: Conversation,
    /// Where each message of it stands in the request, such as `messages[0]`.
    pub places: Vec<String>,
    /// What all generating endpoints share.
    pub options: Options,
    /// Tools that were left out, each as `name (type)`: the model cannot call them.
    pub skipped_tools: Vec<String>,
}

/// A body as sent: well-formed JSON with the right types, not checked beyond that. Fields that mean
/// nothing here (`context_management`, `service_tier`, `container`) are not looked at.
#[derive(Debug)]
pub struct MessagesBody {
    fields: MessageFields,
    thinking: RawThinking,
    sampling: SamplingFields,
}

#[derive(Debug, Deserialize)]
struct MessageFields {
    model: Option<String>,
    messages: Option<Vec<SentMessage>>,
    system: Option<Value>,
    max_tokens: Option<Integer>,
    stop_sequences: Option<StopField>,
    stream: Option<bool>,
    /// Whatever the client notes down; of it, `user_id` may name a session.
    metadata: Option<Value>,
    tools: Option<Vec<Value>>,
    tool_choice: Option<Value>,
    mcp_servers: Option<Vec<Value>>,
    output_config: Option<OutputConfig>,
    /// An older place of `output_config.format`.
    output_format: Option<FormatField>,
    /// llama-server's.
    cache_prompt: Option<bool>,
    speculation: Option<Value>,
    sse_ping_interval: Option<Integer>,
}

#[derive(Debug, Deserialize)]
struct OutputConfig {
    effort: Option<Value>,
    format: Option<FormatField>,
}

/// The form that the answer's text must have.
#[derive(Debug, Deserialize)]
struct FormatField {
    #[serde(rename = "type")]
    kind: String,
    schema: Option<Map<String, Value>>,
}

impl FromJson for MessagesBody {
    fn from_json(body: &[u8]) -> Result<Self, BodyError> {
        let groups =
            [fields::<MessageFields>(), fields::<RawThinking>(), fields::<SamplingFields>()];
        let object = Object::read(body, &groups)?;
        Ok(Self { fields: object.parse()?, thinking: object.parse()?, sampling: object.parse()? })
    }
}

impl MessagesBody {
    /// The model asked for.
    pub fn model(&self) -> Option<&str> {
        self.fields.model.as_deref()
    }

    /// Checks all that needs no model.
    pub fn check(mut self, settings: &Settings) -> Result<MessagesCall, BodyError> {
        let options = self.fields.options(self.sampling, settings)?;
        let Prompt { conversation, places, skipped_tools } =
            self.fields.prompt(self.thinking, settings)?;
        Ok(MessagesCall { conversation, places, options, skipped_tools })
    }

    /// Checks what rendering alone needs: the conversation, and where each message of it stands.
    pub fn check_conversation(
        self,
        settings: &Settings,
    ) -> Result<(Conversation, Vec<String>), BodyError> {
        let Prompt { conversation, places, .. } = self.fields.prompt(self.thinking, settings)?;
        Ok((conversation, places))
    }
}

/// What a prompt is made of, as in [`MessagesCall`].
struct Prompt {
    conversation: Conversation,
    places: Vec<String>,
    skipped_tools: Vec<String>,
}

impl MessageFields {
    /// Takes what is an option out of the fields.
    fn options(
        &mut self,
        sampling: SamplingFields,
        settings: &Settings,
    ) -> Result<Options, BodyError> {
        let most = i128::from(i32::MAX);
        let mut max_tokens = MAX_TOKENS;
        integer(&mut max_tokens, self.max_tokens, "max_tokens", 0, most)?;
        let mut ping = i64::try_from(settings.limits.sse_ping_interval).unwrap_or(i64::MAX);
        integer(&mut ping, self.sse_ping_interval, "sse_ping_interval", -1, most)?;
        let user = self.metadata.as_ref().and_then(|metadata| metadata["user_id"].as_str());
        Ok(Options {
            model: self.model.take(),
            stream: self.stream.unwrap_or(false),
            include_usage: true,
            n: 1,
            max_tokens: Some(max_tokens),
            sampling: sampling.over(&settings.sampling)?,
            logit_bias: Vec::new(),
            stop: self.stop_sequences.take().unwrap_or_default().check("stop_sequences")?,
            cache_prompt: self.cache_prompt.unwrap_or(settings.context.cache_prompt),
            speculation: speculation(self.speculation.as_ref(), None, settings)?,
            prompt_cache_key: None,
            session: user.and_then(session),
            id_slot: None,
            progress: false,
            return_tokens: false,
            timings_per_token: false,
            max_predict_ms: None,
            ping_interval: u64::try_from(ping)
                .ok()
                .filter(|&seconds| seconds > 0)
                .map(Duration::from_secs),
            format: self.format()?,
            n_probs: None,
        })
    }

    fn format(&mut self) -> Result<ResponseFormat, BodyError> {
        let nested = self.output_config.as_mut().and_then(|config| config.format.take());
        let (field, paths) = match (nested, self.output_format.take()) {
            (Some(field), _) => {
                (field, ["output_config.format.type", "output_config.format.schema"])
            }
            (None, Some(field)) => (field, ["output_format.type", "output_format.schema"]),
            (None, None) => return Ok(ResponseFormat::Text),
        };
        let [kind, path] = paths;
        match (field.kind.as_str(), field.schema) {
            ("json_schema", Some(schema)) => {
                Ok(ResponseFormat::JsonSchema { schema: Value::Object(schema), path })
            }
            ("json_schema", None) => Err(BodyError::missing(path)),
            _ => Err(BodyError::unsupported(kind, format!("`{kind}` must be \"json_schema\""))),
        }
    }

    fn prompt(self, thinking: RawThinking, settings: &Settings) -> Result<Prompt, BodyError> {
        if self.mcp_servers.is_some_and(|servers| !servers.is_empty()) {
            let message = "this server calls no MCP servers; offer their tools in `tools`";
            return Err(BodyError::unsupported("mcp_servers", message));
        }
        let checked = tools::check(self.tools, self.tool_choice)?;
        let messages = self.messages.ok_or_else(|| BodyError::missing("messages"))?;
        let (messages, places) = content::neutral(self.system, messages)?;
        let continued = messages.last().is_some_and(Message::can_be_continued);
        let effort = self.output_config.and_then(|config| config.effort);
        let mut kwargs = settings.model.chat_template_kwargs.clone();
        let reasoning = thinking.with_effort("output_config.effort", effort).apply(&mut kwargs)?;
        let conversation = Conversation {
            messages,
            tools: checked.definitions,
            tool_use: checked.tools,
            add_generation_prompt: !continued,
            continue_final_message: continued,
            kwargs,
            reasoning,
        };
        Ok(Prompt { conversation, places, skipped_tools: checked.skipped })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::chat::{CHATML, Template, ToolChoice};
    use crate::protocol::openai::ChatBody;

    fn read(body: &Value) -> Result<MessagesCall, BodyError> {
        MessagesBody::from_json(body.to_string().as_bytes())?.check(&Settings::default())
    }

    fn with(fields: Value) -> Result<MessagesCall, BodyError> {
        let mut body = json!({"messages": [{"role": "user", "content": "hi"}]});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        read(&body)
    }

    #[test]
    fn a_short_body_takes_the_settings() {
        let call = with(json!({})).unwrap();
        let options = call.options;
        assert_eq!((options.n, options.max_tokens, options.stream), (1, Some(4096), false));
        assert_eq!(options.ping_interval, Some(Duration::from_secs(10)));
        assert!(options.cache_prompt && options.session.is_none() && options.stop.is_empty());
        assert!(call.conversation.add_generation_prompt);
        assert_eq!(call.conversation.tool_use.choice, ToolChoice::Auto);
        assert_eq!(with(json!({"max_tokens": 0})).unwrap().options.max_tokens, Some(0));
    }

    #[test]
    fn what_claude_code_sends_is_read_or_passed_over() {
        let call = with(json!({
            "model": "claude-sonnet-4-5", "max_tokens": 32000, "stream": true, "temperature": 1,
            "thinking": {"type": "adaptive", "display": "summarized"},
            "output_config": {"effort": "high"},
            "context_management": {"edits": [{"type": "clear_thinking_20251015"}]},
            "metadata": {"user_id": "user_a_account_b_session_c"}, "service_tier": "auto",
            "betas": ["x"], "mcp_servers": [], "container": null,
            "stop_sequences": ["END", ""], "top_k": 5, "top_p": 0.5,
        }))
        .unwrap();
        let options = call.options;
        assert_eq!(options.session.as_deref(), Some("c"));
        assert_eq!(options.stop, ["END"]);
        assert_eq!((options.sampling.values.top_k, options.stream), (5, true));
        let kwargs = Value::Object(call.conversation.kwargs);
        assert_eq!(kwargs, json!({"reasoning_effort": "high"}));
        assert_eq!(call.conversation.reasoning.budget, None);
    }

    #[test]
    fn thinking_is_switched_and_bounded() {
        let thinking = |thinking: Value| {
            let conversation = with(json!({"thinking": thinking})).unwrap().conversation;
            (Value::Object(conversation.kwargs), conversation.reasoning.budget)
        };
        let on = json!({"enable_thinking": true});
        assert_eq!(thinking(json!({"type": "enabled", "budget_tokens": 1024})), (on, Some(1024)));
        let off = json!({"enable_thinking": false});
        assert_eq!(thinking(json!({"type": "disabled"})), (off, None));
    }

    #[test]
    fn an_answer_may_have_to_fit_a_schema() {
        let format = json!({"type": "json_schema", "schema": {"type": "object"}});
        let read = |fields: Value| with(fields).unwrap().options.format.path();
        assert_eq!(
            read(json!({"output_config": {"format": format}})),
            "output_config.format.schema"
        );
        assert_eq!(read(json!({"output_format": format})), "output_format.schema");
    }

    #[test]
    fn a_last_message_of_the_assistant_is_continued() {
        let turns = |last: Value| {
            let messages = json!([{"role": "user", "content": "hi"},
                {"role": "assistant", "content": last}]);
            read(&json!({"messages": messages})).unwrap().conversation
        };
        assert!(turns(json!("Hel")).continue_final_message);
        let call = json!([{"type": "tool_use", "id": "t", "name": "f", "input": {}}]);
        let called = turns(call);
        assert!(!called.continue_final_message && called.add_generation_prompt);
    }

    #[test]
    fn each_message_has_its_place_in_the_request() {
        let call = read(&json!({"system": "S", "messages": [
            {"role": "user", "content": "Q"},
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t", "content": "R"},
                {"type": "text", "text": "and"}]}]}))
        .unwrap();
        let places = ["system", "messages[0]", "messages[1]", "messages[2]", "messages[2]"];
        assert_eq!(call.places, places);
        assert_eq!(call.conversation.messages.len(), places.len());
    }

    #[test]
    fn wrong_fields_are_named() {
        for (fields, param, code) in [
            (json!({"messages": null}), "messages", "missing_field"),
            (json!({"messages": [{"content": "x"}]}), "messages[0].role", "missing_field"),
            (json!({"messages": [5]}), "messages[0]", "invalid_type"),
            (json!({"mcp_servers": [{"url": "x"}]}), "mcp_servers", "unsupported_value"),
            (json!({"thinking": 5}), "thinking", "invalid_type"),
            (json!({"max_tokens": -1}), "max_tokens", "invalid_value"),
            (json!({"max_tokens": "10"}), "max_tokens", "invalid_type"),
            (json!({"temperature": 1e9}), "temperature", "invalid_value"),
            (json!({"stop_sequences": 5}), "stop_sequences", "invalid_type"),
            (json!({"stop_sequences": vec!["x"; 65]}), "stop_sequences", "invalid_value"),
            (json!({"stream": 1}), "stream", "invalid_type"),
            (json!({"system": 5}), "system", "invalid_type"),
            (json!({"tools": {}}), "tools", "invalid_type"),
            (json!({"thinking": {"type": "deep"}}), "thinking.type", "invalid_value"),
            (
                json!({"thinking": {"type": "enabled", "budget_tokens": "x"}}),
                "thinking.budget_tokens",
                "invalid_type",
            ),
            (json!({"output_config": {"effort": 5}}), "output_config.effort", "invalid_type"),
            (json!({"output_config": {"effort": "huge"}}), "output_config.effort", "invalid_value"),
            (
                json!({"output_config": {"format": {"type": "xml"}}}),
                "output_config.format.type",
                "unsupported_value",
            ),
            (
                json!({"output_format": {"type": "json_schema"}}),
                "output_format.schema",
                "missing_field",
            ),
        ] {
            let error = with(fields.clone()).unwrap_err();
            assert_eq!((error.param.as_deref(), error.code), (Some(param), code), "{fields}");
        }
    }

    #[test]
    fn one_conversation_is_the_same_in_openais_dialect() {
        let (id, city) = ("toolu_1", json!({"city": "Paris"}));
        let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
        let call = read(&json!({
            "system": "Be brief.",
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "Look.", "signature": ""},
                    {"type": "text", "text": "I look."},
                    {"type": "tool_use", "id": id, "name": "weather", "input": city}]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": id, "content": "18"},
                    {"type": "text", "text": "Well?"}]}],
            "tools": [{"name": "weather", "description": "D", "input_schema": schema}],
            "thinking": {"type": "enabled", "budget_tokens": 5},
        }))
        .unwrap();
        let chat = json!({
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Weather?"},
                {"role": "assistant", "content": "I look.", "reasoning_content": "Look.",
                 "tool_calls": [{"id": id, "type": "function",
                    "function": {"name": "weather", "arguments": city}}]},
                {"role": "tool", "tool_call_id": id, "content": "18"},
                {"role": "user", "content": "Well?"}],
            "tools": [{"type": "function", "function":
                {"name": "weather", "description": "D", "parameters": schema}}],
            "enable_thinking": true, "thinking_budget": 5,
        });
        let chat = ChatBody::from_json(chat.to_string().as_bytes()).unwrap();
        let chat = chat.check(&Settings::default()).unwrap().conversation;
        let ours = call.conversation;
        assert_eq!(ours.messages, chat.messages);
        for source in [
            include_str!("../../chat/template/fixtures/xml.jinja"),
            include_str!("../../../tools/models/chat_template.jinja"),
            CHATML,
        ] {
            let template = Template::new(source, None, None).unwrap();
            let prompt = template.render(&ours).unwrap().prompt;
            assert!(prompt.contains("Well?"));
            assert_eq!(prompt, template.render(&chat).unwrap().prompt);
        }
        assert_eq!(ours.tools, chat.tools);
        assert_eq!((ours.kwargs, ours.reasoning), (chat.kwargs, chat.reasoning));
        assert_eq!(ours.add_generation_prompt, chat.add_generation_prompt);
    }
}
