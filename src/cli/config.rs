//! `strixhalo config`: what can be set, and what is.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use serde_json::{Map, Value, json};

use super::{arguments, print};
use crate::config::{Entry, Loaded, check_file, example, reference, schema_json};
use crate::model::Source;
use crate::server::{Exit, Failure};
use crate::service;

pub(super) fn command() -> Command {
    Command::new("config")
        .about("Show, check and explain settings")
        .subcommand_required(true)
        .subcommand(Command::new("schema").about("Print the JSON schema of the settings file"))
        .subcommand(
            Command::new("check")
                .about("Check a settings file; opens no device, model or key file")
                .arg(
                    Arg::new("file")
                        .value_name("FILE")
                        .required(true)
                        .value_parser(value_parser!(PathBuf)),
                ),
        )
        .subcommand(
            Command::new("show")
                .about("Print the settings in effect and where each came from, the model's file included")
                .arg(
                    Arg::new("json")
                        .long("json")
                        .action(ArgAction::SetTrue)
                        .help("Print {key: {value, origin, source}}"),
                )
                .args(arguments::sources())
                .args(crate::config::arguments()),
        )
        .subcommand(Command::new("example").about("Print a complete, commented settings file"))
        .subcommand(Command::new("docs").hide(true).about("Print docs/settings.md"))
}

pub(super) fn run(matches: &ArgMatches, warnings: Vec<String>) -> ExitCode {
    match matches.subcommand() {
        Some(("schema", _)) => print(&schema_json()),
        Some(("example", _)) => print(&example()),
        Some(("docs", _)) => print(&reference()),
        Some(("check", matches)) => match matches.get_one::<PathBuf>("file").map(|f| check_file(f))
        {
            Some(Ok(loaded)) => {
                warn(&loaded.warnings);
                Exit::Success.into()
            }
            Some(Err(error)) => Failure::from(error).report(),
            None => Exit::Usage.into(),
        },
        Some(("show", matches)) => match arguments::load(arguments::given(matches), warnings) {
            Ok(mut loaded) => {
                warn(&loaded.warnings);
                // A file that cannot be read, or is not here, has no say.
                if let Ok(source) = Source::open(&loaded.settings.model) {
                    loaded.recommend(source.shown.as_deref(), &source.facts.sampling);
                }
                print(&if matches.get_flag("json") { as_json(&loaded) } else { as_table(&loaded) })
            }
            Err(error) => Failure::from(error).report(),
        },
        _ => Exit::Usage.into(),
    }
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        service::warn(warning);
    }
}

fn as_json(loaded: &Loaded) -> String {
    let entries: Map<String, Value> = loaded
        .entries()
        .into_iter()
        .map(|Entry { key, value, origin }| {
            let fields =
                json!({"value": value, "origin": origin.layer(), "source": origin.source()});
            (key, fields)
        })
        .collect();
    format!("{:#}\n", Value::Object(entries))
}

fn as_table(loaded: &Loaded) -> String {
    let rows: Vec<[String; 3]> = loaded
        .entries()
        .into_iter()
        .map(|Entry { key, value, origin }| {
            let value = if value.is_null() { String::new() } else { value.to_string() };
            [key, value, origin.to_string()]
        })
        .collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        // One long list must not push the origins off the screen.
        cells.filter(|width| *width <= 40).max().unwrap_or(0)
    };
    let (keys, values) = (width(0).max(3), width(1).max(5));
    let mut out = format!("{:keys$}  {:values$}  ORIGIN\n", "KEY", "VALUE");
    for [key, value, origin] in rows {
        out.push_str(&format!("{key:keys$}  {value:values$}  {origin}\n"));
    }
    out
}
