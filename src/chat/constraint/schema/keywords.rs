//! The keywords of one type each, and constants.

use serde_json::{Map, Number, Value, json};

use super::{Parts, Refusal, Rewrite, Rewriter, Segment};

/// Longer strings cannot be counted cheaply.
const MAX_LENGTH: u64 = 2_000;
const MIN_LENGTH: u64 = 200;
const MAX_ITEMS: u64 = 2_000;
const MIN_ITEMS: u64 = 200;
/// Most optional properties of one object: at each place any of those that are left may follow, which
/// the engine bounds.
const MAX_OPTIONAL: usize = 400;

/// Formats of strings that the engine knows.
const FORMATS: [&str; 10] =
    ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"];
/// Formats that OpenAPI has to describe a string and no validator looks at.
const HINTS: [&str; 3] = ["password", "binary", "byte"];

/// Whether a schema means anything by the keyword, beyond describing.
pub(super) fn is_constraint(key: &str) -> bool {
    const OTHERS: [&str; 8] =
        ["type", "const", "enum", "allOf", "anyOf", "oneOf", "$ref", "format"];
    OTHERS.contains(&key)
        || super::OBJECT_KEYS.contains(&key)
        || super::ARRAY_KEYS.contains(&key)
        || super::STRING_KEYS.contains(&key)
        || super::NUMBER_KEYS.contains(&key)
        || UNSUPPORTED.contains(&key)
}

const UNSUPPORTED: [&str; 18] = [
    "not",
    "if",
    "then",
    "else",
    "contains",
    "minContains",
    "maxContains",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
    "uniqueItems",
    "contentSchema",
    "$dynamicRef",
    "$recursiveRef",
    "extends",
];

/// Whether the engine does not have the keyword, whatever its value.
pub(in crate::chat::constraint) fn is_unsupported(key: &str) -> bool {
    UNSUPPORTED.contains(&key)
}

/// Whether the keyword, which the engine does not have, asks for something.
pub(super) fn demands(key: &str, value: &Value, map: &Map<String, Value>) -> bool {
    let is_empty = value.as_object().is_some_and(Map::is_empty);
    match key {
        "uniqueItems" => *value != Value::Bool(false),
        "not" => *value != Value::Bool(false),
        "unevaluatedItems" | "unevaluatedProperties" => *value != Value::Bool(true) && !is_empty,
        "dependentRequired" | "dependentSchemas" | "dependencies" => !is_empty,
        "propertyNames" => {
            let only_string = value.as_object().is_some_and(|map| {
                map.iter().all(|(k, v)| !is_constraint(k) || k == "type" && v == "string")
            });
            !only_string && *value != Value::Bool(true)
        }
        "if" => map.contains_key("then") || map.contains_key("else"),
        "then" | "else" | "minContains" | "maxContains" | "contentSchema" => false,
        _ => UNSUPPORTED.contains(&key),
    }
}

/// A count: a whole number, written as one or with a fraction of zero.
fn count(value: &Value) -> Option<u64> {
    let float = || value.as_f64().filter(|f| f.fract() == 0.0 && (0.0..1e15).contains(f));
    value.as_u64().or_else(|| float().map(|f| f as u64))
}

/// Constants in the value, itself included.
fn size(value: &Value) -> usize {
    // Values come from JSON text, whose depth the parser has bounded.
    match value {
        Value::Array(items) => items.iter().fold(1, |n, item| n + size(item)),
        Value::Object(map) => map.values().fold(1, |n, item| n + size(item)),
        _ => 1,
    }
}

fn fits(value: &Value, types: &[&str]) -> bool {
    types.iter().any(|kind| match *kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "integer" => value.as_f64().is_some_and(|f| f.fract() == 0.0),
        _ => value.is_number(),
    })
}

/// Whether the engine, which reads numbers as doubles, writes all in the value back as they are.
fn is_exact(value: &Value) -> bool {
    match value {
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(n), _) => n.unsigned_abs() <= 1 << 53,
            (None, Some(f)) => f.abs() < 1e15 && (f == 0.0 || f.abs() > 1e-6),
            (None, None) => false,
        },
        Value::Array(items) => items.iter().all(is_exact),
        Value::Object(map) => map.values().all(is_exact),
        _ => true,
    }
}

impl<'a> Rewriter<'a> {
    pub(super) fn constants(
        &mut self,
        key: &str,
        values: &'a [Value],
        types: Option<&[&str]>,
        parts: &mut Parts,
    ) -> Rewrite<()> {
        self.count(values.iter().fold(0, |n, value| n + size(value)))?;
        if !values.iter().all(is_exact) {
            return self.leave_out(key);
        }
        let mut kept: Vec<&Value> =
            values.iter().filter(|value| types.is_none_or(|types| fits(value, types))).collect();
        if kept.is_empty() {
            // The constants are meant more seriously than the type, which contradicts them.
            self.leave_out("type")?;
            parts.out.remove("type");
            kept = values.iter().collect();
        }
        // A type beside constants says nothing more.
        if types.is_some() && !parts.out.contains_key("enum") && !parts.out.contains_key("const") {
            parts.out.remove("type");
        }
        if parts.out.contains_key("enum") || parts.out.contains_key("const") {
            parts.all.push(json!({"enum": kept}));
        } else {
            parts.out.insert("enum".into(), json!(kept));
        }
        Ok(())
    }

    pub(super) fn string(
        &mut self,
        key: &'a str,
        value: &'a Value,
        parts: &mut Parts,
    ) -> Rewrite<()> {
        match key {
            "pattern" => {
                let Some(translated) = value.as_str().and_then(super::pattern::translate) else {
                    return self.leave_out(key);
                };
                let text = if self.patterns { Value::String(translated) } else { value.clone() };
                parts.out.insert(key.into(), text);
            }
            "format" => match value.as_str() {
                Some(format) if FORMATS.contains(&format) => {
                    parts.out.insert(key.into(), value.clone());
                }
                Some(format) if HINTS.contains(&format) => {}
                _ => self.leave_out(key)?,
            },
            _ => match count(value) {
                Some(0) if key == "minLength" => {}
                Some(n) if n <= if key == "minLength" { MIN_LENGTH } else { MAX_LENGTH } => {
                    parts.out.insert(key.into(), n.into());
                }
                _ => self.leave_out(key)?,
            },
        }
        Ok(())
    }

    pub(super) fn number(
        &mut self,
        key: &'a str,
        value: &'a Value,
        whole: bool,
        map: &'a Map<String, Value>,
        parts: &mut Parts,
    ) -> Rewrite<()> {
        // Draft 4: a flag beside the bound.
        let bound = match (key, value) {
            ("exclusiveMinimum" | "exclusiveMaximum", Value::Bool(false)) => return Ok(()),
            ("exclusiveMinimum", Value::Bool(true)) => map.get("minimum"),
            ("exclusiveMaximum", Value::Bool(true)) => map.get("maximum"),
            _ => Some(value),
        };
        let Some(Value::Number(bound)) = bound else { return self.leave_out(key) };
        if key == "multipleOf" {
            let bounded = super::NUMBER_KEYS[..4].iter().any(|key| map.contains_key(*key));
            return match bound.as_f64() {
                Some(1.0) if whole => Ok(()),
                Some(of) if !bounded && (0.001..=1_000.0).contains(&of) => {
                    parts.out.insert(key.into(), value.clone());
                    Ok(())
                }
                _ => self.leave_out(key),
            };
        }
        let lower = key.ends_with("inimum");
        match inward(bound, lower, whole) {
            Some(bound) => {
                parts.out.insert(key.into(), bound.into());
                Ok(())
            }
            None => self.leave_out(key),
        }
    }

    pub(super) fn array(
        &mut self,
        key: &'a str,
        value: &'a Value,
        map: &'a Map<String, Value>,
        parts: &mut Parts,
    ) -> Rewrite<()> {
        match key {
            "minItems" | "maxItems" => match count(value) {
                Some(0) if key == "minItems" => {}
                Some(n) if n <= if key == "minItems" { MIN_ITEMS } else { MAX_ITEMS } => {
                    parts.out.insert(key.into(), n.into());
                }
                _ => self.leave_out(key)?,
            },
            // Tuples as drafts up to 2019-09 have them.
            "items" if value.is_array() => {
                self.tuple(key, value, parts)?;
                if let Some(rest) = map.get("additionalItems") {
                    let rest = self.within(Segment::Key("additionalItems"), rest, false)?;
                    parts.out.insert("items".into(), rest);
                }
            }
            "items" => {
                let items = self.within(Segment::Key(key), value, false)?;
                parts.out.insert(key.into(), items);
            }
            _ if value.is_array() => self.tuple(key, value, parts)?,
            _ => self.leave_out(key)?,
        }
        Ok(())
    }

    fn tuple(&mut self, key: &'a str, value: &'a Value, parts: &mut Parts) -> Rewrite<()> {
        self.path.push(Segment::Key(key));
        let items = value.as_array().into_iter().flatten().enumerate();
        let items: Result<Vec<Value>, Refusal> =
            items.map(|(i, item)| self.within(Segment::Index(i), item, false)).collect();
        self.path.pop();
        parts.out.insert("prefixItems".into(), items?.into());
        Ok(())
    }

    pub(super) fn properties(
        &mut self,
        key: &'a str,
        value: &'a Value,
        map: &'a Map<String, Value>,
        parts: &mut Parts,
    ) -> Rewrite<()> {
        if key == "additionalProperties" {
            let rest = self.within(Segment::Key(key), value, false)?;
            parts.out.entry(key).or_insert(rest);
            return Ok(());
        }
        let Some(properties) = value.as_object() else { return self.leave_out(key) };
        let required = map.get("required").and_then(Value::as_array);
        let is_required = |name: &str| required.is_some_and(|all| all.iter().any(|r| r == name));
        let n_optional = properties.keys().filter(|name| !is_required(name)).count();
        if key == "properties" && n_optional > MAX_OPTIONAL {
            self.leave_out(key)?;
            parts.out.insert("additionalProperties".into(), Value::Bool(true));
            return Ok(());
        }
        if key == "patternProperties" {
            // Several patterns must not overlap, which only the engine can tell.
            let mut keys = properties.keys();
            let translated = match (keys.next(), keys.next()) {
                (Some(pattern), None) => super::pattern::translate(pattern),
                (None, _) => return Ok(()),
                _ => None,
            };
            let Some(translated) = translated else {
                self.leave_out(key)?;
                // What the patterns allow is additional now.
                if map.get("additionalProperties").is_some() {
                    parts.out.insert("additionalProperties".into(), Value::Bool(true));
                }
                return Ok(());
            };
            let (name, schema) = match properties.iter().next() {
                Some(pair) => pair,
                None => return Ok(()),
            };
            self.path.push(Segment::Key(key));
            let schema = self.within(Segment::Key(name), schema, false);
            self.path.pop();
            let name = if self.patterns { &translated } else { name };
            parts.out.insert(key.into(), json!({name: schema?}));
            return Ok(());
        }
        self.path.push(Segment::Key(key));
        let mut done = Map::new();
        for (name, schema) in properties {
            let schema = self.within(Segment::Key(name), schema, false)?;
            done.insert(name.clone(), schema);
        }
        self.path.pop();
        parts.out.insert(key.into(), done.into());
        Ok(())
    }

    pub(super) fn required(
        &mut self,
        map: &'a Map<String, Value>,
        parts: &mut Parts,
    ) -> Rewrite<()> {
        let names: Vec<&str> = match map.get("required") {
            None => return Ok(()),
            // Draft 3 had it at the property.
            Some(Value::Bool(_)) => return Ok(()),
            Some(Value::Array(names)) if names.iter().all(Value::is_string) => {
                names.iter().filter_map(Value::as_str).collect()
            }
            Some(_) => return self.leave_out("required"),
        };
        self.count(names.len())?;
        let closed = parts.is_closed();
        let mut required: Vec<&str> = Vec::new();
        for name in names {
            let known = parts.out.get("properties").is_some_and(|p| p.get(name).is_some());
            if closed && !known {
                // It must be there and must not.
                self.leave_out("required")?;
            } else if !required.contains(&name) {
                required.push(name);
            }
        }
        if !required.is_empty() {
            parts.out.insert("required".into(), json!(required));
        }
        Ok(())
    }

    /// The engine counts properties only where none of the named ones is optional.
    pub(super) fn number_of_properties(
        &mut self,
        map: &'a Map<String, Value>,
        parts: &mut Parts,
    ) -> Rewrite<()> {
        let required =
            parts.out.get("required").and_then(Value::as_array).map_or(0, Vec::len) as u64;
        let named =
            parts.out.get("properties").and_then(Value::as_object).map_or(0, Map::len) as u64;
        let closed = parts.is_closed();
        for key in ["minProperties", "maxProperties"] {
            let Some(value) = map.get(key) else { continue };
            let at_least = key == "minProperties";
            match count(value) {
                // Holds anyway.
                Some(n) if at_least && n <= required => {}
                Some(n) if !at_least && closed && n >= named => {}
                // The same name twice counts once for who reads it.
                Some(n) if named <= required && n <= 200 && (!at_least || n <= required + 1) => {
                    parts.out.insert(key.into(), n.into());
                }
                Some(1)
                    if at_least
                        && closed
                        && required == 0
                        && !map.contains_key("maxProperties") =>
                {
                    parts.out.insert(key.into(), 1.into());
                }
                _ => self.leave_out(key)?,
            }
        }
        Ok(())
    }
}

/// The bound as a number that a double holds, not further out; `None` if the engine cannot count so
/// far.
fn inward(bound: &Number, lower: bool, whole: bool) -> Option<Number> {
    // The engine compares as 64-bit integers.
    let most = 9_223_372_036_854_774_784_i64;
    if let Some(n) = bound.as_i64() {
        let float = n.clamp(-most, most) as f64;
        let mut rounded = float as i64;
        while rounded.unsigned_abs() > 1 << 53 && (if lower { rounded < n } else { rounded > n }) {
            rounded =
                (if lower { (rounded as f64).next_up() } else { (rounded as f64).next_down() })
                    as i64;
        }
        return (if lower { rounded >= n } else { rounded <= n }).then(|| rounded.into());
    }
    let float = bound.as_f64()?;
    if float.abs() > 1e15 {
        return None;
    }
    if whole && float.fract() == 0.0 {
        Some((float as i64).into())
    } else {
        Number::from_f64(float)
    }
}
