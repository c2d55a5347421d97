//! The bodies of `/api/embed` and the older `/api/embeddings`, and their answers.

use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::answer::nanoseconds;
use crate::protocol::body::{BodyError, FromJson, Integer, parse};
use crate::protocol::embedding::EmbeddingTexts;
use crate::protocol::openai::dimensions;

/// A checked request of `/api/embed`. `options` and `keep_alive` configure Ollama's loading of
/// models, and are not read.
#[derive(Debug, PartialEq, Eq)]
pub struct EmbedCall {
    /// The model asked for.
    pub model: Option<String>,
    /// What becomes vectors; `None`: nothing, the model shall only be there.
    pub input: Option<EmbeddingTexts>,
    /// Whether a text that is too long is cut.
    pub truncate: bool,
    /// Values that each vector is cut to.
    pub dimensions: Option<usize>,
}

#[derive(Debug, Deserialize)]
struct EmbedFields {
    model: Option<String>,
    input: Option<Value>,
    truncate: Option<bool>,
    dimensions: Option<Integer>,
}

impl FromJson for EmbedCall {
    fn from_json(body: &[u8]) -> Result<Self, BodyError> {
        let fields: EmbedFields = parse(body)?;
        let input = match fields.input {
            None => None,
            Some(Value::String(text)) if text.is_empty() => None,
            Some(Value::Array(texts)) if texts.is_empty() => None,
            Some(input) => Some(EmbeddingTexts::read("input", input)?),
        };
        Ok(Self {
            model: fields.model,
            input,
            truncate: fields.truncate.unwrap_or(true),
            dimensions: dimensions(fields.dimensions)?,
        })
    }
}

/// A checked request of `/api/embeddings`.
#[derive(Debug, PartialEq, Eq)]
pub struct OldEmbeddingsCall {
    /// The model asked for.
    pub model: Option<String>,
    /// What becomes a vector; `None`: nothing, the model shall only be there.
    pub prompt: Option<EmbeddingTexts>,
}

#[derive(Debug, Deserialize)]
struct OldFields {
    model: Option<String>,
    prompt: Option<String>,
}

impl FromJson for OldEmbeddingsCall {
    fn from_json(body: &[u8]) -> Result<Self, BodyError> {
        let fields: OldFields = parse(body)?;
        let prompt = fields.prompt.filter(|prompt| !prompt.is_empty());
        let prompt = prompt.map(|prompt| EmbeddingTexts::read("prompt", Value::String(prompt)));
        Ok(Self { model: fields.model, prompt: prompt.transpose()? })
    }
}

/// The answer of `/api/embed`.
#[derive(Debug, Serialize)]
pub struct EmbedAnswer<'a> {
    /// The model, with its tag.
    pub model: &'a str,
    /// Vectors of length 1, in the order of the texts.
    pub embeddings: Vec<Vec<f32>>,
    /// From the request to the answer.
    #[serde(serialize_with = "as_nanoseconds")]
    pub total_duration: Duration,
    /// The part that was spent waiting for the model.
    #[serde(serialize_with = "as_nanoseconds")]
    pub load_duration: Duration,
    /// Tokens of all texts.
    pub prompt_eval_count: usize,
}

fn as_nanoseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(nanoseconds(*duration))
}

/// The answer of `/api/embeddings`: the vector as the model makes it.
#[derive(Debug, Serialize)]
pub struct OldEmbeddingsAnswer {
    /// Empty if there was no text.
    pub embedding: Vec<f32>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_has_a_text_or_several_or_none() {
        let read = |body: Value| EmbedCall::from_json(body.to_string().as_bytes());
        let call = read(json!({"model": "m", "input": ["a", "b"], "options": {"num_ctx": 1}}));
        let call = call.unwrap();
        assert!(call.truncate);
        assert_eq!(call.input.map(|input| input.texts.len()), Some(2));
        for nothing in [json!({}), json!({"input": ""}), json!({"input": []})] {
            assert_eq!(read(nothing).unwrap().input, None);
        }
        let call = read(json!({"input": "a", "truncate": false, "dimensions": 8})).unwrap();
        assert_eq!((call.truncate, call.dimensions), (false, Some(8)));
        for (body, path) in [
            (json!({"input": {}}), "input"),
            (json!({"input": ["a", 1]}), "input[1]"),
            (json!({"input": "a", "dimensions": 0}), "dimensions"),
            (json!({"input": "a", "truncate": "no"}), "truncate"),
        ] {
            assert_eq!(read(body).unwrap_err().param.as_deref(), Some(path));
        }
        let old = |body: Value| OldEmbeddingsCall::from_json(body.to_string().as_bytes()).unwrap();
        assert!(old(json!({"prompt": "a"})).prompt.is_some());
        assert!(old(json!({"prompt": ""})).prompt.is_none());
    }

    #[test]
    fn durations_are_nanoseconds() {
        let answer = EmbedAnswer {
            model: "m:latest",
            embeddings: vec![vec![1.0]],
            total_duration: Duration::from_micros(3),
            load_duration: Duration::ZERO,
            prompt_eval_count: 4,
        };
        assert_eq!(
            serde_json::to_string(&answer).unwrap(),
            r#"{"model":"m:latest","embeddings":[[1.0]],"total_duration":3000,"load_duration":0,"prompt_eval_count":4}"#
        );
    }
}
