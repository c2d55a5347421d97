//! The body of `POST /v1/completions`.

use serde::Deserialize;

use super::options::RawOptions;
use crate::config::Settings;
use crate::protocol::body::{BodyError, FromJson, Integer, Object, fields};
use crate::protocol::prompt::PromptField;
use crate::protocol::sampling::count;
use crate::protocol::thinking::refuse_budgets;
use crate::protocol::{MAX_ALTERNATIVES, Options, Prompt};

/// A checked completion request.
#[derive(Debug, Clone)]
pub struct CompletionCall {
    /// The prompts, at least one; each may be empty.
    pub prompts: Vec<Prompt>,
    /// The whole of `prompt` is one prompt, not a list of them.
    pub single: bool,
    /// What all generating endpoints share.
    pub options: Options,
    /// Report each token's log probability and this many alternatives.
    pub logprobs: Option<u32>,
    /// Begin each choice with its prompt.
    pub echo: bool,
}

/// A completion body as sent: well-formed JSON with the right types.
#[derive(Debug)]
pub struct CompletionBody {
    fields: CompletionFields,
    options: RawOptions,
}

#[derive(Debug, Deserialize)]
struct CompletionFields {
    prompt: Option<PromptField>,
    suffix: Option<String>,
    echo: Option<bool>,
    best_of: Option<Integer>,
    logprobs: Option<Integer>,
    reasoning_budget_tokens: Option<Integer>,
    thinking_budget_tokens: Option<Integer>,
}

impl FromJson for CompletionBody {
    fn from_json(body: &[u8]) -> Result<Self, BodyError> {
        let [options, sampling] = RawOptions::fields();
        let object = Object::read(body, &[fields::<CompletionFields>(), options, sampling])?;
        Ok(Self { fields: object.parse()?, options: RawOptions::parse(&object)? })
    }
}

impl CompletionBody {
    /// Checks all that needs no model.
    pub fn check(self, settings: &Settings) -> Result<CompletionCall, BodyError> {
        let options = self.options.check(settings)?;
        let fields = self.fields;
        if fields.suffix.is_some_and(|suffix| !suffix.is_empty()) {
            return Err(BodyError::unsupported(
                "suffix",
                "`suffix` is not a part of this server; leave it out",
            ));
        }
        if fields.best_of.is_some_and(|Integer(best)| best != i128::from(options.n)) {
            return Err(BodyError::unsupported(
                "best_of",
                "this server does not rank choices: `best_of` must be absent or equal to `n`",
            ));
        }
        refuse_budgets(fields.reasoning_budget_tokens, fields.thinking_budget_tokens)?;
        let logprobs = count(fields.logprobs, "logprobs", MAX_ALTERNATIVES)?.or(options.n_probs);
        let field = fields.prompt.ok_or_else(|| BodyError::missing("prompt"))?;
        let (prompts, single) = field.check(options.n)?;
        Ok(CompletionCall {
            prompts,
            single,
            options,
            logprobs,
            echo: fields.echo.unwrap_or(false),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::protocol::PromptPiece::{self, *};

    fn read(json: &str) -> Result<CompletionCall, BodyError> {
        CompletionBody::from_json(json.as_bytes())?.check(&Settings::default())
    }

    fn prompts(json: &str) -> Vec<Prompt> {
        read(&format!(r#"{{"prompt":{json}}}"#)).unwrap().prompts
    }

    fn text(text: &str) -> PromptPiece {
        Text(text.to_owned())
    }

    #[test]
    fn prompts_come_in_llama_servers_forms() {
        assert_eq!(prompts(r#""a""#), [vec![text("a")]]);
        assert_eq!(prompts(r#"["a","b"]"#), [vec![text("a")], vec![text("b")]]);
        assert_eq!(prompts("[1,2]"), [vec![Token(1), Token(2)]]);
        assert_eq!(prompts(r#"[1,"a",2]"#), [vec![Token(1), text("a"), Token(2)]]);
        assert_eq!(
            prompts(r#"[[1,2],["a",3],"b"]"#),
            [vec![Token(1), Token(2)], vec![text("a"), Token(3)], vec![text("b")]]
        );
        assert_eq!(prompts(r#"{"prompt_string":"a"}"#), [vec![text("a")]]);
        assert_eq!(prompts(r#""""#), [vec![text("")]]);
        assert_eq!(prompts("[[]]"), [vec![]]);
    }

    #[test]
    fn other_prompts_are_refused() {
        for (body, param) in [
            ("{}", "prompt"),
            (r#"{"prompt":null}"#, "prompt"),
            (r#"{"prompt":5}"#, "prompt"),
            (r#"{"prompt":[]}"#, "prompt"),
            (r#"{"prompt":[1,[2]]}"#, "prompt[1]"),
            (r#"{"prompt":[[1,[2]]]}"#, "prompt[0][1]"),
            (r#"{"prompt":["a",true]}"#, "prompt[1]"),
            (r#"{"prompt":[1.5]}"#, "prompt[0]"),
            (r#"{"prompt":{"prompt_string":"a","multimodal_data":["x"]}}"#, "prompt"),
        ] {
            let error = read(body).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(param), "{body}: {error}");
        }
        let many = serde_json::json!({"prompt": vec!["a"; 100], "n": 128}).to_string();
        assert_eq!(read(&many).unwrap_err().param.as_deref(), Some("prompt"));
    }

    #[test]
    fn suffix_and_ranking_are_refused_and_their_neutral_values_are_not() {
        let refused = |fields: &str| {
            read(&format!(r#"{{"prompt":"a",{fields}}}"#)).unwrap_err().param.unwrap()
        };
        assert_eq!(refused(r#""suffix":"x""#), "suffix");
        assert_eq!(refused(r#""best_of":3"#), "best_of");
        assert_eq!(refused(r#""thinking_budget_tokens":10"#), "thinking_budget_tokens");
        assert_eq!(refused(r#""reasoning_budget_tokens":0"#), "reasoning_budget_tokens");
        assert_eq!(refused(r#""logprobs":-1"#), "logprobs");
        assert_eq!(refused(r#""logprobs":true"#), "logprobs");
        let call = read(
            r#"{"prompt":"a","suffix":"","best_of":2,"n":2,"logprobs":0,
                "reasoning_budget_tokens":-1,"reasoning_format":"none"}"#,
        )
        .unwrap();
        assert_eq!((call.logprobs, call.echo, call.options.n), (Some(0), false, 2));
        assert_eq!(read(r#"{"prompt":"a","n_probs":4}"#).unwrap().logprobs, Some(4));
    }
}
