//! `strixhalo cache`: what a server keeps on disk.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::{Arg, ArgMatches, Command, value_parser};
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

use super::{arguments, print};
use crate::config::{CACHE_DIRECTORY, Sources};
use crate::engine::{SavedPrompt, clear_saved_prompts, saved_prompts};
use crate::server::{Exit, Failure};
use crate::service;

pub(super) fn command() -> Command {
    let directory = || {
        Arg::new("dir").long("dir").value_name("DIR").value_parser(value_parser!(PathBuf)).help(
            "The directory; else the server's: cache.disk_dir of the settings, or prompts in CACHE_DIRECTORY",
        )
    };
    let with_directory = |command: Command| command.arg(directory()).args(arguments::sources());
    Command::new("cache")
        .about("List or remove what a server keeps of conversations on disk")
        .subcommand_required(true)
        .subcommand(with_directory(
            Command::new("list").about("List the saved prompts, the last used first"),
        ))
        .subcommand(with_directory(Command::new("clear").about(
            "Remove all saved prompts; a server that runs goes on, and reads such prompts anew",
        )))
}

pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    let (name, matches) = match matches.subcommand() {
        Some(subcommand) => subcommand,
        None => return Exit::Usage.into(),
    };
    let done = directory(matches).and_then(|directory| {
        let done = if name == "clear" { clear(&directory) } else { list(&directory) };
        done.map_err(|error| unusable(&directory, &error))
    });
    match done {
        Ok(text) => print(&text),
        Err(failure) => failure.report(),
    }
}

/// The directory that was named, or the one that a server with the same settings has.
fn directory(matches: &ArgMatches) -> Result<PathBuf, Failure> {
    let file = |name: &str| matches.get_one::<PathBuf>(name).cloned();
    if let Some(directory) = file("dir") {
        return Ok(directory);
    }
    let environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let sources = Sources {
        file: file("config"),
        env_file: file("env-file"),
        environment,
        flags: Vec::new(),
    };
    let loaded = arguments::load(sources, Vec::new())?;
    loaded.warnings.iter().for_each(|warning| service::warn(warning));
    let systemds = std::env::var_os(CACHE_DIRECTORY);
    loaded.settings.cache.directory(systemds.as_deref()).ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            "no directory is set: name it with --dir, or the settings with --config (the NixOS service keeps prompts in /var/cache/strixhalo/prompts)",
        )
    })
}

fn unusable(directory: &Path, error: &io::Error) -> Failure {
    let exit = match error.kind() {
        io::ErrorKind::NotFound => Exit::Missing,
        io::ErrorKind::PermissionDenied => Exit::Permission,
        _ => Exit::System,
    };
    Failure::new(exit, format!("{}: {error}", directory.display()))
}

fn list(directory: &Path) -> io::Result<String> {
    let saved = saved_prompts(directory)?;
    // Where the zone is not known, in UTC.
    let offset = UtcOffset::current_local_offset().unwrap_or(UtcOffset::UTC);
    let mut out = String::new();
    if !saved.is_empty() {
        out += &format!("{:16}  {:>8}  {:>10}  LAST USED\n", "MODEL", "TOKENS", "SIZE");
    }
    for SavedPrompt { model, tokens, bytes, last_used } in &saved {
        let tokens = tokens.map_or_else(|| "?".to_owned(), |tokens| tokens.to_string());
        let size = megabytes(*bytes);
        out += &format!("{model}  {tokens:>8}  {size:>10}  {}\n", shown(*last_used, offset));
    }
    let bytes = saved.iter().map(|file| file.bytes).sum();
    Ok(out + &format!("{} in {}\n", counted(saved.len(), bytes), directory.display()))
}

fn clear(directory: &Path) -> io::Result<String> {
    let (files, bytes) = clear_saved_prompts(directory)?;
    Ok(format!("removed {} from {}\n", counted(files, bytes), directory.display()))
}

fn counted(files: usize, bytes: u64) -> String {
    let plural = if files == 1 { "" } else { "s" };
    format!("{files} saved prompt{plural}, {}", megabytes(bytes))
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

fn shown(at: SystemTime, offset: UtcOffset) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    // Any time that a file system stores can be written so.
    OffsetDateTime::from(at).to_offset(offset).format(format).unwrap_or_default()
}
