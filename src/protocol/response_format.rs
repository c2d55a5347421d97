//! The form that an answer's text must have: OpenAI's `response_format`, and llama-server's
//! `json_schema` and `grammar`.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::body::BodyError;
use crate::chat::ResponseFormat;

/// `response_format` as sent.
#[derive(Debug, Deserialize)]
pub(super) struct ResponseFormatField {
    #[serde(rename = "type")]
    kind: String,
    json_schema: Option<Map<String, Value>>,
    /// llama-server's place for the schema.
    schema: Option<Value>,
}

/// The three fields as one, and the path of the schema or grammar in the request; two that say
/// something are a contradiction.
pub(super) fn check(
    response_format: Option<ResponseFormatField>,
    json_schema: Option<Value>,
    grammar: Option<String>,
) -> Result<(ResponseFormat, &'static str), BodyError> {
    let json_schema = json_schema.filter(|schema| !schema.is_null());
    let grammar = grammar.filter(|grammar| !grammar.trim().is_empty());
    let format = response_format.map(ResponseFormatField::check).transpose()?;
    let format = format.filter(|(format, _)| *format != ResponseFormat::Text);
    match (format, json_schema, grammar) {
        (None, None, None) => Ok((ResponseFormat::Text, "response_format")),
        (Some(format), None, None) => Ok(format),
        (None, Some(schema), None) => {
            is_schema(&schema, "json_schema")?;
            Ok((ResponseFormat::JsonSchema(schema), "json_schema"))
        }
        (None, None, Some(grammar)) => Ok((ResponseFormat::Grammar(grammar), "grammar")),
        (_, Some(_), _) => Err(BodyError::value(
            "json_schema",
            "`json_schema` excludes `response_format` and `grammar`; send one of them",
        )),
        (_, None, Some(_)) => Err(BodyError::value(
            "grammar",
            "`grammar` excludes `response_format` and `json_schema`; send one of them",
        )),
    }
}

impl ResponseFormatField {
    fn check(self) -> Result<(ResponseFormat, &'static str), BodyError> {
        let (path, schema) = match (self.json_schema, self.schema) {
            (Some(mut named), _) => {
                ("response_format.json_schema.schema", named.shift_remove("schema"))
            }
            (None, schema) => ("response_format.schema", schema),
        };
        let schema = schema.filter(|schema| !schema.is_null());
        let format = match (self.kind.as_str(), schema) {
            ("text", _) => ResponseFormat::Text,
            ("json_object", None) => ResponseFormat::JsonObject,
            ("json_object" | "json_schema", Some(schema)) => {
                is_schema(&schema, path)?;
                ResponseFormat::JsonSchema(schema)
            }
            ("json_schema", None) => {
                return Err(BodyError::missing("response_format.json_schema.schema"));
            }
            _ => {
                return Err(BodyError::unsupported(
                    "response_format.type",
                    "`response_format.type` must be \"text\", \"json_object\" or \"json_schema\"",
                ));
            }
        };
        Ok((format, path))
    }
}

fn is_schema(schema: &Value, path: &str) -> Result<(), BodyError> {
    match schema {
        Value::Object(_) | Value::Bool(_) => Ok(()),
        _ => Err(BodyError::wrong_type(path, format!("`{path}` must be a JSON schema, an object"))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn format(sent: Value) -> Result<ResponseFormat, BodyError> {
        let field = serde_json::from_value(sent).unwrap();
        check(Some(field), None, None).map(|(format, _)| format)
    }

    #[test]
    fn a_schema_stands_in_three_places() {
        let schema = || json!({"type": "object"});
        let expected = || ResponseFormat::JsonSchema(schema());
        let nested =
            json!({"type": "json_schema", "json_schema": {"name": "r", "schema": schema()}});
        assert_eq!(format(nested).unwrap(), expected());
        assert_eq!(format(json!({"type": "json_object", "schema": schema()})).unwrap(), expected());
        assert_eq!(check(None, Some(schema()), None).unwrap(), (expected(), "json_schema"));
        assert_eq!(format(json!({"type": "json_object"})).unwrap(), ResponseFormat::JsonObject);
        assert_eq!(format(json!({"type": "text"})).unwrap(), ResponseFormat::Text);
        let grammar = check(None, None, Some("root ::= \"a\"".to_owned())).unwrap();
        assert_eq!(grammar.0, ResponseFormat::Grammar("root ::= \"a\"".to_owned()));
        let nothing = check(None, Some(Value::Null), Some(String::new())).unwrap();
        assert_eq!(nothing.0, ResponseFormat::Text);
    }

    #[test]
    fn what_is_missing_or_contradicts_names_its_field() {
        let param = |result: Result<ResponseFormat, BodyError>| result.unwrap_err().param.unwrap();
        let missing = "response_format.json_schema.schema";
        assert_eq!(param(format(json!({"type": "json_schema"}))), missing);
        assert_eq!(param(format(json!({"type": "json_schema", "json_schema": {}}))), missing);
        assert_eq!(param(format(json!({"type": "xml"}))), "response_format.type");
        let check = |schema, grammar| check(None, schema, grammar).map(|(format, _)| format);
        assert_eq!(param(check(Some(json!(5)), None)), "json_schema");
        let both = check(Some(json!({})), Some("root ::= \"a\"".to_owned()));
        assert_eq!(param(both), "json_schema");
    }
}
