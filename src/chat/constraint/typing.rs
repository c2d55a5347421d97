//! What texts between tags make a parameter valid, as the parser reads it.

use serde_json::{Value, json};

use super::pattern;
use crate::chat::output::Kinds;

/// Expressions that a value is put together from.
const MAX_BODIES: usize = 16;

/// The texts that a parameter may have: any of what is said here.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Text {
    /// The parser reads JSON first, in whose strings a closing tag is text.
    pub(super) json_first: bool,
    /// Any; with `json_first` any that does not begin like JSON.
    pub(super) free: bool,
    /// These.
    pub(super) words: Vec<String>,
    /// One that all expressions of one of these lists match.
    pub(super) bodies: Vec<Vec<String>>,
    /// JSON of this schema, or one of these words.
    pub(super) json: Option<Value>,
    pub(super) json_words: Vec<String>,
    /// More than the schema allows: what it asks for cannot be said between tags.
    pub(super) lost: bool,
}

impl Text {
    /// What is JSON is taken as such, else it is a string.
    pub(super) fn anything() -> Self {
        let json = json!({"type": ["object", "array", "string"]});
        Self { json_first: true, free: true, json: Some(json), ..Self::default() }
    }

    /// Of the parameter `name`: `original` is the tool's schema as the parser has it, `schema` the
    /// parameter's rewritten one, with references into `root`.
    pub(super) fn of(
        original: &Value,
        name: &str,
        schema: &Value,
        root: &Value,
        loosened: bool,
    ) -> Self {
        let kinds = Kinds::of(original, name);
        let open = loosened || *schema == Value::Bool(true);
        let any = Value::Bool(true);
        let schema = if open { &any } else { schema };
        if kinds == Kinds::String && is_prose(original, name) {
            return Self { free: true, lost: schema.get("pattern").is_some(), ..Self::default() };
        }
        let text = match kinds {
            Kinds::String | Kinds::StringOrNull => Strings::of(schema, root, 0).text(kinds),
            Kinds::StringOrNested => {
                let mut text = Strings::of(schema, root, 0).text(kinds);
                text.json_first = true;
                text.words.retain(|word| !word.trim_start().starts_with(['{', '[', '"']));
                text.json = nested(schema, root, 0).map(|schema| with_definitions(&schema, root));
                text
            }
            Kinds::Unknown if open => Self::anything(),
            Kinds::Json | Kinds::Unknown => Self {
                json_first: true,
                json: Some(with_definitions(schema, root)),
                json_words: if kinds == Kinds::Json && !open {
                    python_words(schema)
                } else {
                    Vec::new()
                },
                ..Self::default()
            },
        };
        // Nothing is left where the schema allows no text that the parser would read as valid.
        if text.free || text.json.is_some() || !text.words.is_empty() || !text.bodies.is_empty() {
            text
        } else {
            Self { free: true, lost: !open, ..text }
        }
    }
}

/// Whether the parameter is text in which anything may stand, also a tag's `<`, which no expression
/// between tags allows.
fn is_prose(original: &Value, name: &str) -> bool {
    original["properties"][name]["contentMediaType"] == "text/plain"
}

/// Words that models write for JSON's.
pub(super) fn python_words(schema: &Value) -> Vec<String> {
    if ["enum", "allOf", "anyOf", "$ref"].iter().any(|key| schema.get(key).is_some()) {
        return Vec::new();
    }
    let is = |kind: &str| match &schema["type"] {
        Value::Array(kinds) => kinds.iter().any(|k| k == kind),
        one => one == kind,
    };
    let words = [("boolean", "True"), ("boolean", "False"), ("null", "None")];
    words.iter().filter(|(kind, _)| is(kind)).map(|(_, word)| (*word).to_owned()).collect()
}

pub(super) fn with_definitions(schema: &Value, root: &Value) -> Value {
    let mut schema = schema.clone();
    if let (Some(map), Some(definitions)) = (schema.as_object_mut(), root.get("$defs")) {
        map.insert("$defs".into(), definitions.clone());
    }
    schema
}

fn target<'a>(schema: &Value, root: &'a Value) -> Option<&'a Value> {
    root.pointer(schema["$ref"].as_str()?.strip_prefix('#')?)
}

/// The part of the schema that is about objects and lists, if it can be taken apart.
fn nested(schema: &Value, root: &Value, depth: usize) -> Option<Value> {
    let Value::Object(map) = schema else {
        return (*schema == Value::Bool(true)).then(|| json!({"type": ["object", "array"]}));
    };
    if depth > 8 || map.contains_key("allOf") || map.contains_key("enum") {
        return None;
    }
    if map.contains_key("$ref") {
        return nested(target(schema, root)?, root, depth + 1);
    }
    let mut map = map.clone();
    if let Some(Value::Array(branches)) = map.get("anyOf") {
        let kept: Vec<Value> =
            branches.iter().filter_map(|branch| nested(branch, root, depth + 1)).collect();
        if kept.is_empty() {
            return None;
        }
        map.insert("anyOf".into(), kept.into());
        return Some(map.into());
    }
    let kept: Vec<&str> = match map.get("type") {
        None => vec!["object", "array"],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        Some(kind) => kind.as_str().into_iter().collect(),
    };
    let kept: Vec<&str> =
        kept.into_iter().filter(|kind| ["object", "array"].contains(kind)).collect();
    if kept.is_empty() {
        return None;
    }
    map.insert("type".into(), json!(kept));
    Some(map.into())
}

/// The strings that a schema allows.
#[derive(Debug, Clone, Default)]
struct Strings {
    free: bool,
    null: bool,
    words: Vec<String>,
    bodies: Vec<Vec<String>>,
    /// A pattern was left out.
    lost: bool,
}

impl Strings {
    fn free() -> Self {
        Self { free: true, null: true, ..Self::default() }
    }

    fn of(schema: &Value, root: &Value, depth: usize) -> Self {
        // References to references end somewhere; what does not is free.
        if depth > 8 || *schema == Value::Bool(true) {
            return Self::free();
        }
        let mut all = Self::plain(schema);
        if schema.get("$ref").is_some() {
            all = all.and(
                target(schema, root).map_or_else(Self::free, |t| Self::of(t, root, depth + 1)),
            );
        }
        if let Some(branches) = schema["anyOf"].as_array() {
            let mut any = Self::default();
            for branch in branches {
                any.or(Self::of(branch, root, depth + 1));
            }
            all = all.and(any);
        }
        for part in schema["allOf"].as_array().into_iter().flatten() {
            all = all.and(Self::of(part, root, depth + 1));
        }
        all
    }

    /// Of the keywords about strings.
    fn plain(schema: &Value) -> Self {
        let mut strings = Self::default();
        if let Some(values) = schema["enum"].as_array() {
            strings.words = values.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect();
            strings.null = values.contains(&Value::Null);
            return strings;
        }
        let allows = |kind: &str| match &schema["type"] {
            Value::Array(kinds) => kinds.iter().any(|k| k == kind),
            Value::String(one) => one == kind,
            _ => *schema != Value::Bool(false),
        };
        strings.null = allows("null");
        if !allows("string") {
            return strings;
        }
        let mut body = Vec::new();
        let number = |key: &str| schema[key].as_u64();
        let (least, most) = (number("minLength"), number("maxLength"));
        if least.is_some() || most.is_some() {
            let most = most.map_or(String::new(), |most| most.to_string());
            body.push(format!("(?s:.){{{},{most}}}", least.unwrap_or(0)));
        }
        if let Some(text) = schema["pattern"].as_str() {
            // Bodies are without `<`.
            let whole = pattern::whole(text).filter(|whole| !whole.contains('<'));
            strings.lost = whole.is_none();
            body.extend(whole);
        }
        body.extend(schema["format"].as_str().and_then(format).map(str::to_owned));
        if body.is_empty() {
            strings.free = true;
        } else {
            strings.bodies.push(body);
        }
        strings
    }

    fn or(&mut self, other: Self) {
        self.free |= other.free;
        self.lost |= other.lost;
        self.null |= other.null;
        self.words.extend(other.words);
        self.bodies.extend(other.bodies);
    }

    fn and(self, other: Self) -> Self {
        let null = self.null && other.null;
        let lost = self.lost || other.lost;
        let (a, b) = match (self.free, other.free) {
            (true, _) => return Self { null, lost, ..other },
            (_, true) => return Self { null, lost, ..self },
            _ => (self, other),
        };
        let words = match (a.words.is_empty(), b.words.is_empty()) {
            (false, false) => {
                a.words.iter().filter(|word| b.words.contains(word)).cloned().collect()
            }
            (true, _) => b.words.clone(),
            _ => a.words.clone(),
        };
        let pairs = a
            .bodies
            .iter()
            .flat_map(|x| b.bodies.iter().map(move |y| [x.clone(), y.clone()].concat()));
        Self { free: false, null, lost, words, bodies: pairs.take(MAX_BODIES).collect() }
    }

    fn text(mut self, kinds: Kinds) -> Text {
        if kinds == Kinds::StringOrNull {
            // The word is read as null.
            self.words.retain(|word| word.trim() != "null");
            if self.null {
                self.words.push("null".into());
            }
        }
        // Line breaks at the ends are the tags', and a tag in a word would end it.
        self.words.retain(|word| {
            !word.starts_with('\n') && !word.ends_with('\n') && !word.contains("</")
        });
        if self.free {
            return Text { free: true, lost: self.lost, ..Text::default() };
        }
        self.bodies.truncate(MAX_BODIES);
        Text { words: self.words, bodies: self.bodies, lost: self.lost, ..Text::default() }
    }
}

macro_rules! date {
    () => {
        "[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)\
         |02-(?:0[1-9]|1[0-9]|2[0-9]))"
    };
}

/// Expressions of the formats whose check is worth its price between tags.
fn format(name: &str) -> Option<&'static str> {
    Some(match name {
        "date" => date!(),
        "date-time" => concat!(
            date!(),
            "T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,9})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
        ),
        "uuid" => "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}",
        _ => return None,
    })
}
