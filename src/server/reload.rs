//! SIGHUP: the settings are read again, and what can change in a running server changes.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use tokio::task::{JoinHandle, spawn_blocking};

use super::launch::engine_limits;
use crate::api::AppState;
use crate::config::{self, Loaded, Recommendation, Settings, Sources};
use crate::http::{self, Keys};
use crate::model::Source;
use crate::service::logging::LogControl;

/// What takes effect at once. All else is decided when the model is loaded or a port is bound.
const AT_ONCE: [&str; 5] =
    ["limits.", "sampling.", "log.level", "server.api_keys", "server.api_key_file"];

/// Reads the settings again as the start did.
#[derive(Debug)]
pub(super) struct Reloader {
    sources: Sources,
    log: LogControl,
    /// What the settings are, without what waits for the next start.
    current: Loaded,
    /// The served model's file, and what it recommends.
    model: Option<PathBuf>,
    recommended: Vec<Recommendation>,
}

/// Settings and keys as they were read again.
#[derive(Debug)]
pub(super) struct ReloadedSettings {
    loaded: Loaded,
    keys: Keys,
}

impl Reloader {
    pub(super) fn new(sources: Sources, log: LogControl, current: Loaded, source: &Source) -> Self {
        let (model, recommended) = (source.shown.clone(), source.facts.sampling.clone());
        Self { sources, log, current, model, recommended }
    }

    /// Reads on a thread of its own: a file on a network may be silent for minutes. An error is
    /// one line.
    pub(super) fn read(&self) -> JoinHandle<Result<ReloadedSettings, String>> {
        let (sources, pipes) = (self.sources.clone(), self.current.pipes.clone());
        spawn_blocking(move || read(sources, &pipes))
    }

    /// Takes over what can be taken over; on an error, which is one line, everything stays.
    pub(super) fn take_over(
        &mut self,
        state: &AppState,
        new: ReloadedSettings,
    ) -> Result<(), String> {
        let ReloadedSettings { mut loaded, keys } = new;
        loaded.recommend(self.model.as_deref(), &self.recommended);
        self.log.set_level(&loaded.settings.log.level).map_err(|error| error.to_string())?;
        self.report(&loaded);
        let before = state.http().keys();
        if keys.is_empty() && !before.is_empty() {
            tracing::warn!("no API key is asked for any more: the settings name none");
        } else if keys != *before {
            tracing::info!("the API keys changed: {} instead of {}", keys.len(), before.len());
        }
        let merged = merge(&self.current.settings, &loaded.settings);
        self.current = Loaded { settings: merged, ..loaded };
        self.apply(state, keys);
        Ok(())
    }

    /// Gives the engine its limits, which may have changed while it was loaded.
    pub(super) fn apply_limits(&self, state: &AppState) {
        for model in state.models().iter().filter_map(|served| served.now().ok()) {
            model.engine.set_limits(engine_limits(&self.current.settings.limits));
        }
        for engine in state.models().beside_iter().filter_map(|served| served.now().ok()) {
            engine.set_queue(self.current.settings.limits.queue as usize);
        }
    }

    fn apply(&self, state: &AppState, keys: Keys) {
        http::raise_descriptor_limit(self.current.settings.limits.connections);
        state.http().replace(self.current.settings.clone(), keys);
        self.apply_limits(state);
    }

    /// What is new, what has to wait, and what the files are warned about for the first time.
    fn report(&self, new: &Loaded) {
        let known: HashSet<&String> = self.current.warnings.iter().collect();
        for warning in new.warnings.iter().filter(|warning| !known.contains(warning)) {
            tracing::warn!("{warning}");
        }
        let pairs = self.current.entries().into_iter().zip(new.entries());
        for (old, new) in pairs.filter(|(old, new)| old.value != new.value) {
            if is_at_once(&new.key) {
                tracing::info!("setting {} = {} ({})", new.key, new.value, new.origin);
            } else {
                tracing::warn!(
                    "setting {} was changed from {} to {}: takes effect at the next start",
                    new.key,
                    old.value,
                    new.value
                );
            }
        }
    }
}

/// `pipes`: what the start read, and cannot be read again unless it is another file by now.
fn read(sources: Sources, pipes: &[PathBuf]) -> Result<ReloadedSettings, String> {
    let used_up = |path: &Path| {
        Err(format!("{} is a pipe, which can be read only once; name a file", path.display()))
    };
    if let Some(pipe) = pipes.iter().find(|path| config::is_pipe(path)) {
        return used_up(pipe);
    }
    // All mistakes of the settings are told, a line each.
    let loaded = config::load(sources).map_err(|error| error.to_string().replace('\n', "; "))?;
    match &loaded.settings.server.api_key_file {
        Some(path) if config::is_pipe(path) => return used_up(path),
        _ => {}
    }
    let keys = http::load_keys(&loaded.settings).map_err(|error| error.to_string())?;
    Ok(ReloadedSettings { loaded, keys })
}

fn is_at_once(key: &str) -> bool {
    AT_ONCE.iter().any(|name| match name.strip_suffix('.') {
        Some(_) => key.starts_with(name),
        None => key == *name,
    })
}

/// The running settings with what can change taken from the new ones.
fn merge(running: &Settings, new: &Settings) -> Settings {
    let mut merged = running.clone();
    merged.limits = new.limits.clone();
    merged.sampling = new.sampling.clone();
    merged.log.level.clone_from(&new.log.level);
    merged.server.api_keys.clone_from(&new.server.api_keys);
    merged.server.api_key_file.clone_from(&new.server.api_key_file);
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_merged_is_what_is_said_to_take_effect_at_once() {
        let mut new = Settings::default();
        new.limits.queue = 1;
        new.sampling.top_k = 1;
        new.log.level = "debug".to_owned();
        new.server.api_keys = vec!["k".to_owned()];
        new.server.api_key_file = Some("keys".into());
        new.server.port = 1;
        new.log.format = config::LogFormat::Json;
        new.model.warmup = false;
        new.context.batch = 1;
        let loaded = |settings| Loaded { settings, ..Loaded::default() };
        let merged = loaded(merge(&Settings::default(), &new));
        let changed: Vec<String> = merged.changed().into_iter().map(|entry| entry.key).collect();
        let at_once: Vec<String> = loaded(new)
            .changed()
            .into_iter()
            .map(|entry| entry.key)
            .filter(|key| is_at_once(key))
            .collect();
        assert_eq!(changed, at_once);
        assert_eq!(changed.len(), 5, "{changed:?}");
    }

    #[test]
    fn the_nixos_module_restarts_for_all_settings_but_these() {
        let module = include_str!("../../nix/modules/service.nix");
        let begin = module.find("  needRestart =").unwrap();
        let list = &module[begin..begin + module[begin..].find(';').unwrap()];
        let quoted: HashSet<&str> = list.split('"').skip(1).step_by(2).collect();
        // The module refuses keys among the settings.
        let ours = AT_ONCE.iter().filter(|name| !name.starts_with("server.api_key"));
        let ours: HashSet<&str> =
            ours.map(|name| name.strip_prefix("log.").unwrap_or(name).trim_matches('.')).collect();
        assert_eq!(quoted, ours);
    }
}
