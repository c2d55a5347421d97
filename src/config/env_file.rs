//! Reader of `.env` files.
//!
//! One `NAME=value` per line, with an optional `export`. Values are bare (a ` #` starts a
//! comment), in single quotes (taken as they are) or in double quotes (with `\n`, `\t`, `\r`,
//! `\"`, `\$` and `\\`). Nothing is expanded, and a value ends with its line.

/// One line that sets a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Its number, from 1.
    pub(crate) number: usize,
    /// The variable.
    pub(crate) name: String,
    /// Its value, without quotes.
    pub(crate) value: String,
}

/// Reads the text of a `.env` file; on failure, the number of the line and what is wrong there.
pub(crate) fn parse(text: &str) -> Result<Vec<Line>, (usize, String)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = assignment(line).map_err(|problem| (number, problem))?;
        lines.push(Line { number, name, value });
    }
    Ok(lines)
}

fn assignment(line: &str) -> Result<(String, String), String> {
    let line = match line.strip_prefix("export") {
        Some(rest) if rest.starts_with([' ', '\t']) => rest.trim_start(),
        _ => line,
    };
    let Some((name, value)) = line.split_once('=') else {
        return Err("expected NAME=value".to_owned());
    };
    let name = name.trim_end();
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name {
        return Err(format!("{name:?} is no name of a variable; expected NAME=value"));
    }
    Ok((name.to_owned(), unquoted(value.trim_start())?))
}

fn unquoted(text: &str) -> Result<String, String> {
    let (value, rest) = if let Some(body) = text.strip_prefix('\'') {
        let Some((value, rest)) = body.split_once('\'') else { return Err(unclosed('\'')) };
        (value.to_owned(), rest)
    } else if let Some(body) = text.strip_prefix('"') {
        double_quoted(body)?
    } else {
        let end = if text.starts_with('#') {
            0
        } else {
            text.find(" #").or_else(|| text.find("\t#")).unwrap_or(text.len())
        };
        return Ok(text[..end].trim_end().to_owned());
    };
    let rest = rest.trim_start();
    if rest.is_empty() || rest.starts_with('#') {
        Ok(value)
    } else {
        Err(format!("{rest:?} follows the closing quote; put the whole value in quotes"))
    }
}

fn double_quoted(body: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut chars = body.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &body[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((_, 'r')) => value.push('\r'),
                Some((_, escaped @ ('"' | '\\' | '$'))) => value.push(escaped),
                Some((_, other)) => value.extend(['\\', other]),
                None => return Err(unclosed('"')),
            },
            other => value.push(other),
        }
    }
    Err(unclosed('"'))
}

fn unclosed(quote: char) -> String {
    format!("the quote {quote} is not closed on this line")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap().into_iter().map(|line| (line.name, line.value)).collect()
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
        assert_eq!(parse("A=1\nnothing\n"), Err((2, "expected NAME=value".to_owned())));
        assert_eq!(parse("A='x").unwrap_err().0, 1);
        assert_eq!(parse("A=\"x\\").unwrap_err().0, 1);
        assert!(parse("A='x'y").unwrap_err().1.contains("closing quote"));
        assert!(parse("9A=x").unwrap_err().1.contains("no name"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_fail_other_than_by_an_error(text in any::<String>()) {
            let _ = parse(&text);
        }

        #[test]
        fn what_is_quoted_comes_back(value in "[^'\r\n]*", escaped in "[^\r\n]*") {
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
