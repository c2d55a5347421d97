//! What the outside of the process wants: the log, the service manager's messages and sockets.

mod journal;
pub mod logging;
pub mod notify;
pub mod sockets;
mod stderr;

pub(crate) use stderr::{BarTerminal, say, warn};
