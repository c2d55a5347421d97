//! The body of `POST /api/chat`.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::options::{OllamaOptions, RawOllama, refuse_images};
use crate::chat::{Content, Conversation, FunctionCall, Message, Role, ToolCall};
use crate::config::Settings;
use crate::protocol::body::{BodyError, FromJson, Object, fields};
use crate::protocol::openai::{ToolFields, neutral};

/// A checked chat.
#[derive(Debug, Clone)]
pub struct OllamaCall {
    /// What the prompt is made of; `None`: the client only wants the model to be there.
    pub conversation: Option<Conversation>,
    /// What else is asked for.
    pub options: OllamaOptions,
}

/// A body as sent: well-formed JSON with the right types.
#[derive(Debug)]
pub struct OllamaChatBody {
    fields: ChatFields,
    shared: RawOllama,
}

#[derive(Debug, Deserialize)]
struct ChatFields {
    messages: Option<Vec<MessageField>>,
    tools: Option<Vec<Value>>,
}

#[derive(Debug, Deserialize)]
struct MessageField {
    role: String,
    content: Option<Content>,
    thinking: Option<String>,
    images: Option<Vec<Value>>,
    tool_calls: Option<Vec<CallField>>,
    tool_name: Option<String>,
    tool_call_id: Option<String>,
    name: Option<String>,
}

#[derive(Debug, Deserialize)]
struct CallField {
    id: Option<String>,
    function: FunctionField,
}

#[derive(Debug, Deserialize)]
struct FunctionField {
    name: String,
    arguments: Option<Value>,
}

impl FromJson for OllamaChatBody {
    fn from_json(body: &[u8]) -> Result<Self, BodyError> {
        let [shared, think] = RawOllama::fields();
        let object = Object::read(body, &[fields::<ChatFields>(), shared, think])?;
        Ok(Self { fields: object.parse()?, shared: RawOllama::parse(&object)? })
    }
}

impl OllamaChatBody {
    /// Checks all that needs no model.
    pub fn check(self, settings: &Settings) -> Result<OllamaCall, BodyError> {
        let mut kwargs = settings.model.chat_template_kwargs.clone();
        let (options, reasoning) = self.shared.check(settings, &mut kwargs)?;
        let tools = ToolFields { tools: self.fields.tools, ..Default::default() }.check()?;
        let messages = self.fields.messages.unwrap_or_default();
        if messages.is_empty() {
            return Ok(OllamaCall { conversation: None, options });
        }
        let messages = neutral(translated(messages)?)?;
        let continued = messages.last().is_some_and(Message::can_be_continued);
        let conversation = Conversation {
            messages,
            tools: tools.definitions,
            tool_use: tools.tools,
            add_generation_prompt: !continued,
            continue_final_message: continued,
            kwargs,
            reasoning,
        };
        Ok(OllamaCall { conversation: Some(conversation), options })
    }
}

/// The messages in OpenAI's form. Calls get the ids that Ollama's clients do not send, and results
/// the id of the first call without one, of the same function if they name it.
fn translated(messages: Vec<MessageField>) -> Result<Vec<Message>, BodyError> {
    let mut open: Vec<(String, String)> = Vec::new();
    let mut calls = 0_usize;
    let translate = |(i, message): (usize, MessageField)| {
        refuse_images(&format!("messages[{i}].images"), message.images.as_deref())?;
        let role = Role::from(message.role);
        let sent = message.tool_calls.unwrap_or_default();
        let mut tool_calls = Vec::with_capacity(sent.len());
        for call in sent {
            // Nine letters and digits, as Mistral's templates want them.
            let id =
                call.id.filter(|id| !id.is_empty()).unwrap_or_else(|| format!("call{calls:05}"));
            calls += 1;
            open.push((id.clone(), call.function.name.clone()));
            let arguments = call.function.arguments.filter(|arguments| !arguments.is_null());
            tool_calls.push(ToolCall {
                id: Some(id),
                kind: Some("function".to_owned()),
                function: FunctionCall {
                    name: call.function.name,
                    arguments: arguments.unwrap_or_else(|| Value::Object(Map::new())),
                },
            });
        }
        let name = message.tool_name.or(message.name).filter(|name| !name.is_empty());
        let mut tool_call_id = message.tool_call_id.filter(|id| !id.is_empty());
        if role == Role::Tool {
            let answers = |(id, function): &(String, String)| match (&tool_call_id, &name) {
                (Some(known), _) => known == id,
                (None, Some(name)) => name == function,
                (None, None) => true,
            };
            if let Some(at) = open.iter().position(answers) {
                tool_call_id = Some(open.remove(at).0);
            }
        }
        let thinking = message.thinking.filter(|text| !text.is_empty());
        Ok(Message {
            reasoning_content: thinking.filter(|_| role == Role::Assistant),
            role,
            content: Some(message.content.unwrap_or_else(|| Content::Text(String::new()))),
            tool_calls: (!tool_calls.is_empty()).then_some(tool_calls),
            tool_call_id,
            name,
            other: Map::new(),
        })
    };
    messages.into_iter().enumerate().map(translate).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::chat::{ResponseFormat, Template};
    use crate::protocol::openai::ChatBody;

    fn read(body: Value) -> Result<OllamaCall, BodyError> {
        OllamaChatBody::from_json(body.to_string().as_bytes())?.check(&Settings::default())
    }

    fn with(fields: Value) -> Result<OllamaCall, BodyError> {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        for (name, value) in fields.as_object().unwrap() {
            body[name] = value.clone();
        }
        read(body)
    }

    #[test]
    fn options_are_llama_servers_under_ollamas_names() {
        let call = with(json!({
            "stream": null, "keep_alive": "5m", "truncate": true,
            "options": {"temperature": 0.5, "num_predict": 7, "num_ctx": 8192, "top_k": 3,
                "stop": ["x", ""], "seed": 0, "repeat_penalty": 1.1, "num_gpu": 99, "use_mmap": true}}))
        .unwrap();
        let options = &call.options.options;
        assert!(options.stream);
        assert_eq!((options.max_tokens, call.options.num_ctx), (Some(7), Some(8192)));
        assert_eq!(options.stop, ["x"]);
        let values = &options.sampling.values;
        assert_eq!((values.temperature, values.top_k, values.seed), (0.5, 3, 0));
        assert!(!with(json!({"stream": false})).unwrap().options.options.stream);
        for unlimited in [-1, -2] {
            let call = with(json!({"options": {"num_predict": unlimited}})).unwrap();
            assert_eq!(call.options.options.max_tokens, None);
        }
    }

    #[test]
    fn formats_and_thinking_are_told_apart() {
        let format =
            |format: Value| with(json!({"format": format})).unwrap().options.options.format;
        assert_eq!(format(json!("json")), ResponseFormat::JsonObject);
        assert_eq!(format(json!("")), ResponseFormat::Text);
        assert_eq!(format(Value::Null), ResponseFormat::Text);
        let schema = json!({"type": "object"});
        assert_eq!(format(schema.clone()), ResponseFormat::JsonSchema { schema, path: "format" });
        let kwargs = |think: Value| {
            Value::Object(with(json!({"think": think})).unwrap().conversation.unwrap().kwargs)
        };
        assert_eq!(kwargs(json!(false)), json!({"enable_thinking": false}));
        assert_eq!(
            kwargs(json!("high")),
            json!({"enable_thinking": true, "reasoning_effort": "high"})
        );
        assert_eq!(kwargs(Value::Null), json!({}));
    }

    #[test]
    fn what_is_wrong_is_named_by_its_path() {
        let user = json!({"role": "user", "content": "q"});
        for (fields, param, code) in [
            (json!({"messages": 5}), "messages", "invalid_type"),
            (json!({"messages": [{"content": "x"}]}), "messages[0].role", "missing_field"),
            (
                json!({"messages": [{"role": "a b", "content": "x"}]}),
                "messages[0].role",
                "invalid_value",
            ),
            (
                json!({"messages": [user, {"role": "user", "content": "x", "images": ["aGk="]}]}),
                "messages[1].images",
                "unsupported_value",
            ),
            (
                json!({"messages": [{"role": "assistant", "tool_calls": [{"function": {}}]}]}),
                "messages[0].tool_calls[0].function.name",
                "missing_field",
            ),
            (json!({"options": {"temperature": "hot"}}), "options.temperature", "invalid_type"),
            (json!({"options": {"temperature": -1}}), "options.temperature", "invalid_value"),
            (json!({"options": {"num_predict": -3}}), "options.num_predict", "invalid_value"),
            (json!({"options": {"stop": vec!["x"; 65]}}), "options.stop", "invalid_value"),
            (json!({"options": 5}), "options", "invalid_type"),
            (json!({"format": "xml"}), "format", "invalid_value"),
            (json!({"format": 5}), "format", "invalid_type"),
            (json!({"think": "lots"}), "think", "invalid_value"),
            (json!({"stream": "no"}), "stream", "invalid_type"),
            (
                json!({"tools": [{"type": "function", "function": {}}]}),
                "tools[0].function.name",
                "missing_field",
            ),
            (json!({"top_logprobs": 3}), "top_logprobs", "invalid_value"),
        ] {
            let error = with(fields.clone()).unwrap_err();
            assert_eq!(
                (error.param.as_deref(), error.code),
                (Some(param), code),
                "{fields}: {error}"
            );
        }
    }

    #[test]
    fn no_messages_only_ask_for_the_model() {
        assert!(read(json!({"model": "m"})).unwrap().conversation.is_none());
        assert!(read(json!({"model": "m", "messages": []})).unwrap().conversation.is_none());
    }

    /// What both APIs' clients send for the same conversation.
    #[test]
    fn a_conversation_is_the_same_as_through_openais_api() {
        let tools = json!([{"type": "function", "function": {"name": "f",
            "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}}]);
        let ours = with(json!({"tools": tools, "messages": [
            {"role": "system", "content": "S"},
            {"role": "user", "content": "Q"},
            {"role": "assistant", "content": "", "thinking": "T", "tool_calls": [
                {"function": {"name": "f", "arguments": {"a": 1}}},
                {"function": {"name": "g", "arguments": {}}}]},
            {"role": "tool", "content": "2", "tool_name": "g"},
            {"role": "tool", "content": "1"},
            {"role": "user", "content": "R"}]}))
        .unwrap();
        let theirs = json!({"tools": tools, "messages": [
            {"role": "system", "content": "S"},
            {"role": "user", "content": "Q"},
            {"role": "assistant", "content": "", "reasoning_content": "T", "tool_calls": [
                {"id": "call00000", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}},
                {"id": "call00001", "type": "function", "function": {"name": "g", "arguments": {}}}]},
            {"role": "tool", "content": "2", "name": "g", "tool_call_id": "call00001"},
            {"role": "tool", "content": "1", "tool_call_id": "call00000"},
            {"role": "user", "content": "R"}]});
        let theirs = ChatBody::from_json(theirs.to_string().as_bytes()).unwrap();
        let theirs = theirs.check(&Settings::default()).unwrap().conversation;
        let ours = ours.conversation.unwrap();
        assert_eq!(ours.messages, theirs.messages);
        assert_eq!((&ours.tools, &ours.tool_use), (&theirs.tools, &theirs.tool_use));
        assert_eq!(ours.kwargs, theirs.kwargs);
        assert!(ours.add_generation_prompt && !ours.continue_final_message);
        let source = include_str!("../../../tools/models/chat_template.jinja");
        let template = Template::new(source, None, None).unwrap();
        let prompt = |conversation| template.render(conversation).unwrap().prompt;
        assert_eq!(prompt(&ours), prompt(&theirs));
        let open = with(json!({"messages": [{"role": "assistant", "content": "Hel"}]})).unwrap();
        assert!(open.conversation.unwrap().continue_final_message);
    }
}
