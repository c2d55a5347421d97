//! `stop`: the strings that end a generation.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

use super::body::BodyError;

/// `stop`: a string or several.
#[derive(Debug, Default)]
pub(super) struct StopField(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for StopField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = StopField;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array of strings")
            }

            fn visit_str<E: Error>(self, v: &str) -> Result<StopField, E> {
                Ok(StopField(vec![v.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<StopField, A::Error> {
                let mut all = Vec::new();
                while let Some(stop) = seq.next_element::<Option<String>>()? {
                    all.extend(stop);
                }
                Ok(StopField(all))
            }
        }
        deserializer.deserialize_any(Read)
    }
}

impl StopField {
    const MAX_STRINGS: usize = 64;
    const MAX_BYTES: usize = 1024;

    /// The stop strings of the field `name`; empty ones, which would stop everything, are dropped.
    pub(super) fn check(mut self, name: &str) -> Result<Vec<String>, BodyError> {
        self.0.retain(|stop| !stop.is_empty());
        if self.0.len() > Self::MAX_STRINGS {
            return Err(BodyError::value(
                name,
                format!(
                    "`{name}` takes {} strings at most, not {}",
                    Self::MAX_STRINGS,
                    self.0.len()
                ),
            ));
        }
        match self.0.iter().position(|stop| stop.len() > Self::MAX_BYTES) {
            Some(i) => Err(BodyError::value(
                format!("{name}[{i}]"),
                format!("a stop string may have {} bytes at most", Self::MAX_BYTES),
            )),
            None => Ok(self.0),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::body::parse;
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Sample {
        stop: Option<StopField>,
    }

    fn stop(json: &str) -> Result<Vec<String>, BodyError> {
        parse::<Sample>(format!(r#"{{"stop":{json}}}"#).as_bytes())?
            .stop
            .unwrap_or_default()
            .check("stop")
    }

    #[test]
    fn stop_is_a_string_or_several_and_empty_ones_are_dropped() {
        assert_eq!(stop(r#""a""#).unwrap(), ["a"]);
        assert_eq!(stop(r#"["a","","b",null]"#).unwrap(), ["a", "b"]);
        assert_eq!(stop("null").unwrap(), [""; 0]);
        assert_eq!(stop("5").unwrap_err().param.as_deref(), Some("stop"));
        assert_eq!(stop(r#"["a",5]"#).unwrap_err().param.as_deref(), Some("stop[1]"));
    }

    #[test]
    fn too_many_or_too_long_stop_strings_are_refused() {
        let many = serde_json::to_string(&vec!["x"; 200]).unwrap();
        assert_eq!(stop(&many).unwrap_err().code, "invalid_value");
        let long = serde_json::to_string(&["a".to_owned(), "x".repeat(1025)]).unwrap();
        assert_eq!(stop(&long).unwrap_err().param.as_deref(), Some("stop[1]"));
        assert!(stop(&serde_json::to_string(&vec!["x".repeat(1024); 64]).unwrap()).is_ok());
    }
}
