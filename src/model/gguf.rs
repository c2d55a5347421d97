//! Reads the header of a GGUF file without trusting it: every count and length is checked
//! against what the file still holds before memory is taken for it.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use super::quantization::TensorType;

/// Longest string that is kept; chat templates are the longest that anybody needs.
const MAX_TEXT: u64 = 16 << 20;
/// All strings and arrays that are kept, in bytes.
const MAX_KEPT: u64 = 64 << 20;
/// Per-layer arrays are kept; vocabularies are longer than this and are not.
const MAX_KEPT_ARRAY: u64 = 4096;
const MAX_KEYS: u64 = 1 << 16;
const MAX_TENSORS: u64 = 1 << 20;
const MAX_TOKENS: u64 = 1 << 22;
/// llama.cpp's `GGML_MAX_NAME`, with its terminating zero.
const MAX_NAME: usize = 64;
pub(super) const TOKENS: &str = "tokenizer.ggml.tokens";
/// Text of many megabytes that llama.cpp does not read either.
const SKIPPED_TEXT: &str = "tokenizer.huggingface.json";

/// The file is not a GGUF file that llama.cpp can read; one line that says why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct GgufError(pub String);

impl From<io::Error> for GgufError {
    fn from(error: io::Error) -> Self {
        Self(match error.kind() {
            io::ErrorKind::UnexpectedEof => TRUNCATED_HEADER.to_owned(),
            _ => format!("cannot be read: {error}"),
        })
    }
}

const TRUNCATED_HEADER: &str =
    "the file ends within its header: it is incomplete or damaged, download it again";

/// Types of metadata values, by GGUF's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ValueType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    Text,
    Array,
    U64,
    I64,
    F64,
}

impl ValueType {
    fn from_id(id: u32) -> Option<Self> {
        use ValueType::*;
        [U8, I8, U16, I16, U32, I32, F32, Bool, Text, Array, U64, I64, F64]
            .get(usize::try_from(id).ok()?)
            .copied()
    }

    /// Bytes of one value in an array; strings are at least their length field.
    fn bytes(self) -> u64 {
        use ValueType::*;
        match self {
            U8 | I8 | Bool => 1,
            U16 | I16 => 2,
            U32 | I32 | F32 => 4,
            Text | Array | U64 | I64 | F64 => 8,
        }
    }

    /// The name as llama.cpp's messages have it.
    pub fn name(self) -> &'static str {
        use ValueType::*;
        match self {
            U8 => "u8",
            I8 => "i8",
            U16 => "u16",
            I16 => "i16",
            U32 => "u32",
            I32 => "i32",
            F32 => "f32",
            Bool => "bool",
            Text => "str",
            Array => "arr",
            U64 => "u64",
            I64 => "i64",
            F64 => "f64",
        }
    }
}

/// A metadata value with the type it has in the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The type in the file; llama.cpp refuses a value of another type than it expects.
    pub kind: ValueType,
    /// The value.
    pub value: MetaValue,
}

/// A metadata value.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum MetaValue {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    Array(ArrayFacts),
}

/// What is kept of an array.
#[derive(Debug, Clone, PartialEq)]
pub struct ArrayFacts {
    /// Type of its elements.
    pub kind: ValueType,
    /// Number of elements.
    pub len: u64,
    /// The elements, if they are whole numbers or booleans and few.
    pub integers: Option<Vec<i64>>,
}

/// A tensor as the header describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name, shorter than 64 bytes.
    pub name: String,
    /// Its dimensions, at most 4; the first is the row length.
    pub dims: Vec<u64>,
    /// How its values are stored.
    pub kind: TensorType,
    /// Bytes from the start of the data section.
    pub offset: u64,
    /// Bytes of its data.
    pub bytes: u64,
}

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
    /// A token that is in the vocabulary twice; llama.cpp aborts on one.
    pub duplicate_token: Option<String>,
}

impl Gguf {
    /// Reads the header. Takes memory in proportion to the header, at most some 100 MiB.
    pub fn parse(mut source: impl Read + Seek) -> Result<Self, GgufError> {
        let file_bytes = source.seek(SeekFrom::End(0))?;
        source.seek(SeekFrom::Start(0))?;
        let mut reader = Reader {
            source: BufReader::with_capacity(1 << 18, source),
            position: 0,
            end: file_bytes,
            kept: 0,
        };
        let version = magic(&mut reader)?;
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
            duplicate_token: None,
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
                let array = reader.array(&key, &mut self.duplicate_token)?;
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
        // They lie side by side within the file, so the sum cannot overflow.
        self.tensors.iter().map(|tensor| tensor.bytes).sum()
    }
}

fn too_large(name: &str) -> GgufError {
    GgufError(format!("the tensor {name} is larger than any file: the file is damaged"))
}

/// Reads magic and version; names what else the file may be.
fn magic<R: Read + Seek>(reader: &mut Reader<R>) -> Result<u32, GgufError> {
    if reader.end == 0 {
        return Err(GgufError("the file is empty: download it again".to_owned()));
    }
    let mut head = [0_u8; 16];
    let length = usize::try_from(reader.end.min(16)).unwrap_or(16);
    reader.source.read_exact(&mut head[..length])?;
    reader.source.seek_relative(4 - i64::try_from(length).unwrap_or(0))?;
    reader.position = 4;
    if !head.starts_with(b"GGUF") {
        return Err(GgufError(foreign(&head[..length])));
    }
    let version = reader.u32()?;
    match version {
        2 | 3 => Ok(version),
        1 => Err(GgufError(
            "GGUF version 1 is no longer read: convert the model again, or download a newer file"
                .to_owned(),
        )),
        _ if version & 0xffff == 0 => Err(GgufError(
            "it is a big-endian GGUF file: download or convert the little-endian one".to_owned(),
        )),
        _ => Err(GgufError(format!(
            "GGUF version {version} is not known here (2 and 3 are): the file is damaged or newer than this server"
        ))),
    }
}

fn foreign(head: &[u8]) -> String {
    let get = "a GGUF file is needed";
    let is = |start: &[u8]| head.starts_with(start);
    if is(b"FUGG") {
        "it is a big-endian GGUF file: download or convert the little-endian one".to_owned()
    } else if [&b"lmgg"[..], b"fmgg", b"tjgg", b"algg", b"GGML", b"ggml", b"ggmf", b"ggjt"]
        .iter()
        .any(|start| is(start))
    {
        format!("it is in GGML's old format from before GGUF; {get}: download a newer file")
    } else if is(b"version https://") {
        "it is a Git LFS pointer, not the model itself: run `git lfs pull`, or download the file"
            .to_owned()
    } else if is(b"PK\x03\x04") {
        format!("it is a zip archive or PyTorch checkpoint; {get}: unpack or convert it")
    } else if head.get(8..10) == Some(b"{\"") {
        format!("it is a safetensors file; {get}: convert it, or download the GGUF version")
    } else if is(&[0x1f, 0x8b]) || is(&[0x28, 0xb5, 0x2f, 0xfd]) || is(b"\xfd7zXZ") {
        format!("it is compressed; {get}: unpack it")
    } else if is(b"<!DOCTYPE") || is(b"<!doctype") || is(b"<html") || is(b"<HTML") {
        format!("it is a web page that was saved under this name; {get}: download it again")
    } else if head.iter().all(|byte| *byte == 0) {
        "it begins with zeros: the download is not complete, download it again".to_owned()
    } else {
        format!("it is not a GGUF file (it does not begin with `GGUF`); {get}")
    }
}

struct Reader<R> {
    source: BufReader<R>,
    position: u64,
    end: u64,
    /// Bytes kept so far, against [`MAX_KEPT`].
    kept: u64,
}

impl<R> Reader<R> {
    fn remaining(&self) -> u64 {
        self.end.saturating_sub(self.position)
    }

    fn claim(&self, bytes: u64) -> Result<(), GgufError> {
        if bytes > self.remaining() {
            return Err(GgufError(TRUNCATED_HEADER.to_owned()));
        }
        Ok(())
    }
}

impl<R: Read + Seek> Reader<R> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], GgufError> {
        let mut bytes = [0; N];
        self.source.read_exact(&mut bytes)?;
        self.position += N as u64;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, GgufError> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, GgufError> {
        self.bytes().map(u64::from_le_bytes)
    }

    fn skip(&mut self, bytes: u64) -> Result<(), GgufError> {
        self.claim(bytes)?;
        let step = i64::try_from(bytes).map_err(|_| GgufError(TRUNCATED_HEADER.to_owned()))?;
        self.source.seek_relative(step)?;
        self.position += bytes;
        Ok(())
    }

    fn raw(&mut self, length: u64) -> Result<Vec<u8>, GgufError> {
        self.claim(length)?;
        let mut bytes = Vec::new();
        self.source.by_ref().take(length).read_to_end(&mut bytes)?;
        self.position += length;
        if bytes.len() as u64 != length {
            return Err(GgufError(TRUNCATED_HEADER.to_owned()));
        }
        Ok(bytes)
    }

    fn text(&mut self, what: &str, limit: u64) -> Result<String, GgufError> {
        let length = self.u64()?;
        self.claim(length)?;
        self.kept = self.kept.saturating_add(length);
        if length > limit || self.kept > MAX_KEPT {
            return Err(GgufError(format!(
                "{what} is {length} bytes long, more than this server reads: the file is damaged"
            )));
        }
        let bytes = self.raw(length)?;
        Ok(String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    fn value_type(&mut self, key: &str) -> Result<ValueType, GgufError> {
        let id = self.u32()?;
        ValueType::from_id(id).ok_or_else(|| {
            GgufError(format!(
                "the metadata key {key} has the unknown type {id}: the file is damaged"
            ))
        })
    }

    fn scalar(&mut self, kind: ValueType) -> Result<MetaValue, GgufError> {
        use MetaValue::{Bool, Float, Signed, Unsigned};
        Ok(match kind {
            ValueType::U8 => Unsigned(u8::from_le_bytes(self.bytes()?).into()),
            ValueType::I8 => Signed(i8::from_le_bytes(self.bytes()?).into()),
            ValueType::U16 => Unsigned(u16::from_le_bytes(self.bytes()?).into()),
            ValueType::I16 => Signed(i16::from_le_bytes(self.bytes()?).into()),
            ValueType::U32 => Unsigned(self.u32()?.into()),
            ValueType::I32 => Signed(i32::from_le_bytes(self.bytes()?).into()),
            ValueType::F32 => Float(f32::from_le_bytes(self.bytes()?).into()),
            ValueType::Bool => Bool(self.bytes::<1>()? != [0]),
            ValueType::U64 => Unsigned(self.u64()?),
            ValueType::I64 => Signed(i64::from_le_bytes(self.bytes()?)),
            ValueType::F64 => Float(f64::from_le_bytes(self.bytes()?)),
            ValueType::Text | ValueType::Array => {
                return Err(GgufError("a list within a list: the file is damaged".to_owned()));
            }
        })
    }

    fn array(
        &mut self,
        key: &str,
        duplicate: &mut Option<String>,
    ) -> Result<ArrayFacts, GgufError> {
        let kind = self.value_type(key)?;
        let len = self.u64()?;
        if kind == ValueType::Array {
            return Err(GgufError(format!(
                "the metadata key {key} is a list of lists, which llama.cpp does not read"
            )));
        }
        if len.saturating_mul(kind.bytes()) > self.remaining() {
            return Err(GgufError(format!(
                "the metadata key {key} claims {len} values, more than the file can hold: it is damaged, download it again"
            )));
        }
        let mut integers = None;
        match kind {
            ValueType::Text if key == TOKENS => self.tokens(len, duplicate)?,
            ValueType::Text => {
                for _ in 0..len {
                    let length = self.u64()?;
                    self.skip(length)?;
                }
            }
            ValueType::F32 | ValueType::F64 => self.skip(len * kind.bytes())?,
            _ if len > MAX_KEPT_ARRAY => self.skip(len * kind.bytes())?,
            _ => {
                let mut values = Vec::new();
                self.kept += len * 8;
                for _ in 0..len {
                    values.push(match self.scalar(kind)? {
                        MetaValue::Unsigned(value) => i64::try_from(value).unwrap_or(i64::MAX),
                        MetaValue::Signed(value) => value,
                        MetaValue::Bool(value) => i64::from(value),
                        _ => 0,
                    });
                }
                if self.kept > MAX_KEPT {
                    return Err(GgufError(
                        "the metadata is larger than any model's: the file is damaged".to_owned(),
                    ));
                }
                integers = Some(values);
            }
        }
        Ok(ArrayFacts { kind, len, integers })
    }

    /// Walks the vocabulary and looks for a token that is there twice. Two independent hashes
    /// of 64 bits stand for the text, so that 150,000 tokens need no copies.
    fn tokens(&mut self, len: u64, duplicate: &mut Option<String>) -> Result<(), GgufError> {
        if len > MAX_TOKENS {
            return Err(GgufError(format!(
                "the vocabulary claims {len} tokens: the file is damaged, download it again"
            )));
        }
        let hashers = [RandomState::new(), RandomState::new()];
        let mut seen = HashSet::new();
        for _ in 0..len {
            let length = self.u64()?;
            if length > 1 << 16 {
                return Err(GgufError(format!(
                    "a token of the vocabulary is {length} bytes long: the file is damaged"
                )));
            }
            let token = self.raw(length)?;
            let hash = hashers.each_ref().map(|hasher| hasher.hash_one(&token));
            // llama.cpp gives empty tokens names of their own.
            if !token.is_empty() && !seen.insert(hash) && duplicate.is_none() {
                *duplicate = Some(String::from_utf8_lossy(&token).into_owned());
            }
        }
        Ok(())
    }

    fn tensor(&mut self) -> Result<TensorInfo, GgufError> {
        let name = self.text("a tensor's name", 1 << 16)?;
        if name.len() >= MAX_NAME {
            return Err(GgufError(format!(
                "the tensor name {name:.80} has {} bytes, 63 are allowed",
                name.len()
            )));
        }
        let n_dims = self.u32()?;
        if n_dims > 4 {
            return Err(GgufError(format!(
                "the tensor {name} has {n_dims} dimensions, 4 are allowed: the file is damaged"
            )));
        }
        let mut dims = Vec::with_capacity(4);
        for _ in 0..n_dims {
            dims.push(self.u64()?);
        }
        let id = self.u32()?;
        let kind = TensorType::from_id(id).ok_or_else(|| {
            GgufError(format!(
                "the tensor {name} has type {id}, which the llama.cpp in this server does not know: use another quantisation"
            ))
        })?;
        let offset = self.u64()?;
        let row = dims.first().copied().unwrap_or(1);
        if row % kind.values != 0 {
            return Err(GgufError(format!(
                "the tensor {name} has rows of {row} values, not a multiple of the {} that {} needs: the file is damaged",
                kind.values, kind.name
            )));
        }
        let bytes = dims
            .iter()
            .try_fold(1_u64, |product, dim| product.checked_mul(*dim))
            .filter(|values| i64::try_from(*values).is_ok())
            .and_then(|values| (values / kind.values).checked_mul(kind.bytes))
            .filter(|bytes| offset.checked_add(*bytes).is_some())
            .ok_or_else(|| too_large(&name))?;
        Ok(TensorInfo { name, dims, kind, offset, bytes })
    }
}
