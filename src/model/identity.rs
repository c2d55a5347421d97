//! A name for a model's weights that another file does not have by chance.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::gguf::Gguf;

/// Bytes of a block that is hashed.
const BLOCK: u64 = 4096;
/// Bytes of a header that are read at a time.
const CHUNK: u64 = 1 << 20;

/// A hash of the model in these files, the parts of one that is split in their order: of their
/// headers (metadata and the tensors' names, shapes and types), and of the first, the middle and the
/// last 4 KiB of each tensor. Models of one shape with other weights differ in it, as each training
/// step changes all tensors. A change inside one tensor, between those blocks, is not seen; what the
/// model computes shows it.
///
/// Reads some megabytes: 0.07 s for a model of 0.5 GB, most of it for the vocabulary in its header,
/// and some thousand blocks, a fraction of a second on an SSD, for one of 90 GB. Errors: a file cannot be read, or is no GGUF file.
pub fn identity(parts: &[PathBuf]) -> io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    for part in parts {
        let file = File::open(part)?;
        let gguf = Gguf::parse(&file).map_err(|error| io::Error::other(error.to_string()))?;
        hash.update(gguf.file_bytes.to_le_bytes());
        let mut add = |offset: u64, bytes: u64| {
            let mut block = vec![0; usize::try_from(bytes).unwrap_or_default()];
            file.read_exact_at(&mut block, offset)?;
            hash.update(&block);
            Ok::<(), io::Error>(())
        };
        for offset in (0..gguf.data_start).step_by(CHUNK as usize) {
            // A model without tensors may end before the place where their data would begin.
            let end = gguf.data_start.min(gguf.file_bytes);
            add(offset, CHUNK.min(end.saturating_sub(offset)))?;
        }
        for tensor in &gguf.tensors {
            let start = gguf.data_start + tensor.offset;
            let block = BLOCK.min(tensor.bytes);
            let last = tensor.bytes - block;
            for offset in [0, last / 2, last] {
                add(start + offset, block)?;
            }
        }
    }
    Ok(hash.finalize().into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;
    use crate::model::builtin::BUILTIN;

    fn of(files: &[&[u8]]) -> [u8; 32] {
        let directory = tempfile::tempdir().unwrap();
        let paths = files.iter().enumerate().map(|(index, bytes)| {
            let path = directory.path().join(index.to_string());
            fs::write(&path, bytes).unwrap();
            path
        });
        identity(&paths.collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn it_is_the_files_and_not_their_names() {
        assert_eq!(of(&[BUILTIN]), of(&[BUILTIN]));
        assert_ne!(of(&[BUILTIN]), of(&[BUILTIN, BUILTIN]));
        assert!(identity(&["/nonexistent".into()]).is_err());
    }

    #[test]
    fn other_metadata_and_other_weights_of_any_tensor_are_another_model() {
        let gguf = Gguf::parse(io::Cursor::new(BUILTIN)).unwrap();
        let name = "general.name".as_bytes();
        let at = BUILTIN.windows(name.len()).position(|window| window == name).unwrap();
        // The name's first letter, behind the key, its type and its length.
        let text = at + name.len() + 4 + 8;
        let first = |index: usize| (gguf.data_start + gguf.tensors[index].offset) as usize;
        let last = gguf.tensors.len() - 1;
        let end = first(last) + gguf.tensors[last].bytes as usize - 1;
        for at in [text, first(0), first(last), end] {
            let mut changed = BUILTIN.to_vec();
            changed[at] ^= 1;
            assert_ne!(of(&[&changed]), of(&[BUILTIN]), "byte {at}");
        }
    }
}
