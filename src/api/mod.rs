//! The HTTP surface.

pub mod wire;

#[cfg(feature = "engine")]
mod chunks;
#[cfg(feature = "engine")]
mod error;
#[cfg(feature = "engine")]
mod extract;
#[cfg(feature = "engine")]
mod generate;
#[cfg(feature = "engine")]
pub mod generation;
#[cfg(feature = "engine")]
mod logprobs;
#[cfg(feature = "engine")]
mod prompt;
#[cfg(feature = "engine")]
mod sse;
#[cfg(feature = "engine")]
mod state;

#[cfg(feature = "engine")]
pub use self::{
    error::ApiError,
    extract::JsonBody,
    state::{AppState, LoadState, Model},
};
