//! Opens a model's files and checks them before llama.cpp sees them.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::facts::GgufFacts;
use super::gguf::{Gguf, GgufError};
use super::sanity;
use super::split::{SplitKeys, SplitName};
use super::tensors;

/// A model on disk, whole and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelFile {
    /// The file to give to llama.cpp: of a split model, its first part.
    pub path: PathBuf,
    /// All files, in order.
    pub parts: Vec<PathBuf>,
    /// What the header says.
    pub facts: GgufFacts,
}

/// Why a model cannot be loaded: one line with the cause and the way out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelFileError {
    /// There is no such file, or a part of a split model is missing.
    #[error("{0}")]
    Missing(String),
    /// The file may not be read.
    #[error("{0}")]
    Unreadable(String),
    /// The system cannot read it now; later it may.
    #[error("{0}")]
    System(String),
    /// The file is not a model that can be served.
    #[error("{0}")]
    Bad(String),
}

impl ModelFileError {
    fn bad(path: &Path, error: &GgufError) -> Self {
        Self::Bad(one_line(&format!("cannot load the model {}: {error}", path.display())))
    }
}

impl ModelFile {
    /// Reads and checks the headers of the model at `path`; of a split model, any part may be
    /// given. Takes milliseconds, also for a model of 90 GB.
    pub fn open(path: &Path) -> Result<Self, ModelFileError> {
        let given = open_part(path)?;
        let keys = SplitKeys::of(&given).map_err(|error| ModelFileError::bad(path, &error))?;
        let Some(keys) = keys else {
            let facts = whole_facts(&given).map_err(|error| ModelFileError::bad(path, &error))?;
            return Ok(Self { path: path.to_owned(), parts: vec![path.to_owned()], facts });
        };
        let Some(name) = SplitName::of(path) else {
            return Err(ModelFileError::Bad(one_line(&format!(
                "{} is part {} of a model split in {}, but its name does not say so: name the parts NAME-00001-of-{:05}.gguf and so on",
                path.display(),
                keys.number + 1,
                keys.count,
                keys.count
            ))));
        };
        Self::open_split(&name)
    }

    fn open_split(name: &SplitName) -> Result<Self, ModelFileError> {
        let parts: Vec<PathBuf> = (1..=name.count).map(|number| name.part(number)).collect();
        let missing: Vec<String> = parts
            .iter()
            .filter(|part| matches!(fs::metadata(part), Err(error) if error.kind() == io::ErrorKind::NotFound))
            .map(|part| part.display().to_string())
            .collect();
        if let Some(first) = missing.first() {
            let others = match missing.len() {
                1 => String::new(),
                count => format!(" and {} more of its {} parts", count - 1, name.count),
            };
            return Err(ModelFileError::Missing(one_line(&format!(
                "the model is split and {first}{others} is missing: download all parts into the same directory"
            ))));
        }
        let mut whole: Option<(Gguf, Option<u64>)> = None;
        let mut names = HashSet::new();
        for (index, part) in parts.iter().enumerate() {
            let gguf = open_part(part)?;
            let bad = |text: String| ModelFileError::bad(part, &GgufError(text));
            let keys = SplitKeys::of(&gguf)
                .map_err(|error| ModelFileError::bad(part, &error))?
                .ok_or_else(|| bad("it says that it is not a part of a split model".to_owned()))?;
            if keys.number != index as u64 || (index == 0 && keys.count != u64::from(name.count)) {
                return Err(bad(format!(
                    "it says that it is part {} of {}, its name says {} of {}: the parts are mixed up, download them again",
                    keys.number + 1,
                    keys.count,
                    index + 1,
                    name.count
                )));
            }
            for tensor in &gguf.tensors {
                if !names.insert(tensor.name.clone()) {
                    return Err(bad(format!(
                        "the tensor {} is in another part too: the parts are mixed up, download them again",
                        tensor.name
                    )));
                }
            }
            match &mut whole {
                None => whole = Some((gguf, keys.tensors)),
                Some((first, _)) => {
                    first.file_bytes = first.file_bytes.saturating_add(gguf.file_bytes);
                    first.tensors.extend(gguf.tensors);
                }
            }
        }
        let Some((gguf, expected)) = whole else {
            return Err(ModelFileError::Missing("the split model has no parts".to_owned()));
        };
        let first = name.part(1);
        if expected != Some(gguf.tensors.len() as u64) {
            return Err(ModelFileError::bad(
                &first,
                &GgufError(format!(
                    "its parts hold {} tensors, {} are expected: the parts are mixed up, download them again",
                    gguf.tensors.len(),
                    expected.map_or_else(|| "an unknown number".to_owned(), |n| n.to_string())
                )),
            ));
        }
        let facts = whole_facts(&gguf).map_err(|error| ModelFileError::bad(&first, &error))?;
        Ok(Self { path: first, parts, facts })
    }

    /// The facts of a whole model that is not on disk. Whether all its tensors are there is not
    /// looked at.
    pub fn parse(source: impl Read + Seek) -> Result<GgufFacts, ModelFileError> {
        let gguf = Gguf::parse(source).and_then(|gguf| facts(&gguf));
        gguf.map_err(|error| {
            ModelFileError::Bad(one_line(&format!("cannot load the model: {error}")))
        })
    }
}

fn facts(gguf: &Gguf) -> Result<GgufFacts, GgufError> {
    let facts = GgufFacts::read(gguf)?;
    if gguf.tensors.is_empty() {
        return Err(GgufError("it has no tensors: it is a vocabulary, not a model".to_owned()));
    }
    sanity::check(gguf, &facts)?;
    Ok(facts)
}

fn whole_facts(gguf: &Gguf) -> Result<GgufFacts, GgufError> {
    let facts = facts(gguf)?;
    tensors::check(gguf, &facts)?;
    Ok(facts)
}

fn open_part(path: &Path) -> Result<Gguf, ModelFileError> {
    let shown = path.display();
    let metadata = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if metadata.is_dir() {
        return Err(ModelFileError::Bad(one_line(&directory(path))));
    }
    if !metadata.is_file() {
        return Err(ModelFileError::Bad(one_line(&format!(
            "{shown} is not a regular file: give the path of a GGUF file"
        ))));
    }
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    Gguf::parse(file).map_err(|error| ModelFileError::bad(path, &error))
}

const WAY_OUT: &str = "check `model.path` (`--model`, LLAMA_ARG_MODEL or MODEL_FILE)";

fn unreadable(path: &Path, error: &io::Error) -> ModelFileError {
    let shown = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => {
            let link = fs::read_link(path)
                .map(|target| format!(" (it links to {}, which does not exist)", target.display()))
                .unwrap_or_default();
            ModelFileError::Missing(one_line(&format!(
                "the model file {shown} does not exist{link}: {WAY_OUT}"
            )))
        }
        io::ErrorKind::NotADirectory => ModelFileError::Missing(one_line(&format!(
            "the model file {shown} does not exist, a part of its path is a file: {WAY_OUT}"
        ))),
        io::ErrorKind::PermissionDenied => ModelFileError::Unreadable(one_line(&format!(
            "the model file {shown} may not be read by this user: change its permissions or owner, or those of its directories"
        ))),
        _ => {
            let message = one_line(&format!("the model file {shown} cannot be read: {error}"));
            let passes = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::IO];
            match Errno::from_io_error(error) {
                Some(errno) if passes.contains(&errno) => ModelFileError::System(message),
                _ => ModelFileError::Unreadable(message),
            }
        }
    }
}

fn directory(path: &Path) -> String {
    let mut names: Vec<String> = fs::read_dir(path)
        .map(|entries| {
            entries
                .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                .filter(|name| name.ends_with(".gguf"))
                .collect()
        })
        .unwrap_or_default();
    names.sort();
    let shown = path.display();
    if names.is_empty() {
        return format!("{shown} is a directory without GGUF files: give the path of a GGUF file");
    }
    let more = match names.len() {
        count if count > 10 => format!(" and {} more", count - 10),
        _ => String::new(),
    };
    names.truncate(10);
    format!("{shown} is a directory: give one of its files: {}{more}", names.join(", "))
}

/// File names and texts from files may hold line breaks and escape sequences, and a damaged file
/// names that are 64 kB long.
fn one_line(text: &str) -> String {
    const MOST: usize = 2000;
    let mut chars = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let line: String = chars.by_ref().take(MOST).collect();
    if chars.next().is_some() { line + "..." } else { line }
}

#[cfg(test)]
mod tests;
