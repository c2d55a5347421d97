//! The prompt of a completion, whatever API it came by.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::body::BodyError;

/// Most sequences that one request may ask for: prompts times `n`.
pub const MAX_SEQUENCES: usize = 2048;

/// One prompt: text, token ids, or both in turn. Ids are checked against the model later.
pub type Prompt = Vec<PromptPiece>;

/// A part of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PromptPiece {
    /// Text to be tokenized.
    Text(String),
    /// A token id.
    Token(i128),
}

/// `prompt` as sent.
#[derive(Debug)]
pub(super) enum PromptField {
    One(PromptPiece),
    List(Vec<Element>),
}

#[derive(Debug)]
pub(super) enum Element {
    Piece(PromptPiece),
    List(Vec<Element>),
}

impl PromptField {
    /// Whether each element is a prompt of its own. As llama-server has it, a list with a number
    /// in it is one prompt.
    fn is_list(&self) -> bool {
        match self {
            Self::One(_) => false,
            Self::List(all) => {
                !all.iter().any(|e| matches!(e, Element::Piece(PromptPiece::Token(_))))
            }
        }
    }

    /// The prompts, at least one, and whether the whole field is one prompt; `n`: choices of each.
    pub(super) fn check(self, n: u32) -> Result<(Vec<Prompt>, bool), BodyError> {
        let single = !self.is_list();
        let prompts = self.prompts()?;
        if prompts.is_empty() {
            return Err(BodyError::value("prompt", "`prompt` must not be an empty list"));
        }
        if prompts.len().saturating_mul(n as usize) > MAX_SEQUENCES {
            return Err(BodyError::value(
                "prompt",
                format!(
                    "{} prompts times n = {n} are more than {MAX_SEQUENCES} choices; send several \
                     requests",
                    prompts.len()
                ),
            ));
        }
        Ok((prompts, single))
    }

    fn prompts(self) -> Result<Vec<Prompt>, BodyError> {
        let is_list = self.is_list();
        match self {
            Self::One(piece) => Ok(vec![vec![piece]]),
            Self::List(all) if is_list => all
                .into_iter()
                .enumerate()
                .map(|(i, element)| match element {
                    Element::Piece(piece) => Ok(vec![piece]),
                    Element::List(inner) => pieces(inner, &format!("prompt[{i}]")),
                })
                .collect(),
            Self::List(all) => Ok(vec![pieces(all, "prompt")?]),
        }
    }
}

fn pieces(elements: Vec<Element>, path: &str) -> Result<Prompt, BodyError> {
    elements
        .into_iter()
        .enumerate()
        .map(|(i, element)| match element {
            Element::Piece(piece) => Ok(piece),
            Element::List(_) => Err(BodyError::wrong_type(
                format!("{path}[{i}]"),
                "a list inside a prompt must be strings and token ids",
            )),
        })
        .collect()
}

impl<'de> Deserialize<'de> for PromptField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Element::deserialize(deserializer)? {
            Element::Piece(piece @ PromptPiece::Text(_)) => Self::One(piece),
            Element::Piece(PromptPiece::Token(_)) => {
                return Err(D::Error::custom(format_args!("expected {EXPECTED}")));
            }
            Element::List(all) => Self::List(all),
        })
    }
}

const EXPECTED: &str = "a string, an array of token ids, or an array of prompts";

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Element;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_str<E: Error>(self, v: &str) -> Result<Element, E> {
                self.visit_string(v.to_owned())
            }

            fn visit_string<E: Error>(self, v: String) -> Result<Element, E> {
                Ok(Element::Piece(PromptPiece::Text(v)))
            }

            fn visit_i64<E: Error>(self, v: i64) -> Result<Element, E> {
                Ok(Element::Piece(PromptPiece::Token(v.into())))
            }

            fn visit_u64<E: Error>(self, v: u64) -> Result<Element, E> {
                Ok(Element::Piece(PromptPiece::Token(v.into())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Element, A::Error> {
                let mut all = Vec::new();
                while let Some(element) = seq.next_element()? {
                    all.push(element);
                }
                Ok(Element::List(all))
            }

            /// llama-server's `{"prompt_string": "..", "multimodal_data": [..]}`.
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Element, A::Error> {
                let mut text = None;
                while let Some(key) = map.next_key::<String>()? {
                    let value = map.next_value::<Value>()?;
                    match (key.as_str(), value) {
                        ("prompt_string", Value::String(value)) => text = Some(value),
                        ("multimodal_data", Value::Array(data)) if !data.is_empty() => {
                            return Err(A::Error::custom("the model reads text only"));
                        }
                        _ => {}
                    }
                }
                text.map(|text| Element::Piece(PromptPiece::Text(text)))
                    .ok_or_else(|| A::Error::missing_field("prompt_string"))
            }
        }
        deserializer.deserialize_any(Read)
    }
}
