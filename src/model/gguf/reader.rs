//! Reads GGUF's primitives and checks every length against what the file still holds.

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::io::{BufReader, Read, Seek};

use super::values::{
    ArrayFacts, GgufError, MetaValue, TOKENS, TRUNCATED_HEADER, TensorInfo, TokenTexts, ValueType,
    too_large,
};
use crate::model::quantization::TensorType;

/// All strings and arrays that are kept, in bytes; three times that where they are no UTF-8.
const MAX_KEPT: u64 = 8 << 20;
/// Per-layer arrays are kept; vocabularies are longer than this and are not.
const MAX_KEPT_ARRAY: u64 = 4096;
/// Three times the largest vocabulary known, and no more than fits a table of 2^20.
const MAX_TOKENS: u64 = 900_000;
/// llama.cpp's `GGML_MAX_NAME`, with its terminating zero.
const MAX_NAME: usize = 64;

/// A GGUF file, read from front to back.
pub(super) struct Reader<R> {
    source: BufReader<R>,
    /// Bytes read so far.
    pub(super) position: u64,
    end: u64,
    /// Bytes kept so far, against [`MAX_KEPT`].
    kept: u64,
}

impl<R> Reader<R> {
    pub(super) fn remaining(&self) -> u64 {
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
    pub(super) fn new(source: R, end: u64) -> Self {
        Self { source: BufReader::with_capacity(1 << 18, source), position: 0, end, kept: 0 }
    }

    /// Reads magic and version; names what else the file may be.
    pub(super) fn magic(&mut self) -> Result<u32, GgufError> {
        if self.end == 0 {
            return Err(GgufError("the file is empty: download it again".to_owned()));
        }
        let mut head = [0_u8; 16];
        let length = usize::try_from(self.end.min(16)).unwrap_or(16);
        self.source.read_exact(&mut head[..length])?;
        self.source.seek_relative(4 - i64::try_from(length).unwrap_or(0))?;
        self.position = 4;
        if !head.starts_with(b"GGUF") {
            return Err(GgufError(foreign(&head[..length])));
        }
        let version = self.u32()?;
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

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], GgufError> {
        let mut bytes = [0; N];
        self.source.read_exact(&mut bytes)?;
        self.position += N as u64;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, GgufError> {
        self.bytes().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, GgufError> {
        self.bytes().map(u64::from_le_bytes)
    }

    pub(super) fn skip(&mut self, bytes: u64) -> Result<(), GgufError> {
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

    pub(super) fn text(&mut self, what: &str, limit: u64) -> Result<String, GgufError> {
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

    pub(super) fn value_type(&mut self, key: &str) -> Result<ValueType, GgufError> {
        let id = self.u32()?;
        ValueType::from_id(id).ok_or_else(|| {
            GgufError(format!(
                "the metadata key {key} has the unknown type {id}: the file is damaged"
            ))
        })
    }

    pub(super) fn scalar(&mut self, kind: ValueType) -> Result<MetaValue, GgufError> {
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

    pub(super) fn array(
        &mut self,
        key: &str,
        texts: &mut TokenTexts,
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
            ValueType::Text if key == TOKENS => self.tokens(len, texts)?,
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

    /// Walks the vocabulary. To find a token that is there twice, a hash of 64 bits stands for the
    /// text, so that 150,000 tokens need no copies. Its key is drawn anew each time, so that two
    /// texts of the largest vocabulary share a hash in one of 45 million starts, and not in the next.
    fn tokens(&mut self, len: u64, texts: &mut TokenTexts) -> Result<(), GgufError> {
        if len > MAX_TOKENS {
            return Err(GgufError(format!(
                "the vocabulary claims {len} tokens: the file is damaged, download it again"
            )));
        }
        let hasher = RandomState::new();
        // No token takes less than the eight bytes of its length, which the file has.
        let capacity = usize::try_from(len).unwrap_or(0);
        let mut seen =
            HashSet::with_capacity_and_hasher(capacity, BuildHasherDefault::<Hashed>::default());
        let mut token = Vec::new();
        for _ in 0..len {
            let length = self.u64()?;
            if length > 1 << 16 {
                return Err(GgufError(format!(
                    "a token of the vocabulary is {length} bytes long: the file is damaged"
                )));
            }
            self.claim(length)?;
            token.resize(usize::try_from(length).unwrap_or(0), 0);
            self.source.read_exact(&mut token)?;
            self.position += length;
            texts.bytes += usize::from(names_byte(&token));
            let hash = hasher.hash_one(&token);
            // llama.cpp gives empty tokens names of their own.
            if !token.is_empty() && !seen.insert(hash) && texts.duplicate.is_none() {
                texts.duplicate = Some(String::from_utf8_lossy(&token).into_owned());
            }
        }
        Ok(())
    }

    pub(super) fn tensor(&mut self) -> Result<TensorInfo, GgufError> {
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
                "the tensor {name} has type {id}, which the llama.cpp in this server does not know: use another quantization"
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

/// The hash of what is a hash already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
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

/// Whether a token's text is the name of a byte; llama.cpp looks for capital digits.
fn names_byte(text: &[u8]) -> bool {
    let is_digit = |c: &u8| c.is_ascii_digit() || (b'A'..=b'F').contains(c);
    matches!(text, [b'<', b'0', b'x', a, b, b'>'] if is_digit(a) && is_digit(b))
}
