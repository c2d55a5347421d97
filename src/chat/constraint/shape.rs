//! The parameters of a call in forms that write each for itself.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// Ways of what must be there that are told apart.
const MAX_CHOICES: usize = 16;

/// The parameters of a schema that is put together of several.
#[derive(Default)]
pub(super) struct Shape {
    pub(super) properties: Map<String, Value>,
    /// Sets of names, one of which must be there.
    pub(super) choices: Vec<BTreeSet<String>>,
    /// Parameters without a schema are allowed.
    pub(super) others: bool,
}

impl Shape {
    /// Of a (rewritten) schema.
    pub(super) fn of(schema: &Value) -> Self {
        let mut shape = Self { choices: vec![BTreeSet::new()], ..Self::default() };
        shape.add(schema, schema, 0);
        shape
    }

    /// What the schema demands as well.
    fn add(&mut self, schema: &Value, root: &Value, depth: usize) {
        if depth > 8 {
            return;
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            match self.properties.get_mut(name) {
                None => {
                    self.properties.insert(name.clone(), property.clone());
                }
                Some(before) if before == property => {}
                Some(before) => *before = json!({"anyOf": [before.take(), property]}),
            }
        }
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for choice in &mut self.choices {
            choice.extend(required.iter().map(|name| (*name).to_owned()));
        }
        self.others |= match schema.get("additionalProperties") {
            None => {
                depth == 0
                    && ["properties", "$ref", "anyOf", "allOf"]
                        .iter()
                        .all(|key| schema.get(*key).is_none())
            }
            Some(rest) => *rest == Value::Bool(true),
        };
        let target = schema["$ref"].as_str().and_then(|r| root.pointer(r.strip_prefix('#')?));
        for part in schema["allOf"].as_array().into_iter().flatten().chain(target) {
            self.add(part, root, depth + 1);
        }
        if let Some(branches) = schema["anyOf"].as_array() {
            let mut choices = Vec::new();
            let before = self.choices.clone();
            for branch in branches {
                self.choices.clone_from(&before);
                self.add(branch, root, depth + 1);
                choices.append(&mut self.choices);
            }
            choices.truncate(MAX_CHOICES);
            self.choices = choices;
        }
    }
}
