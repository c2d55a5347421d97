//! `strixhalo version`: what this binary is, without opening a model. Packages check with it that
//! llama.cpp was compiled for the CPU that they promise.

use std::process::ExitCode;

use clap::Command;

use super::print;
use crate::server::VERSION;

pub(super) fn command() -> Command {
    Command::new("version")
        .about("Print the version, what llama.cpp was compiled for, and the devices it sees")
}

pub(super) fn run() -> ExitCode {
    let mut out = format!("strixhalo {}\n", *VERSION);
    out.push_str(&engine());
    print(&out)
}

#[cfg(feature = "engine")]
fn engine() -> String {
    use crate::engine::{backends, devices, system_info};

    // The devices first: the info lists only backends that have started.
    let devices: String = devices()
        .iter()
        .map(|d| format!("device {}: {} ({})\n", d.name, d.description, d.backend))
        .collect();
    let info = system_info();
    let devices = if devices.is_empty() { "no devices\n".to_owned() } else { devices };
    format!("llama.cpp: {info}\nbackends: {}\n{devices}", backends().join(", "))
}

#[cfg(not(feature = "engine"))]
fn engine() -> String {
    "llama.cpp: not built in\n".to_owned()
}
