//! Texts that become vectors, whatever API they came by, and what is done with the vectors.

use serde_json::Value;

use super::body::BodyError;
use super::prompt::MAX_SEQUENCES;

/// One text: as it is, or as tokens. Ids are checked against the model later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EmbeddingText {
    /// Text to be tokenized.
    Text(String),
    /// Token ids.
    Tokens(Vec<i128>),
}

/// The texts of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddingTexts {
    /// One vector is made of each.
    pub texts: Vec<EmbeddingText>,
    field: &'static str,
    is_list: bool,
}

impl EmbeddingTexts {
    /// Reads the field: a string, a list of token ids, or a list of such.
    pub(super) fn read(field: &'static str, value: Value) -> Result<Self, BodyError> {
        let one = |text| Self { texts: vec![text], field, is_list: false };
        let elements = match value {
            Value::String(text) => return Ok(one(EmbeddingText::Text(text))),
            Value::Array(elements) => elements,
            Value::Null => return Err(BodyError::missing(field)),
            _ => return Err(wrong(field)),
        };
        match elements.first() {
            None => {
                return Err(BodyError::value(
                    field,
                    format!("`{field}` must not be an empty list"),
                ));
            }
            Some(Value::Number(_)) => {
                return Ok(one(EmbeddingText::Tokens(tokens(field, elements)?)));
            }
            Some(_) => {}
        }
        bounded(field, elements.len())?;
        let texts = elements
            .into_iter()
            .enumerate()
            .map(|(i, element)| {
                let path = format!("{field}[{i}]");
                match element {
                    Value::String(text) => Ok(EmbeddingText::Text(text)),
                    Value::Array(ids) => Ok(EmbeddingText::Tokens(tokens(&path, ids)?)),
                    _ => Err(wrong(&path)),
                }
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { texts, field, is_list: true })
    }

    /// The path of the text at `index`, such as `input[2]`.
    pub fn path(&self, index: usize) -> String {
        if self.is_list { format!("{}[{index}]", self.field) } else { self.field.to_owned() }
    }
}

/// At most as many texts in one request as OpenAI takes.
pub(super) fn bounded(field: &str, texts: usize) -> Result<(), BodyError> {
    if texts <= MAX_SEQUENCES {
        return Ok(());
    }
    let message =
        format!("`{field}` may have {MAX_SEQUENCES} texts, not {texts}; send it in parts");
    Err(BodyError::value(field, message))
}

fn wrong(path: &str) -> BodyError {
    let message =
        format!("`{path}`: expected a string, an array of token ids, or an array of such");
    BodyError::wrong_type(path, message)
}

fn tokens(path: &str, elements: Vec<Value>) -> Result<Vec<i128>, BodyError> {
    let token = |(i, element): (usize, Value)| {
        element.as_i64().map(i128::from).ok_or_else(|| {
            let path = format!("{path}[{i}]");
            BodyError::wrong_type(path.clone(), format!("`{path}`: expected a token id"))
        })
    };
    elements.into_iter().enumerate().map(token).collect()
}

/// Cuts a vector to its first `dimensions` values, if there are that many (Matryoshka), and brings
/// it to length 1.
pub fn shorten(vector: &mut Vec<f32>, dimensions: Option<usize>) {
    vector.truncate(dimensions.unwrap_or(vector.len()));
    normalize(vector, EUCLIDEAN);
}

/// The norm that makes a vector's length 1.
pub(super) const EUCLIDEAN: i32 = 2;

/// Brings the vector's norm to 1, as llama.cpp counts norms: -1 leaves it as it is, 0 makes the
/// largest value 32760, 1 is the sum of all sizes, 2 the length, others the p-norm. A vector of
/// zeros stays.
pub fn normalize(vector: &mut [f32], norm: i32) {
    let sizes = vector.iter().map(|value| f64::from(value.abs()));
    let sum = match norm {
        ..0 => return,
        0 => sizes.fold(0.0, f64::max) / 32_760.0,
        1 => sizes.sum(),
        2 => sizes.map(|size| size * size).sum::<f64>().sqrt(),
        p => sizes.map(|size| size.powi(p)).sum::<f64>().powf(1.0 / f64::from(p)),
    };
    if sum > 0.0 {
        for value in vector {
            #[allow(clippy::cast_possible_truncation)] // to the values' own precision
            let scaled = (f64::from(*value) / sum) as f32;
            *value = scaled;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<EmbeddingTexts, BodyError> {
        EmbeddingTexts::read("input", value)
    }

    #[test]
    fn an_input_is_one_text_or_several_each_as_text_or_tokens() {
        let text = |text: &str| EmbeddingText::Text(text.to_owned());
        for (value, texts, path) in [
            (json!("a"), vec![text("a")], "input"),
            (json!([1, 2]), vec![EmbeddingText::Tokens(vec![1, 2])], "input"),
            (json!(["a"]), vec![text("a")], "input[0]"),
            (json!([[1], "b"]), vec![EmbeddingText::Tokens(vec![1]), text("b")], "input[0]"),
        ] {
            let read = read(value).unwrap();
            assert_eq!(read.texts, texts);
            assert_eq!(read.path(0), path);
        }
        for (value, path) in [
            (json!(null), "input"),
            (json!([]), "input"),
            (json!({"text": "a"}), "input"),
            (json!(["a", 5]), "input[1]"),
            (json!(["a", null]), "input[1]"),
            (json!([1, "a"]), "input[1]"),
            (json!([[1, 1.5]]), "input[0][1]"),
            (json!(vec!["a"; MAX_SEQUENCES + 1]), "input"),
        ] {
            let error = read(value).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(path), "{error}");
        }
    }

    #[test]
    fn vectors_are_cut_and_brought_to_a_norm() {
        let shortened = |dimensions| {
            let mut vector = vec![3.0, 4.0, 12.0];
            shorten(&mut vector, dimensions);
            vector
        };
        assert_eq!(shortened(Some(2)), [0.6, 0.8]);
        assert_eq!(shortened(None), [3.0 / 13.0, 4.0 / 13.0, 12.0 / 13.0]);
        for (norm, expected) in [
            (-1, [1.0, -3.0]),
            (0, [10_920.0, -32_760.0]),
            (1, [0.25, -0.75]),
            (3, [0.329_316_87, -0.987_950_6]),
        ] {
            let mut vector = [1.0, -3.0];
            normalize(&mut vector, norm);
            let close = vector.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6 * b.abs());
            assert!(close || vector == expected, "{norm}: {vector:?}");
        }
        let mut zeros = [0.0, 0.0];
        normalize(&mut zeros, EUCLIDEAN);
        assert_eq!(zeros, [0.0, 0.0]);
    }
}
