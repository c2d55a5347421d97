//! `strixhalo verify-gpu`: whether the GPU computes what the CPU computes, and how fast it is.

use std::process::ExitCode;
#[cfg(feature = "engine")]
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

#[cfg(feature = "engine")]
mod report;
#[cfg(feature = "engine")]
mod select;

pub(super) fn command() -> Command {
    Command::new("verify-gpu")
        .about("Prove that the GPU computes what the CPU computes, and measure it")
        .long_about(
            "Prove that the GPU computes what the CPU computes, and measure it.\n\n\
             Lists the devices, takes and checks memory, measures copies and matrix products, and compares \
             logits of three small models on the GPU with those on the CPU. Exit code 0: they agree; 69: \
             there is no GPU; 70: they do not agree, or memory does not hold what is written to it; 71: a \
             server of ours holds the GPU, or --allocate asks for more than is free.",
        )
        .arg(
            Arg::new("device").long("device").value_name("NAME").help(
                "The device, such as Vulkan0; cpu compares the CPU with itself [default: the GPU that a model would be loaded on]",
            ),
        )
        .arg(
            Arg::new("allocate")
                .long("allocate")
                .value_name("GIB")
                .value_parser(value_parser!(f64))
                .help("GiB of memory to take, write and read [default: half of what is free; of a CPU's 1 at most]"),
        )
        .arg(
            Arg::new("seconds")
                .long("seconds")
                .value_name("N")
                .value_parser(value_parser!(u64).range(1..=86_400))
                .default_value("120")
                .help("Time for each long prompt; a slow device gets shorter ones, and the report says so"),
        )
        .arg(
            Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print one JSON object at the end"),
        )
}

#[cfg(feature = "engine")]
pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    let wanted = select::Wanted {
        device: matches.get_one::<String>("device").map(String::as_str),
        gib: matches.get_one::<f64>("allocate").copied(),
    };
    let seconds = matches.get_one::<u64>("seconds").copied().unwrap_or(120);
    match select::select(&wanted) {
        Ok(selected) => {
            report::run(&selected, Duration::from_secs(seconds), matches.get_flag("json"))
        }
        Err(failure) => failure.report(),
    }
}

#[cfg(not(feature = "engine"))]
pub(super) fn run(_: &ArgMatches) -> ExitCode {
    use crate::server::{Exit, Failure};
    let message = "this build computes nothing; build one with the `engine` feature";
    Failure::new(Exit::NoGpu, message).report()
}
