//! Where the model and its template come from: files, or the binary itself.

use std::fs;
use std::fs::File;
use std::io::{Cursor, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, memfd_create};

use crate::chat::{self, Template};
use crate::config::{self, ModelSettings, Settings};
use crate::model::builtin::{BUILTIN, BUILTIN_NAME};
use crate::model::{GgufFacts, ModelFile};
use crate::server::{Exit, Failure};

/// A checked model that can be loaded.
#[derive(Debug)]
pub(super) struct Source {
    /// What llama.cpp opens.
    pub(super) path: PathBuf,
    /// What people know it as; `None`: built in.
    pub(super) shown: Option<PathBuf>,
    pub(super) facts: GgufFacts,
    /// Keeps the memory file behind `path` until the model is loaded.
    _memory: Option<File>,
}

impl Source {
    /// Finds and checks the model that the settings name.
    pub(super) fn open(settings: &ModelSettings) -> Result<Self, Failure> {
        match &settings.path {
            Some(path) => Self::file(&resolve(path, settings.models_dir.as_deref())),
            None => Self::builtin(),
        }
    }

    fn file(path: &Path) -> Result<Self, Failure> {
        let model = ModelFile::open(path)?;
        let shown = Some(model.path.clone());
        Ok(Self { path: model.path, shown, facts: model.facts, _memory: None })
    }

    /// The built-in model as a file in memory: llama.cpp only opens paths.
    fn builtin() -> Result<Self, Failure> {
        let facts = ModelFile::parse(Cursor::new(BUILTIN))
            .map_err(|error| Failure::new(Exit::Internal, format!("built-in model: {error}")))?;
        let failed =
            |error: std::io::Error| Failure::new(Exit::System, format!("built-in model: {error}"));
        let mut file = File::from(
            memfd_create("strixhalo-demo.gguf", MemfdFlags::CLOEXEC)
                .map_err(|error| failed(error.into()))?,
        );
        file.write_all(BUILTIN).map_err(failed)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        Ok(Self { path, shown: None, facts, _memory: Some(file) })
    }

    /// The names the model is served under; the first is given in answers.
    pub(super) fn names(&self, aliases: &[String]) -> Vec<String> {
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

/// The chat template that the settings give in place of the model's own. One that cannot be parsed
/// ends the start: unlike a template in a model file, it can be mended or left out.
pub(super) fn template_override(settings: &Settings) -> Result<Option<String>, Failure> {
    let model = &settings.model;
    let (key, source) = match (&model.chat_template_file, &model.chat_template) {
        (Some(path), _) => ("model.chat_template_file", read_template(path)?),
        (None, Some(text)) if text == config::CHATML => return Ok(Some(chat::CHATML.to_owned())),
        (None, Some(text)) => ("model.chat_template", text.clone()),
        (None, None) => return Ok(None),
    };
    match Template::new(&source, None, None) {
        Ok(_) => Ok(Some(source)),
        Err(error) => Err(Failure::new(
            Exit::Config,
            format!("{error}; fix `{key}`, or unset it to use the model's own template"),
        )),
    }
}

fn read_template(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| {
        let exit = match error.kind() {
            std::io::ErrorKind::NotFound => Exit::Missing,
            std::io::ErrorKind::PermissionDenied => Exit::Permission,
            _ => Exit::Config,
        };
        let message = format!(
            "cannot read the chat template {}: {error}; fix `model.chat_template_file`",
            path.display()
        );
        Failure::new(exit, message)
    })
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
    fn a_template_that_cannot_be_parsed_ends_the_start() {
        let mut settings = Settings::default();
        assert_eq!(template_override(&settings).unwrap(), None);
        settings.model.chat_template = Some("{{ messages }}".to_owned());
        assert!(template_override(&settings).unwrap().is_some());
        settings.model.chat_template = Some("chatml".to_owned());
        assert!(template_override(&settings).unwrap().unwrap().contains("<|im_start|>"));
        settings.model.chat_template = Some("{% if %}".to_owned());
        let failure = template_override(&settings).unwrap_err();
        assert_eq!(failure.exit, Exit::Config);
        assert!(failure.message.contains("`model.chat_template`"), "{}", failure.message);
        assert!(!failure.message.contains('\n'));
    }

    #[test]
    fn a_relative_path_counts_from_the_models_directory() {
        let dir = Some(Path::new("/models"));
        assert_eq!(resolve(Path::new("a.gguf"), dir), Path::new("/models/a.gguf"));
        assert_eq!(resolve(Path::new("/b/a.gguf"), dir), Path::new("/b/a.gguf"));
        assert_eq!(resolve(Path::new("a.gguf"), None), Path::new("a.gguf"));
    }
}
