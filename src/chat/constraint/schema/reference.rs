//! `$ref`: the schemas that references name become numbered definitions.

use serde_json::{Value, json};

use super::{Parts, Rewrite, Rewriter, Segment};

/// References that lead to references.
const MAX_HOPS: usize = 32;

/// The number of the definition that a (rewritten) schema refers to.
pub(super) fn number(schema: &Value) -> Option<usize> {
    schema["$ref"].as_str()?.strip_prefix("#/$defs/")?.parse().ok()
}

/// What a reference names.
struct Target<'a> {
    pointer: String,
    node: &'a Value,
}

impl<'a> Rewriter<'a> {
    pub(super) fn reference(
        &mut self,
        value: &'a Value,
        joined: bool,
        parts: &mut Parts,
    ) -> Rewrite<()> {
        let Some(target) = value.as_str().and_then(|text| self.follow(text)) else {
            return self.leave_out("$ref");
        };
        let number = match self.known.get(&target.pointer) {
            // The engine's compiler intersects only with what it has read to the end.
            Some(&number) if joined && self.definitions[number].is_none() => {
                return self.leave_out("$ref");
            }
            Some(&number) => number,
            None => {
                let number = self.definitions.len();
                self.definitions.push(None);
                let segments = target.pointer.split('/').skip(1);
                let segments = segments
                    .map(|s| Segment::Owned(s.replace("~1", "/").replace("~0", "~")))
                    .collect();
                self.known.insert(target.pointer, number);
                let path = std::mem::replace(&mut self.path, segments);
                let schema = self.schema(target.node, false)?;
                self.path = path;
                self.definitions[number] = Some(schema);
                number
            }
        };
        let reference = json!({"$ref": format!("#/$defs/{number}")});
        if parts.out.contains_key("anyOf") || !parts.all.is_empty() {
            parts.all.push(reference);
        } else {
            parts.out.insert("$ref".into(), reference["$ref"].clone());
        }
        Ok(())
    }

    /// What the reference names in the end: `None` if nothing or itself.
    fn follow(&self, text: &str) -> Option<Target<'a>> {
        let mut target = self.resolve(text)?;
        for _ in 0..MAX_HOPS {
            let next = match target.node.as_object() {
                Some(map)
                    if map
                        .keys()
                        .all(|key| !super::keywords::is_constraint(key) || key == "$ref") =>
                {
                    map.get("$ref")
                }
                _ => None,
            };
            let Some(next) = next else { return Some(target) };
            target = self.resolve(next.as_str()?)?;
        }
        None
    }

    fn resolve(&self, text: &str) -> Option<Target<'a>> {
        let own = ["$id", "id"].iter().find_map(|key| self.root.get(key)?.as_str());
        let text = match own {
            Some(id) => text.strip_prefix(id.trim_end_matches('#')).unwrap_or(text),
            None => text,
        };
        let fragment = if text.is_empty() { "" } else { text.strip_prefix('#')? };
        let pointer =
            percent_encoding::percent_decode_str(fragment).decode_utf8().ok()?.into_owned();
        if pointer.is_empty() || pointer.starts_with('/') {
            let node = self.root.pointer(&pointer)?;
            return Some(Target { pointer, node });
        }
        self.anchor(&pointer)
    }

    /// The schema with this `$anchor`.
    fn anchor(&self, name: &str) -> Option<Target<'a>> {
        let mut left = super::MAX_NODES;
        let mut todo = vec![(String::new(), self.root)];
        while let Some((pointer, node)) = todo.pop() {
            left = left.checked_sub(1)?;
            let is = |key: &str, name: &str| node.get(key).and_then(Value::as_str) == Some(name);
            let old = format!("#{name}");
            if is("$anchor", name) || is("$id", &old) || is("id", &old) {
                return Some(Target { pointer, node });
            }
            match node {
                Value::Object(map) => todo.extend(
                    map.iter().filter(|(_, v)| v.is_object() || v.is_array()).map(|(key, v)| {
                        (format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1")), v)
                    }),
                ),
                Value::Array(items) => {
                    todo.extend(
                        items.iter().enumerate().map(|(i, v)| (format!("{pointer}/{i}"), v)),
                    );
                }
                _ => {}
            }
        }
        None
    }
}
