//! Model files: GGUF facts, split files, memory plan. No llama.cpp.

mod architecture;
mod facts;
mod file;
mod gguf;
mod plan;
mod quantization;
mod sanity;
mod split;
mod tensors;
#[cfg(test)]
mod writer;

pub use facts::{GgufFacts, Layer};
pub use file::{ModelFile, ModelFileError};
pub use gguf::{ArrayFacts, Entry, Gguf, GgufError, MetaValue, TensorInfo, ValueType};
pub use plan::{
    CacheShape, ContextDecision, MemoryNeed, PlanError, bytes_per_value, decide_cache_types,
    decide_context, decide_flash_attention, largest_ctx_per_slot, memory_need,
};
pub use quantization::{TensorType, file_type_name};
pub mod builtin;
