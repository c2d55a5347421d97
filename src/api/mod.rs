//! The endpoints of loaded models.

mod cache_names;
mod draft_names;
mod endpoints;
mod error;
mod generation;
mod memory;
mod metrics;
mod model;
mod reply;
mod router;
mod routes;
mod state;
mod stored_responses;
#[cfg(test)]
mod tests;

pub use error::ApiError;
pub use memory::MemoryReport;
pub use metrics::{Energy, GpuEnergy};
pub use model::{LoadState, LoadedModel, Models, ServedEmbedding, ServedModel};
pub use router::router;
pub use state::AppState;
