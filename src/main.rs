//! The `strixhalo` binary: parse the command line, hand over.

use std::process::ExitCode;

fn main() -> ExitCode {
    strixhalo::cli::main()
}
