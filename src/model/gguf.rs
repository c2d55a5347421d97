//! Reads the header of a GGUF file without trusting it: every count and length is checked
//! against what the file still holds before memory is taken for it.

mod reader;
mod values;

use std::collections::{HashMap, HashSet};
use std::io::{Read, Seek, SeekFrom};

use reader::Reader;
pub use values::{ArrayFacts, Entry, GgufError, MetaValue, TensorInfo, ValueType};
pub(super) use values::{TOKENS, TokenTexts};
use values::{TRUNCATED_HEADER, too_large};

/// Longest string that is kept; chat templates are the longest that anybody needs.
const MAX_TEXT: u64 = 4 << 20;
/// Models have some hundred.
const MAX_KEYS: u64 = 1 << 14;
/// Of all parts together. A mixture whose experts are tensors of their own has 50,000.
pub(super) const MAX_TENSORS: u64 = 1 << 16;
/// Text of many megabytes that llama.cpp does not read either.
const SKIPPED_TEXT: &str = "tokenizer.huggingface.json";

/// The header of one GGUF file.
#[derive(Debug, Clone)]
pub struct Gguf {
    /// Format version, 2 or 3.
    pub version: u32,
    /// Metadata by key.
    pub meta: HashMap<String, Entry>,
    /// Tensors in file order.
    pub tensors: Vec<TensorInfo>,
    /// Where tensor data begins, in bytes from the start of the file.
    pub data_start: u64,
    /// Length of the file in bytes.
    pub file_bytes: u64,
    /// What is known of the texts of the vocabulary's tokens.
    pub token_texts: TokenTexts,
}

impl Gguf {
    /// Reads the header. Takes memory in proportion to the header, less than 64 MB.
    pub fn parse(mut source: impl Read + Seek) -> Result<Self, GgufError> {
        let file_bytes = source.seek(SeekFrom::End(0))?;
        source.seek(SeekFrom::Start(0))?;
        let mut reader = Reader::new(source, file_bytes);
        let version = reader.magic()?;
        let n_tensors = reader.u64()?;
        let n_keys = reader.u64()?;
        // Name length, dimensions, type and offset: the least that describes a tensor.
        if n_tensors > MAX_TENSORS || n_tensors.saturating_mul(24) > reader.remaining() {
            return Err(GgufError(format!(
                "the header claims {n_tensors} tensors, more than the file can hold: it is damaged, download it again"
            )));
        }
        if n_keys > MAX_KEYS || n_keys.saturating_mul(13) > reader.remaining() {
            return Err(GgufError(format!(
                "the header claims {n_keys} metadata keys, more than the file can hold: it is damaged, download it again"
            )));
        }
        let mut gguf = Self {
            version,
            meta: HashMap::new(),
            tensors: Vec::new(),
            data_start: 0,
            file_bytes,
            token_texts: TokenTexts::default(),
        };
        for _ in 0..n_keys {
            gguf.read_entry(&mut reader)?;
        }
        let alignment = gguf.alignment()?;
        gguf.read_tensors(&mut reader, n_tensors, alignment)?;
        gguf.check_extents(&reader, alignment)?;
        Ok(gguf)
    }

    fn read_entry<R: Read + Seek>(&mut self, reader: &mut Reader<R>) -> Result<(), GgufError> {
        let key = reader.text("a metadata key", 1 << 16)?;
        if key.is_empty() {
            return Err(GgufError("a metadata key is empty: the file is damaged".to_owned()));
        }
        let kind = reader.value_type(&key)?;
        let value = match kind {
            ValueType::Array => {
                let array = reader.array(&key, &mut self.token_texts)?;
                MetaValue::Array(array)
            }
            ValueType::Text if key == SKIPPED_TEXT => {
                let length = reader.u64()?;
                reader.skip(length)?;
                MetaValue::Text(String::new())
            }
            ValueType::Text => MetaValue::Text(reader.text(&key, MAX_TEXT)?),
            scalar => reader.scalar(scalar)?,
        };
        if self.meta.insert(key.clone(), Entry { kind, value }).is_some() {
            return Err(GgufError(format!("the metadata key {key} is there twice")));
        }
        Ok(())
    }

    fn alignment(&self) -> Result<u64, GgufError> {
        match self.meta.get("general.alignment") {
            None => Ok(32),
            Some(Entry { kind: ValueType::U32, value: MetaValue::Unsigned(alignment) })
                if alignment.is_power_of_two() =>
            {
                Ok(*alignment)
            }
            Some(_) => Err(GgufError(
                "general.alignment is not a power of two of type u32: the file is damaged"
                    .to_owned(),
            )),
        }
    }

    fn read_tensors<R: Read + Seek>(
        &mut self,
        reader: &mut Reader<R>,
        count: u64,
        alignment: u64,
    ) -> Result<(), GgufError> {
        let mut names = HashSet::new();
        let mut expected = 0_u64;
        for _ in 0..count {
            let tensor = reader.tensor()?;
            if !names.insert(tensor.name.clone()) {
                return Err(GgufError(format!("the tensor {} is there twice", tensor.name)));
            }
            // llama.cpp takes tensors only one behind the other, each padded to the alignment.
            if tensor.offset != expected {
                return Err(GgufError(format!(
                    "the data of tensor {} is at offset {}, expected {expected}: the file is damaged",
                    tensor.name, tensor.offset
                )));
            }
            expected = tensor
                .bytes
                .checked_next_multiple_of(alignment)
                .and_then(|padded| expected.checked_add(padded))
                .ok_or_else(|| too_large(&tensor.name))?;
            self.tensors.push(tensor);
        }
        Ok(())
    }

    fn check_extents<R>(&mut self, reader: &Reader<R>, alignment: u64) -> Result<(), GgufError> {
        self.data_start = reader
            .position
            .checked_next_multiple_of(alignment)
            .ok_or_else(|| GgufError(TRUNCATED_HEADER.to_owned()))?;
        let Some(last) = self.tensors.last() else { return Ok(()) };
        let needed = self.data_start.checked_add(last.offset + last.bytes);
        match needed {
            Some(needed) if needed <= self.file_bytes => Ok(()),
            Some(needed) => Err(GgufError(format!(
                "the file is truncated: {} of {needed} bytes are there; download it again",
                self.file_bytes
            ))),
            None => Err(too_large(&last.name)),
        }
    }

    /// The bytes of all tensors.
    pub fn tensor_bytes(&self) -> u64 {
        // Those of one file lie side by side within it; those of many parts may be any sum.
        self.tensors.iter().map(|tensor| tensor.bytes).fold(0, u64::saturating_add)
    }
}
