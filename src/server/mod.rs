//! The life of the serving process: its start, the loop that serves, its end, and the exit codes of
//! all commands.

#[cfg(feature = "engine")]
mod caches;
#[cfg(feature = "engine")]
mod energy;
mod exit;
#[cfg(feature = "engine")]
mod gate;
#[cfg(feature = "engine")]
mod launch;
#[cfg(feature = "engine")]
mod load_report;
#[cfg(feature = "engine")]
mod loading;
#[cfg(feature = "engine")]
mod reload;
#[cfg(feature = "engine")]
mod run;
#[cfg(feature = "engine")]
mod selftest;
#[cfg(feature = "engine")]
mod startup;
#[cfg(feature = "engine")]
mod template;
mod version;
#[cfg(feature = "engine")]
mod watchdog;

pub use exit::Exit;
pub(crate) use exit::Failure;
#[cfg(feature = "engine")]
pub(crate) use startup::serve;
pub(crate) use version::VERSION;
