//! `logit_bias` in the forms that OpenAI and llama-server know.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use super::body::BodyError;

/// What a bias is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BiasTarget {
    /// One token.
    Token(i128),
    /// Every token of this text.
    Text(String),
}

/// A token or text and what is added to its logits; negative infinity forbids it.
pub type Bias = (BiasTarget, f32);

/// `{"TOKEN or text": BIAS}` or `[[TOKEN or "text", BIAS]]`, where `BIAS` is a number or `false`.
#[derive(Debug, Default)]
pub(super) struct BiasField(Vec<(BiasTarget, BiasValue)>);

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged, expecting = "expected a number, or false to forbid the token")]
enum BiasValue {
    Added(f64),
    Allowed(bool),
}

/// Bytes of all texts together: they are tokenized, which takes time.
const MAX_TEXT: usize = 64 << 10;

impl BiasField {
    pub(super) fn check(self) -> Result<Vec<Bias>, BodyError> {
        let texts = self.0.iter().map(|(target, _)| match target {
            BiasTarget::Text(text) => text.len(),
            BiasTarget::Token(_) => 0,
        });
        if texts.sum::<usize>() > MAX_TEXT {
            return Err(BodyError::value(
                "logit_bias",
                format!("the texts in `logit_bias` may have {MAX_TEXT} bytes together; send ids"),
            ));
        }
        self.0
            .into_iter()
            .filter_map(|(target, value)| match value {
                BiasValue::Allowed(true) => None,
                BiasValue::Allowed(false) => Some(Ok((target, f32::NEG_INFINITY))),
                #[allow(clippy::cast_possible_truncation)] // logits are f32
                BiasValue::Added(v) if (-100.0..=100.0).contains(&v) => {
                    Some(Ok((target, v as f32)))
                }
                BiasValue::Added(v) => Some(Err(BodyError::value(
                    "logit_bias",
                    format!("`logit_bias` values must be between -100 and 100, not {v}"),
                ))),
            })
            .collect()
    }
}

impl<'de> Deserialize<'de> for BiasField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = BiasField;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of token ids and biases, or an array of such pairs")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<BiasField, A::Error> {
                let mut all = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, BiasValue>()? {
                    let target = match key.parse() {
                        Ok(id) => BiasTarget::Token(id),
                        Err(_) => BiasTarget::Text(key),
                    };
                    all.push((target, value));
                }
                Ok(BiasField(all))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<BiasField, A::Error> {
                let mut all = Vec::new();
                while let Some((target, value)) = seq.next_element::<(BiasKey, BiasValue)>()? {
                    all.push((target.0, value));
                }
                Ok(BiasField(all))
            }
        }
        deserializer.deserialize_any(Read)
    }
}

/// The first of a pair.
struct BiasKey(BiasTarget);

impl<'de> Deserialize<'de> for BiasKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a token id or text")]
        enum Either {
            Token(i64),
            Text(String),
        }
        Ok(Self(match Either::deserialize(deserializer)? {
            Either::Token(id) => BiasTarget::Token(id.into()),
            Either::Text(text) => BiasTarget::Text(text),
        }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::body::parse;
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Sample {
        logit_bias: Option<BiasField>,
    }

    fn bias(json: &str) -> Result<Vec<Bias>, BodyError> {
        parse::<Sample>(format!(r#"{{"logit_bias":{json}}}"#).as_bytes())?
            .logit_bias
            .unwrap()
            .check()
    }

    #[test]
    fn bias_is_read_from_objects_and_pairs() {
        use BiasTarget::*;
        assert_eq!(
            bias(r#"{"15":-100,"hi":1.5,"7":false,"8":true}"#).unwrap(),
            [(Token(15), -100.0), (Text("hi".to_owned()), 1.5), (Token(7), f32::NEG_INFINITY)]
        );
        assert_eq!(
            bias(r#"[[15,2],["hi",false]]"#).unwrap(),
            [(Token(15), 2.0), (Text("hi".to_owned()), f32::NEG_INFINITY)]
        );
        assert_eq!(bias("{}").unwrap(), []);
        assert_eq!(bias("[]").unwrap(), []);
    }

    #[test]
    fn bias_of_other_shapes_or_sizes_is_refused() {
        let long = format!(r#"{{"{}":1}}"#, "x".repeat(MAX_TEXT + 1));
        for json in [&long, r#""x""#, "5", "[1,2]", "[[1]]", r#"{"1":"x"}"#, r#"{"1":101}"#] {
            let error = bias(json).unwrap_err();
            assert!(error.param.unwrap().starts_with("logit_bias"), "{json}");
        }
    }
}
