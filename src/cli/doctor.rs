//! `strixhalo doctor`: what is known to go wrong on this machine. Opens no GPU and needs no root.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::print;
use crate::host::doctor::{self, Examination};
use crate::server::{Exit, Failure, VERSION};

pub(super) fn command() -> Command {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    let path = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).value_parser(value_parser!(PathBuf)).help(help)
    };
    Command::new("doctor")
        .about("Look for what is known to go wrong on a Strix Halo, with evidence and fixes")
        .long_about(
            "Look for what is known to go wrong on a Strix Halo, with evidence and fixes.\n\n\
             Ends with 0, with 1 after warnings, and with 2 after failures.",
        )
        .arg(flag("json", "Print the report as JSON").conflicts_with("summary"))
        .arg(flag("summary", "Print one to three lines, for a login message, and end with 0"))
        .arg(
            Arg::new("explain")
                .long("explain")
                .value_name("ID")
                .conflicts_with_all(["json", "summary", "bundle"])
                .help("Say what a check looks at, what it costs to ignore it, and who reported it"),
        )
        .arg(path(
            "bundle",
            "FILE",
            "Also write a text for somebody who is to help, without names, addresses and keys",
        ))
        .arg(path("root", "DIR", "Look at the recorded /sys, /proc and so on below this directory"))
        .arg(path("config", "FILE", "Settings file of the server; else the one of the service"))
}

pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    if let Some(id) = matches.get_one::<String>("explain") {
        return explain(id);
    }
    let path = |name: &str| matches.get_one::<PathBuf>(name).map(PathBuf::as_path);
    let root = path("root").unwrap_or(Path::new("/"));
    if !root.is_dir() {
        let message = format!("{} is no directory", root.display());
        return Failure::new(Exit::Missing, message).report();
    }
    let examined = doctor::examine(root, path("config"));
    if let Some(file) = path("bundle")
        && let Err(error) = write_bundle(file, &examined)
    {
        return Failure::new(Exit::System, format!("{}: {error}", file.display())).report();
    }
    if matches.get_flag("summary") {
        print(&examined.summary());
        return Exit::Success.into();
    }
    let has_colors = io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let report = &examined.report;
    print(&if matches.get_flag("json") { report.to_json() } else { examined.text(has_colors) });
    report.exit_code().into()
}

fn explain(id: &str) -> ExitCode {
    match doctor::explain(id) {
        Some(text) => print(&text),
        None => {
            let near = doctor::ids().max_by_key(|own| {
                // A similarity from 0 to 1, as a whole number.
                (strsim::jaro_winkler(own, id) * 1e6) as u32
            });
            let hint = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
            Failure::new(Exit::Usage, format!("the doctor has no check {id}{hint}")).report()
        }
    }
}

/// Nobody but the owner may read it, whatever has been masked.
fn write_bundle(file: &Path, examined: &Examination) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(file)?.write_all(examined.bundle(&VERSION).as_bytes())
}
