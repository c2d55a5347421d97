//! What loading yields: settings with their origins.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::catalogue::{key, keys};
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

/// A value that the model's file recommends for a setting.
#[derive(Debug, Clone, PartialEq)]
pub struct Recommendation {
    /// The key in the file.
    pub key: &'static str,
    /// Dotted key of the setting.
    pub setting: &'static str,
    /// The value as the file has it; null: none that could be right.
    pub value: Value,
}

impl Loaded {
    /// Takes what the model at `path` (none: the built-in one) recommends, where nobody set
    /// anything. Gives one line that names what was taken and one for each value that no setting
    /// can have.
    pub fn recommend(&mut self, path: Option<&Path>, all: &[Recommendation]) -> Vec<String> {
        let mut tree = to_json(&self.settings);
        let (mut taken, mut lines) = (Vec::new(), Vec::new());
        for Recommendation { key: source, setting, value } in all {
            let Some(known) = key(setting).filter(|key| !self.origins.is_set(&key.path)) else {
                continue;
            };
            match known.check(value.clone()) {
                Ok(value) => {
                    taken.push(format!("{setting} = {value}"));
                    if let Some(Value::Object(section)) = tree.get_mut(known.section()) {
                        section.insert(known.name().to_owned(), value);
                    }
                    let origin = Origin::Model { path: path.map(Path::to_owned), key: source };
                    self.origins.set(setting, origin);
                }
                Err(problem) => {
                    lines.push(format!("the model's {source} is not taken: {problem}"));
                }
            }
        }
        // Each value was checked, so the whole can be read.
        if let Ok(settings) = serde_json::from_value(Value::Object(tree)) {
            self.settings = settings;
        }
        if !taken.is_empty() {
            lines.push(format!("the model's file recommends {}; settings win", taken.join(", ")));
        }
        lines
    }

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
