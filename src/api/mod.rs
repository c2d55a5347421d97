//! The HTTP surface.

pub mod wire;

#[cfg(feature = "engine")]
mod error;
#[cfg(feature = "engine")]
mod state;

#[cfg(feature = "engine")]
pub use self::{
    error::ApiError,
    state::{AppState, LoadState, Model},
};
