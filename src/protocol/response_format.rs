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

/// The three fields as one; two that say something are a contradiction.
pub(super) fn check(
    response_format: Option<ResponseFormatField>,
    json_schema: Option<Value>,
    grammar: Option<String>,
) -> Result<ResponseFormat, BodyError> {
    let json_schema = json_schema.filter(|schema| !schema.is_null());
    let grammar = grammar.filter(|grammar| !grammar.trim().is_empty());
    let format = response_format.map(ResponseFormatField::check).transpose()?;
    let format = format.filter(|format| *format != ResponseFormat::Text);
    match (format, json_schema, grammar) {
        (None, None, None) => Ok(ResponseFormat::Text),
        (Some(format), None, None) => Ok(format),
        (None, Some(schema), None) => json_schema_at("json_schema", schema),
        (None, None, Some(grammar)) => Ok(ResponseFormat::Grammar(grammar)),
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
    fn check(self) -> Result<ResponseFormat, BodyError> {
        let (path, schema) = match (self.json_schema, self.schema) {
            (Some(mut named), _) => {
                ("response_format.json_schema.schema", named.shift_remove("schema"))
            }
            (None, schema) => ("response_format.schema", schema),
        };
        let schema = schema.filter(|schema| !schema.is_null());
        match (self.kind.as_str(), schema) {
            ("text", _) => Ok(ResponseFormat::Text),
            ("json_object", None) => Ok(ResponseFormat::JsonObject),
            ("json_object" | "json_schema", Some(schema)) => json_schema_at(path, schema),
            ("json_schema", None) => Err(BodyError::missing("response_format.json_schema.schema")),
            _ => Err(BodyError::unsupported(
                "response_format.type",
                "`response_format.type` must be \"text\", \"json_object\" or \"json_schema\"",
            )),
        }
    }
}

fn json_schema_at(path: &'static str, schema: Value) -> Result<ResponseFormat, BodyError> {
    match schema {
        Value::Object(_) | Value::Bool(_) => Ok(ResponseFormat::JsonSchema { schema, path }),
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
        check(Some(field), None, None)
    }

    #[test]
    fn a_schema_stands_in_three_places() {
        let schema = || json!({"type": "object"});
        let expected = |path| ResponseFormat::JsonSchema { schema: schema(), path };
        let nested =
            json!({"type": "json_schema", "json_schema": {"name": "r", "schema": schema()}});
        assert_eq!(format(nested).unwrap(), expected("response_format.json_schema.schema"));
        let beside = json!({"type": "json_object", "schema": schema()});
        assert_eq!(format(beside).unwrap(), expected("response_format.schema"));
        assert_eq!(check(None, Some(schema()), None).unwrap(), expected("json_schema"));
        assert_eq!(format(json!({"type": "json_object"})).unwrap(), ResponseFormat::JsonObject);
        assert_eq!(format(json!({"type": "text"})).unwrap(), ResponseFormat::Text);
        let grammar = check(None, None, Some("root ::= \"a\"".to_owned())).unwrap();
        assert_eq!(grammar, ResponseFormat::Grammar("root ::= \"a\"".to_owned()));
        let nothing = check(None, Some(Value::Null), Some(String::new())).unwrap();
        assert_eq!(nothing, ResponseFormat::Text);
    }

    #[test]
    fn what_is_missing_or_contradicts_names_its_field() {
        let param = |result: Result<ResponseFormat, BodyError>| result.unwrap_err().param.unwrap();
        let missing = "response_format.json_schema.schema";
        assert_eq!(param(format(json!({"type": "json_schema"}))), missing);
        assert_eq!(param(format(json!({"type": "json_schema", "json_schema": {}}))), missing);
        assert_eq!(param(format(json!({"type": "xml"}))), "response_format.type");
        let check = |schema, grammar| check(None, schema, grammar);
        assert_eq!(param(check(Some(json!(5)), None)), "json_schema");
        let both = check(Some(json!({})), Some("root ::= \"a\"".to_owned()));
        assert_eq!(param(both), "json_schema");
    }
}
