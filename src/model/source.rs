//! Where the model comes from: a file, or the binary itself.

use std::io::{self, Cursor};
use std::path::{Path, PathBuf};

use super::builtin::{BUILTIN, BUILTIN_NAME};
use super::error::ModelFileError;
use super::facts::GgufFacts;
use super::file::ModelFile;
use super::keys::Purpose;
use super::memory_file::MemoryFile;
use crate::config::ModelSettings;

/// A checked model that can be loaded.
#[derive(Debug)]
pub struct Source {
    /// What llama.cpp opens.
    pub path: PathBuf,
    /// All its files, in order.
    pub parts: Vec<PathBuf>,
    /// What people know it as; `None`: built in.
    pub shown: Option<PathBuf>,
    /// What its header says.
    pub facts: GgufFacts,
    /// Keeps the memory file behind `path` until the model is loaded.
    _memory: Option<MemoryFile>,
}

/// Why there is no model to load: one line with the cause and the way out.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The model's files.
    #[error(transparent)]
    File(#[from] ModelFileError),
    /// The built-in model, which is a defect.
    #[error("built-in model: {0}")]
    Builtin(ModelFileError),
    /// The system has no memory file for the built-in model.
    #[error("built-in model: {0}")]
    Memory(io::Error),
}

impl Source {
    /// Finds and checks the model that the settings name.
    pub fn open(settings: &ModelSettings) -> Result<Self, SourceError> {
        match &settings.path {
            Some(path) => Self::file(path, settings.models_dir.as_deref(), Purpose::Generate),
            None => Self::builtin(),
        }
    }

    /// Finds and checks the model at `path`, which counts from `models_dir` if it is relative.
    pub fn file(
        path: &Path,
        models_dir: Option<&Path>,
        purpose: Purpose,
    ) -> Result<Self, SourceError> {
        let model = ModelFile::open_for(&resolve(path, models_dir), purpose)?;
        let shown = Some(model.path.clone());
        let ModelFile { path, parts, facts } = model;
        Ok(Self { path, parts, shown, facts, _memory: None })
    }

    /// The built-in model as a file in memory: llama.cpp only opens paths.
    fn builtin() -> Result<Self, SourceError> {
        let facts = ModelFile::parse(Cursor::new(BUILTIN)).map_err(SourceError::Builtin)?;
        let memory =
            MemoryFile::new("strixhalo-demo.gguf", BUILTIN).map_err(SourceError::Memory)?;
        let path = memory.path().to_owned();
        let parts = vec![path.clone()];
        Ok(Self { path, parts, shown: None, facts, _memory: Some(memory) })
    }

    /// The names the model is served under; the first is given in answers.
    pub fn names(&self, aliases: &[String]) -> Vec<String> {
        if !aliases.is_empty() {
            return aliases.to_vec();
        }
        let stem = self.shown.as_deref().and_then(Path::file_stem);
        vec![stem.map_or_else(
            || BUILTIN_NAME.to_owned(),
            |stem| without_part(&stem.to_string_lossy()).to_owned(),
        )]
    }
}

/// A relative path counts from the models directory, if one is set.
fn resolve(path: &Path, models_dir: Option<&Path>) -> PathBuf {
    models_dir.map_or_else(|| path.to_owned(), |dir| dir.join(path))
}

/// The name of a split model without its `-00001-of-00003`.
fn without_part(stem: &str) -> &str {
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
    stem.rsplit_once("-of-")
        .filter(|(_, count)| digits(count))
        .and_then(|(rest, _)| rest.rsplit_once('-'))
        .filter(|(_, number)| digits(number))
        .map_or(stem, |(name, _)| name)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_split_model_is_named_without_its_part() {
        assert_eq!(without_part("Qwen3-Coder-Next-Q8_0-00001-of-00003"), "Qwen3-Coder-Next-Q8_0");
        assert_eq!(without_part("one-of-a-kind"), "one-of-a-kind");
        assert_eq!(without_part("model-00001-of-3"), "model-00001-of-3");
    }

    #[test]
    fn a_relative_path_counts_from_the_models_directory() {
        let dir = Some(Path::new("/models"));
        assert_eq!(resolve(Path::new("a.gguf"), dir), Path::new("/models/a.gguf"));
        assert_eq!(resolve(Path::new("/b/a.gguf"), dir), Path::new("/b/a.gguf"));
        assert_eq!(resolve(Path::new("a.gguf"), None), Path::new("a.gguf"));
    }
}
