//! The real binary as a service: what systemd passes in, what it is told, signals and the log.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test fails by panicking
#![allow(unreachable_pub)] // the harness is the modules' interface

mod harness;
mod log;
mod manager;
mod notify;
mod reload;
mod selftest;
mod sockets;
mod stop;
