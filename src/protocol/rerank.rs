//! The body of `POST /v1/rerank` and its answer, as Jina, Cohere and llama-server have it; and the
//! form of Hugging Face's text-embeddings-inference (TEI), which llama-server takes as well.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::body::{BodyError, FromJson, Integer, parse};
use super::embedding::bounded;
use super::openai::EmbeddingUsage;

/// A checked request.
#[derive(Debug, PartialEq, Eq)]
pub struct RerankCall {
    /// The model asked for.
    pub model: Option<String>,
    /// What the documents are scored by.
    pub query: String,
    /// The texts, at least one.
    pub documents: Vec<String>,
    /// Of the best documents, as many are told.
    pub top_n: usize,
    /// Whether the answer repeats the documents.
    pub returns_documents: bool,
    /// The names of the fields.
    pub form: RerankForm,
}

impl RerankCall {
    /// The path of the document at `index`.
    pub fn path(&self, index: usize) -> String {
        match self.form {
            RerankForm::Jina => format!("documents[{index}]"),
            RerankForm::Tei => format!("texts[{index}]"),
        }
    }
}

/// The names of the fields, in the request and the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RerankForm {
    /// `documents`, answered with `results`.
    Jina,
    /// `texts`, answered with a list.
    Tei,
}

#[derive(Debug, Deserialize)]
struct Fields {
    model: Option<String>,
    query: Option<String>,
    documents: Option<Vec<Value>>,
    texts: Option<Vec<Value>>,
    top_n: Option<Integer>,
    return_documents: Option<bool>,
    return_text: Option<bool>,
}

impl FromJson for RerankCall {
    fn from_json(body: &[u8]) -> Result<Self, BodyError> {
        let fields: Fields = parse(body)?;
        let (field, sent, returns, form) = match (fields.documents, fields.texts) {
            (None, Some(texts)) => ("texts", texts, fields.return_text, RerankForm::Tei),
            (documents, _) => {
                let documents = documents.ok_or_else(|| BodyError::missing("documents"))?;
                ("documents", documents, fields.return_documents, RerankForm::Jina)
            }
        };
        if sent.is_empty() {
            return Err(BodyError::value(field, format!("`{field}` must not be an empty list")));
        }
        bounded(field, sent.len())?;
        let documents = sent
            .into_iter()
            .enumerate()
            .map(|(i, document)| text(document, &format!("{field}[{i}]")))
            .collect::<Result<Vec<_>, _>>()?;
        let top_n = match fields.top_n {
            None => documents.len(),
            Some(Integer(n)) => usize::try_from(n.max(0).min(documents.len() as i128))
                .ok()
                .filter(|&n| n > 0)
                .ok_or_else(|| {
                    BodyError::value("top_n", "`top_n` must be a whole number from 1")
                })?,
        };
        Ok(Self {
            model: fields.model,
            query: fields.query.ok_or_else(|| BodyError::missing("query"))?,
            documents,
            top_n,
            returns_documents: returns.unwrap_or(false),
            form,
        })
    }
}

/// A document is a text, or an object that has one.
fn text(document: Value, path: &str) -> Result<String, BodyError> {
    let text = match document {
        Value::Object(mut fields) => fields.remove("text"),
        other => Some(other),
    };
    match text {
        Some(Value::String(text)) => Ok(text),
        _ => {
            let message = format!("`{path}`: expected a string, or an object with a string `text`");
            Err(BodyError::wrong_type(path, message))
        }
    }
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum RerankAnswer<'a> {
    /// Jina's.
    Jina {
        /// The model that scored.
        model: &'a str,
        /// `list`.
        object: &'static str,
        /// Tokens of all pairs.
        usage: EmbeddingUsage,
        /// The best first.
        results: Vec<JinaResult>,
    },
    /// TEI's, the best first.
    Tei(Vec<TeiResult>),
}

/// One document's score, as Jina names it.
#[derive(Debug, Serialize)]
pub struct JinaResult {
    index: usize,
    relevance_score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<Document>,
}

#[derive(Debug, Serialize)]
struct Document {
    text: String,
}

/// One document's score, as TEI names it.
#[derive(Debug, Serialize)]
pub struct TeiResult {
    index: usize,
    score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

impl<'a> RerankAnswer<'a> {
    /// `scores`: of each document, in the order of the request; all pairs have `tokens` together.
    pub fn new(call: RerankCall, model: &'a str, scores: &[f32], tokens: usize) -> Self {
        let mut ranked: Vec<(usize, f32, String)> = call
            .documents
            .into_iter()
            .zip(scores)
            .enumerate()
            .map(|(index, (document, &score))| (index, score, document))
            .collect();
        // Equal ones stay in the order of the request.
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        ranked.truncate(call.top_n);
        let shown = |text: String| call.returns_documents.then_some(text);
        let ranked = ranked.into_iter();
        match call.form {
            RerankForm::Jina => Self::Jina {
                model,
                object: "list",
                usage: EmbeddingUsage::of(tokens),
                results: ranked
                    .map(|(index, relevance_score, text)| JinaResult {
                        index,
                        relevance_score,
                        document: shown(text).map(|text| Document { text }),
                    })
                    .collect(),
            },
            RerankForm::Tei => Self::Tei(
                ranked
                    .map(|(index, score, text)| TeiResult { index, score, text: shown(text) })
                    .collect(),
            ),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: Value) -> Result<RerankCall, BodyError> {
        RerankCall::from_json(body.to_string().as_bytes())
    }

    fn answer(body: Value, scores: &[f32]) -> Value {
        json!(RerankAnswer::new(read(body).unwrap(), "m", scores, 9))
    }

    #[test]
    fn the_best_come_first_and_equal_ones_in_their_order() {
        let body = json!({"query": "q", "documents": ["a", {"text": "b"}, "c", "d"]});
        assert_eq!(
            answer(body, &[0.5, -1.0, 2.0, 0.5]),
            json!({
                "model": "m", "object": "list",
                "usage": {"prompt_tokens": 9, "total_tokens": 9},
                "results": [
                    {"index": 2, "relevance_score": 2.0}, {"index": 0, "relevance_score": 0.5},
                    {"index": 3, "relevance_score": 0.5}, {"index": 1, "relevance_score": -1.0},
                ],
            })
        );
        let body = json!({
            "query": "q", "documents": ["a", {"text": "b"}], "top_n": 1, "return_documents": true,
        });
        assert_eq!(
            answer(body, &[0.0, 1.0])["results"],
            json!([{"index": 1, "relevance_score": 1.0, "document": {"text": "b"}}])
        );
        let body = json!({"query": "q", "texts": ["a", "b"], "return_text": true, "top_n": 9});
        assert_eq!(
            answer(body, &[0.0, 1.0]),
            json!([{"index": 1, "score": 1.0, "text": "b"}, {"index": 0, "score": 0.0, "text": "a"}])
        );
    }

    #[test]
    fn errors_name_the_field() {
        for (body, path) in [
            (json!({"documents": ["a"]}), "query"),
            (json!({"query": "q"}), "documents"),
            (json!({"query": "q", "documents": []}), "documents"),
            (json!({"query": "q", "documents": "a"}), "documents"),
            (json!({"query": "q", "documents": ["a", 5]}), "documents[1]"),
            (json!({"query": "q", "documents": [{"title": "a"}]}), "documents[0]"),
            (json!({"query": "q", "texts": [null]}), "texts[0]"),
            (json!({"query": "q", "documents": ["a"], "top_n": 0}), "top_n"),
            (json!({"query": ["q"], "documents": ["a"]}), "query"),
        ] {
            assert_eq!(read(body.clone()).unwrap_err().param.as_deref(), Some(path), "{body}");
        }
    }
}
