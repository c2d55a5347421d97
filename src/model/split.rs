//! Names of split models: `NAME-00002-of-00003.gguf`.

use std::path::{Path, PathBuf};

use super::gguf::{Entry, Gguf, GgufError, MetaValue, ValueType};

/// What a file's name says about its place in a split model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SplitName {
    prefix: String,
    directory: PathBuf,
    /// From 1.
    pub(super) number: u32,
    pub(super) count: u32,
}

impl SplitName {
    pub(super) fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.strip_suffix(".gguf")?;
        let (rest, count) = name.rsplit_once("-of-")?;
        let (prefix, number) = rest.rsplit_once('-')?;
        let digits = |text: &str| {
            (text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit()))
                .then(|| text.parse::<u32>().ok())
                .flatten()
        };
        let (number, count) = (digits(number)?, digits(count)?);
        (1..=count).contains(&number).then(|| Self {
            prefix: prefix.to_owned(),
            directory: path.parent().map(Path::to_owned).unwrap_or_default(),
            number,
            count,
        })
    }

    /// The path of part `number`, counted from 1.
    pub(super) fn part(&self, number: u32) -> PathBuf {
        self.directory.join(format!("{}-{number:05}-of-{:05}.gguf", self.prefix, self.count))
    }
}

/// The split keys of one part; llama.cpp asserts on their types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SplitKeys {
    /// From 0.
    pub(super) number: u64,
    pub(super) count: u64,
    pub(super) tensors: Option<u64>,
}

impl SplitKeys {
    /// `None`: the file is a whole model.
    pub(super) fn of(gguf: &Gguf) -> Result<Option<Self>, GgufError> {
        let short = |key: &str| match gguf.meta.get(key) {
            None => Ok(None),
            Some(Entry { kind: ValueType::U16, value: MetaValue::Unsigned(value) }) => {
                Ok(Some(*value))
            }
            Some(entry) => Err(super::keys::wrong_type(key, entry, "u16")),
        };
        let (number, count) = (short("split.no")?, short("split.count")?);
        let tensors = match gguf.meta.get("split.tensors.count").map(|entry| &entry.value) {
            Some(MetaValue::Signed(value)) => u64::try_from(*value).ok(),
            Some(MetaValue::Unsigned(value)) => Some(*value),
            _ => None,
        };
        match (number, count) {
            (Some(number), count) if number > 0 || count.unwrap_or(0) > 1 => {
                Ok(Some(Self { number, count: count.unwrap_or(0), tensors }))
            }
            (None, Some(count)) if count > 1 => {
                Err(GgufError("split.no is missing: the file is damaged".to_owned()))
            }
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_any_part_gives_the_names_of_all() {
        let name = SplitName::of(Path::new("/m/a-b-00002-of-00003.gguf")).unwrap();
        assert_eq!((name.number, name.count), (2, 3));
        assert_eq!(name.part(1), Path::new("/m/a-b-00001-of-00003.gguf"));
    }

    #[test]
    fn names_that_only_look_like_parts_are_whole_models() {
        for name in ["a.gguf", "a-1-of-3.gguf", "a-00004-of-00003.gguf", "a-00000-of-00003.gguf"] {
            assert_eq!(SplitName::of(Path::new(name)), None, "{name}");
        }
    }
}
