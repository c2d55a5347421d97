//! `strixhalo generate`: man pages and shell completions, for packages.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command, value_parser};
use clap_complete::Shell;

use super::print;
use crate::server::Exit;
use crate::service::say;

pub(super) fn command() -> Command {
    Command::new("generate")
        .about("Write man pages or shell completions")
        .hide(true)
        .subcommand_required(true)
        .subcommand(
            Command::new("man").about("Write one man page per command into a directory").arg(
                Arg::new("directory")
                    .value_name("DIRECTORY")
                    .required(true)
                    .value_parser(value_parser!(PathBuf)),
            ),
        )
        .subcommand(Command::new("completions").about("Print the completions for a shell").arg(
            Arg::new("shell").value_name("SHELL").required(true).value_parser(value_parser!(Shell)),
        ))
}

pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    match matches.subcommand() {
        Some(("man", matches)) => match matches.get_one::<PathBuf>("directory") {
            Some(directory) => man(directory),
            None => Exit::Usage.into(),
        },
        Some(("completions", matches)) => match matches.get_one::<Shell>("shell") {
            Some(shell) => completions(*shell),
            None => Exit::Usage.into(),
        },
        _ => Exit::Usage.into(),
    }
}

/// `strixhalo.1`, `strixhalo-serve.1` and so on.
fn man(directory: &Path) -> ExitCode {
    // Pages of one package describe the others too: without the backends that are built in.
    let command = super::command().version(env!("CARGO_PKG_VERSION"));
    let written = std::fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(command, directory));
    match written {
        Ok(()) => Exit::Success.into(),
        Err(error) => {
            say(&format!("man pages cannot be written to {}: {error}", directory.display()));
            Exit::System.into()
        }
    }
}

fn completions(shell: Shell) -> ExitCode {
    // Into memory first: clap_complete panics where stdout is closed.
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut super::command(), "strixhalo", &mut out);
    print(&String::from_utf8_lossy(&out))
}
