//! The files of saved prompts in their directory: names, listing, removal. Needs no engine, so that
//! a command can list and remove them while a server runs, or without one.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::time::SystemTime;

/// Ends the name of each file.
const EXTENSION: &str = ".prompt";
/// Ends the name of a file that is being written, after the name that it will get.
pub(super) const TEMPORARY: &str = ".tmp";
/// Hexadecimal digits of the key in a name: enough to tell models apart at a glance.
pub(super) const KEY_DIGITS: usize = 16;
/// Hexadecimal digits of the hash of tokens and owner in a name.
const HASH_DIGITS: usize = 32;
/// Entries of the directory that are looked at.
const MAX_LISTED: usize = 1 << 16;

/// How each file begins.
pub(super) const MAGIC: [u8; 8] = *b"sxprompt";
/// Magic (8 bytes), format version (u32), key (32 bytes), tokens (u32), length of what follows up to
/// the header's checksum (u32); all numbers are little endian.
pub(super) const PRELUDE_BYTES: usize = 8 + 4 + 32 + 4 + 4;
/// Where the number of tokens stands in it.
pub(super) const TOKENS_AT: usize = 8 + 4 + 32;

/// A saved prompt as the command line shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedPrompt {
    /// The first hexadecimal digits of the key, which stands for the model's weights and how its
    /// states are computed.
    pub model: String,
    /// Tokens, as the file says; `None`: it cannot be read.
    pub tokens: Option<u32>,
    /// Bytes of the file.
    pub bytes: u64,
    /// When it was last written or read by a server.
    pub last_used: SystemTime,
}

/// A file of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredFile {
    pub(super) name: String,
    pub(super) bytes: u64,
    /// When it was last used.
    pub(super) modified: SystemTime,
}

impl StoredFile {
    /// The first digits of its key.
    pub(super) fn key_digits(&self) -> &str {
        self.name.get(..KEY_DIGITS).unwrap_or_default()
    }
}

/// The name of the file for a key and a hash of tokens and owner.
#[cfg(feature = "engine")]
pub(super) fn name(key: &[u8; 32], hash: u128) -> String {
    format!("{}-{hash:032x}{EXTENSION}", key_digits(key))
}

/// A key's first digits, as names have them.
#[cfg(feature = "engine")]
pub(super) fn key_digits(key: &[u8; 32]) -> String {
    key[..KEY_DIGITS / 2].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a file of this name is one of the store: others in the directory are never touched.
fn is_ours(name: &str) -> bool {
    let hexadecimal = |text: &str, digits| {
        text.len() == digits
            && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    name.strip_suffix(EXTENSION)
        .and_then(|stem| stem.split_once('-'))
        .is_some_and(|(key, hash)| hexadecimal(key, KEY_DIGITS) && hexadecimal(hash, HASH_DIGITS))
}

/// Whether this is the name of a file that is being written.
fn is_temporary(name: &str) -> bool {
    // The name that it will get, and a number.
    name.strip_suffix(TEMPORARY)
        .and_then(|name| name.rsplit_once('.'))
        .is_some_and(|(name, _)| is_ours(name))
}

/// The store's files in `directory`, the last used first, at most [`MAX_LISTED`] of its entries.
pub(super) fn list(directory: &Path) -> io::Result<Vec<StoredFile>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)?.take(MAX_LISTED) {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        // One that has vanished is another process's doing, and no error.
        if let Ok(metadata) = entry.metadata()
            && is_ours(&name)
            && metadata.is_file()
        {
            let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            files.push(StoredFile { name, bytes: metadata.len(), modified });
        }
    }
    files.sort_by(|a, b| b.modified.cmp(&a.modified).then_with(|| a.name.cmp(&b.name)));
    Ok(files)
}

/// Removes what was being written when a process ended. A file that a living process writes is
/// locked by it, and stays.
pub(super) fn remove_leftovers(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)?.take(MAX_LISTED) {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(is_temporary)
            && entry.file_type().is_ok_and(|kind| kind.is_file())
            && File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok())
        {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes a file; false if it was gone already.
pub(super) fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The saved prompts in `directory`, the last used first. Errors: it cannot be read.
pub fn saved_prompts(directory: &Path) -> io::Result<Vec<SavedPrompt>> {
    let saved = list(directory)?.into_iter().map(|file| SavedPrompt {
        model: file.key_digits().to_owned(),
        tokens: tokens(&directory.join(&file.name)),
        bytes: file.bytes,
        last_used: file.modified,
    });
    Ok(saved.collect())
}

/// The number of tokens that a file says it holds.
fn tokens(path: &Path) -> Option<u32> {
    let mut prelude = [0; PRELUDE_BYTES];
    File::open(path).ok()?.read_exact(&mut prelude).ok()?;
    let tokens = prelude[TOKENS_AT..].first_chunk()?;
    prelude.starts_with(&MAGIC).then(|| u32::from_le_bytes(*tokens))
}

/// Removes all saved prompts in `directory`, and what is left of ones that were being written; gives
/// how many files that were, and their bytes. A server that runs goes on without them. Errors: the
/// directory cannot be read or changed.
pub fn clear_saved_prompts(directory: &Path) -> io::Result<(usize, u64)> {
    remove_leftovers(directory)?;
    let (mut files, mut bytes) = (0, 0);
    for file in list(directory)? {
        if remove(&directory.join(&file.name))? {
            files += 1;
            bytes += file.bytes;
        }
    }
    Ok((files, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "0123456789abcdef-00112233445566778899aabbccddeeff.prompt";

    #[test]
    fn only_files_with_the_stores_own_names_are_touched() {
        assert!(is_ours(NAME));
        assert!(is_temporary(&format!("{NAME}.0123456789abcdef.tmp")));
        for other in ["notes.prompt", "a.tmp", "0123456789abcdef.prompt", &NAME.to_uppercase()] {
            assert!(!is_ours(other) && !is_temporary(other), "{other}");
        }
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["notes.prompt", "a.tmp", NAME, &format!("{NAME}.0123456789abcdef.tmp")] {
            fs::write(path(name), "12345").unwrap();
        }
        let saved = saved_prompts(directory.path()).unwrap();
        assert_eq!(saved.len(), 1);
        assert_eq!((saved[0].model.as_str(), saved[0].bytes), ("0123456789abcdef", 5));
        assert_eq!(saved[0].tokens, None);
        assert_eq!(clear_saved_prompts(directory.path()).unwrap(), (1, 5));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
        assert_eq!(clear_saved_prompts(directory.path()).unwrap(), (0, 0));
    }

    #[test]
    fn what_another_process_is_writing_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(format!("{NAME}.0123456789abcdef.tmp"));
        let file = File::create(&path).unwrap();
        file.lock().unwrap();
        remove_leftovers(directory.path()).unwrap();
        assert!(path.exists());
        drop(file);
        remove_leftovers(directory.path()).unwrap();
        assert!(!path.exists());
    }
}
