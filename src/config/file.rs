//! The layer of the settings file.

use std::path::Path;

use serde_json::{Map, Number, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::assignment::Assignment;
use super::catalogue::{key, keys, sections};
use super::error::{ConfigError, ErrorKind};
use super::nearest::{nearest, suggestion};
use super::origin::Origin;

/// What the file at `path` sets.
pub(crate) fn read(path: &Path) -> Result<Vec<Assignment>, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::reading("the settings file", path, &error))?;
    parse(path, &text)
}

/// What `text` sets, which was read from `path`.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Vec<Assignment>, ConfigError> {
    let file = File { path, text };
    let root = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        file.wrong(at, error.message().replace('\n', ", "))
    })?;
    let mut assignments = Vec::new();
    // All of them are told, in the order of the file, so that one look at it is enough.
    let mut mistakes = Vec::new();
    for (section, body) in root.get_ref() {
        let (name, at) = (section.get_ref().as_ref(), section.span().start);
        if !sections().iter().any(|known| known.name == name) {
            mistakes.push((at, unknown_section(name)));
            continue;
        }
        let DeValue::Table(table) = body.get_ref() else {
            mistakes.push((at, format!("{name} is a section: write [{name}] above its keys")));
            continue;
        };
        for (entry, value) in table {
            let (entry, at) = (entry.get_ref().as_ref(), entry.span().start);
            let Some(key) = key(&format!("{name}.{entry}")) else {
                mistakes.push((at, unknown_key(name, entry)));
                continue;
            };
            match json(value).and_then(|value| key.check(value)) {
                Ok(value) => {
                    let origin = Origin::File { path: path.to_owned(), line: file.line(at) };
                    assignments.push(Assignment { key, value, origin });
                }
                Err(problem) => mistakes.push((at, format!("{}: {problem}", key.path))),
            }
        }
    }
    if mistakes.is_empty() {
        return Ok(assignments);
    }
    mistakes.sort_by_key(|(at, _)| *at);
    Err(file.all_wrong(mistakes))
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    /// The line of a byte offset, from 1.
    fn line(&self, at: usize) -> usize {
        self.text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
    }

    fn wrong(&self, at: usize, problem: String) -> ConfigError {
        self.all_wrong(vec![(at, problem)])
    }

    fn all_wrong(&self, problems: Vec<(usize, String)>) -> ConfigError {
        const MAX_PROBLEMS: usize = 20;
        let more = problems.len().saturating_sub(MAX_PROBLEMS);
        let mut lines: Vec<String> = problems
            .into_iter()
            .take(MAX_PROBLEMS)
            .map(|(at, problem)| format!("{}:{}: {problem}", self.path.display(), self.line(at)))
            .collect();
        if more > 0 {
            lines.push(format!("{}: and {more} more mistakes", self.path.display()));
        }
        ConfigError::new(ErrorKind::Content, lines.join("\n"))
    }
}

fn unknown_section(name: &str) -> String {
    let names = || sections().iter().map(|section| section.name.as_str());
    if let Some(key) = keys().iter().find(|key| key.name() == name) {
        return format!("{name} belongs under [{}]", key.section());
    }
    let near = suggestion(name, names());
    format!("unknown section {name}{near} (sections: {})", names().collect::<Vec<_>>().join(", "))
}

fn unknown_key(section: &str, name: &str) -> String {
    let unknown = format!("unknown setting {section}.{name}");
    if let Some(key) = keys().iter().find(|key| key.name() == name) {
        return format!("{unknown}; {name} belongs under [{}]", key.section());
    }
    let here = keys().iter().filter(|key| key.section() == section);
    if let Some(near) = nearest(name, here.map(|key| key.name())) {
        return format!("{unknown}; did you mean {near}?");
    }
    match nearest(name, keys().iter().map(|key| key.name())) {
        Some(near) => {
            let path = keys().iter().find(|key| key.name() == near).map_or(near, |key| &key.path);
            format!("{unknown}; did you mean {path}?")
        }
        None => format!("{unknown}; `strixhalo config example` lists all settings"),
    }
}

/// The TOML value as JSON, or what JSON cannot hold.
fn json(value: &Spanned<DeValue<'_>>) -> Result<Value, String> {
    Ok(match value.get_ref() {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Boolean(value) => Value::from(*value),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map(Value::from)
            .map_err(|_| format!("{integer} is too large a number"))?,
        DeValue::Float(float) => float
            .as_str()
            .replace('_', "")
            .parse()
            .ok()
            .and_then(Number::from_f64)
            .map(Value::Number)
            .ok_or_else(|| format!("{float} is no number that a setting takes"))?,
        DeValue::Datetime(date) => return Err(format!("no setting takes a date such as {date}")),
        DeValue::Array(items) => items.iter().map(json).collect::<Result<_, _>>()?,
        DeValue::Table(table) => {
            let fields: Result<Map<_, _>, String> = table
                .iter()
                .map(|(name, value)| Ok((name.get_ref().to_string(), json(value)?)))
                .collect();
            Value::Object(fields?)
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn error(text: &str) -> String {
        let error = parse(Path::new("s.toml"), text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Content);
        error.to_string()
    }

    #[test]
    fn values_come_with_their_lines() {
        let text = "context.parallel = 4\n[model]\nchat_template_kwargs = { enable_thinking = false }\n\
                    [sampling]\n# hot\ntemperature = 1\ndry_sequence_breakers = [\n 'a',\n]\n";
        let found: Vec<_> = parse(Path::new("s.toml"), text)
            .unwrap()
            .into_iter()
            .map(|a| (a.key.path.clone(), a.value, a.origin.to_string()))
            .collect();
        assert_eq!(
            found,
            [
                ("context.parallel".to_owned(), json!(4), "s.toml:1".to_owned()),
                (
                    "model.chat_template_kwargs".to_owned(),
                    json!({"enable_thinking": false}),
                    "s.toml:3".to_owned()
                ),
                ("sampling.temperature".to_owned(), json!(1), "s.toml:6".to_owned()),
                ("sampling.dry_sequence_breakers".to_owned(), json!(["a"]), "s.toml:7".to_owned()),
            ]
        );
    }

    #[test]
    fn mistakes_are_told_with_line_and_nearest_name() {
        assert_eq!(
            error("\n[contxt]\n"),
            "s.toml:2: unknown section contxt; did you mean context? \
             (sections: model, embedding_model, rerank_model, context, cache, sampling, server, limits, log)"
        );
        assert_eq!(
            error("[context]\nctx_sise = 1\n"),
            "s.toml:2: unknown setting context.ctx_sise; did you mean ctx_size?"
        );
        assert_eq!(
            error("[context]\nport = 1\n"),
            "s.toml:2: unknown setting context.port; port belongs under [server]"
        );
        assert_eq!(error("port = 1\n"), "s.toml:1: port belongs under [server]");
        assert_eq!(
            error("[server]\n\nport = 'x'\n"),
            "s.toml:3: server.port: expected a whole number from 0 to 65535, found \"x\""
        );
        assert_eq!(
            error("server = 1\n"),
            "s.toml:1: server is a section: write [server] above its keys"
        );
        assert!(error("[server]\nport = \n").starts_with("s.toml:2: "));
        assert!(error("[server]\nport = 1\nport = 2\n").starts_with("s.toml:3: "));
        assert!(error("[sampling]\ntemperature = nan\n").contains("nan is no number"));
        assert!(error("[server]\nport = 99999999999999999999\n").contains("too large"));
        assert!(error("[log]\nlevel = 1979-05-27\n").contains("date"));
    }

    #[test]
    fn all_mistakes_are_told_in_the_order_of_the_file() {
        let text = "log = 1\n[server]\nport = 'x'\nhosts = 1\nmetrics = true\n[contxt]\na = 1\n";
        let lines: Vec<String> = error(text).lines().map(str::to_owned).collect();
        let starts =
            ["s.toml:1: log", "s.toml:3: server.port", "s.toml:4: unknown", "s.toml:6: unknown"];
        assert_eq!(lines.len(), starts.len());
        assert!(lines.iter().zip(starts).all(|(line, start)| line.starts_with(start)), "{lines:?}");
        let many: String = (0..50).map(|i| format!("x{i} = 1\n")).collect();
        assert!(error(&many).ends_with("s.toml: and 30 more mistakes"));
    }
}
