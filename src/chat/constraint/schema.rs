//! JSON schemas as agents send them, rewritten to what the constraint engine can express.
//!
//! What it cannot express is left out: the result allows more than the schema, never less where
//! that would forbid what a model must say. Every step down a tree is counted, through `$ref` too.

mod keywords;
mod reference;

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::pattern;

pub(super) use keywords::is_unsupported;

/// Schemas and constants in one schema, those behind a `$ref` once each.
pub(super) const MAX_NODES: usize = 4_000;
/// Schemas within one another, through `$ref` too. The engine's compiler takes some 50 KiB of stack
/// for each.
const MAX_DEPTH: usize = 96;
/// Alternatives that an `allOf` multiplies out to.
const MAX_ALTERNATIVES: usize = 64;
/// Characters of a path in a note or an error.
const MAX_PATH: usize = 400;
/// Notes about one schema.
const MAX_NOTES: usize = 50;

/// A keyword that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) keyword: String,
    pub(super) path: String,
}

/// What to do with what cannot be expressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Leave it out and note it.
    Loosen,
    /// Refuse the schema.
    Strict,
}

/// The schema cannot be enforced as it is: where, and what stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) path: String,
    pub(super) keyword: String,
}

/// A rewritten schema: references are `#/$defs/N`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rewritten {
    pub(super) schema: Value,
    pub(super) notes: Vec<Note>,
    pub(super) nodes: usize,
}

/// Rewrites a whole schema. `path` is where it stands in the request; with `patterns` those of the
/// result are in the engine's syntax, else as they were.
///
/// # Errors
///
/// In `Mode::Strict`, the first keyword that cannot be enforced; in both, more than `MAX_NODES`
/// nodes.
pub(super) fn rewrite(
    root: &Value,
    mode: Mode,
    path: &str,
    patterns: bool,
) -> Result<Rewritten, Refusal> {
    let mut rewriter = Rewriter {
        root,
        mode,
        base: path,
        patterns,
        path: Vec::new(),
        notes: Vec::new(),
        definitions: Vec::new(),
        known: HashMap::new(),
        nodes: 0,
        depth: 0,
    };
    let mut schema = rewriter.schema(root, false)?;
    let Rewriter { notes, definitions, nodes, .. } = rewriter;
    if let (Some(map), false) = (schema.as_object_mut(), definitions.is_empty()) {
        let numbered = definitions.into_iter().enumerate();
        let definitions: Map<String, Value> =
            numbered.map(|(i, d)| (i.to_string(), d.unwrap_or(Value::Bool(true)))).collect();
        map.insert("$defs".into(), definitions.into());
    }
    Ok(Rewritten { schema, notes, nodes })
}

#[derive(Debug, Clone)]
enum Segment<'a> {
    Key(&'a str),
    Owned(String),
    Index(usize),
}

struct Rewriter<'a> {
    root: &'a Value,
    mode: Mode,
    base: &'a str,
    patterns: bool,
    path: Vec<Segment<'a>>,
    notes: Vec<Note>,
    /// By number; `None` while it is being rewritten.
    definitions: Vec<Option<Value>>,
    /// Numbers of the definitions by their pointers.
    known: HashMap<String, usize>,
    nodes: usize,
    depth: usize,
}

type Rewrite<T = Value> = Result<T, Refusal>;

/// Keywords of a schema that are rewritten, and what comes of them.
#[derive(Default)]
struct Parts {
    out: Map<String, Value>,
    /// Further schemas that hold as well.
    all: Vec<Value>,
}

impl Parts {
    /// Whether an object has the named properties alone.
    fn is_closed(&self) -> bool {
        self.out.get("additionalProperties") == Some(&Value::Bool(false))
            && !self.out.contains_key("patternProperties")
    }
}

const OBJECT_KEYS: [&str; 6] = [
    "properties",
    "required",
    "additionalProperties",
    "patternProperties",
    "minProperties",
    "maxProperties",
];
const ARRAY_KEYS: [&str; 5] = ["items", "prefixItems", "additionalItems", "minItems", "maxItems"];
const STRING_KEYS: [&str; 3] = ["minLength", "maxLength", "pattern"];
const NUMBER_KEYS: [&str; 5] =
    ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"];
const IN_PLACE: [&str; 6] = ["const", "enum", "allOf", "anyOf", "oneOf", "$ref"];

impl<'a> Rewriter<'a> {
    fn path_of(&self, keyword: &str) -> String {
        let mut path = self.base.to_owned();
        for segment in &self.path {
            match segment {
                Segment::Key(key) => path.extend([".", key]),
                Segment::Owned(key) => path.extend([".", key.as_str()]),
                Segment::Index(i) => path.push_str(&format!("[{i}]")),
            }
        }
        if !keyword.is_empty() {
            path.extend([".", keyword]);
        }
        // Keys are the client's: not without end.
        if path.chars().nth(MAX_PATH).is_some() {
            path = path.chars().take(MAX_PATH).collect();
            path.push_str("...");
        }
        path
    }

    /// Leaves the keyword out, or refuses the schema.
    fn leave_out(&mut self, keyword: &str) -> Rewrite<()> {
        let path = self.path_of(keyword);
        match self.mode {
            Mode::Strict => Err(Refusal { path, keyword: keyword.to_owned() }),
            Mode::Loosen => {
                if self.notes.len() < MAX_NOTES {
                    self.notes.push(Note { keyword: keyword.to_owned(), path });
                }
                Ok(())
            }
        }
    }

    fn count(&mut self, nodes: usize) -> Rewrite<()> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            return Err(Refusal { path: self.base.to_owned(), keyword: String::new() });
        }
        Ok(())
    }

    /// `joined`: the schema is intersected with others, as the parts of an `allOf` are.
    fn schema(&mut self, node: &'a Value, joined: bool) -> Rewrite {
        self.count(1)?;
        let map = match node {
            Value::Bool(_) => return Ok(node.clone()),
            Value::Object(map) => map,
            _ => {
                self.leave_out("schema")?;
                return Ok(Value::Bool(true));
            }
        };
        if self.depth >= MAX_DEPTH {
            self.leave_out("nesting")?;
            return Ok(Value::Bool(true));
        }
        self.depth += 1;
        let result = self.object(map, joined);
        self.depth -= 1;
        result
    }

    fn object(&mut self, map: &'a Map<String, Value>, joined: bool) -> Rewrite {
        let applied = IN_PLACE.iter().filter(|key| map.contains_key(**key)).count();
        let has = |keys: &[&str]| keys.iter().any(|key| map.contains_key(*key));
        let asserts = has(&["type"])
            || has(&OBJECT_KEYS)
            || has(&ARRAY_KEYS)
            || has(&STRING_KEYS)
            || has(&NUMBER_KEYS);
        let joined = joined || applied + usize::from(asserts) > 1;
        let mut parts = Parts::default();
        let mut types = self.types(map)?;
        if types.is_none() && applied == 0 {
            let of = [
                ("object", &OBJECT_KEYS[..]),
                ("array", &ARRAY_KEYS[..]),
                ("string", &STRING_KEYS[..]),
                ("number", &NUMBER_KEYS[..]),
            ];
            let meant = of.iter().find(|(_, keys)| has(keys));
            types = meant.map(|(kind, _)| vec![*kind]);
        }
        if let Some(types) = &types {
            let types = match types.as_slice() {
                [one] => json!(one),
                several => json!(several),
            };
            parts.out.insert("type".into(), types);
        }
        let allows = |kind: &str| types.as_ref().is_none_or(|types| types.contains(&kind));
        for (key, value) in map {
            match key.as_str() {
                "const" => {
                    self.constants(key, std::slice::from_ref(value), types.as_deref(), &mut parts)?
                }
                "enum" => match value.as_array() {
                    Some(values) if !values.is_empty() => {
                        self.constants(key, values, types.as_deref(), &mut parts)?;
                    }
                    _ => self.leave_out(key)?,
                },
                "anyOf" | "oneOf" => self.any_of(key, value, joined, &mut parts)?,
                "allOf" => self.all_of(value, joined, &mut parts)?,
                "$ref" => self.reference(value, joined, &mut parts)?,
                "minLength" | "maxLength" | "pattern" | "format" if allows("string") => {
                    self.string(key, value, &mut parts)?;
                }
                "minItems" | "maxItems" | "prefixItems" | "items" if allows("array") => {
                    self.array(key, value, map, &mut parts)?;
                }
                "properties" | "patternProperties" | "additionalProperties" if allows("object") => {
                    self.properties(key, value, map, &mut parts)?;
                }
                key if NUMBER_KEYS.contains(&key) && (allows("number") || allows("integer")) => {
                    let whole = types.as_ref().is_some_and(|types| !types.contains(&"number"));
                    self.number(key, value, whole, map, &mut parts)?;
                }
                key if keywords::demands(key, value, map) => self.leave_out(key)?,
                // Annotations, what constrains another type, and what the others look at.
                _ => {}
            }
        }
        if allows("object") {
            self.required(map, &mut parts)?;
            self.number_of_properties(map, &mut parts)?;
        }
        Ok(self.join(parts))
    }

    fn join(&self, parts: Parts) -> Value {
        let Parts { mut out, mut all } = parts;
        if all.len() == 1 && out.is_empty() {
            return all.swap_remove(0);
        }
        if !all.is_empty() {
            out.insert("allOf".into(), all.into());
        }
        if out.is_empty() { Value::Bool(true) } else { out.into() }
    }

    /// The types that are allowed, if any are named.
    fn types(&mut self, map: &'a Map<String, Value>) -> Rewrite<Option<Vec<&'a str>>> {
        let named: Option<Vec<&str>> = match map.get("type") {
            None => return Ok(None),
            Some(Value::String(kind)) => Some(vec![kind]),
            Some(Value::Array(kinds)) => kinds.iter().map(Value::as_str).collect(),
            Some(_) => None,
        };
        let is_type = |kind: &&str| {
            matches!(
                *kind,
                "null" | "boolean" | "number" | "integer" | "string" | "array" | "object"
            )
        };
        let mut types = named.filter(|types| !types.is_empty() && types.iter().all(is_type));
        match &mut types {
            None => self.leave_out("type")?,
            Some(types) => {
                let mut seen = Vec::new();
                types.retain(|kind| {
                    !seen.contains(kind) && {
                        seen.push(*kind);
                        true
                    }
                });
            }
        }
        Ok(types)
    }

    fn within(&mut self, segment: Segment<'a>, node: &'a Value, joined: bool) -> Rewrite {
        self.path.push(segment);
        let result = self.schema(node, joined);
        self.path.pop();
        result
    }

    fn branches(
        &mut self,
        key: &'a str,
        value: &'a Value,
        joined: bool,
    ) -> Rewrite<Option<Vec<Value>>> {
        let Some(branches) = value.as_array().filter(|branches| !branches.is_empty()) else {
            self.leave_out(key)?;
            return Ok(None);
        };
        self.path.push(Segment::Key(key));
        let mut done = Vec::with_capacity(branches.len());
        for (i, branch) in branches.iter().enumerate() {
            done.push(self.within(Segment::Index(i), branch, joined)?);
        }
        self.path.pop();
        Ok(Some(done))
    }

    fn any_of(
        &mut self,
        key: &'a str,
        value: &'a Value,
        joined: bool,
        parts: &mut Parts,
    ) -> Rewrite<()> {
        let Some(branches) = self.branches(key, value, joined)? else { return Ok(()) };
        if key == "oneOf" && !self.exclusive(&branches) {
            self.leave_out(key)?;
        }
        let any = json!({"anyOf": branches});
        if self.alternatives(parts).saturating_mul(width(&any)) > MAX_ALTERNATIVES
            && self.alternatives(parts) > 1
        {
            return self.leave_out(key);
        }
        if parts.out.contains_key("anyOf") {
            parts.all.push(any);
        } else if let Value::Object(any) = any {
            parts.out.extend(any);
        }
        Ok(())
    }

    fn all_of(&mut self, value: &'a Value, joined: bool, parts: &mut Parts) -> Rewrite<()> {
        let several = value.as_array().is_some_and(|all| all.len() > 1);
        let Some(branches) = self.branches("allOf", value, joined || several)? else {
            return Ok(());
        };
        for branch in branches {
            let before = self.alternatives(parts);
            if before > 1 && before.saturating_mul(width(&branch)) > MAX_ALTERNATIVES {
                self.leave_out("allOf")?;
            } else {
                parts.all.push(branch);
            }
        }
        Ok(())
    }

    fn alternatives(&self, parts: &Parts) -> usize {
        let one = parts.out.get("anyOf").map_or(1, |branches| width(&json!({"anyOf": branches})));
        parts.all.iter().fold(one, |n, part| n.saturating_mul(width(part)))
    }

    /// Whether no value fits two of the (rewritten) schemas.
    fn exclusive(&self, branches: &[Value]) -> bool {
        branches.len() <= 100
            && branches
                .iter()
                .enumerate()
                .all(|(i, a)| branches[i + 1..].iter().all(|b| self.disjoint(a, b)))
    }

    fn disjoint(&self, a: &Value, b: &Value) -> bool {
        let (a, b) = (self.behind(a), self.behind(b));
        if *a == Value::Bool(false) || *b == Value::Bool(false) {
            return true;
        }
        if let (Some(a), Some(b)) = (constants(a), constants(b)) {
            return a.iter().all(|value| !b.contains(value));
        }
        if let (Some(a), Some(b)) = (kinds(a), kinds(b)) {
            let number =
                |kind: &str| if kind == "integer" { "number".to_owned() } else { kind.to_owned() };
            let b: Vec<String> = b.iter().map(|kind| number(kind)).collect();
            if a.iter().all(|kind| !b.contains(&number(kind))) {
                return true;
            }
        }
        // A property that one of them must have, with other constants in each.
        let required = |schema: &Value, key: &str| {
            schema["required"].as_array().is_some_and(|keys| keys.iter().any(|k| k == key))
        };
        let (Some(of_a), Some(of_b)) = (a["properties"].as_object(), b["properties"].as_object())
        else {
            return false;
        };
        of_a.iter().any(|(key, x)| {
            let Some(y) = of_b.get(key) else { return false };
            (required(a, key) || required(b, key))
                && match (constants(self.behind(x)), constants(self.behind(y))) {
                    (Some(x), Some(y)) => x.iter().all(|value| !y.contains(value)),
                    _ => false,
                }
        })
    }

    /// The schema that a (rewritten) reference names.
    fn behind<'s>(&'s self, schema: &'s Value) -> &'s Value {
        let Some(number) = reference::number(schema) else { return schema };
        self.definitions.get(number).and_then(Option::as_ref).unwrap_or(schema)
    }
}

/// Alternatives that a (rewritten) schema has at its top.
fn width(schema: &Value) -> usize {
    let mut width = 1usize;
    if let Some(any) = schema["anyOf"].as_array() {
        width = any.iter().fold(0usize, |n, branch| n.saturating_add(self::width(branch)));
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        width = width.saturating_mul(self::width(part));
    }
    width
}

fn constants(schema: &Value) -> Option<&[Value]> {
    match schema.get("const") {
        Some(value) => Some(std::slice::from_ref(value)),
        None => schema["enum"].as_array().map(Vec::as_slice),
    }
}

fn kinds(schema: &Value) -> Option<Vec<String>> {
    match schema.get("type") {
        Some(Value::String(kind)) => Some(vec![kind.clone()]),
        Some(Value::Array(kinds)) => kinds.iter().map(|k| k.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}
