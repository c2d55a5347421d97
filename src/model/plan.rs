//! The memory plan: what a model and its context need, and which context fits.

mod budget;
mod cache_types;
mod caches;
mod compute;
mod context;
mod embedding;
mod embedding_shape;
mod error;
mod layout;
mod memory;
mod refusal;
mod report;
mod shape;

pub use budget::{
    Account, Budget, GpuBudget, GpuMemory, HostBudget, MemoryReadings, UNIFIED_MEMORY, budget,
};
pub use cache_types::{decide_cache_types, decide_flash_attention};
pub use context::{ContextDecision, decide_context};
pub use embedding::embedding_need;
pub use embedding_shape::{EMBEDDING_SEQUENCES, EmbeddingShape};
pub use error::{CacheTypeConflict, MemoryShortage, NeedPart, PlanError};
pub use layout::{Layout, layout};
pub use memory::{MemoryNeed, bytes_per_value, largest_ctx_per_slot, memory_need};
pub use refusal::Refusal;
pub use report::{LargestContext, PlanReport, StretchedContext};
pub use shape::CacheShape;

#[cfg(test)]
mod formula;
#[cfg(test)]
mod tests;
