//! What the outside of the process wants: the log, the service manager's messages and sockets.

#[cfg(feature = "engine")]
mod bar;
mod journal;
pub mod logging;
pub mod notify;
#[cfg(feature = "engine")]
pub(crate) mod signals;
pub mod sockets;
mod stderr;

#[cfg(feature = "engine")]
pub(crate) use bar::BarTerminal;
pub(crate) use stderr::{say, warn};
