//! Texts as JSON strings.

use serde_json::Value;

/// `text` as a JSON string with its quotes; nothing beyond ASCII is escaped.
pub(super) fn json_string(text: &str) -> String {
    Value::from(text).to_string()
}
