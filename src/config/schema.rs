//! The JSON schema of the settings.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use serde_json::Value;

use super::settings::Settings;

/// The JSON schema (draft 2020-12) of the settings file, without references, so that a small
/// reader such as the NixOS module's can walk it.
pub(crate) fn schema() -> Schema {
    SchemaSettings::draft2020_12()
        .with(|s| s.inline_subschemas = true)
        .with_transform(Tidy)
        .into_generator()
        .into_root_schema_for::<Settings>()
}

/// The schema as indented JSON text with a final newline.
pub fn schema_json() -> String {
    let mut text = serde_json::to_string_pretty(&schema()).unwrap_or_default();
    text.push('\n');
    text
}

/// Joins wrapped doc comments into one line and writes defaults with their shortest digits: a
/// default of 0.95 passes through f32 and would read 0.949999988079071.
#[derive(Clone)]
struct Tidy;

impl Transform for Tidy {
    fn transform(&mut self, schema: &mut Schema) {
        if let Some(Value::String(text)) = schema.get_mut("description") {
            *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        }
        if let Some(default) = schema.get_mut("default") {
            shorten(default);
        }
        transform_subschemas(self, schema);
    }
}

/// Replaces every number that is exactly an f32 by the shortest decimal that reads back as it.
pub(crate) fn shorten(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            let exact = number.as_f64().unwrap_or_default();
            let single = exact as f32;
            if f64::from(single) == exact
                && let Ok(short) = single.to_string().parse::<f64>()
                && let Some(short) = serde_json::Number::from_f64(short)
            {
                *number = short;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(shorten),
        Value::Object(fields) => fields.values_mut().for_each(shorten),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn the_checked_in_schema_is_current() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("nix/modules/settings.schema.json");
        let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            checked_in == super::schema_json(),
            "nix/modules/settings.schema.json is stale; refresh it with\n  \
             cargo run --release -- config schema > nix/modules/settings.schema.json"
        );
    }
}
