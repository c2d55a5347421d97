//! The grammar of one tool's call in each form, from behind the mark that opens it.

use std::fmt::Write;

use serde_json::{Value, json};

use super::lark::{escaped, json_value, quoted};
use super::typing::Text;
use super::{ToolSchema, literal, tagged};
use crate::chat::json_text::json_string;
use crate::chat::output::{Call, Format, Literal};

/// Any JSON object.
pub(super) fn any_object() -> Value {
    json!({"type": "object"})
}

/// Whether there is a grammar for the format's calls.
pub(super) fn is_known(format: &Format) -> bool {
    match format.call {
        Call::Object { .. } | Call::Json { .. } | Call::Tagged(_) | Call::Harmony => true,
        Call::Literal(literal) => literal == Literal::Python,
        Call::None => false,
    }
}

/// What opens a call for certain, behind the opening tag: the beginning of an object, or the tag of
/// a name.
pub(super) fn mark(format: &Format) -> &'static str {
    match &format.call {
        Call::Object { .. } if !format.list => "{",
        Call::Tagged(tagged) => tagged.head,
        _ => "",
    }
}

/// Whether the parser reads the name as one.
pub(super) fn can_call(format: &Format, name: &str) -> bool {
    match &format.call {
        Call::Object { .. } => !name.is_empty(),
        _ => {
            (1..=256).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.:/".contains(&b))
        }
    }
}

/// Paths below a tool's (rewritten) schema of what cannot be enforced in this form.
pub(super) fn lost(format: &Format, tool: &ToolSchema) -> Vec<String> {
    if !matches!(format.call, Call::Tagged(_) | Call::Literal(_)) {
        return Vec::new();
    }
    let mut paths = Vec::new();
    // Each parameter stands for itself: which go together is not enforced.
    if tool.schema.get("anyOf").is_some() {
        paths.push("anyOf".to_owned());
    }
    if matches!(format.call, Call::Literal(_)) {
        return paths;
    }
    for (name, schema) in tool.schema["properties"].as_object().into_iter().flatten() {
        if Text::of(&tool.original, name, schema, &tool.schema, false).lost {
            let keyword = if schema.get("pattern").is_some() { "pattern" } else { "enum" };
            paths.push(format!("properties.{name}.{keyword}"));
        }
    }
    paths
}

/// Rules `call_{i}` and what it needs: the call from behind its mark to ahead of its closing tag,
/// or through it where nothing else ends the call. `tag` spells a tag as a value in a rule.
pub(super) fn rules(
    g: &mut String,
    i: usize,
    tool: &ToolSchema,
    loosened: bool,
    format: &Format,
    tag: &dyn Fn(&str) -> String,
) {
    let any = any_object();
    let schema = if loosened { &any } else { &tool.schema };
    let name = &tool.name;
    match &format.call {
        Call::Object { name: key, arguments } => {
            object(g, i, name, schema, (key, arguments), format.list);
        }
        Call::Json { prefix, until, index } => {
            let number = if *index { " /:[0-9]{1,3}/" } else { "" };
            let name = quoted(&format!("{prefix}{name}"));
            let _ = writeln!(
                g,
                "call_{i}: blank? {name}{number} {} blank? {}",
                tag(until),
                json_value(schema)
            );
        }
        Call::Tagged(tags) => tagged::rules(g, i, tool, loosened, tags, format),
        Call::Harmony => {
            let _ = writeln!(g, "call_{i}: blank? {}", json_value(schema));
        }
        Call::Literal(_) => literal::rules(g, i, tool, loosened),
        Call::None => {}
    }
}

/// Where a call may stand that begins with the short mark, and what stands around the tool's name
/// in it, all as expressions.
pub(super) fn around_bare_name(format: &Format) -> (&'static str, String, String) {
    let blanks = "[ \\t\\r\\n]*";
    match &format.call {
        // At the beginning of a line; the parser takes no other members before the name.
        Call::Object { name, .. } => {
            let member = |key: &str| format!("{blanks}\"{key}\"{blanks}:{blanks}");
            let before = member("(type|id)");
            let text = "\"([^\"\\\\]|\\\\.)*\"";
            (
                "([ \\t\\r\\n]*|(?s:.*)\\n)",
                format!("({before}{text}{blanks},)*{}", member(&escaped(name))),
                String::new(),
            )
        }
        Call::Tagged(tagged) => {
            ("(?s:.*)", String::new(), format!("{blanks}{}", escaped(tagged.head_end)))
        }
        _ => ("(?s:.*)", String::new(), String::new()),
    }
}

/// The rule `other`: what may follow a mark that then is none of a call, as it names no offered
/// tool.
pub(super) fn other_rule<'a>(
    g: &mut String,
    names: impl Iterator<Item = &'a str>,
    format: &Format,
) {
    let blank = "[ \\t\\r\\n]{0,16}";
    let _ = match &format.call {
        Call::Object { name: key, .. } => {
            let names: Vec<String> = names.map(|name| escaped(&json_string(name))).collect();
            let member = format!("{blank}\"{}\"{blank}:{blank}", escaped(key));
            writeln!(
                g,
                "other: OTHER\nOTHER: /{blank}[^\" \\t\\r\\n<]/ | /{member}\"[^\"\\\\\\n<]*\"/ & ~/{member}({})/",
                names.join("|")
            )
        }
        _ => {
            let names: Vec<String> = names.map(escaped).collect();
            let of_name = "A-Za-z0-9_.:\\/\\-";
            writeln!(
                g,
                "other: OTHER\nOTHER: /{blank}[^{of_name} \\t\\r\\n<]/ | /{blank}[{of_name}]{{1,64}}/ & ~/{blank}({})/",
                names.join("|")
            )
        }
    };
}

/// `"name": "...", "arguments": {...}}`, and in a list an id.
fn object(
    g: &mut String,
    i: usize,
    name: &str,
    schema: &Value,
    (key, arguments): (&str, &[&str]),
    has_id: bool,
) {
    let name = escaped(&json_string(name));
    let blank = "[ \\t\\r\\n]{0,16}";
    let keys: Vec<String> = arguments.iter().map(|key| escaped(key)).collect();
    // A call without arguments is one with none.
    let demands = ["required", "minProperties", "anyOf", "allOf", "enum", "$ref"];
    let is_optional = demands.iter().all(|key| schema.get(*key).is_none());
    let optional = if is_optional { "?" } else { "" };
    let id = if has_id {
        format!("(/{blank},{blank}\"id\"{blank}:{blank}\"[A-Za-z0-9_\\-]{{0,40}}\"/)? ")
    } else {
        String::new()
    };
    let _ = writeln!(
        g,
        "call_{i}: /{blank}\"{}\"{blank}:{blank}{name}/ arguments_{i}\narguments_{i}: (/{blank},{blank}\"({})\"{blank}:{blank}/ {}){optional} \
         {id}blank? \"}}\"",
        escaped(key),
        keys.join("|"),
        json_value(schema)
    );
}
