//! The body of `POST /api/generate`.

use serde::Deserialize;
use serde_json::Value;

use super::options::{OllamaOptions, RawOllama, refuse_images};
use crate::chat::{Conversation, Message, Role};
use crate::config::Settings;
use crate::protocol::body::{BodyError, FromJson, Object, fields};
use crate::protocol::llama_server::Infill;

/// A checked generation.
#[derive(Debug, Clone)]
pub struct OllamaGenerateCall {
    /// What is asked.
    pub prompt: OllamaPrompt,
    /// What else is asked for.
    pub options: OllamaOptions,
}

/// What a generation is made of.
#[derive(Debug, Clone)]
pub enum OllamaPrompt {
    /// Nothing: the client only wants the model to be there.
    Nothing,
    /// A question, which goes through the model's template.
    Question(Box<Conversation>),
    /// A text to be gone on with as it is (`raw`).
    Text(String),
    /// A gap in a text (`suffix`).
    Gap(Infill),
}

/// A body as sent: well-formed JSON with the right types.
#[derive(Debug)]
pub struct OllamaGenerateBody {
    fields: GenerateFields,
    shared: RawOllama,
}

/// `template` is not read: the prompt is made with the template of the model's file or of the
/// settings, since Ollama's are in a language of its own.
#[derive(Debug, Deserialize)]
struct GenerateFields {
    prompt: Option<String>,
    suffix: Option<String>,
    system: Option<String>,
    images: Option<Vec<Value>>,
    raw: Option<bool>,
    context: Option<Vec<Value>>,
}

impl FromJson for OllamaGenerateBody {
    fn from_json(body: &[u8]) -> Result<Self, BodyError> {
        let [shared, think] = RawOllama::fields();
        let object = Object::read(body, &[fields::<GenerateFields>(), shared, think])?;
        Ok(Self { fields: object.parse()?, shared: RawOllama::parse(&object)? })
    }
}

impl OllamaGenerateBody {
    /// Checks all that needs no model.
    pub fn check(self, settings: &Settings) -> Result<OllamaGenerateCall, BodyError> {
        let mut kwargs = settings.model.chat_template_kwargs.clone();
        let (options, reasoning) = self.shared.check(settings, &mut kwargs)?;
        let GenerateFields { prompt, suffix, system, images, raw, context } = self.fields;
        refuse_images("images", images.as_deref())?;
        if context.is_some_and(|tokens| !tokens.is_empty()) {
            return Err(BodyError::unsupported(
                "context",
                "conversations are not kept as `context`; send their messages to /api/chat",
            ));
        }
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let (system, suffix) = (given(system), given(suffix));
        let is_raw = raw == Some(true);
        if is_raw && system.is_some() {
            return Err(BodyError::value("system", "`raw` excludes `system`"));
        }
        let prompt = match (given(prompt), suffix) {
            (prompt, Some(suffix)) => OllamaPrompt::Gap(Infill {
                prefix: prompt.unwrap_or_default(),
                suffix,
                ..Infill::default()
            }),
            (None, None) => OllamaPrompt::Nothing,
            (Some(prompt), None) if is_raw => OllamaPrompt::Text(prompt),
            (Some(prompt), None) => {
                let system = system.map(|text| Message::new(Role::System, &text));
                let question = Message::new(Role::User, &prompt);
                OllamaPrompt::Question(Box::new(Conversation {
                    messages: system.into_iter().chain([question]).collect(),
                    add_generation_prompt: true,
                    kwargs,
                    reasoning,
                    ..Conversation::default()
                }))
            }
        };
        Ok(OllamaGenerateCall { prompt, options })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: Value) -> Result<OllamaPrompt, BodyError> {
        let body = OllamaGenerateBody::from_json(body.to_string().as_bytes())?;
        Ok(body.check(&Settings::default())?.prompt)
    }

    #[test]
    fn a_prompt_is_a_question_unless_it_is_raw_or_has_a_suffix() {
        let OllamaPrompt::Question(question) =
            read(json!({"prompt": "Q", "system": "S", "template": "{{ .Prompt }}"})).unwrap()
        else {
            panic!()
        };
        let texts: Vec<String> = question.messages.iter().map(Message::text).collect();
        assert_eq!(texts, ["S", "Q"]);
        assert!(question.add_generation_prompt);
        let raw = read(json!({"prompt": "Q", "raw": true})).unwrap();
        assert!(matches!(raw, OllamaPrompt::Text(text) if text == "Q"));
        let gap = read(json!({"prompt": "a", "suffix": "b", "context": []})).unwrap();
        assert!(matches!(gap, OllamaPrompt::Gap(gap) if gap.prefix == "a" && gap.suffix == "b"));
        for nothing in [json!({}), json!({"prompt": ""}), json!({"prompt": null, "keep_alive": 0})]
        {
            assert!(matches!(read(nothing).unwrap(), OllamaPrompt::Nothing));
        }
    }

    #[test]
    fn what_cannot_be_done_is_named() {
        for (body, param) in [
            (json!({"prompt": "a", "images": ["aGk="]}), "images"),
            (json!({"prompt": "a", "context": [1, 2]}), "context"),
            (json!({"prompt": "a", "raw": true, "system": "s"}), "system"),
            (json!({"prompt": 5}), "prompt"),
            (json!({"prompt": "a", "options": {"top_p": 2}}), "options.top_p"),
        ] {
            let error = read(body.clone()).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(param), "{body}: {error}");
        }
    }
}
