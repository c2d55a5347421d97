//! What the outside of the process wants: the log, the service manager's messages and sockets.

mod journal;
pub mod logging;
pub mod notify;
mod queue;
#[cfg(feature = "engine")]
pub(crate) mod signals;
pub mod sockets;
mod stderr;

pub(crate) use stderr::{say, warn};
