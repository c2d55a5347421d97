//! What any HTTP server of ours needs, knowing no model: addresses and connections, bodies, keys,
//! origins, request ids, the access log, and errors before they are written in an API's form.

mod accept;
mod access_log;
mod auth;
mod body;
mod closing;
mod connection;
mod context;
mod counts;
mod error;
pub(crate) mod json_limits;
mod listen;
pub(crate) mod origin;
mod request_id;
mod server;
mod socket;
mod write_errors;

pub use accept::raise_descriptor_limit;
pub(crate) use access_log::{CacheLookup, RequestLog, catch_panics, log_requests, note_route};
pub use auth::{KeyError, Keys, load_keys};
pub(crate) use body::read_body;
pub use context::{Context, Dialects};
pub(crate) use counts::{Counts, registered};
pub use error::{Error, Problem};
pub use listen::{ListenError, Listener, adopt, bind};
pub use request_id::RequestId;
pub use server::serve;
pub(crate) use write_errors::write_errors;
