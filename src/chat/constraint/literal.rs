//! The grammar of one tool's call in Python. Values are JSON, which the parser reads as Python:
//! only words and plain strings may be written as Python alone has them.

use std::fmt::Write;

use serde_json::{Value, json};

use super::ToolSchema;
use super::lark::{json_value, quoted};
use super::shape::Shape;
use super::typing::{python_words, with_definitions};
use crate::chat::json_text::json_string;

/// Rules `call_{i}` and `arguments_{i}`, which is behind the opening bracket, and what they need.
/// Arguments come in the schema's order.
pub(super) fn rules(g: &mut String, i: usize, tool: &ToolSchema, loosened: bool) {
    let shape = Shape::of(&tool.schema);
    let any = Value::Bool(true);
    let parameters: Vec<(&String, &Value)> = shape
        .properties
        .iter()
        .filter(|(_, schema)| **schema != Value::Bool(false))
        .map(|(name, schema)| (name, if loosened { &any } else { schema }))
        .collect();
    let _ = writeln!(g, "call_{i}: blank? {} \"(\" arguments_{i}", quoted(&tool.name));
    let ways: Vec<String> =
        (0..shape.choices.len()).map(|way| format!("first_{i}_{way}_0")).collect();
    let _ = writeln!(g, "arguments_{i}: blank? ({})", ways.join(" | "));
    for (way, required) in shape.choices.iter().enumerate() {
        // Whether a comma is due depends on whether there was an argument before.
        for (p, (name, _)) in parameters.iter().enumerate() {
            let next = p + 1;
            let [skip, skip_more] = match !loosened && required.contains(*name) {
                true => [String::new(), String::new()],
                false => ["first", "more"].map(|rule| format!(" | {rule}_{i}_{way}_{next}")),
            };
            let _ = writeln!(
                g,
                "first_{i}_{way}_{p}: argument_{i}_{p} blank? more_{i}_{way}_{next}{skip}\n\
                 more_{i}_{way}_{p}: \",\" blank? argument_{i}_{p} blank? more_{i}_{way}_{next}{skip_more}"
            );
        }
        let end = parameters.len();
        let [others, more] = match shape.others {
            true => [
                format!("other_{i} blank? (\",\" blank? other_{i} blank?)* \")\" | "),
                format!("(\",\" blank? other_{i} blank?)* "),
            ],
            false => [String::new(), String::new()],
        };
        let _ =
            writeln!(g, "first_{i}_{way}_{end}: {others}\")\"\nmore_{i}_{way}_{end}: {more}\")\"");
    }
    for (p, (name, schema)) in parameters.iter().enumerate() {
        let _ = writeln!(
            g,
            "argument_{i}_{p}: {} blank? \"=\" blank? ({})",
            quoted(&key(name)),
            value(schema, &tool.schema)
        );
    }
    if shape.others {
        // Of a name that comes twice the parser takes the first.
        let _ = writeln!(
            g,
            "other_{i}: /[A-Za-z_][A-Za-z0-9_]{{0,63}}/ blank? \"=\" blank? ({})",
            value(&any, &any)
        );
    }
}

/// A name as it stands before the equals sign.
fn key(name: &str) -> String {
    let is_bare = !name.is_empty()
        && name.trim() == name
        && !name.contains(['=', ',', '(', ')', '{', '}', '[', ']', '\n', '\'', '"']);
    if is_bare { name.to_owned() } else { json_string(name) }
}

fn value(schema: &Value, root: &Value) -> String {
    let mut ways = vec![json_value(&with_definitions(schema, root))];
    let words = match schema {
        Value::Bool(true) => ["True", "False", "None"].map(str::to_owned).to_vec(),
        _ => python_words(schema),
    };
    ways.extend(words.iter().map(|word| quoted(word)));
    if *schema == Value::Bool(true) || *schema == json!({"type": "string"}) {
        ways.push("/'([^'\\\\\\r\\n]|\\\\[nrt'\"\\\\])*'/".to_owned());
    }
    ways.join(" | ")
}
