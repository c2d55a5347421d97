//! The command line.

mod arguments;
pub mod bench;
mod config;
mod exit;
mod generate;
mod serve;
mod version;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{ArgMatches, Args, Command, FromArgMatches};

use crate::service::say;

pub use exit::Exit;

/// Runs the command line.
pub fn main() -> ExitCode {
    run(std::env::args_os().collect())
}

fn run(line: Vec<OsString>) -> ExitCode {
    let prepared = match arguments::prepare(line) {
        Ok(prepared) => prepared,
        Err(error) => return exit::refuse(&error),
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
        .subcommand(config::command())
        .subcommand(bench::BenchArgs::augment_args(
            Command::new("bench").about("Measure an OpenAI-compatible server"),
        ))
        .subcommand(version::command())
        .subcommand(generate::command())
}

fn dispatch(matches: &ArgMatches, warnings: Vec<String>) -> ExitCode {
    match matches.subcommand() {
        Some(("serve", matches)) => {
            let sources = arguments::given(matches);
            match arguments::load(sources.clone(), warnings) {
                Ok(loaded) => serve::run(sources, loaded),
                Err(error) => exit::refuse(&error),
            }
        }
        Some(("config", matches)) => config::run(matches, warnings),
        Some(("bench", matches)) => match bench::BenchArgs::from_arg_matches(matches) {
            Ok(args) => bench::run(args),
            Err(error) => misused(&error),
        },
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

/// The version and the backends that are built in.
pub(crate) static VERSION: LazyLock<String> = LazyLock::new(|| {
    let features: Vec<&str> = [
        ("engine", cfg!(feature = "engine")),
        ("hip", cfg!(feature = "hip")),
        ("vulkan", cfg!(feature = "vulkan")),
        ("cuda", cfg!(feature = "cuda")),
    ]
    .into_iter()
    .filter_map(|(name, built_in)| built_in.then_some(name))
    .collect();
    let features = if features.is_empty() { "none".to_owned() } else { features.join(", ") };
    format!("{} (features: {features})", env!("CARGO_PKG_VERSION"))
});

#[cfg(test)]
mod tests {
    #[test]
    fn clap_accepts_the_definition_of_all_commands() {
        super::command().debug_assert();
    }
}
