//! The layer of flags.
//!
//! llama-server's flags have short forms of several letters (`-np`, `-ngl`), values that look
//! like flags (`-n -1`) and values that may be left out (`-fa`), which clap does not know.
//! [`translate`] therefore rewrites a command line into long flags with `=`, and takes out what
//! strixhalo lacks; clap sees only the result.

use std::ffi::OsString;

use clap::{Arg, ArgAction, ArgMatches};
use serde_json::Value;

use super::assignment::Assignment;
use super::catalogue::{Kind, key};
use super::error::{ConfigError, ErrorKind};
use super::names::{BINDINGS, Binding, Takes, all_flags, binding_of_flag, negative_flag};
use super::nearest::suggestion;
use super::origin::Origin;
use super::syntax::{Syntax, parse, remark};
use super::unsupported::{self, Policy, UNSUPPORTED};

/// Flags of the commands themselves, and whether a value follows.
const OWN: &[(&str, bool)] = &[
    ("--config", true),
    ("--env-file", true),
    ("--json", false),
    ("--family", true),
    ("--weights", true),
    ("--memory", true),
    ("--help", false),
    ("-h", false),
    ("--version", false),
    ("-V", false),
];

/// A command line that clap can read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Translated {
    /// The arguments.
    pub arguments: Vec<OsString>,
    /// What was taken out, and why.
    pub warnings: Vec<String>,
}

/// A setting from the command line.
#[derive(Debug, Clone)]
pub struct FlagValue {
    binding: &'static Binding,
    name: &'static str,
    text: String,
}

/// Rewrites the arguments that follow the command's name.
///
/// Errors: an unknown flag (with the nearest one), and a flag of llama-server that strixhalo
/// lacks and that changes what is served.
pub fn translate(arguments: &[OsString]) -> Result<Translated, ConfigError> {
    let mut out = Translated::default();
    let mut rest = arguments.iter().peekable();
    while let Some(argument) = rest.next() {
        let Some(text) = argument.to_str() else {
            return Err(usage(format!(
                "{} is not UTF-8 text; write it as UTF-8",
                argument.to_string_lossy()
            )));
        };
        if !text.starts_with('-') || text == "-" || text == "--" {
            out.arguments.push(argument.clone());
            continue;
        }
        let (flag, inline) = split(text);
        let next_is_value = rest.peek().is_some_and(|next| !is_flag(next));
        let mut value = |wanted: bool| match &inline {
            Some(value) => Some(OsString::from(value)),
            None if wanted && next_is_value => rest.next().cloned(),
            None => None,
        };
        if let Some((binding, meaning)) = binding_of_flag(&flag) {
            let long = binding.flags.first().copied().unwrap_or_default();
            match (binding.takes, meaning) {
                (Takes::Nothing(..), Some("false")) => {
                    let negative = negative_flag(binding).unwrap_or_default();
                    out.arguments.push(joined(negative, value(false)));
                }
                (Takes::Nothing(..), _) => out.arguments.push(joined(long, value(false))),
                (Takes::Optional(_, absent), _) => {
                    let given = match (&inline, rest.peek().and_then(|next| next.to_str())) {
                        (Some(given), _) => given.clone(),
                        (None, Some(word)) if is_switch_word(word) => {
                            rest.next();
                            word.to_owned()
                        }
                        _ => absent.to_owned(),
                    };
                    out.arguments.push(format!("{long}={given}").into());
                }
                (Takes::Value(name), _) => match value(true) {
                    Some(value) => {
                        let text = value.to_string_lossy();
                        out.warnings.extend(
                            remark(binding.syntax, &text).map(|why| format!("{flag} {text} {why}")),
                        );
                        out.arguments.push(joined(long, Some(value)));
                    }
                    None => return Err(usage(format!("{flag} needs a value: {flag} {name}"))),
                },
            }
        } else if let Some((own, takes_value)) = OWN.iter().find(|(own, _)| *own == flag) {
            out.arguments.push(joined(own, value(*takes_value)));
        } else if let Some(row) = unsupported::of_flag(&flag) {
            let mut given = Vec::new();
            for _ in 0..row.values {
                given.extend(match &inline {
                    Some(value) => Some(value.clone()),
                    None => rest
                        .next_if(|next| !is_flag(next))
                        .map(|next| next.to_string_lossy().into_owned()),
                });
            }
            let word = match given.first() {
                Some(value) => value.as_str(),
                None if unsupported::turns_off(&flag) => "false",
                None => "true",
            };
            if row.is_fine(word) {
                continue;
            }
            if row.policy == Policy::Refuse {
                return Err(usage(row.message(&flag)));
            }
            out.warnings.push(row.message(&flag));
        } else {
            let known = all_flags()
                .chain(OWN.iter().map(|(own, _)| *own))
                .chain(UNSUPPORTED.iter().flat_map(|row| row.flags).copied());
            // A short flag is near to every other one.
            let near = if flag.len() > 4 { suggestion(&flag, known) } else { String::new() };
            return Err(usage(format!("unknown flag {flag}{near} (--help lists all flags)")));
        }
    }
    Ok(out)
}

fn usage(message: String) -> ConfigError {
    ConfigError::new(ErrorKind::Usage, message)
}

/// The flag, in llama-server's spelling with dashes, and its value after `=`.
fn split(text: &str) -> (String, Option<String>) {
    let (flag, value) = match text.split_once('=') {
        Some((flag, value)) if flag.starts_with("--") => (flag, Some(value.to_owned())),
        _ => (text, None),
    };
    let flag = if flag.starts_with("--") { flag.replace('_', "-") } else { flag.to_owned() };
    (flag, value)
}

fn joined(flag: &str, value: Option<OsString>) -> OsString {
    let mut argument = OsString::from(flag);
    if let Some(value) = value {
        argument.push("=");
        argument.push(value);
    }
    argument
}

/// Whether an argument is a flag and not a value such as `-1`.
fn is_flag(argument: &OsString) -> bool {
    let Some(text) = argument.to_str() else { return false };
    let (flag, _) = split(text);
    binding_of_flag(&flag).is_some()
        || unsupported::of_flag(&flag).is_some()
        || OWN.iter().any(|(own, _)| *own == flag)
}

/// Whether a word after `-fa` is its value.
fn is_switch_word(word: &str) -> bool {
    super::syntax::boolean(word).is_some() || word == "auto"
}

/// The settings' arguments, grouped by section.
pub fn arguments() -> Vec<Arg> {
    let mut arguments = Vec::new();
    for binding in BINDINGS {
        let (Some(key), Some(id)) = (key(binding.key), binding.flags.first()) else { continue };
        let long = id.trim_start_matches('-');
        let mut argument =
            Arg::new(long).long(long).help(help(binding, &key.doc)).help_heading(key.section());
        let short = binding.flags.iter().find(|flag| flag.len() == 2);
        if let Some(letter) = short.and_then(|flag| flag.chars().nth(1)) {
            argument = argument.short(letter);
        }
        arguments.push(match binding.takes {
            Takes::Value(name) => argument.value_name(name).action(ArgAction::Append),
            Takes::Optional(name, _) => argument
                .value_name(name)
                .num_args(0..=1)
                .require_equals(true)
                .action(ArgAction::Append),
            Takes::Nothing(..) => argument.action(ArgAction::SetTrue).overrides_with(long),
        });
        if let Some(negative) = negative_flag(binding) {
            let long = negative.trim_start_matches('-');
            arguments.push(
                Arg::new(long)
                    .long(long)
                    .help(format!("Turns {id} off"))
                    .help_heading(key.section())
                    .action(ArgAction::SetTrue)
                    .overrides_with(long),
            );
        }
    }
    arguments
}

fn help(binding: &Binding, doc: &str) -> String {
    let others: Vec<&str> =
        binding.flags.iter().skip(1).filter(|flag| flag.len() != 2).copied().collect();
    let mut text = match binding.syntax {
        Syntax::LoadModeMmap => "llama-server's name for --mmap and --mlock".to_owned(),
        Syntax::Verbosity => "llama-server's form of --log-level, 0 to 5".to_owned(),
        Syntax::SamplerLetters => "The samplers by their letters, such as edskypmxt".to_owned(),
        Syntax::JsonLines => "Same as --log-format json".to_owned(),
        Syntax::SpeculationTypes => {
            "llama-server's form of --speculation: `none` or kinds such as ngram-mod".to_owned()
        }
        Syntax::Breaker => format!("{doc} May be given several times; `none`: no such strings"),
        _ => match binding.takes {
            Takes::Nothing("debug", _) => "Same as --log-level debug".to_owned(),
            Takes::Nothing("off", _) => "Same as --log-level off".to_owned(),
            Takes::Nothing("auto", _) => "Same as --speculation auto".to_owned(),
            _ => doc.trim_end_matches('.').to_owned(),
        },
    };
    if !others.is_empty() {
        text.push_str(&format!(" [also: {}]", others.join(", ")));
    }
    text
}

/// The settings that the command line gave, in its order.
pub fn from_matches(matches: &ArgMatches) -> Vec<FlagValue> {
    let mut found: Vec<(usize, FlagValue)> = Vec::new();
    for binding in BINDINGS {
        let Some(name) = binding.flags.first().copied() else { continue };
        let id = name.trim_start_matches('-');
        match binding.takes {
            Takes::Nothing(text, _) => {
                let negative = negative_flag(binding).map(|flag| (flag, "false"));
                for (flag, text) in [(name, text)].into_iter().chain(negative) {
                    let id = flag.trim_start_matches('-');
                    if matches.get_flag(id)
                        && let Some(last) = matches.indices_of(id).and_then(Iterator::max)
                    {
                        found
                            .push((last, FlagValue { binding, name: flag, text: text.to_owned() }));
                    }
                }
            }
            _ => {
                let texts = matches.get_many::<String>(id).into_iter().flatten();
                let indices = matches.indices_of(id).into_iter().flatten();
                for (text, index) in texts.zip(indices) {
                    found.push((index, FlagValue { binding, name, text: text.clone() }));
                }
            }
        }
    }
    found.sort_by_key(|(index, _)| *index);
    found.into_iter().map(|(_, value)| value).collect()
}

/// What the flags set. A list that is given several times is joined.
pub(crate) fn assignments(flags: &[FlagValue]) -> Result<Vec<Assignment>, ConfigError> {
    let mut assignments: Vec<Assignment> = Vec::new();
    for flag in flags {
        let Some(key) = key(flag.binding.key) else { continue };
        let origin = Origin::Flag { name: flag.name.to_owned() };
        let value = parse(flag.binding.syntax, key, &flag.text)
            .map_err(|problem| usage(format!("{} ({}): {problem}", flag.name, key.path)))?;
        let mut values: Vec<_> = value.into_iter().map(|value| (key, value)).collect();
        if flag.binding.syntax == Syntax::LoadModeMmap
            && let Some(mlock) = self::key("model.mlock")
            && let Ok(Some(value)) = parse(Syntax::LoadModeMlock, mlock, &flag.text)
        {
            values.push((mlock, value));
        }
        for (key, value) in values {
            let earlier = assignments.iter_mut().find(|earlier| earlier.key.path == key.path);
            match (earlier, value) {
                (Some(Assignment { value: Value::Array(all), .. }), Value::Array(more))
                    if key.kind == Kind::TextList =>
                {
                    all.extend(more);
                }
                (_, value) => assignments.push(Assignment { key, value, origin: origin.clone() }),
            }
        }
    }
    Ok(assignments)
}

#[cfg(test)]
#[path = "flags_tests.rs"]
mod tests;
