//! From the process's arguments to settings.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgMatches, value_parser};

use crate::config::{
    ConfigError, Loaded, Sources, Translated, from_matches, load as merge, translate,
};

/// Makes a command line that clap can read: adds `serve` where no command is named, and
/// translates llama-server's flags where a command takes them.
pub(super) fn prepare(mut line: Vec<OsString>) -> Result<Translated, ConfigError> {
    if line.is_empty() {
        line.push("strixhalo".into());
    }
    let word = |at: usize| line.get(at).and_then(|word| word.to_str()).unwrap_or_default();
    let flags_from = match word(1) {
        "-h" | "--help" | "-V" | "--version" => None,
        first if line.len() == 1 || first.starts_with('-') => {
            line.insert(1, "serve".into());
            Some(2)
        }
        "serve" | "plan" => Some(2),
        "config" if word(2) == "show" => Some(3),
        _ => None,
    };
    let Some(from) = flags_from else {
        return Ok(Translated { arguments: line, warnings: Vec::new() });
    };
    let translated = translate(&line.split_off(from))?;
    line.extend(translated.arguments);
    Ok(Translated { arguments: line, warnings: translated.warnings })
}

/// The arguments that name files with settings.
pub(super) fn sources() -> [Arg; 2] {
    let file = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("FILE").value_parser(value_parser!(PathBuf)).help(help)
    };
    [
        file("config", "Settings file (TOML); else the one that STRIXHALO_CONFIG names"),
        file(
            "env-file",
            "File of variables, such as MODEL_FILE and MODEL_ALIAS; the environment wins over it",
        ),
    ]
}

/// Where a command with [`sources`] and the settings' flags takes its settings from.
pub(super) fn given(matches: &ArgMatches) -> Sources {
    let file = |name: &str| matches.get_one::<PathBuf>(name).cloned();
    Sources {
        file: file("config"),
        env_file: file("env-file"),
        environment: std::env::vars_os().collect(),
        flags: from_matches(matches),
    }
}

/// Loads the settings of such a command.
pub(super) fn load(sources: Sources, mut warnings: Vec<String>) -> Result<Loaded, ConfigError> {
    let mut loaded = merge(sources)?;
    warnings.append(&mut loaded.warnings);
    loaded.warnings = warnings;
    Ok(loaded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(line: &[&str]) -> Vec<String> {
        prepare(line.iter().map(OsString::from).collect())
            .unwrap()
            .arguments
            .into_iter()
            .map(|argument| argument.into_string().unwrap())
            .collect()
    }

    #[test]
    fn flags_without_a_command_are_those_of_serve() {
        assert_eq!(prepared(&["strixhalo"]), ["strixhalo", "serve"]);
        assert_eq!(prepared(&["strixhalo", "-np", "1"]), ["strixhalo", "serve", "--parallel=1"]);
        assert_eq!(prepared(&["strixhalo", "--help"]), ["strixhalo", "--help"]);
    }

    #[test]
    fn only_commands_that_take_settings_have_their_flags_translated() {
        let plan = ["strixhalo", "plan", "a.gguf", "-np", "1", "--memory", "64"];
        assert_eq!(prepared(&plan)[2..], ["a.gguf", "--parallel=1", "--memory=64"]);
        let show = ["strixhalo", "config", "show", "--json", "-np", "1"];
        assert_eq!(prepared(&show), ["strixhalo", "config", "show", "--json", "--parallel=1"]);
        assert_eq!(prepared(&["strixhalo", "bench", "-np", "1"]).last().unwrap(), "1");
    }
}
