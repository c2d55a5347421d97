//! The command line.

mod arguments;
pub mod bench;
mod cache;
mod config;
mod doctor;
mod generate;
mod plan;
mod serve;
mod verify_gpu;
mod version;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{ArgMatches, Args, Command, FromArgMatches};

use crate::server::{Exit, Failure, VERSION};
use crate::service::say;

/// Runs the command line.
pub fn main() -> ExitCode {
    run(std::env::args_os().collect())
}

fn run(line: Vec<OsString>) -> ExitCode {
    let prepared = match arguments::prepare(line) {
        Ok(prepared) => prepared,
        Err(error) => return Failure::from(error).report(),
    };
    match command().try_get_matches_from(prepared.arguments) {
        Ok(matches) => dispatch(&matches, prepared.warnings),
        Err(error) => misused(&error),
    }
}

/// Prints what clap has to say: a mistake in one line, or the help. Its own code for usage errors
/// is 2.
fn misused(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand as NoCommand;
    if error.use_stderr() && error.kind() != NoCommand {
        let text = error.render().to_string();
        let said = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
        let said: Vec<_> = said
            .take_while(|line| !line.starts_with("For more information"))
            .filter(|line| !line.is_empty())
            .collect();
        let said = said.join(" ");
        say(&format!("{} (--help lists all)", said.trim_start_matches("error: ")));
        return Exit::Usage.into();
    }
    // A closed pipe is no reason to fail.
    let _ = error.print();
    if error.use_stderr() { Exit::Usage.into() } else { Exit::Success.into() }
}

/// All commands.
fn command() -> Command {
    Command::new("strixhalo")
        .about("An LLM server for AMD Ryzen AI MAX+ 395 that speaks the OpenAI API")
        .long_about(
            "An LLM server for AMD Ryzen AI MAX+ 395 that speaks the OpenAI API.\n\n\
             Without a command, `serve` is run; it takes llama-server's flags.",
        )
        .version(VERSION.as_str())
        .propagate_version(true)
        .subcommand_required(true)
        .max_term_width(100)
        .subcommand(
            Command::new("serve")
                .about("Serve a model; without one, the built-in demo model")
                .args(arguments::sources())
                .args(crate::config::arguments()),
        )
        .subcommand(plan::command())
        .subcommand(config::command())
        .subcommand(cache::command())
        .subcommand(bench::BenchArgs::augment_args(
            Command::new("bench").about("Measure an OpenAI-compatible server"),
        ))
        .subcommand(doctor::command())
        .subcommand(verify_gpu::command())
        .subcommand(version::command())
        .subcommand(generate::command())
}

fn dispatch(matches: &ArgMatches, warnings: Vec<String>) -> ExitCode {
    match matches.subcommand() {
        Some(("serve", matches)) => {
            let sources = arguments::given(matches);
            match arguments::load(sources.clone(), warnings) {
                Ok(loaded) => serve::run(sources, loaded),
                Err(error) => Failure::from(error).report(),
            }
        }
        Some(("plan", matches)) => plan::run(matches, warnings),
        Some(("config", matches)) => config::run(matches, warnings),
        Some(("cache", matches)) => cache::run(matches),
        Some(("bench", matches)) => match bench::BenchArgs::from_arg_matches(matches) {
            Ok(args) => bench::run(args),
            Err(error) => misused(&error),
        },
        Some(("doctor", matches)) => doctor::run(matches),
        Some(("verify-gpu", matches)) => verify_gpu::run(matches),
        Some(("version", _)) => version::run(),
        Some(("generate", matches)) => generate::run(matches),
        _ => Exit::Usage.into(),
    }
}

/// Prints a result. A reader that stops early, such as `head`, is no failure.
fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            say(&format!("stdout cannot be written: {error}"));
            Exit::System.into()
        }
        _ => Exit::Success.into(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn clap_accepts_the_definition_of_all_commands() {
        super::command().debug_assert();
    }
}
