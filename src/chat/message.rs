//! Messages as OpenAI's chat API has them.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said; assistants that only call tools may say nothing. `null` is an empty text, as
    /// for llama-server.
    #[serde(default, deserialize_with = "text_or_null")]
    pub content: Option<Content>,
    /// The assistant's thoughts in an earlier turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// Tools that the assistant called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Vec<ToolCall>>,
    /// The call that a tool message answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// The name of the speaker or tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Fields that some template may know.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

fn text_or_null<'de, D: Deserializer<'de>>(json: D) -> Result<Option<Content>, D::Error> {
    let content = Option::<Content>::deserialize(json)?;
    Ok(Some(content.unwrap_or_else(|| Content::Text(String::new()))))
}

/// Who speaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
#[allow(missing_docs)]
pub enum Role {
    System,
    Developer,
    User,
    Assistant,
    Tool,
    /// One that only some templates know.
    Other(String),
}

impl Role {
    /// Its name in OpenAI's API and in templates.
    pub fn name(&self) -> &str {
        match self {
            Self::System => "system",
            Self::Developer => "developer",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
            Self::Other(name) => name,
        }
    }
}

impl From<String> for Role {
    fn from(name: String) -> Self {
        match name.as_str() {
            "system" => Self::System,
            "developer" => Self::Developer,
            "user" => Self::User,
            "assistant" => Self::Assistant,
            // The second is OpenAI's legacy role for the results of functions.
            "tool" | "function" => Self::Tool,
            _ => Self::Other(name),
        }
    }
}

impl From<Role> for String {
    fn from(role: Role) -> Self {
        role.name().to_owned()
    }
}

/// A message's content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// Plain text.
    Text(String),
    /// Typed parts.
    Parts(Vec<ContentPart>),
}

/// A part of a message's content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "SentPart")]
pub struct ContentPart {
    /// `text`, or a kind that this server cannot read.
    #[serde(rename = "type")]
    pub kind: String,
    /// The text, if `kind` is `text`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What other kinds carry.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A part as clients send it: some leave out the type, or send the bare text.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a typed part or a text")]
enum SentPart {
    Bare(String),
    Typed {
        #[serde(rename = "type")]
        kind: Option<String>,
        text: Option<String>,
        #[serde(flatten)]
        other: Map<String, Value>,
    },
}

impl From<SentPart> for ContentPart {
    fn from(part: SentPart) -> Self {
        match part {
            SentPart::Bare(text) => Self::from(text),
            SentPart::Typed { kind, text, other } => {
                Self { kind: kind.unwrap_or_else(|| "text".to_owned()), text, other }
            }
        }
    }
}

impl From<String> for ContentPart {
    fn from(text: String) -> Self {
        Self { kind: "text".to_owned(), text: Some(text), other: Map::new() }
    }
}

/// A call of a tool in the history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `function`.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// What was called.
    pub function: FunctionCall,
}

/// A function's name and arguments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunctionCall {
    /// Its name.
    pub name: String,
    /// JSON text as OpenAI sends it, or the object itself.
    #[serde(default)]
    pub arguments: Value,
}

impl Message {
    /// A message of a text and nothing else.
    pub fn new(role: Role, text: &str) -> Self {
        Self {
            role,
            content: Some(Content::Text(text.to_owned())),
            reasoning_content: None,
            tool_calls: None,
            tool_call_id: None,
            name: None,
            other: Map::new(),
        }
    }

    /// The text of the content, as prompts and echoes have it; empty without content.
    pub fn text(&self) -> String {
        self.content.as_ref().map(Content::text).unwrap_or_default()
    }

    /// Whether it is an assistant's with text or thoughts and no calls: at the end of a conversation
    /// such a message is continued by default.
    pub fn can_be_continued(&self) -> bool {
        self.role == Role::Assistant
            && self.tool_calls.as_ref().is_none_or(Vec::is_empty)
            && (!self.text().is_empty()
                || self.reasoning_content.as_ref().is_some_and(|text| !text.is_empty()))
    }
}

impl Content {
    /// The text; parts are joined by line breaks.
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Parts(parts) => {
                parts.iter().map(ContentPart::as_text).collect::<Vec<_>>().join("\n")
            }
        }
    }
}

impl ContentPart {
    /// The part's text; a refusal is the text that the assistant refused with.
    pub fn as_text(&self) -> &str {
        match &self.text {
            Some(text) => text,
            None => self.other.get("refusal").and_then(Value::as_str).unwrap_or_default(),
        }
    }
}
