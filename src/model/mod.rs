//! Models before they are loaded: files, GGUF facts, memory plan. No llama.cpp.

mod architecture;
pub mod builtin;
mod embedding_source;
mod error;
mod facts;
mod family;
mod file;
mod gguf;
mod graph;
mod identity;
mod keys;
mod memory_file;
mod plan;
mod pooling;
mod quantization;
mod rope;
mod sampling;
mod sanity;
mod source;
mod split;
mod tensors;
#[cfg(any(test, feature = "engine"))]
mod writer;

pub use embedding_source::{EmbeddingSource, EmbeddingSourceError, EmbeddingSources};
pub use error::ModelFileError;
pub use facts::{GgufFacts, Layer};
pub use family::{DeltaNet, Experts, FAMILIES, Family, WeightType};
pub use file::ModelFile;
pub use gguf::{ArrayFacts, Entry, Gguf, GgufError, MetaValue, TensorInfo, ValueType};
pub use graph::GraphFacts;
pub use identity::identity;
pub use keys::Purpose;
pub use memory_file::MemoryFile;
pub use plan::{
    Account, Budget, CacheShape, CacheTypeConflict, ContextDecision, EMBEDDING_SEQUENCES,
    EmbeddingShape, GpuBudget, GpuMemory, HostBudget, LargestContext, Layout, MemoryNeed,
    MemoryReadings, MemoryShortage, NeedPart, PlanError, PlanReport, Refusal, StretchedContext,
    UNIFIED_MEMORY, budget, bytes_per_value, decide_cache_types, decide_context,
    decide_flash_attention, embedding_need, largest_ctx_per_slot, layout, memory_need,
};
pub use pooling::Pooling;
pub use quantization::{TensorType, file_type_name};
pub use rope::RopeFacts;
pub use source::{Source, SourceError};
#[cfg(feature = "engine")]
pub(crate) use writer::Writer;
