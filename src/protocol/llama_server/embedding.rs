//! The body of llama-server's `/embedding` and its answer.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::protocol::body::{BodyError, FromJson, Integer, parse};
use crate::protocol::embedding::{EUCLIDEAN, EmbeddingTexts};

/// A checked request.
#[derive(Debug, PartialEq, Eq)]
pub struct EmbeddingCall {
    /// The model asked for.
    pub model: Option<String>,
    /// What becomes vectors.
    pub content: EmbeddingTexts,
    /// The norm of the vectors, as llama.cpp counts them.
    pub norm: i32,
}

#[derive(Debug, Deserialize)]
struct Fields {
    model: Option<String>,
    content: Option<Value>,
    input: Option<Value>,
    embd_normalize: Option<Integer>,
}

impl FromJson for EmbeddingCall {
    fn from_json(body: &[u8]) -> Result<Self, BodyError> {
        let fields: Fields = parse(body)?;
        let content = match (fields.input, fields.content) {
            (Some(input), _) => EmbeddingTexts::read("input", input)?,
            (None, content) => EmbeddingTexts::read("content", content.unwrap_or_default())?,
        };
        let norm = match fields.embd_normalize {
            None => EUCLIDEAN,
            Some(Integer(norm)) => i32::try_from(norm)
                .ok()
                .filter(|norm| (-1..=MAX_NORM).contains(norm))
                .ok_or_else(|| {
                    BodyError::value(
                        "embd_normalize",
                        format!("`embd_normalize` must be between -1 and {MAX_NORM}, not {norm}"),
                    )
                })?,
        };
        Ok(Self { model: fields.model, content, norm })
    }
}

/// Beyond it a p-norm is the largest value.
const MAX_NORM: i32 = 100;

/// An element of the answer, which is a list.
#[derive(Debug, Serialize)]
pub struct NativeEmbedding {
    index: usize,
    /// One vector: models that keep each token's are not served.
    embedding: [Vec<f32>; 1],
}

impl NativeEmbedding {
    /// The answer of these vectors, in the order of the texts.
    pub fn list(vectors: Vec<Vec<f32>>) -> Vec<Self> {
        let vectors = vectors.into_iter().enumerate();
        vectors.map(|(index, vector)| Self { index, embedding: [vector] }).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_has_content_or_input_and_a_norm() {
        let read = |body: Value| EmbeddingCall::from_json(body.to_string().as_bytes());
        let call = read(json!({"content": "a"})).unwrap();
        assert_eq!((call.norm, call.content.path(0).as_str()), (2, "content"));
        let call = read(json!({"input": ["a"], "content": "b", "embd_normalize": -1})).unwrap();
        assert_eq!((call.norm, call.content.path(0).as_str()), (-1, "input[0]"));
        for (body, path) in [
            (json!({}), "content"),
            (json!({"content": 5}), "content"),
            (json!({"content": "a", "embd_normalize": -2}), "embd_normalize"),
        ] {
            assert_eq!(read(body).unwrap_err().param.as_deref(), Some(path));
        }
    }

    #[test]
    fn the_answer_is_llama_servers() {
        let list = NativeEmbedding::list(vec![vec![0.5], vec![1.0]]);
        let text = serde_json::to_string(&list).unwrap();
        assert_eq!(text, r#"[{"index":0,"embedding":[[0.5]]},{"index":1,"embedding":[[1.0]]}]"#);
    }
}
