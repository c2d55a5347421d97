//! The life of the serving process.

mod exit;

pub use exit::Exit;
pub(crate) use exit::Failure;
