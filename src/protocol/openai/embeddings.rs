//! The body of `POST /v1/embeddings` and its answer.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::protocol::body::{BodyError, FromJson, Integer, parse};
use crate::protocol::embedding::EmbeddingTexts;

/// A checked request.
#[derive(Debug, PartialEq, Eq)]
pub struct EmbeddingsCall {
    /// The model asked for.
    pub model: Option<String>,
    /// What becomes vectors.
    pub input: EmbeddingTexts,
    /// How the vectors are written.
    pub encoding: Encoding,
    /// Values that each vector is cut to.
    pub dimensions: Option<usize>,
}

/// How a vector is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// A list of numbers.
    Float,
    /// Its f32 values, little-endian, in base64: what OpenAI's SDKs ask for.
    Base64,
}

#[derive(Debug, Deserialize)]
struct Fields {
    model: Option<String>,
    input: Option<Value>,
    encoding_format: Option<String>,
    dimensions: Option<Integer>,
}

impl FromJson for EmbeddingsCall {
    fn from_json(body: &[u8]) -> Result<Self, BodyError> {
        let fields: Fields = parse(body)?;
        let encoding = match fields.encoding_format.as_deref() {
            None | Some("float") => Encoding::Float,
            Some("base64") => Encoding::Base64,
            Some(_) => {
                return Err(BodyError::value(
                    "encoding_format",
                    "`encoding_format` must be \"float\" or \"base64\"",
                ));
            }
        };
        Ok(Self {
            model: fields.model,
            input: EmbeddingTexts::read("input", fields.input.unwrap_or_default())?,
            encoding,
            dimensions: dimensions(fields.dimensions)?,
        })
    }
}

/// A number of dimensions as sent; whether the model has as many is seen later.
pub(in crate::protocol) fn dimensions(sent: Option<Integer>) -> Result<Option<usize>, BodyError> {
    let Some(Integer(sent)) = sent else { return Ok(None) };
    match usize::try_from(sent) {
        Ok(dimensions @ 1..) => Ok(Some(dimensions)),
        _ => Err(BodyError::value("dimensions", "`dimensions` must be a whole number from 1")),
    }
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct EmbeddingsAnswer<'a> {
    object: &'static str,
    data: Vec<Embedding>,
    model: &'a str,
    usage: EmbeddingUsage,
}

/// Tokens of all texts.
#[derive(Debug, Serialize)]
pub struct EmbeddingUsage {
    prompt_tokens: usize,
    total_tokens: usize,
}

impl EmbeddingUsage {
    /// Of so many tokens.
    pub fn of(tokens: usize) -> Self {
        Self { prompt_tokens: tokens, total_tokens: tokens }
    }
}

#[derive(Debug, Serialize)]
struct Embedding {
    object: &'static str,
    index: usize,
    embedding: Vector,
}

#[derive(Debug)]
struct Vector(Vec<f32>, Encoding);

impl Serialize for Vector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.1 {
            Encoding::Float => self.0.serialize(serializer),
            Encoding::Base64 => {
                let bytes: Vec<u8> = self.0.iter().flat_map(|value| value.to_le_bytes()).collect();
                serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
            }
        }
    }
}

impl<'a> EmbeddingsAnswer<'a> {
    /// `vectors` in the order of the texts, which have `tokens` together.
    pub fn new(model: &'a str, vectors: Vec<Vec<f32>>, encoding: Encoding, tokens: usize) -> Self {
        let data = vectors.into_iter().enumerate().map(|(index, vector)| Embedding {
            object: "embedding",
            index,
            embedding: Vector(vector, encoding),
        });
        Self { object: "list", data: data.collect(), model, usage: EmbeddingUsage::of(tokens) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: Value) -> Result<EmbeddingsCall, BodyError> {
        EmbeddingsCall::from_json(body.to_string().as_bytes())
    }

    #[test]
    fn a_request_is_read_and_errors_name_the_field() {
        let call = read(json!({
            "model": "m", "input": ["a"], "encoding_format": "base64", "dimensions": 64, "user": "u",
        }));
        let call = call.unwrap();
        assert_eq!((call.encoding, call.dimensions), (Encoding::Base64, Some(64)));
        let plain = read(json!({"input": "a", "encoding_format": null, "dimensions": null}));
        assert_eq!(plain.unwrap().encoding, Encoding::Float);
        for (body, path) in [
            (json!({}), "input"),
            (json!({"input": ["a", {}]}), "input[1]"),
            (json!({"input": "a", "encoding_format": "hex"}), "encoding_format"),
            (json!({"input": "a", "encoding_format": 1}), "encoding_format"),
            (json!({"input": "a", "dimensions": 0}), "dimensions"),
            (json!({"input": "a", "dimensions": -1}), "dimensions"),
            (json!({"input": "a", "dimensions": 1.5}), "dimensions"),
            (json!({"input": "a", "model": 5}), "model"),
        ] {
            assert_eq!(read(body.clone()).unwrap_err().param.as_deref(), Some(path), "{body}");
        }
    }

    #[test]
    fn vectors_are_numbers_or_little_endian_floats_in_base64() {
        let answer = |encoding| {
            let vectors = vec![vec![1.0, -0.5], vec![0.1, 0.0]];
            serde_json::to_string(&EmbeddingsAnswer::new("m", vectors, encoding, 7)).unwrap()
        };
        assert_eq!(
            answer(Encoding::Float),
            r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[1.0,-0.5]},{"object":"embedding","index":1,"embedding":[0.1,0.0]}],"model":"m","usage":{"prompt_tokens":7,"total_tokens":7}}"#
        );
        // 0000803f 000000bf
        assert!(answer(Encoding::Base64).contains(r#""embedding":"AACAPwAAAL8=""#));
    }
}
