//! Opens a model's files and checks them before llama.cpp sees them.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::error::ModelFileError;
use super::facts::GgufFacts;
use super::gguf::{Gguf, GgufError, MAX_TENSORS};
use super::keys::Purpose;
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

impl ModelFile {
    /// Reads and checks the headers of the model at `path`, which is to generate text; of a split
    /// model, any part may be given. Takes milliseconds, also for a model of 90 GB.
    pub fn open(path: &Path) -> Result<Self, ModelFileError> {
        Self::open_for(path, Purpose::Generate)
    }

    /// [`open`](Self::open) for what the model is to do.
    pub fn open_for(path: &Path, purpose: Purpose) -> Result<Self, ModelFileError> {
        let given = open_part(path)?;
        let keys = SplitKeys::of(&given).map_err(|error| ModelFileError::bad(path, &error))?;
        let Some(keys) = keys else {
            let facts =
                whole_facts(&given, purpose).map_err(|error| ModelFileError::bad(path, &error))?;
            return Ok(Self { path: path.to_owned(), parts: vec![path.to_owned()], facts });
        };
        let Some(name) = SplitName::of(path) else {
            return Err(ModelFileError::PartName {
                path: path.to_owned(),
                number: keys.number + 1,
                parts: keys.count,
            });
        };
        Self::open_split(&name, given, purpose)
    }

    /// All parts; `given` is the one that `name` names, whose header is read already.
    fn open_split(name: &SplitName, given: Gguf, purpose: Purpose) -> Result<Self, ModelFileError> {
        let parts: Vec<PathBuf> = (1..=name.count).map(|number| name.part(number)).collect();
        let missing: Vec<&PathBuf> = parts
            .iter()
            .filter(|part| matches!(fs::metadata(part), Err(error) if error.kind() == io::ErrorKind::NotFound))
            .collect();
        if let Some(first) = missing.first() {
            return Err(ModelFileError::MissingParts {
                first: (*first).clone(),
                missing: missing.len(),
                parts: name.count,
            });
        }
        let mut given = Some(given);
        let mut whole: Option<(Gguf, Option<u64>)> = None;
        let mut names = HashSet::new();
        for (index, part) in parts.iter().enumerate() {
            let is_given = index as u64 + 1 == u64::from(name.number);
            let gguf = match given.take_if(|_| is_given) {
                Some(gguf) => gguf,
                None => open_part(part)?,
            };
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
                    if first.tensors.len() as u64 > MAX_TENSORS {
                        return Err(bad(format!(
                            "the parts up to here hold {} tensors, more than any model has: the file is damaged",
                            first.tensors.len()
                        )));
                    }
                }
            }
        }
        let Some((gguf, expected)) = whole else {
            return Err(ModelFileError::bad(
                &name.part(1),
                &GgufError("the split model has no parts".to_owned()),
            ));
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
        let facts =
            whole_facts(&gguf, purpose).map_err(|error| ModelFileError::bad(&first, &error))?;
        Ok(Self { path: first, parts, facts })
    }

    /// The facts of a whole model that is not on disk and is to generate text. Whether all its tensors are there is not
    /// looked at.
    pub fn parse(source: impl Read + Seek) -> Result<GgufFacts, ModelFileError> {
        let gguf = Gguf::parse(source).and_then(|gguf| facts(&gguf, Purpose::Generate));
        gguf.map_err(|error| ModelFileError::Bad { path: None, error })
    }
}

fn facts(gguf: &Gguf, purpose: Purpose) -> Result<GgufFacts, GgufError> {
    let facts = GgufFacts::read(gguf, purpose)?;
    if gguf.tensors.is_empty() {
        return Err(GgufError("it has no tensors: it is a vocabulary, not a model".to_owned()));
    }
    sanity::check(gguf, &facts, purpose)?;
    Ok(facts)
}

fn whole_facts(gguf: &Gguf, purpose: Purpose) -> Result<GgufFacts, GgufError> {
    let facts = facts(gguf, purpose)?;
    tensors::check(gguf, &facts)?;
    Ok(facts)
}

fn open_part(path: &Path) -> Result<Gguf, ModelFileError> {
    let metadata = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if metadata.is_dir() {
        return Err(ModelFileError::Directory { path: path.to_owned(), models: models_in(path) });
    }
    if !metadata.is_file() {
        return Err(ModelFileError::NotAFile { path: path.to_owned() });
    }
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    Gguf::parse(file).map_err(|error| ModelFileError::bad(path, &error))
}

fn unreadable(path: &Path, error: &io::Error) -> ModelFileError {
    let path = path.to_owned();
    match error.kind() {
        io::ErrorKind::NotFound => {
            let link = fs::read_link(&path).ok();
            ModelFileError::NotFound { path, link }
        }
        io::ErrorKind::NotADirectory => ModelFileError::NotADirectory { path },
        io::ErrorKind::PermissionDenied => ModelFileError::Permission { path },
        _ => {
            let passes = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::IO];
            let cause = error.to_string();
            match Errno::from_io_error(error) {
                Some(errno) if passes.contains(&errno) => ModelFileError::System { path, cause },
                _ => ModelFileError::Unreadable { path, cause },
            }
        }
    }
}

/// Names of the GGUF files in a directory, sorted.
fn models_in(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .map(|entries| {
            entries
                .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                .filter(|name| name.ends_with(".gguf"))
                .collect()
        })
        .unwrap_or_default();
    names.sort();
    names
}

#[cfg(test)]
mod tests;
