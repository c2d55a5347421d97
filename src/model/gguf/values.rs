//! What a GGUF header is made of: types, values, tensors, and the error of one that cannot be read.

use std::io;

use crate::model::quantization::TensorType;

/// The key of the vocabulary's texts.
pub(in crate::model) const TOKENS: &str = "tokenizer.ggml.tokens";

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

pub(super) const TRUNCATED_HEADER: &str =
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
    pub(super) fn from_id(id: u32) -> Option<Self> {
        use ValueType::*;
        [U8, I8, U16, I16, U32, I32, F32, Bool, Text, Array, U64, I64, F64]
            .get(usize::try_from(id).ok()?)
            .copied()
    }

    /// Bytes of one value in an array; strings are at least their length field.
    pub(super) fn bytes(self) -> u64 {
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

/// What is known of the texts of a vocabulary's tokens, which are not kept.
#[derive(Debug, Clone, Default)]
pub struct TokenTexts {
    /// One that is there twice; llama.cpp aborts on it.
    pub duplicate: Option<String>,
    /// How many are names of bytes, such as `<0x0A>`.
    pub bytes: usize,
}

pub(super) fn too_large(name: &str) -> GgufError {
    GgufError(format!("the tensor {name} is larger than any file: the file is damaged"))
}
