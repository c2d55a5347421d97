//! The HTTP surface.

mod absent;
mod access;
mod auth;
mod body;
mod connection;
mod cors;
mod error;
mod generation;
mod health;
mod listen;
mod metrics;
mod models;
mod props;
mod router;
mod server;
mod state;
mod tokens;
mod upload;
pub mod wire;

pub use access::RequestId;
pub use auth::{KeyError, Keys, load_keys};
pub use error::ApiError;
pub use listen::{ListenError, Listener, bind};
pub use router::router;
pub use server::serve;
pub use state::{AppState, LoadState, Model};
