//! The bodies of `POST /completion` and `POST /infill`.

use serde::Deserialize;

use crate::config::Settings;
use crate::protocol::body::{BodyError, FromJson, Integer, Object, fields};
use crate::protocol::openai::RawOptions;
use crate::protocol::prompt::PromptField;
use crate::protocol::thinking::refuse_budgets;
use crate::protocol::{Options, Prompt};

/// A checked native completion.
#[derive(Debug, Clone)]
pub struct NativeCall {
    /// The prompts, at least one; each may be empty.
    pub prompts: Vec<Prompt>,
    /// The whole of `prompt` is one prompt, not a list of them.
    pub single: bool,
    /// What all generating endpoints share; `n_probs` is that of log probabilities.
    pub options: Options,
    /// The fields of the answer that are wanted, as `a/b` where one is inside another; empty: all.
    pub response_fields: Vec<String>,
}

/// A body of `/completion` as sent.
#[derive(Debug)]
pub struct NativeBody {
    prompt: Option<PromptField>,
    common: Common,
}

/// A checked request for the text between two others.
#[derive(Debug, Clone)]
pub struct InfillCall {
    /// The texts.
    pub infill: Infill,
    /// What all generating endpoints share.
    pub options: Options,
    /// As in [`NativeCall`].
    pub response_fields: Vec<String>,
}

/// What a text is to be filled into.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Infill {
    /// The text before the gap.
    pub prefix: String,
    /// The text behind the gap.
    pub suffix: String,
    /// Other files of the repository.
    pub extra: Vec<ExtraFile>,
    /// The beginning of the text in the gap.
    pub prompt: String,
}

/// A file, or a part of one, that helps to fill a gap in another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraFile {
    /// Its name.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// A body of `/infill` as sent.
#[derive(Debug)]
pub struct InfillBody {
    fields: InfillFields,
    common: Common,
}

/// What both have.
#[derive(Debug)]
struct Common {
    fields: CommonFields,
    options: RawOptions,
}

#[derive(Debug, Deserialize)]
struct PromptFields {
    prompt: Option<PromptField>,
}

#[derive(Debug, Deserialize)]
struct InfillFields {
    input_prefix: Option<String>,
    input_suffix: Option<String>,
    input_extra: Option<Vec<ExtraField>>,
    prompt: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ExtraField {
    filename: Option<String>,
    text: String,
}

#[derive(Debug, Deserialize)]
struct CommonFields {
    response_fields: Option<Vec<String>>,
    reasoning_budget_tokens: Option<Integer>,
    thinking_budget_tokens: Option<Integer>,
}

/// More names than an answer has fields.
const MAX_RESPONSE_FIELDS: usize = 256;
/// The name that llama-server gives a file without one.
const UNNAMED: &str = "tmp";

impl FromJson for NativeBody {
    fn from_json(body: &[u8]) -> Result<Self, BodyError> {
        let (object, common) = Common::read(body, fields::<PromptFields>())?;
        Ok(Self { prompt: object.parse::<PromptFields>()?.prompt, common })
    }
}

impl FromJson for InfillBody {
    fn from_json(body: &[u8]) -> Result<Self, BodyError> {
        let (object, common) = Common::read(body, fields::<InfillFields>())?;
        Ok(Self { fields: object.parse()?, common })
    }
}

impl NativeBody {
    /// Checks all that needs no model.
    pub fn check(self, settings: &Settings) -> Result<NativeCall, BodyError> {
        let (options, response_fields) = self.common.check(settings)?;
        let field = self.prompt.ok_or_else(|| BodyError::missing("prompt"))?;
        let (prompts, single) = field.check(options.n)?;
        Ok(NativeCall { prompts, single, options, response_fields })
    }
}

impl InfillBody {
    /// Checks all that needs no model.
    pub fn check(self, settings: &Settings) -> Result<InfillCall, BodyError> {
        let (options, response_fields) = self.common.check(settings)?;
        let fields = self.fields;
        let extra = fields.input_extra.unwrap_or_default().into_iter();
        let infill = Infill {
            prefix: fields.input_prefix.ok_or_else(|| BodyError::missing("input_prefix"))?,
            suffix: fields.input_suffix.ok_or_else(|| BodyError::missing("input_suffix"))?,
            extra: extra
                .map(|file| ExtraFile {
                    name: file.filename.unwrap_or_else(|| UNNAMED.to_owned()),
                    text: file.text,
                })
                .collect(),
            prompt: fields.prompt.unwrap_or_default(),
        };
        Ok(InfillCall { infill, options, response_fields })
    }
}

impl Common {
    /// Reads `body`, also the fields `own`.
    fn read(body: &[u8], own: &'static [&'static str]) -> Result<(Object, Self), BodyError> {
        let [options, sampling] = RawOptions::fields();
        let object = Object::read(body, &[own, fields::<CommonFields>(), options, sampling])?;
        let common = Self { fields: object.parse()?, options: RawOptions::parse(&object)? };
        Ok((object, common))
    }

    fn check(self, settings: &Settings) -> Result<(Options, Vec<String>), BodyError> {
        let options = self.options.check(settings)?;
        let fields = self.fields;
        refuse_budgets(fields.reasoning_budget_tokens, fields.thinking_budget_tokens)?;
        let response_fields = fields.response_fields.unwrap_or_default();
        if response_fields.len() > MAX_RESPONSE_FIELDS {
            return Err(BodyError::value(
                "response_fields",
                format!("`response_fields` takes {MAX_RESPONSE_FIELDS} names at most"),
            ));
        }
        Ok((options, response_fields))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::protocol::PromptPiece::{Text, Token};

    fn native(json: &str) -> Result<NativeCall, BodyError> {
        NativeBody::from_json(json.as_bytes())?.check(&Settings::default())
    }

    fn infill(json: &str) -> Result<InfillCall, BodyError> {
        InfillBody::from_json(json.as_bytes())?.check(&Settings::default())
    }

    #[test]
    fn a_native_completion_has_llama_servers_fields() {
        let call = native(
            r#"{"prompt":[1,"a"],"n_predict":5,"n_probs":3,"id_slot":1,"cache_prompt":false,
                "return_tokens":true,"stream":true,"stop":["x"],"response_fields":["content","a/b"],
                "unknown":[[]]}"#,
        )
        .unwrap();
        assert_eq!(call.prompts, [vec![Token(1), Text("a".to_owned())]]);
        assert!(call.single && call.options.stream && call.options.return_tokens);
        assert_eq!((call.options.max_tokens, call.options.n_probs), (Some(5), Some(3)));
        assert_eq!((call.options.id_slot, call.options.cache_prompt), (Some(1), false));
        assert_eq!(call.response_fields, ["content", "a/b"]);
        assert!(!native(r#"{"prompt":["a","b"]}"#).unwrap().single);
    }

    #[test]
    fn what_is_wrong_with_a_native_completion_is_named() {
        for (body, param) in [
            ("{}", "prompt"),
            (r#"{"prompt":[]}"#, "prompt"),
            (r#"{"prompt":"a","n_predict":-2}"#, "n_predict"),
            (r#"{"prompt":"a","n_probs":"3"}"#, "n_probs"),
            (r#"{"prompt":"a","response_fields":["a",5]}"#, "response_fields[1]"),
            (r#"{"prompt":"a","thinking_budget_tokens":10}"#, "thinking_budget_tokens"),
            (r#"{"prompt":"a","post_sampling_probs":true,"n_probs":1}"#, "post_sampling_probs"),
            (r#"{"prompt":"a","grammar":"root ::= \"a\"","json_schema":{}}"#, "json_schema"),
        ] {
            let error = native(body).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(param), "{body}: {error}");
        }
        let many = serde_json::json!({"prompt": "a", "response_fields": vec!["x"; 257]});
        assert_eq!(native(&many.to_string()).unwrap_err().param.unwrap(), "response_fields");
    }

    #[test]
    fn a_gap_needs_the_texts_around_it() {
        let call = infill(
            r#"{"input_prefix":"a","input_suffix":"b","prompt":null,"n_predict":4,
                "input_extra":[{"text":"t","filename":"f"},{"text":"u"}]}"#,
        )
        .unwrap();
        let file = |name: &str, text: &str| ExtraFile { name: name.into(), text: text.into() };
        assert_eq!(call.infill.extra, [file("f", "t"), file("tmp", "u")]);
        assert_eq!((call.infill.prefix.as_str(), call.infill.suffix.as_str()), ("a", "b"));
        for (body, param) in [
            (r#"{"input_suffix":"b"}"#, "input_prefix"),
            (r#"{"input_prefix":"a"}"#, "input_suffix"),
            (r#"{"input_prefix":["a"],"input_suffix":"b"}"#, "input_prefix"),
            (
                r#"{"input_prefix":"a","input_suffix":"b","input_extra":[{"filename":"f"}]}"#,
                "input_extra[0].text",
            ),
            (r#"{"input_prefix":"a","input_suffix":"b","prompt":[1]}"#, "prompt"),
        ] {
            let error = infill(body).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(param), "{body}: {error}");
        }
    }
}
