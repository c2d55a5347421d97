//! The body of `POST /v1/chat/completions` and `/apply-template`.

use serde::Deserialize;
use serde_json::Value;

use super::messages;
use super::options::RawOptions;
use super::tools::{ToolChoiceField, ToolFields};
use crate::chat::{Conversation, Message, ResponseFormat, ToolChoice};
use crate::config::Settings;
use crate::protocol::body::{BodyError, FromJson, Integer, Object, fields};
use crate::protocol::sampling::count;
use crate::protocol::thinking::RawThinking;
use crate::protocol::{MAX_ALTERNATIVES, Options};

/// A checked chat request.
#[derive(Debug, Clone)]
pub struct ChatCall {
    /// What the prompt is made of.
    pub conversation: Conversation,
    /// What all generating endpoints share.
    pub options: Options,
    /// Report each token's log probability and this many alternatives.
    pub top_logprobs: Option<u32>,
    /// Text that the answer begins with: the continued message, if the client wants it back.
    pub echo: Option<String>,
    /// Tools were sent as OpenAI's old `functions`, so calls are answered in its old form.
    pub legacy_functions: bool,
}

/// A chat body as sent: well-formed JSON with the right types, not checked beyond that.
#[derive(Debug)]
pub struct ChatBody {
    fields: ChatFields,
    thinking: RawThinking,
    options: RawOptions,
}

#[derive(Debug, Deserialize)]
struct ChatFields {
    messages: Option<Vec<Message>>,
    tools: Option<Vec<Value>>,
    tool_choice: Option<ToolChoiceField>,
    parallel_tool_calls: Option<bool>,
    functions: Option<Vec<Value>>,
    function_call: Option<ToolChoiceField>,
    modalities: Option<Vec<String>>,
    web_search_options: Option<Value>,
    add_generation_prompt: Option<bool>,
    continue_final_message: Option<Continue>,
    echo: Option<bool>,
    logprobs: Option<bool>,
    top_logprobs: Option<Integer>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected true, false or \"content\"")]
enum Continue {
    Flag(bool),
    Part(String),
}

impl FromJson for ChatBody {
    fn from_json(body: &[u8]) -> Result<Self, BodyError> {
        let [options, sampling] = RawOptions::fields();
        let thinking = fields::<RawThinking>();
        let object = Object::read(body, &[fields::<ChatFields>(), thinking, options, sampling])?;
        Ok(Self {
            fields: object.parse()?,
            thinking: object.parse()?,
            options: RawOptions::parse(&object)?,
        })
    }
}

impl ChatBody {
    /// The model asked for.
    pub fn model(&self) -> Option<&str> {
        self.options.model()
    }

    /// Checks all that needs no model.
    pub fn check(self, settings: &Settings) -> Result<ChatCall, BodyError> {
        let options = self.options.check(settings)?;
        let top_logprobs = self.fields.top_logprobs(&options)?;
        let echo = self.fields.echo.unwrap_or(false);
        self.fields.refuse_what_is_missing_here()?;
        let (conversation, legacy_functions) = self.fields.conversation(self.thinking, settings)?;
        let has_grammar = matches!(options.format, ResponseFormat::Grammar(_));
        if has_grammar && conversation.tool_use.choice == ToolChoice::Required {
            return Err(BodyError::value(
                "grammar",
                "`grammar` excludes a `tool_choice` that forces a call",
            ));
        }
        let echo = match conversation.messages.last() {
            Some(last) if echo && conversation.continue_final_message => Some(last.text()),
            _ => None,
        };
        Ok(ChatCall { conversation, options, top_logprobs, echo, legacy_functions })
    }

    /// Checks what rendering alone needs: tools are allowed.
    pub fn check_conversation(self, settings: &Settings) -> Result<Conversation, BodyError> {
        let (conversation, _) = self.fields.conversation(self.thinking, settings)?;
        Ok(conversation)
    }
}

impl ChatFields {
    /// Answers that ignored these would be wrong in a way the client cannot see.
    fn refuse_what_is_missing_here(&self) -> Result<(), BodyError> {
        if self.web_search_options.as_ref().is_some_and(|options| !options.is_null()) {
            let message = "this server does not search the web; offer a tool that does in `tools`";
            return Err(BodyError::unsupported("web_search_options", message));
        }
        match self.modalities.as_ref().and_then(|all| all.iter().find(|m| *m != "text")) {
            Some(_) => {
                Err(BodyError::unsupported("modalities", "this server answers in text only"))
            }
            None => Ok(()),
        }
    }

    fn top_logprobs(&self, options: &Options) -> Result<Option<u32>, BodyError> {
        let top = count(self.top_logprobs, "top_logprobs", MAX_ALTERNATIVES)?;
        match (self.logprobs, top) {
            (Some(true), top) => Ok(Some(top.or(options.n_probs).unwrap_or(0))),
            (_, Some(1..)) => {
                Err(BodyError::value("top_logprobs", "`top_logprobs` needs `\"logprobs\": true`"))
            }
            (Some(false), _) => Ok(None),
            (None, _) => Ok(options.n_probs),
        }
    }

    /// The conversation, and whether its tools came as `functions`.
    fn conversation(
        self,
        thinking: RawThinking,
        settings: &Settings,
    ) -> Result<(Conversation, bool), BodyError> {
        let checked = ToolFields {
            tools: self.tools,
            tool_choice: self.tool_choice,
            parallel_tool_calls: self.parallel_tool_calls,
            functions: self.functions,
            function_call: self.function_call,
        }
        .check()?;
        let messages = self.messages.ok_or_else(|| BodyError::missing("messages"))?;
        let messages = messages::neutral(messages)?;

        let last_is_open = messages.last().is_some_and(Message::can_be_continued);
        let continued = match self.continue_final_message {
            None => last_is_open && self.add_generation_prompt != Some(true),
            Some(Continue::Flag(false)) => false,
            Some(Continue::Part(part)) if part != "content" => {
                return Err(BodyError::unsupported(
                    "continue_final_message",
                    "`continue_final_message` must be true, false or \"content\"",
                ));
            }
            Some(_) if !last_is_open => {
                return Err(BodyError::value(
                    "continue_final_message",
                    "`continue_final_message` needs an assistant message with text at the end",
                ));
            }
            Some(_) if self.add_generation_prompt == Some(true) => {
                return Err(BodyError::value(
                    "continue_final_message",
                    "`continue_final_message` and `add_generation_prompt` exclude each other",
                ));
            }
            Some(_) => true,
        };

        let mut kwargs = settings.model.chat_template_kwargs.clone();
        let reasoning = thinking.apply(&mut kwargs)?;

        let conversation = Conversation {
            messages,
            tools: checked.definitions,
            tool_use: checked.tools,
            add_generation_prompt: !continued && self.add_generation_prompt.unwrap_or(true),
            continue_final_message: continued,
            kwargs,
            reasoning,
        };
        Ok((conversation, checked.legacy))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::chat::Content;

    fn read(json: &str) -> Result<ChatCall, BodyError> {
        ChatBody::from_json(json.as_bytes())?.check(&Settings::default())
    }

    fn with(fields: &str) -> Result<ChatCall, BodyError> {
        read(&format!(r#"{{"messages":[{{"role":"user","content":"hi"}}],{fields}}}"#))
    }

    fn refused(result: Result<ChatCall, BodyError>) -> (String, &'static str) {
        let error = result.unwrap_err();
        (error.param.unwrap_or(error.message), error.code)
    }

    #[test]
    fn wrong_messages_name_the_path_of_the_fault() {
        for (messages, param, code) in [
            ("null", "messages", "missing_field"),
            ("[]", "messages", "invalid_value"),
            ("5", "messages", "invalid_type"),
            (r#"[{"content":"x"}]"#, "messages[0].role", "missing_field"),
            (r#"[{"role":"a robot","content":"x"}]"#, "messages[0].role", "invalid_value"),
            (r#"[{"role":7,"content":"x"}]"#, "messages[0].role", "invalid_type"),
            (r#"[{"role":"user"}]"#, "messages[0].content", "missing_field"),
            (r#"[{"role":"assistant"}]"#, "messages[0].content", "missing_field"),
            (r#"[{"role":"user","content":5}]"#, "messages[0].content", "invalid_type"),
            (
                r#"[{"role":"user","content":[{"type":"text"}]}]"#,
                "messages[0].content[0].text",
                "missing_field",
            ),
            (
                r#"[{"role":"user","content":"a"},{"role":"user","content":[{"type":"text","text":"x"},
                    {"type":"image_url","image_url":{"url":"data:"}}]}]"#,
                "messages[1].content[1]",
                "unsupported_value",
            ),
        ] {
            let body = format!(r#"{{"messages":{messages}}}"#);
            assert_eq!(refused(read(&body)), (param.to_owned(), code), "{messages}");
        }
        assert_eq!(refused(read("{}")), ("messages".to_owned(), "missing_field"));
    }

    #[test]
    fn content_that_is_null_is_an_empty_text() {
        let call = read(
            r#"{"messages":[{"role":"user","content":null},{"role":"assistant","content":null},
                {"role":"tool","tool_call_id":"1","content":null},
                {"role":"assistant","content":[{"type":"refusal","refusal":"no"}]}]}"#,
        )
        .unwrap();
        let empty = Some(Content::Text(String::new()));
        assert!(call.conversation.messages[..3].iter().all(|m| m.content == empty));
    }

    #[test]
    fn tool_messages_in_the_history_are_accepted() {
        read(
            r#"{"messages":[{"role":"user","content":"w?"},
                {"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function",
                 "function":{"name":"f","arguments":"not json"}}]},
                {"role":"tool","tool_call_id":"1","content":[{"type":"text","text":"4"}]}],
                "tools":[],"tool_choice":"auto"}"#,
        )
        .unwrap();
    }

    #[test]
    fn tools_are_a_part_of_the_conversation_unless_they_may_not_be_called() {
        let tool = r#""tools":[{"type":"function","function":{"name":"f"}}]"#;
        let call = with(tool).unwrap();
        assert_eq!(call.conversation.tools.len(), 1);
        assert_eq!(call.conversation.tool_use.offered[0].name, "f");
        let call = with(&format!(r#"{tool},"tool_choice":"none""#)).unwrap();
        assert!(call.conversation.tools.is_empty());
        assert!(with(r#""functions":[{"name":"f"}]"#).unwrap().legacy_functions);
        assert_eq!(refused(with(r#""tools":{}"#)), ("tools".to_owned(), "invalid_type"));
        assert_eq!(refused(with(r#""tool_choice":"some""#)).0, "tool_choice");
        assert_eq!(refused(with(r#""tool_choice":5"#)).1, "invalid_type");
        assert_eq!(refused(with(r#""modalities":["audio"]"#)).0, "modalities");
        let both = format!(r#"{tool},"tool_choice":"required","grammar":"root ::= \"a\"""#);
        assert_eq!(refused(with(&both)).0, "grammar");
    }

    #[test]
    fn logprobs_report_no_alternatives_unless_asked() {
        let top = |fields: &str| with(fields).unwrap().top_logprobs;
        assert_eq!(top(r#""logprobs":true"#), Some(0));
        assert_eq!(top(r#""logprobs":true,"top_logprobs":20"#), Some(20));
        assert_eq!(top(r#""logprobs":false,"top_logprobs":0"#), None);
        assert_eq!(top(r#""n_probs":3"#), Some(3));
        assert_eq!(top(r#""stream":false"#), None);
        assert_eq!(refused(with(r#""top_logprobs":2"#)).0, "top_logprobs");
        assert_eq!(refused(with(r#""logprobs":true,"top_logprobs":-1"#)).0, "top_logprobs");
        assert_eq!(refused(with(r#""logprobs":1"#)), ("logprobs".to_owned(), "invalid_type"));
    }

    #[test]
    fn an_assistant_message_at_the_end_is_continued_by_default() {
        let call = |fields: &str| {
            read(&format!(
                r#"{{"messages":[{{"role":"user","content":"hi"}},
                    {{"role":"assistant","content":"Hel"}}]{fields}}}"#
            ))
        };
        let open = call("").unwrap();
        assert!(open.conversation.continue_final_message);
        assert!(!open.conversation.add_generation_prompt);
        assert_eq!(open.echo, None);
        assert_eq!(call(r#","echo":true"#).unwrap().echo.as_deref(), Some("Hel"));
        let closed = call(r#","continue_final_message":false"#).unwrap().conversation;
        assert!(!closed.continue_final_message && closed.add_generation_prompt);
        let both = r#","continue_final_message":true,"add_generation_prompt":true"#;
        assert_eq!(refused(call(both)).0, "continue_final_message");
        assert_eq!(
            refused(call(r#","continue_final_message":"reasoning_content""#)).0,
            "continue_final_message"
        );
        assert_eq!(refused(with(r#""continue_final_message":true"#)).0, "continue_final_message");
        let plain = with(r#""add_generation_prompt":false"#).unwrap().conversation;
        assert!(!plain.add_generation_prompt && !plain.continue_final_message);
    }

    #[test]
    fn an_echo_joins_parts_as_the_prompt_does() {
        let call = read(
            r#"{"echo":true,"messages":[{"role":"user","content":"hi"},{"role":"assistant",
                "content":[{"type":"text","text":"A"},{"type":"text","text":"B"}]}]}"#,
        )
        .unwrap();
        // What the template is given.
        assert_eq!(call.conversation.messages[1].text(), "A\nB");
        assert_eq!(call.echo.as_deref(), Some("A\nB"));
    }

    #[test]
    fn template_variables_come_from_settings_then_effort_then_the_request() {
        let mut settings = Settings::default();
        settings.model.chat_template_kwargs.insert("enable_thinking".into(), true.into());
        settings.model.chat_template_kwargs.insert("a".into(), 1.into());
        let kwargs = |fields: &str| {
            let body = format!(r#"{{"messages":[{{"role":"user","content":"x"}}]{fields}}}"#);
            let call = ChatBody::from_json(body.as_bytes()).unwrap().check(&settings).unwrap();
            Value::Object(call.conversation.kwargs)
        };
        assert_eq!(kwargs(""), serde_json::json!({"enable_thinking": true, "a": 1}));
        assert_eq!(
            kwargs(r#","reasoning_effort":"none""#),
            serde_json::json!({"enable_thinking": false, "a": 1})
        );
        assert_eq!(
            kwargs(r#","reasoning_effort":"low","chat_template_kwargs":{"a":2}"#),
            serde_json::json!({"enable_thinking": true, "a": 2, "reasoning_effort": "low"})
        );
    }
}
