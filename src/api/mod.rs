//! The HTTP surface.

mod absent;
mod accept;
mod access;
mod auth;
mod blocking;
mod chunks;
mod connection;
mod cors;
mod error;
mod extract;
mod farewell;
mod generate;
mod generation;
mod health;
mod listen;
mod logprobs;
mod meter;
mod metrics;
mod models;
mod prompt;
mod props;
mod router;
mod server;
mod socket;
mod sse;
mod state;
mod tokens;
mod upload;
pub mod wire;

pub use access::RequestId;
pub use auth::{KeyError, Keys, load_keys};
pub use error::ApiError;
pub use listen::{ListenError, Listener, adopt, bind};
pub use router::router;
pub use server::serve;
pub use state::{AppState, LoadState, Model};
