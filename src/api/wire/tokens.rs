//! Bodies of `/tokenize` and `/detokenize`.

use serde::Deserialize;

use super::body::{BodyError, FromJson, object_text, parse};
use crate::engine::Token;

/// Body of `/tokenize`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct TokenizeRequest {
    /// What is tokenised.
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
    /// Token ids of the model's vocabulary.
    pub tokens: Vec<Token>,
}

impl FromJson for TokenizeRequest {
    fn from_json(body: &[u8]) -> Result<Self, BodyError> {
        parse(object_text(body)?)
    }
}

impl FromJson for DetokenizeRequest {
    fn from_json(body: &[u8]) -> Result<Self, BodyError> {
        parse(object_text(body)?)
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
}
