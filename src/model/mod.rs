//! Models before they are loaded: files, GGUF facts, memory plan. No llama.cpp.

mod architecture;
pub mod builtin;
mod error;
mod facts;
mod file;
mod gguf;
mod identity;
mod memory_file;
mod plan;
mod quantization;
mod sampling;
mod sanity;
mod source;
mod split;
mod tensors;
#[cfg(any(test, feature = "engine"))]
mod writer;

pub use error::ModelFileError;
pub use facts::{GgufFacts, Layer};
pub use file::ModelFile;
pub use gguf::{ArrayFacts, Entry, Gguf, GgufError, MetaValue, TensorInfo, ValueType};
pub use identity::identity;
pub use memory_file::MemoryFile;
pub use plan::{
    CacheShape, CacheTypeConflict, ContextDecision, GpuMemory, Layout, MemoryNeed, MemoryShortage,
    PlanError, budget, bytes_per_value, decide_cache_types, decide_context, decide_flash_attention,
    largest_ctx_per_slot, layout, memory_need,
};
pub use quantization::{TensorType, file_type_name};
pub use source::{Source, SourceError};
#[cfg(feature = "engine")]
pub(crate) use writer::Writer;
