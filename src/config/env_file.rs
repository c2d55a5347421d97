//! Reader of `.env` files, as Docker Compose reads them.
//!
//! One `NAME=value` or `NAME: value` per line, with an optional `export`; a bare `NAME` takes its
//! value from the environment. Values are bare (a ` #` starts a comment), in single quotes (taken
//! as they are but for `\'`) or in double quotes (with `\n`, `\t`, `\"`, `\$`, `\\` and their like);
//! a quoted value may go over several lines. Bare and double-quoted values are interpolated with
//! the environment and, where it lacks a name, the lines above; see [`super::interpolation`].

use std::collections::HashSet;

use super::interpolation::Variables;

/// One variable that a file sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// The number of its line, from 1.
    pub(crate) number: usize,
    /// The variable.
    pub(crate) name: String,
    /// Its value, without quotes.
    pub(crate) value: String,
}

/// What a file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct EnvFile {
    pub(crate) lines: Vec<Line>,
    /// Variables that values name and that nobody set, with the number of the line.
    pub(crate) unset: Vec<(usize, String)>,
    /// All variables that values name.
    pub(crate) named: HashSet<String>,
}

/// Reads the text of a `.env` file. `environment` looks a variable of the process up. An error is
/// the number of the line, and what is wrong there.
pub(crate) fn parse(
    text: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<EnvFile, (usize, String)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    let mut file = EnvFile::default();
    let mut rest = text.as_str();
    let mut number = 1;
    while !rest.is_empty() {
        let (statement, after) = statement(rest).map_err(|problem| (number, problem))?;
        if let Some(Statement { name, value }) = statement {
            let lines = &file.lines;
            let set_above = |name: &str| lines.iter().rfind(|line| line.name == name);
            let lookup = |name: &str| {
                environment(name).or_else(|| set_above(name).map(|line| line.value.clone()))
            };
            let mut variables = Variables::new(&lookup);
            let value = match value {
                Value::Inherited => environment(name),
                Value::Literal(value) => Some(value),
                Value::Template(template) => {
                    Some(variables.interpolate(&template).map_err(|problem| (number, problem))?)
                }
            };
            let Variables { named, unset, .. } = variables;
            file.unset.extend(unset.into_iter().map(|name| (number, name)));
            file.named.extend(named);
            if let Some(value) = value {
                file.lines.push(Line { number, name: name.to_owned(), value });
            }
        }
        let read = &rest[..rest.len() - after.len()];
        number += read.matches('\n').count();
        rest = after;
    }
    Ok(file)
}

struct Statement<'a> {
    name: &'a str,
    value: Value,
}

enum Value {
    /// That of the environment, if there is one.
    Inherited,
    /// Taken as it is.
    Literal(String),
    /// With variables.
    Template(String),
}

/// Reads a line, or several with a quoted value; none if it is blank or a comment. Also gives what
/// follows it.
fn statement(text: &str) -> Result<(Option<Statement<'_>>, &str), String> {
    let (line, after) = text.split_once('\n').unwrap_or((text, ""));
    let line = line.trim_start();
    if line.trim_end().is_empty() || line.starts_with('#') {
        return Ok((None, after));
    }
    let line = match line.strip_prefix("export") {
        Some(rest) if rest.starts_with([' ', '\t']) => rest.trim_start(),
        _ => line,
    };
    let Some((name, value)) = line.split_once(['=', ':']) else {
        return Ok((Some(Statement { name: name(line)?, value: Value::Inherited }), after));
    };
    let name = self::name(name)?;
    let trimmed = value.trim_start();
    let Some(quote) = trimmed.chars().next().filter(|first| matches!(first, '\'' | '"')) else {
        let value = Value::Template(bare(value).to_owned());
        return Ok((Some(Statement { name, value }), after));
    };
    // The rest of the text, in which the value may go on after this line.
    let body = &text[text.len() - after.len() - trimmed.len() - newline(text, after) + 1..];
    let (inner, rest) =
        split_quoted(body, quote).ok_or_else(|| format!("the quote {quote} is not closed"))?;
    let (behind, after) = rest.split_once('\n').unwrap_or((rest, ""));
    let behind = behind.trim();
    if !behind.is_empty() && !behind.starts_with('#') {
        return Err(format!("{behind:?} follows the closing quote; put the whole value in quotes"));
    }
    let value = match quote {
        '\'' => Value::Literal(inner.replace("\\'", "'")),
        _ => Value::Template(unescaped(inner)),
    };
    Ok((Some(Statement { name, value }), after))
}

/// The length of the line break between a line and what follows it.
fn newline(text: &str, after: &str) -> usize {
    usize::from(text[..text.len() - after.len()].ends_with('\n'))
}

fn name(text: &str) -> Result<&str, String> {
    let name = text.trim_end();
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
    if is_name {
        Ok(name)
    } else {
        Err(format!("{name:?} is no name of a variable; expected NAME=value"))
    }
}

/// A value without quotes, up to a comment.
fn bare(text: &str) -> &str {
    let end = text.find(" #").or_else(|| text.find("\t#")).unwrap_or(text.len());
    text[..end].trim()
}

/// What stands before the closing quote, and what follows it. A backslash keeps the quote from
/// closing.
fn split_quoted(body: &str, quote: char) -> Option<(&str, &str)> {
    let mut is_escaped = false;
    for (at, c) in body.char_indices() {
        if c == quote && !is_escaped {
            return Some((&body[..at], &body[at + 1..]));
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    None
}

/// A double-quoted text with its escapes read; a dollar sign that was escaped stays one when the
/// text is interpolated.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('a') => out.push('\u{7}'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('v') => out.push('\u{b}'),
            Some('$') => out.push_str("$$"),
            Some(escaped @ ('"' | '\\')) => out.push(escaped),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<EnvFile, (usize, String)> {
        parse(text, &|name| (name == "KEY").then(|| "from outside".to_owned()))
    }

    fn values(text: &str) -> Vec<(String, String)> {
        let file = read(text).unwrap();
        file.lines.into_iter().map(|line| (line.name, line.value)).collect()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn the_usual_forms_are_read() {
        let text = "\u{feff}# models\n\nMODEL_FILE=a.gguf # the big one\nexport B = 'x # y'\r\n\
                    C=\"q\\\"n\\n\\$\" # c\nD=\nE=a#b\nexport_F=1\n";
        assert_eq!(
            values(text),
            [
                pair("MODEL_FILE", "a.gguf"),
                pair("B", "x # y"),
                pair("C", "q\"n\n$"),
                pair("D", ""),
                pair("E", "a#b"),
                pair("export_F", "1"),
            ]
        );
    }

    #[test]
    fn a_wrong_line_is_told_by_its_number() {
        let problem = "\"no thing\" is no name of a variable; expected NAME=value";
        assert_eq!(read("A=1\nno thing\n"), Err((2, problem.to_owned())));
        assert_eq!(read("A='x").unwrap_err().0, 1);
        assert_eq!(read("A='a\nb'\nA=\"x\\").unwrap_err().0, 3);
        assert!(read("A='x'y").unwrap_err().1.contains("closing quote"));
        assert!(read("9A=x").unwrap_err().1.contains("no name"));
        assert_eq!(read("A=1\n\nB=${NO:?give it}").unwrap_err().0, 3);
    }

    #[test]
    fn the_environment_wins_over_the_lines_above() {
        let text = "M=tiny\nF=${M}.gguf\nM=big\nG=$M\nKEY=here\nK=$KEY\n";
        let read = values(text);
        assert_eq!(read[1], pair("F", "tiny.gguf"));
        assert_eq!(read[3], pair("G", "big"));
        assert_eq!(read[5], pair("K", "from outside"));
    }

    #[test]
    fn a_bare_name_is_taken_from_the_environment() {
        let key = pair("KEY", "from outside");
        assert_eq!(values("KEY\nNO\nexport KEY \n"), [key.clone(), key]);
    }

    #[test]
    fn the_form_of_yaml_is_read() {
        let text = "A: v\nB:v # c\nC: 'x: y'\nD=http://h:1\n";
        let expected = [pair("A", "v"), pair("B", "v"), pair("C", "x: y"), pair("D", "http://h:1")];
        assert_eq!(values(text), expected);
    }

    #[test]
    fn quotes_are_those_of_compose() {
        let text = "A='$KEY ${KEY} \\n it\\'s'\nB=\"$KEY \\$KEY $$\\t.\"\nC='a\nb' # c\nD=\"a\r\n$KEY\"\nE=$KEY\n";
        let expected = [
            pair("A", "$KEY ${KEY} \\n it's"),
            pair("B", "from outside $KEY $\t."),
            pair("C", "a\nb"),
            pair("D", "a\nfrom outside"),
            pair("E", "from outside"),
        ];
        assert_eq!(values(text), expected);
        assert_eq!(read(text).unwrap().lines[4].number, 7);
    }

    #[test]
    fn a_hash_begins_a_comment_behind_a_blank_only() {
        let text = "A=#x\nB= # x\nC=a #b\nD=a#b\nE=\n";
        let expected =
            [pair("A", "#x"), pair("B", ""), pair("C", "a"), pair("D", "a#b"), pair("E", "")];
        assert_eq!(values(text), expected);
    }

    #[test]
    fn a_variable_that_is_not_set_is_told_with_its_line() {
        let file = read("A=1\nB=\"${NO} $NO\"\nC='$NO'\nD=${NO:-x}\n").unwrap();
        assert_eq!(file.unset, [(2, "NO".to_owned())]);
        assert_eq!(file.lines[1].value, " ");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_fail_other_than_by_an_error(text in any::<String>()) {
            let _ = read(&text);
        }

        #[test]
        fn what_is_quoted_comes_back(
            value in r"([^'\\\r\n]|\\[^'\r\n])*", escaped in "[^\r\n]*",
        ) {
            let quoted: String = escaped
                .chars()
                .flat_map(|c| match c {
                    '"' | '\\' | '$' => vec!['\\', c],
                    other => vec![other],
                })
                .collect();
            let text = format!("A='{value}'\nexport B=\"{quoted}\" # note\n");
            prop_assert_eq!(values(&text), [pair("A", &value), pair("B", &escaped)]);
        }
    }
}
