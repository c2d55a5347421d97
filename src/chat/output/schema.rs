//! What a tool's schema lets a parameter be, for formats that write values without quotes.

use serde_json::Value;

use super::json::is_json;
use crate::chat::json_text::json_string;

/// `$ref`s and alternatives that are followed, one inside the other.
const MAX_DEPTH: usize = 16;

/// White space around a value that may be no string: what begins with more is one.
const MAX_BLANKS: usize = 64;

/// How the text of a parameter's value is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kinds {
    /// It is a string as it stands.
    String,
    /// It is a string unless it is the word null.
    StringOrNull,
    /// It is a string unless it is an object or a list (or the word null).
    StringOrNested,
    /// It is JSON; a string only where it is none.
    Json,
    /// The schema does not say: JSON where it is valid, else a string.
    Unknown,
}

#[derive(Debug, Default)]
struct Types {
    string: bool,
    null: bool,
    nested: bool,
    /// Numbers and booleans.
    scalar: bool,
}

impl Kinds {
    /// Of the parameter `key` of a tool with these `parameters`.
    pub fn of(parameters: &Value, key: &str) -> Self {
        let mut types = Types::default();
        let mut schema = Some(parameters);
        // The parameters themselves may be a reference.
        for _ in 0..MAX_DEPTH {
            let Some(reference) = schema.and_then(|schema| schema.get("$ref")) else { break };
            schema = resolve(parameters, reference);
        }
        let Some(schema) = schema.and_then(|schema| schema.get("properties")?.get(key)) else {
            return Self::Unknown;
        };
        types.collect(parameters, schema, MAX_DEPTH);
        match types {
            Types { string: true, nested: true, .. } => Self::StringOrNested,
            Types { string: true, null: true, .. } => Self::StringOrNull,
            Types { string: true, .. } => Self::String,
            Types { null: false, nested: false, scalar: false, .. } => Self::Unknown,
            _ => Self::Json,
        }
    }

    /// Whether a value of this kind is a string for certain if it begins like this.
    pub(super) fn is_string(self, begin: &str) -> bool {
        let mut end = begin.len().min(MAX_BLANKS);
        while !begin.is_char_boundary(end) {
            end -= 1;
        }
        let text = begin[..end].trim_start();
        // `end` is smaller only where more follows, which is not the word alone.
        let may_be_null = end == begin.len() && "null".starts_with(text.trim_end());
        match self {
            Self::String => true,
            Self::StringOrNull => !may_be_null,
            Self::StringOrNested => !may_be_null && !text.starts_with(['{', '[']),
            Self::Json | Self::Unknown => false,
        }
    }

    /// The value as JSON. What fits no type is a string.
    pub(super) fn value(self, text: &str) -> String {
        let trimmed = text.trim();
        let word = match (trimmed, self) {
            (_, Self::String) => None,
            ("null", _) => Some("null"),
            ("True", Self::Json) => Some("true"),
            ("False", Self::Json) => Some("false"),
            ("None", Self::Json) => Some("null"),
            _ => None,
        };
        let may_be_json = match self {
            Self::String | Self::StringOrNull => false,
            Self::StringOrNested => trimmed.starts_with(['{', '[']),
            Self::Json | Self::Unknown => true,
        };
        match word {
            Some(word) => word.to_owned(),
            // As it was written: no digit of a number is lost.
            None if may_be_json && is_json(trimmed) => trimmed.to_owned(),
            None => json_string(text),
        }
    }
}

fn resolve<'a>(root: &'a Value, reference: &Value) -> Option<&'a Value> {
    root.pointer(reference.as_str()?.strip_prefix('#')?)
}

impl Types {
    fn collect(&mut self, root: &Value, schema: &Value, depth: usize) {
        let Some(depth) = depth.checked_sub(1) else { return };
        match schema.get("type") {
            Some(Value::String(kind)) => self.add(kind),
            Some(Value::Array(kinds)) => {
                kinds.iter().filter_map(Value::as_str).for_each(|kind| self.add(kind));
            }
            _ => {
                let values = schema.get("enum").and_then(Value::as_array);
                for value in values.into_iter().flatten().chain(schema.get("const")) {
                    self.add_value(value);
                }
            }
        }
        if let Some(schema) = schema.get("$ref").and_then(|reference| resolve(root, reference)) {
            self.collect(root, schema, depth);
        }
        for key in ["anyOf", "oneOf", "allOf"] {
            for part in schema.get(key).and_then(Value::as_array).into_iter().flatten() {
                self.collect(root, part, depth);
            }
        }
    }

    fn add(&mut self, kind: &str) {
        match kind {
            "string" => self.string = true,
            "null" => self.null = true,
            "object" | "array" => self.nested = true,
            _ => self.scalar = true,
        }
    }

    fn add_value(&mut self, value: &Value) {
        self.add(match value {
            Value::String(_) => "string",
            Value::Null => "null",
            Value::Object(_) | Value::Array(_) => "object",
            Value::Bool(_) | Value::Number(_) => "number",
        });
    }
}
