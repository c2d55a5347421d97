//! Every key with its type, range, default and documentation, read from the schema.

use std::fmt;
use std::sync::LazyLock;

use serde_json::Value;

use super::nearest::suggestion;
use super::schema::schema;

/// One setting.
#[derive(Debug)]
pub(crate) struct Key {
    /// Dotted path, such as `context.ctx_size`.
    pub(crate) path: String,
    /// What it takes.
    pub(crate) kind: Kind,
    /// Its default; null when it has none.
    pub(crate) default: Value,
    /// Its documentation, on one line.
    pub(crate) doc: String,
}

/// A section of keys.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) name: String,
    pub(crate) doc: String,
}

/// What a key takes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Bool,
    Integer { min: i64, max: i64 },
    Number { min: f64, max: f64 },
    Text,
    Choice(Vec<String>),
    TextList,
    ChoiceList(Vec<String>),
    Object,
}

struct Catalogue {
    sections: Vec<Section>,
    keys: Vec<Key>,
}

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(read_schema);

/// All keys, section by section, in the order of the structs.
pub(crate) fn keys() -> &'static [Key] {
    &CATALOGUE.keys
}

/// All sections, in the order of the structs.
pub(crate) fn sections() -> &'static [Section] {
    &CATALOGUE.sections
}

/// The key at this dotted path.
pub(crate) fn key(path: &str) -> Option<&'static Key> {
    keys().iter().find(|key| key.path == path)
}

impl Key {
    /// The section's name.
    pub(crate) fn section(&self) -> &str {
        self.path.split('.').next().unwrap_or_default()
    }

    /// The name inside the section.
    pub(crate) fn name(&self) -> &str {
        self.path.split('.').nth(1).unwrap_or_default()
    }

    /// Our own variable for it, such as `STRIXHALO_CONTEXT__CTX_SIZE`.
    pub(crate) fn variable(&self) -> String {
        format!("STRIXHALO_{}", self.path.replace('.', "__").to_uppercase())
    }

    /// Whether its value must never be shown.
    pub(crate) fn is_secret(&self) -> bool {
        self.path == "server.api_keys"
    }

    /// The value, converted where JSON is stricter than people (1 for 1.0), or what is wrong
    /// with it.
    pub(crate) fn check(&self, value: Value) -> Result<Value, String> {
        self.kind.check(value).map_err(|found| {
            let found = if self.is_secret() { String::new() } else { found };
            format!("expected {}{found}", self.kind)
        })
    }
}

impl Kind {
    /// On failure, what was found instead, to follow `expected ..`.
    fn check(&self, value: Value) -> Result<Value, String> {
        let found = |value: &Value| format!(", found {}", abridged(value));
        let fits = match (self, &value) {
            (Self::Bool, Value::Bool(_))
            | (Self::Text, Value::String(_))
            | (Self::Object, Value::Object(_)) => true,
            (Self::Integer { min, max }, Value::Number(number)) => {
                number.as_i64().is_some_and(|n| (*min..=*max).contains(&n))
            }
            (Self::Number { min, max }, Value::Number(number)) => {
                number.as_f64().is_some_and(|n| (*min..=*max).contains(&n))
            }
            (Self::Choice(names), Value::String(text)) => {
                if !names.contains(text) {
                    let near = suggestion(text, names.iter().map(String::as_str));
                    return Err(format!("{}{near}", found(&value)));
                }
                true
            }
            (Self::TextList, Value::Array(items)) => {
                if let Some(other) = items.iter().find(|item| !item.is_string()) {
                    return Err(format!("{} in it", found(other)));
                }
                true
            }
            (Self::ChoiceList(names), Value::Array(items)) => {
                for item in items {
                    Self::Choice(names.clone()).check(item.clone())?;
                }
                true
            }
            _ => false,
        };
        if fits { Ok(value) } else { Err(found(&value)) }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("true or false"),
            Self::Integer { min, max } if *max == i64::MAX => {
                write!(f, "a whole number from {min}")
            }
            Self::Integer { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::Number { min, max } => write!(f, "a number from {min} to {max}"),
            Self::Text => f.write_str("a string"),
            Self::Choice(names) => write!(f, "one of {}", names.join(", ")),
            Self::TextList => f.write_str("a list of strings"),
            Self::ChoiceList(names) => write!(f, "a list of {}", names.join(", ")),
            Self::Object => f.write_str("a table of names and values"),
        }
    }
}

/// A value short enough for a line of text.
fn abridged(value: &Value) -> String {
    match value {
        Value::Object(_) => "a table".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        other => {
            let text = other.to_string();
            if text.chars().count() > 60 {
                format!("{}..", text.chars().take(60).collect::<String>())
            } else {
                text
            }
        }
    }
}

fn read_schema() -> Catalogue {
    let schema = schema();
    let mut sections = Vec::new();
    let mut keys = Vec::new();
    for (section, body) in properties(schema.as_value()) {
        sections.push(Section { name: section.clone(), doc: description(body) });
        for (name, property) in properties(body) {
            keys.push(Key {
                path: format!("{section}.{name}"),
                kind: kind(property),
                default: property.get("default").cloned().unwrap_or(Value::Null),
                doc: description(property),
            });
        }
    }
    Catalogue { sections, keys }
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten()
}

fn description(schema: &Value) -> String {
    schema.get("description").and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn kind(property: &Value) -> Kind {
    let types = match property.get("type") {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let choices = choices(property);
    if !choices.is_empty() {
        return Kind::Choice(choices);
    }
    match types.first().copied() {
        Some("boolean") => Kind::Bool,
        Some("integer") => integer(property),
        Some("number") => Kind::Number {
            min: property.get("minimum").and_then(Value::as_f64).unwrap_or(f64::from(f32::MIN)),
            max: property.get("maximum").and_then(Value::as_f64).unwrap_or(f64::from(f32::MAX)),
        },
        Some("array") => match property.get("items").map(self::choices) {
            Some(names) if !names.is_empty() => Kind::ChoiceList(names),
            _ => Kind::TextList,
        },
        Some("object") => Kind::Object,
        _ => Kind::Text,
    }
}

fn integer(property: &Value) -> Kind {
    let (min, max) = match property.get("format").and_then(Value::as_str) {
        Some("uint8") => (0, i64::from(u8::MAX)),
        Some("uint16") => (0, i64::from(u16::MAX)),
        Some("uint32") => (0, i64::from(u32::MAX)),
        Some("uint64") => (0, i64::MAX),
        Some("int32") => (i64::from(i32::MIN), i64::from(i32::MAX)),
        _ => (i64::MIN, i64::MAX),
    };
    let bound = |name| property.get(name).and_then(Value::as_i64);
    Kind::Integer { min: bound("minimum").unwrap_or(min), max: bound("maximum").unwrap_or(max) }
}

/// The names of an enum, which schemars writes as `enum` or as `oneOf` constants with docs.
fn choices(schema: &Value) -> Vec<String> {
    let texts = |values: Vec<&Value>| -> Vec<String> {
        values.into_iter().filter_map(|v| v.as_str().map(str::to_owned)).collect()
    };
    if let Some(Value::Array(names)) = schema.get("enum") {
        return texts(names.iter().collect());
    }
    let Some(Value::Array(variants)) = schema.get("oneOf") else { return Vec::new() };
    variants
        .iter()
        .flat_map(|variant| match (variant.get("const"), variant.get("enum")) {
            (Some(name), _) => texts(vec![name]),
            (None, Some(Value::Array(names))) => texts(names.iter().collect()),
            _ => Vec::new(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_key_has_a_documentation_and_a_default_of_its_own_kind() {
        assert!(keys().len() > 60);
        for key in keys() {
            assert!(key.doc.len() > 15, "{} is not documented", key.path);
            if !key.default.is_null() {
                assert_eq!(key.check(key.default.clone()), Ok(key.default.clone()), "{}", key.path);
            }
        }
    }

    #[test]
    fn kinds_are_read_from_the_structs() {
        assert_eq!(key("server.port").unwrap().kind, Kind::Integer { min: 0, max: 65_535 });
        assert_eq!(key("context.parallel").unwrap().kind, Kind::Integer { min: 1, max: 256 });
        assert_eq!(key("sampling.top_p").unwrap().kind, Kind::Number { min: 0.0, max: 1.0 });
        assert_eq!(key("model.path").unwrap().kind, Kind::Text);
        assert_eq!(key("model.alias").unwrap().kind, Kind::TextList);
        assert_eq!(key("model.chat_template_kwargs").unwrap().kind, Kind::Object);
        let Kind::Choice(names) = &key("context.cache_type_k").unwrap().kind else { panic!() };
        assert!(names.contains(&"iq4_nl".to_owned()) && names.contains(&"q8_0".to_owned()));
        let Kind::ChoiceList(names) = &key("sampling.samplers").unwrap().kind else { panic!() };
        assert!(names.contains(&"top_n_sigma".to_owned()));
    }

    #[test]
    fn a_wrong_value_is_told_with_what_was_expected() {
        let port = key("server.port").unwrap();
        assert_eq!(
            port.check(json!(70000)).unwrap_err(),
            "expected a whole number from 0 to 65535, found 70000"
        );
        let flash = key("context.flash_attn").unwrap();
        assert_eq!(
            flash.check(json!("outo")).unwrap_err(),
            "expected one of on, off, auto, found \"outo\"; did you mean auto?"
        );
        let keys = key("server.api_keys").unwrap();
        assert!(!keys.check(json!("secret")).unwrap_err().contains("secret"));
    }
}
