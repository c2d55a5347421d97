//! What a request asks of the form of an answer, as a grammar: the tools that may or must be
//! called, and the format of the text. The engine compiles it; what it lets through, the parser of
//! outputs reads as valid calls.

mod calls;
mod gbnf;
mod grammar;
mod harmony;
mod lark;
mod literal;
mod pattern;
mod schema;
mod shape;
mod tagged;
mod typing;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use thiserror::Error;

use super::output::{FORMATS, Format, Opening};
use super::tools::{ResponseFormat, Tool, ToolChoice, Tools};
use schema::{Mode, Refusal};

/// Schemas of all tools together; those behind are not enforced.
const MAX_NODES_OF_TOOLS: usize = 20_000;

/// A request that cannot be enforced though it must be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConstraintError {
    /// A keyword of a strict tool's or the response's schema.
    #[error("{path}: {}", fault(keyword))]
    Keyword {
        /// The keyword; `schema` for what is none.
        keyword: String,
        /// Where it stands in the request, itself included.
        path: String,
    },
    /// A schema that is too large.
    #[error("{path}: the schema is too large: more than {max} parts", max = schema::MAX_NODES)]
    TooLarge {
        /// Where it stands in the request.
        path: String,
    },
    /// A call is required and no tool may be called.
    #[error("tool_choice: a call is required, but no tool may be called")]
    NoTools,
    /// Text in `grammar` that is no GBNF.
    #[error("grammar: line {line}: {message}")]
    Grammar {
        /// Its line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
}

impl ConstraintError {
    /// The part of the request that is at fault.
    #[must_use]
    pub fn parameter(&self) -> &str {
        match self {
            Self::Keyword { path, .. } | Self::TooLarge { path } => path,
            Self::NoTools => "tool_choice",
            Self::Grammar { .. } => "grammar",
        }
    }
}

/// What is wrong at a keyword, and what would be right: a wrong value is changed, and what no value
/// helps is left out.
fn fault(keyword: &str) -> String {
    match keyword {
        "schema" => "a schema must be an object or a boolean".to_owned(),
        "nesting" => "the schemas are nested too deeply".to_owned(),
        "type" => {
            "`type` must name a type that the value can have, and that of a call's arguments is \
                   \"object\""
                .to_owned()
        }
        "$ref" => "the reference must lead to a schema within this one".to_owned(),
        _ if schema::is_unsupported(keyword) => {
            format!("the keyword `{keyword}` cannot be enforced; leave it out")
        }
        _ => format!("`{keyword}` cannot be enforced as it is; change or leave it out"),
    }
}

impl From<Refusal> for ConstraintError {
    fn from(Refusal { path, keyword }: Refusal) -> Self {
        if keyword.is_empty() { Self::TooLarge { path } } else { Self::Keyword { keyword, path } }
    }
}

/// A part of a tool's schema that is not enforced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loosened {
    /// Its index among the offered tools.
    pub tool: usize,
    /// The keyword that was left out; `schema` for a schema that is none, `nesting` for one too
    /// deep, `size` for one too large, `name` for a tool whose name is none in the model's format.
    pub keyword: String,
    /// Where it stands in the request.
    pub path: String,
}

/// The constraint of one request.
#[derive(Debug, Clone)]
pub struct Plan {
    format: Option<&'static Format>,
    /// By the index among the offered tools; only those that may be called.
    tools: Vec<(usize, ToolSchema)>,
    response: Response,
    choice: ToolChoice,
    single: bool,
    opening: Opening,
    /// The model may open a thinking block of its own.
    thinks: bool,
    /// The control tokens among the format's tags.
    tokens: Vec<(&'static str, u32)>,
    /// What is not enforced of the tools' schemas: for a warning.
    pub notes: Vec<Loosened>,
    /// The answer begins with free text: nothing is masked before a call begins.
    lazy: bool,
}

/// A tool as the grammar has it.
#[derive(Debug, Clone)]
struct ToolSchema {
    name: String,
    /// The schema of its arguments, rewritten: an object's.
    schema: Value,
    /// As the parser has it.
    original: Value,
}

/// What the text must be.
#[derive(Debug, Clone)]
enum Response {
    Any,
    Json(Value),
    /// A whole Lark grammar.
    Lark(String),
}

/// The format in which a model writes its output: its own, but a call that is required of a model
/// without a form of its own is said in the plainest one.
pub fn format_of_calls(
    format: Option<&'static Format>,
    choice: ToolChoice,
) -> Option<&'static Format> {
    match choice {
        ToolChoice::Required => {
            let known = format.filter(|format| calls::is_known(format));
            known.or_else(|| FORMATS.iter().find(|format| format.id == "hermes"))
        }
        ToolChoice::None | ToolChoice::Auto => format,
    }
}

/// Whether a string can be held to this regular expression (ECMA-262's): a `pattern` of a schema that
/// is not left out.
#[must_use]
pub fn is_enforceable(pattern: &str) -> bool {
    pattern::translate(pattern).is_some_and(|text| pattern::whole(&text).is_some())
}

/// The constraint that the request asks for, if any. `special` is the id of a tag that is a control
/// token of the model's vocabulary, whose text the engine does not see. A tag that is a token of
/// ordinary text (Qwen's `<tool_call>`) needs none: it is taken as a token and in pieces.
///
/// # Errors
///
/// A strict tool's or the response's schema that cannot be enforced, a grammar that is none, a
/// required call without a tool. Schemas of other tools are never refused.
pub fn plan(
    format: Option<&'static Format>,
    tools: &Tools,
    response: &ResponseFormat,
    opening: Opening,
    special: &dyn Fn(&str) -> Option<u32>,
) -> Result<Option<Plan>, ConstraintError> {
    let response = match response {
        ResponseFormat::Text => Response::Any,
        ResponseFormat::JsonObject => Response::Json(calls::any_object()),
        ResponseFormat::JsonSchema { schema, path } => {
            Response::Json(schema::rewrite(schema, Mode::Strict, path, true)?.schema)
        }
        ResponseFormat::Grammar(text) => {
            Response::Lark(gbnf::to_lark(text).map_err(|gbnf::Error { line, message }| {
                ConstraintError::Grammar { line, message }
            })?)
        }
    };
    let thinks = format.is_some();
    let format = format_of_calls(format, tools.choice);
    let calls = format.filter(|format| calls::is_known(format));
    let mut notes = Vec::new();
    let mut callable = Vec::new();
    let form = match tools.choice {
        ToolChoice::None => None,
        // Calls of no known form are text.
        ToolChoice::Auto => calls,
        ToolChoice::Required => format,
    };
    let mut nodes = 0;
    for (i, tool) in tools.offered.iter().enumerate() {
        let allowed = tools.allowed.as_ref().is_none_or(|allowed| allowed.contains(&i));
        let Some(form) = form.filter(|_| allowed) else { continue };
        if calls::can_call(form, &tool.name) {
            let schema = tool_schema(i, tool, &mut nodes, &mut notes)?;
            for below in calls::lost(form, &schema) {
                let keyword = below.rsplit('.').next().unwrap_or_default().to_owned();
                let path = format!("{}.{below}", tool.schema_path());
                if tool.strict {
                    return Err(ConstraintError::Keyword { keyword, path });
                }
                notes.push(Loosened { tool: i, keyword, path });
            }
            callable.push((i, schema));
        } else {
            notes.push(Loosened {
                tool: i,
                keyword: "name".into(),
                path: format!("{}.name", tool.path),
            });
        }
    }
    if callable.is_empty() {
        if tools.choice == ToolChoice::Required {
            return Err(ConstraintError::NoTools);
        }
        if matches!(response, Response::Any) {
            return Ok(None);
        }
    }
    let lazy = matches!(response, Response::Any) && tools.choice == ToolChoice::Auto;
    Ok(Some(Plan {
        format,
        tools: callable,
        response,
        choice: tools.choice,
        single: tools.single,
        opening,
        thinks,
        tokens: tokens(format, special),
        notes,
        lazy,
    }))
}

/// The control tokens among the format's tags.
fn tokens(
    format: Option<&'static Format>,
    special: &dyn Fn(&str) -> Option<u32>,
) -> Vec<(&'static str, u32)> {
    let think = grammar::think(format);
    let mut tags = vec![think.0, think.1];
    tags.extend(format.map(Format::tags).unwrap_or_default());
    tags.sort_unstable();
    tags.dedup();
    tags.into_iter().filter_map(|tag| Some((tag, special(tag)?))).collect()
}

fn tool_schema(
    i: usize,
    tool: &Tool,
    nodes: &mut usize,
    notes: &mut Vec<Loosened>,
) -> Result<ToolSchema, ConstraintError> {
    let path = tool.schema_path();
    let mode = if tool.strict { Mode::Strict } else { Mode::Loosen };
    let mut note = |keyword: String, path: String| notes.push(Loosened { tool: i, keyword, path });
    let rewritten = match schema::rewrite(&tool.parameters, mode, &path, true) {
        Ok(rewritten) => {
            *nodes += rewritten.nodes;
            for schema::Note { keyword, path } in rewritten.notes {
                note(keyword, path);
            }
            rewritten.schema
        }
        Err(refusal) if tool.strict => return Err(refusal.into()),
        Err(_) => {
            note("size".into(), path.clone());
            Value::Bool(true)
        }
    };
    let rewritten = if *nodes > MAX_NODES_OF_TOOLS && !tool.strict {
        note("size".into(), path.clone());
        Value::Bool(true)
    } else {
        rewritten
    };
    let schema = match arguments(rewritten) {
        Some(schema) => schema,
        None if tool.strict => {
            return Err(ConstraintError::Keyword {
                keyword: "type".into(),
                path: format!("{path}.type"),
            });
        }
        None => {
            note("type".into(), format!("{path}.type"));
            calls::any_object()
        }
    };
    Ok(ToolSchema { name: tool.name.clone(), schema, original: tool.parameters.clone() })
}

/// The (rewritten) schema as one of a call's arguments: an object that has only the named
/// properties, unless it says otherwise. `None` if it allows no object.
fn arguments(mut schema: Value) -> Option<Value> {
    // A definition at the top is read in its place.
    if let Some(definitions) = schema.get("$defs").cloned()
        && schema.as_object().is_some_and(|map| map.contains_key("$ref") && map.len() == 2)
    {
        let pointer =
            schema["$ref"].as_str().unwrap_or_default().trim_start_matches('#').to_owned();
        let mut target = schema.pointer(&pointer)?.clone();
        if let Some(map) = target.as_object_mut() {
            map.insert("$defs".into(), definitions);
        }
        schema = target;
    }
    let map = match &mut schema {
        Value::Object(map) => map,
        Value::Bool(false) => {
            return Some(json!({"type": "object", "additionalProperties": false}));
        }
        _ => return Some(calls::any_object()),
    };
    match map.get("type") {
        Some(Value::String(kind)) if kind != "object" => return None,
        Some(Value::Array(kinds)) if !kinds.iter().any(|kind| kind == "object") => return None,
        _ => {}
    }
    map.insert("type".into(), "object".into());
    let composed = ["$ref", "anyOf", "allOf", "enum"].iter().any(|key| map.contains_key(*key));
    if composed || map.contains_key("additionalProperties") || map.contains_key("patternProperties")
    {
        return Some(schema);
    }
    // What must be there may be there.
    let required: Vec<String> = map
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect();
    let properties = map.entry("properties").or_insert_with(|| json!({}));
    if let Some(properties) = properties.as_object_mut() {
        for name in required {
            properties.entry(name).or_insert(Value::Bool(true));
        }
    }
    map.insert("additionalProperties".into(), false.into());
    Some(schema)
}

impl Plan {
    /// The whole grammar in Lark; the arguments of the tools at these indices among the offered
    /// ones may be any object.
    #[must_use]
    pub fn grammar(&self, loosened: &BTreeSet<usize>) -> String {
        grammar::whole(self, self.thinks, loosened)
    }

    /// The same without a block of thoughts, where the model may open one before an answer that must
    /// have a form.
    #[must_use]
    pub fn direct_grammar(&self, loosened: &BTreeSet<usize>) -> Option<String> {
        let may_think = self.thinks && self.opening == Opening::Text && !self.lazy;
        may_think.then(|| grammar::whole(self, false, loosened))
    }

    /// The grammar of one tool's call alone, to learn whether it compiles; `None` if the tool at
    /// this index among the offered ones may not be called.
    #[must_use]
    pub fn tool_grammar(&self, tool: usize) -> Option<String> {
        let (i, schema) = self.tools.iter().find(|(i, _)| *i == tool)?;
        Some(grammar::one_call(self, *i, schema))
    }

    /// The indices among the offered tools of those that may be called.
    pub fn tools(&self) -> impl Iterator<Item = usize> {
        self.tools.iter().map(|(i, _)| *i)
    }
}
