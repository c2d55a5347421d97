//! The endpoints of loaded models.

mod absent;
mod blocking;
mod chunks;
mod error;
mod extract;
mod generate;
mod generation;
mod health;
mod logprobs;
mod meter;
mod metrics;
mod models;
mod numbers;
mod prompt;
mod props;
mod router;
mod sse;
mod state;
#[cfg(test)]
mod tests;
mod tokens;

pub use error::ApiError;
pub use router::router;
pub use state::{AppState, LoadState, Model};
