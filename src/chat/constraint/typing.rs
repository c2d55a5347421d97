//! How the parser reads the text of a parameter between tags, and what text makes it valid.

use serde_json::Value;

use super::pattern;

/// The texts that a parameter may have.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Text {
    /// Any.
    Free,
    /// One of these.
    Words(Vec<String>),
    /// One that all expressions of one of these lists match.
    Body(Vec<Vec<String>>),
    /// JSON, or one of these words.
    Json { schema: Value, words: Vec<String> },
}

/// What the parser takes a parameter for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kinds {
    String,
    StringOrNull,
    Json,
    Unknown,
}

/// The texts of the parameter `name`: `original` is the tool's schema as the parser has it, `schema` the
/// parameter's rewritten one, with references into `root`.
pub(super) fn text(
    original: &Value,
    name: &str,
    schema: &Value,
    root: &Value,
    loosened: bool,
) -> Text {
    let kinds = kinds(original, name);
    let json = |schema: Value, words: &[&str]| Text::Json {
        schema,
        words: words.iter().map(|w| (*w).to_owned()).collect(),
    };
    match kinds {
        Kinds::String | Kinds::StringOrNull if loosened => Text::Free,
        Kinds::Unknown if loosened || *schema == Value::Bool(true) => Text::Free,
        Kinds::Json if loosened => json(Value::Bool(true), &[]),
        Kinds::String | Kinds::StringOrNull => {
            let mut choices = Choices::default();
            choices.gather(schema, root, kinds == Kinds::StringOrNull, 0);
            choices.text()
        }
        Kinds::Json | Kinds::Unknown => {
            let mut with_definitions = schema.clone();
            if let (Some(map), Some(definitions)) =
                (with_definitions.as_object_mut(), root.get("$defs"))
            {
                map.insert("$defs".into(), definitions.clone());
            }
            let is = |kind: &str| match &schema["type"] {
                Value::Array(kinds) => kinds.iter().any(|k| k == kind),
                one => one == kind,
            };
            let mut words = Vec::new();
            if kinds == Kinds::Json && schema.get("enum").is_none() && schema.get("allOf").is_none()
            {
                if is("boolean") {
                    words.extend(["True", "False"]);
                }
                if is("null") {
                    words.push("None");
                }
            }
            json(with_definitions, &words)
        }
    }
}

/// The string texts that a schema allows.
#[derive(Default)]
struct Choices {
    free: bool,
    words: Vec<String>,
    bodies: Vec<Vec<String>>,
}

impl Choices {
    fn gather(&mut self, schema: &Value, root: &Value, nullable: bool, depth: usize) {
        // References to references end somewhere; what does not is free.
        if depth > 8 {
            self.free = true;
            return;
        }
        if let Some(pointer) = schema["$ref"].as_str().and_then(|r| r.strip_prefix('#')) {
            return match root.pointer(pointer) {
                Some(target) => self.gather(target, root, nullable, depth + 1),
                None => self.free = true,
            };
        }
        if let Some(values) = schema["enum"].as_array() {
            for value in values {
                match value {
                    Value::String(word) if !(nullable && word.trim() == "null") => {
                        self.words.push(word.clone())
                    }
                    Value::Null if nullable => self.words.push("null".into()),
                    _ => {}
                }
            }
            return;
        }
        if let Some(branches) = schema["anyOf"].as_array() {
            for branch in branches {
                self.gather(branch, root, nullable, depth + 1);
            }
            return;
        }
        let allows = |kind: &str| match &schema["type"] {
            Value::Array(kinds) => kinds.iter().any(|k| k == kind),
            Value::String(one) => one == kind,
            _ => true,
        };
        if *schema == Value::Bool(false) {
            return;
        }
        if nullable && allows("null") {
            self.words.push("null".into());
        }
        if !allows("string") {
            return;
        }
        let mut body = Vec::new();
        let number = |key: &str| schema[key].as_u64();
        if let (least, most @ Some(_)) | (least @ Some(_), most) =
            (number("minLength"), number("maxLength"))
        {
            let most = most.map_or(String::new(), |most| most.to_string());
            body.push(format!("(?s:.){{{},{most}}}", least.unwrap_or(0)));
        }
        if let Some(whole) = schema["pattern"].as_str().and_then(pattern::whole) {
            body.push(whole);
        }
        if let Some(format) = schema["format"].as_str().and_then(format) {
            body.push(format.to_owned());
        }
        if body.is_empty() {
            self.free = true;
        } else {
            self.bodies.push(body);
        }
    }

    fn text(self) -> Text {
        match self {
            Self { free: true, .. } => Text::Free,
            Self { words, bodies, .. } if bodies.is_empty() && !words.is_empty() => {
                Text::Words(words)
            }
            Self { words, mut bodies, .. } if !bodies.is_empty() => {
                bodies.extend(words.iter().map(|word| vec![super::lark::escaped(word)]));
                Text::Body(bodies)
            }
            _ => Text::Free,
        }
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

fn kinds(original: &Value, name: &str) -> Kinds {
    let Some(schema) = original.get("properties").and_then(|p| p.get(name)) else {
        return Kinds::Unknown;
    };
    let mut types = Vec::new();
    collect_types(schema, &mut types, 0);
    let has = |kind: &str| types.contains(&kind);
    match (has("string"), has("null"), types.is_empty()) {
        (_, _, true) => Kinds::Unknown,
        (true, true, _) => Kinds::StringOrNull,
        (true, false, _) => Kinds::String,
        (false, ..) => Kinds::Json,
    }
}

fn collect_types<'a>(schema: &'a Value, types: &mut Vec<&'a str>, depth: usize) {
    match schema.get("type") {
        Some(Value::String(kind)) => types.push(kind),
        Some(Value::Array(kinds)) => types.extend(kinds.iter().filter_map(Value::as_str)),
        _ => {}
    }
    if depth < 16 {
        for key in ["anyOf", "oneOf"] {
            for part in schema.get(key).and_then(Value::as_array).into_iter().flatten() {
                collect_types(part, types, depth + 1);
            }
        }
    }
    if types.is_empty()
        && let Some(Value::Array(values)) = schema.get("enum")
    {
        types.extend(values.iter().map(|value| if value.is_string() { "string" } else { "other" }));
    }
}
