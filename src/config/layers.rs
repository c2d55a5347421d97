//! Merging the layers.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::assignment::Assignment;
use super::catalogue::key;
use super::env_file;
use super::environment::{self, NOT_TEXT, Variable};
use super::error::{ConfigError, ErrorKind};
use super::flags::{self, FlagValue};
use super::loaded::{Loaded, to_json};
use super::names::{CONFIG_VARIABLE, MODEL_ALIAS, MODEL_FILE};
use super::origin::{Origin, Origins};
use super::settings::Settings;
use super::{file, validate};

/// Where settings are read from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The settings file; none: the one that `STRIXHALO_CONFIG` names, if any.
    pub file: Option<PathBuf>,
    /// A `.env` file, weaker than the environment.
    pub env_file: Option<PathBuf>,
    /// The environment.
    pub environment: Vec<(OsString, OsString)>,
    /// The command line, from [`flags::from_matches`](super::from_matches).
    pub flags: Vec<FlagValue>,
}

/// Merges defaults, settings file, environment file, environment and flags (later ones win), and
/// checks the result.
pub fn load(sources: Sources) -> Result<Loaded, ConfigError> {
    let mut warnings = Vec::new();
    let environment: Vec<Variable> = sources
        .environment
        .into_iter()
        .filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            let origin = Origin::Environment { name: name.clone() };
            Some(Variable { name, value: value.into_string().ok(), origin })
        })
        .collect();
    let from_env_file = match &sources.env_file {
        Some(path) => env_file_variables(path, &environment, &mut warnings)?,
        None => Vec::new(),
    };

    let file = match sources.file {
        None => named_in(&environment)?.or(named_in(&from_env_file)?),
        named => named,
    };
    let pipes = file.iter().chain(&sources.env_file).filter(|path| is_pipe(path));
    let pipes = pipes.cloned().collect();

    let mut assignments = match file {
        Some(path) => file::read(&path)?,
        None => Vec::new(),
    };
    assignments.extend(environment::assignments(&from_env_file, &mut warnings)?);
    assignments.extend(environment::assignments(&environment, &mut warnings)?);
    assignments.extend(flags::assignments(&sources.flags)?);
    Ok(Loaded { pipes, ..merge(assignments, warnings)? })
}

/// The settings file that the variables name.
fn named_in(variables: &[Variable]) -> Result<Option<PathBuf>, ConfigError> {
    let named = variables.iter().rev().find(|variable| variable.name == CONFIG_VARIABLE);
    let Some(variable) = named else { return Ok(None) };
    let Some(path) = &variable.value else {
        // Serving without it might open the server to all.
        let problem = format!("{CONFIG_VARIABLE}: {NOT_TEXT}");
        return Err(ConfigError::new(variable.origin.error_kind(), problem));
    };
    Ok(Some(PathBuf::from(path)).filter(|path| !path.as_os_str().is_empty()))
}

/// Whether there is a pipe at `path`, which can be read only once.
pub(crate) fn is_pipe(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.file_type().is_fifo())
}

/// Reads and checks a settings file alone.
pub fn check_file(path: &Path) -> Result<Loaded, ConfigError> {
    merge(file::read(path)?, Vec::new())
}

/// Checks the text of a settings file; `path` is what messages call it.
pub fn check_text(path: &Path, text: &str) -> Result<Loaded, ConfigError> {
    merge(file::parse(path, text)?, Vec::new())
}

pub(crate) fn merge(
    assignments: Vec<Assignment>,
    warnings: Vec<String>,
) -> Result<Loaded, ConfigError> {
    let mut effective: BTreeMap<&str, (Value, Origin)> = BTreeMap::new();
    for Assignment { key, value, origin } in assignments {
        effective.insert(&key.path, (value, origin));
    }
    if let Some((_, origin @ Origin::EnvFile { path, .. })) = effective.get("model.path")
        && origin.is_model_file()
        && !effective.contains_key("model.models_dir")
        && let Some(models_dir) = key("model.models_dir")
    {
        // The Compose set-up mounted `models/` beside its `.env`.
        let directory = path.parent().unwrap_or(Path::new("")).join("models");
        let value = Value::from(directory.to_string_lossy());
        let origin = origin.clone();
        effective.insert(&models_dir.path, (value, origin));
    }

    let mut tree = to_json(&Settings::default());
    let mut origins = Origins::default();
    for (path, (value, origin)) in effective {
        if let Some((section, name)) = path.split_once('.')
            && let Some(Value::Object(section)) = tree.get_mut(section)
        {
            section.insert(name.to_owned(), value);
            origins.set(path, origin);
        }
    }
    let settings = serde_path_to_error::deserialize(Value::Object(tree)).map_err(|error| {
        let path = error.path().to_string();
        let origin = origins.get(&path);
        ConfigError::new(origin.error_kind(), format!("{origin}: {path}: {}", error.inner()))
    })?;
    let mut loaded = Loaded { settings, origins, warnings, pipes: Vec::new() };
    validate::validate(&mut loaded)?;
    Ok(loaded)
}

fn env_file_variables(
    path: &Path,
    environment: &[Variable],
    warnings: &mut Vec<String>,
) -> Result<Vec<Variable>, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::reading("the environment file", path, &error))?;
    let lookup =
        |name: &str| environment.iter().rfind(|variable| variable.name == name)?.value.clone();
    let read = env_file::parse(&text, &lookup).map_err(|(line, problem)| {
        ConfigError::new(ErrorKind::Content, format!("{}:{line}: {problem}", path.display()))
    })?;
    warnings.extend(read.unset.into_iter().map(|(line, name)| {
        format!(
            "{}:{line}: the variable {name} is not set and counts as empty; set it, or write \
             ${{{name}:-default}}",
            path.display()
        )
    }));
    let (ours, foreign): (Vec<_>, Vec<_>) = read.lines.into_iter().partition(|line| {
        line.name == MODEL_FILE
            || line.name == MODEL_ALIAS
            || line.name.starts_with("LLAMA_")
            || line.name.starts_with("STRIXHALO_")
    });
    let names = foreign.into_iter().map(|line| line.name);
    // Those that other lines are made of do something here.
    let names: Vec<String> = names.filter(|name| !read.named.contains(name)).collect();
    if !names.is_empty() {
        warnings.push(format!(
            "{}: {} set nothing here; variables of other programs and of ROCm belong into the \
             process's environment",
            path.display(),
            names.join(", ")
        ));
    }
    Ok(ours
        .into_iter()
        .map(|line| {
            let name = line.name.clone();
            let origin = Origin::EnvFile { path: path.to_owned(), line: line.number, name };
            Variable { name: line.name, value: Some(line.value), origin }
        })
        .collect())
}

#[cfg(test)]
#[path = "layers_tests.rs"]
mod tests;
