//! Bodies of `/tokenize` and `/detokenize`.

use serde::Deserialize;

use crate::protocol::Token;
use crate::protocol::body::{BodyError, FromJson, parse};

/// Body of `/tokenize`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct TokenizeRequest {
    /// The model asked for.
    pub model: Option<String>,
    /// What is tokenized.
    pub content: TokenizeContent,
    /// Add the tokens that the model wants at the start or end of a text.
    #[serde(default, deserialize_with = "or_default")]
    pub add_special: bool,
    /// Read `<|im_start|>` and the like as single tokens.
    #[serde(default = "yes", deserialize_with = "or_yes")]
    pub parse_special: bool,
    /// Give each token's text beside its id.
    #[serde(default, deserialize_with = "or_default")]
    pub with_pieces: bool,
}

/// A text, or texts and token ids in turn.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged, expecting = "expected a string or an array of strings and token ids")]
pub enum TokenizeContent {
    /// A text.
    Text(String),
    /// Texts and tokens, whose tokens follow each other.
    Mixed(Vec<TextOrToken>),
}

/// An element of mixed content.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged, expecting = "expected a string or a token id")]
pub enum TextOrToken {
    /// A token id, taken over as it is.
    Token(Token),
    /// A text.
    Text(String),
}

/// Body of `/detokenize`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct DetokenizeRequest {
    /// The model asked for.
    pub model: Option<String>,
    /// Token ids of the model's vocabulary.
    pub tokens: Vec<Token>,
}

/// Most bytes of text in one request: a core tokenizes a megabyte in about a second.
const MAX_TEXT: usize = 8 << 20;

/// Most tokens in one request; a token may be the text of a hundred spaces.
const MAX_TOKENS: usize = 1 << 20;

impl FromJson for TokenizeRequest {
    fn from_json(body: &[u8]) -> Result<Self, BodyError> {
        let request: Self = parse(body)?;
        let bytes = match &request.content {
            TokenizeContent::Text(text) => text.len(),
            TokenizeContent::Mixed(parts) => parts.iter().map(TextOrToken::bytes).sum(),
        };
        if bytes > MAX_TEXT {
            return Err(BodyError::value(
                "content",
                format!("`content` may have {MAX_TEXT} bytes, not {bytes}; send it in parts"),
            ));
        }
        Ok(request)
    }
}

impl TextOrToken {
    fn bytes(&self) -> usize {
        match self {
            Self::Token(_) => 1,
            Self::Text(text) => text.len(),
        }
    }
}

impl FromJson for DetokenizeRequest {
    fn from_json(body: &[u8]) -> Result<Self, BodyError> {
        let request: Self = parse(body)?;
        match request.tokens.len() {
            0..=MAX_TOKENS => Ok(request),
            more => Err(BodyError::value(
                "tokens",
                format!("`tokens` takes {MAX_TOKENS} ids, not {more}; send them in parts"),
            )),
        }
    }
}

// `null` is the same as absent, in all of this server's requests.
fn or_default<'de, D: serde::Deserializer<'de>>(d: D) -> Result<bool, D::Error> {
    Option::deserialize(d).map(Option::unwrap_or_default)
}

fn yes() -> bool {
    true
}

fn or_yes<'de, D: serde::Deserializer<'de>>(d: D) -> Result<bool, D::Error> {
    Option::deserialize(d).map(|v| v.unwrap_or(true))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn content_is_a_text_or_a_mix_and_flags_have_llama_servers_defaults() {
        let request: TokenizeRequest =
            serde_json::from_str(r#"{"content": ["a", 5, "b"], "add_special": null}"#).unwrap();
        assert!(!request.add_special && request.parse_special && !request.with_pieces);
        let TokenizeContent::Mixed(parts) = request.content else { panic!() };
        assert_eq!(parts[1], TextOrToken::Token(5));
        for bad in [
            r#"{}"#,
            r#"{"content": 5}"#,
            r#"{"content": [1.5]}"#,
            r#"{"content": [4294967296]}"#,
            r#"{"content": "a", "with_pieces": "yes"}"#,
        ] {
            assert!(serde_json::from_str::<TokenizeRequest>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_would_take_long_or_much_memory_is_refused() {
        let body = format!(r#"{{"content":["{}","b"]}}"#, "a".repeat(MAX_TEXT));
        let error = TokenizeRequest::from_json(body.as_bytes()).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("content"));
        let body = format!(r#"{{"tokens":[{}1]}}"#, "1,".repeat(MAX_TOKENS));
        let error = DetokenizeRequest::from_json(body.as_bytes()).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("tokens"));
    }
}
