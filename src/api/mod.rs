//! The HTTP surface.

mod error;
mod state;

pub use error::ApiError;
pub use state::{AppState, LoadState, Model};
