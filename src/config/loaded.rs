//! What loading yields: settings with their origins.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::catalogue::keys;
use super::origin::{Origin, Origins};
use super::settings::Settings;

/// Settings, with what is to be said about them.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// Where each of them came from.
    pub origins: Origins,
    /// What was set and has no effect, or another one than asked for; one line each.
    pub warnings: Vec<String>,
    /// Pipes that settings were read from (`--config <(..)`): they say nothing a second time.
    pub pipes: Vec<PathBuf>,
}

/// One setting with its value and origin.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Dotted key.
    pub key: String,
    /// Its value; null: unset. API keys are replaced by `"<redacted>"`.
    pub value: Value,
    /// Its origin.
    pub origin: Origin,
}

impl Loaded {
    /// All settings in the order of the reference, without secrets.
    pub fn entries(&self) -> Vec<Entry> {
        let values = to_json(&self.settings);
        keys()
            .iter()
            .map(|key| {
                let value = values.get(key.section()).and_then(|section| section.get(key.name()));
                let mut value = value.cloned().unwrap_or_default();
                if key.is_secret()
                    && let Value::Array(secrets) = &mut value
                {
                    secrets.iter_mut().for_each(|secret| *secret = json!("<redacted>"));
                }
                let origin = self.origins.get(&key.path).clone();
                Entry { key: key.path.clone(), value, origin }
            })
            .collect()
    }

    /// The settings that differ from their defaults, without secrets.
    pub fn changed(&self) -> Vec<Entry> {
        let defaults = Self::default().entries();
        let entries = self.entries().into_iter().zip(defaults);
        entries.filter(|(now, default)| now.value != default.value).map(|(now, _)| now).collect()
    }
}

/// Through text, because serde_json would widen 0.95_f32 to 0.949999988079071.
pub(crate) fn to_json(settings: &Settings) -> Map<String, Value> {
    serde_json::to_string(settings).and_then(|text| serde_json::from_str(&text)).unwrap_or_default()
}
