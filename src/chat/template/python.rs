//! How Python prints and formats values.

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind};

use super::values::{Digits, float};

/// Deeper values are printed as an ellipsis.
const MAX_DEPTH: usize = 100;
/// Most characters that a width or precision fills up.
const MAX_WIDTH: usize = 4096;

/// `str(value)` where Python's differs from minijinja's: floats, and what holds some.
pub(super) fn printed(value: &Value) -> Option<String> {
    if let Some(digits) = Digits::of(value) {
        return Some(digits.text().to_owned());
    }
    match value.kind() {
        ValueKind::Number if !value.is_integer() => f64::try_from(value.clone()).ok().map(float),
        ValueKind::Seq | ValueKind::Map if !is_macro(value) => {
            let mut out = String::new();
            repr(&mut out, value, 0);
            Some(out)
        }
        _ => None,
    }
}

/// Functions, macros and what `joiner` gives.
pub(super) fn is_callable(value: &Value) -> bool {
    is_macro(value) || value.kind() == ValueKind::Plain && Digits::of(value).is_none()
}

/// minijinja takes macros for mappings of their attributes.
fn is_macro(value: &Value) -> bool {
    value.as_object().is_some_and(|object| object.type_name().ends_with("::Macro"))
}

/// `str(value)`.
pub(super) fn text(value: &Value) -> String {
    printed(value).unwrap_or_else(|| value.to_string())
}

/// `repr(value)`.
fn repr(out: &mut String, value: &Value, depth: usize) {
    let items = |out: &mut String, one: &mut dyn FnMut(&mut String, &Value)| {
        for (i, item) in value.try_iter().into_iter().flatten().enumerate() {
            if i > 0 {
                out.push_str(", ");
            }
            one(out, &item);
        }
    };
    match value.kind() {
        _ if depth > MAX_DEPTH => out.push_str("..."),
        ValueKind::Seq => {
            let is_tuple = value.is_tuple();
            out.push(if is_tuple { '(' } else { '[' });
            items(out, &mut |out, item| repr(out, item, depth + 1));
            if is_tuple && value.len() == Some(1) {
                out.push(',');
            }
            out.push(if is_tuple { ')' } else { ']' });
        }
        ValueKind::Map => {
            out.push('{');
            items(out, &mut |out, key| {
                repr(out, key, depth + 1);
                out.push_str(": ");
                repr(out, &value.get_item(key).unwrap_or_default(), depth + 1);
            });
            out.push('}');
        }
        ValueKind::String => out.push_str(&format!("{value:?}")),
        _ => out.push_str(&text(value)),
    }
}

fn invalid(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

/// `format % operand`: Python's old way to format.
pub(super) fn percent(format: &str, operand: Value) -> Result<String, Error> {
    let mut operands: Vec<Value> = match operand.is_tuple() {
        true => operand.try_iter()?.collect(),
        false => vec![operand.clone()],
    };
    operands.reverse();
    let mut out = String::new();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let named = match rest.strip_prefix('(').and_then(|name| name.split_once(')')) {
            Some((name, after)) => {
                rest = after;
                Some(operand.get_item(&Value::from(name))?)
            }
            None => None,
        };
        let mut take = |what: &dyn Fn(char) -> bool| {
            let (taken, after) = rest.split_at(rest.find(|c| !what(c)).unwrap_or(rest.len()));
            rest = after;
            taken
        };
        let flags = take(&|c| "-+ 0#".contains(c));
        let width = take(&|c| c.is_ascii_digit()).parse().unwrap_or(0_usize).min(MAX_WIDTH);
        let precision = match take(&|c| c == '.') {
            "" => None,
            _ => {
                let digits = take(&|c| c.is_ascii_digit());
                Some(digits.parse().unwrap_or(0_usize).min(MAX_WIDTH))
            }
        };
        let code = rest.chars().next().ok_or_else(|| invalid("incomplete format"))?;
        rest = &rest[code.len_utf8()..];
        if code == '%' {
            out.push('%');
            continue;
        }
        let value = match named {
            Some(value) => value,
            None => operands.pop().ok_or_else(|| invalid("not enough arguments for the format"))?,
        };
        let mut body = formatted(code, &value, precision)?;
        let is_number = !matches!(code, 's' | 'r' | 'a' | 'c');
        if is_number && !body.starts_with('-') {
            if flags.contains('+') {
                body.insert(0, '+');
            } else if flags.contains(' ') {
                body.insert(0, ' ');
            }
        }
        let missing = width.saturating_sub(body.chars().count());
        if flags.contains('-') {
            body.push_str(&" ".repeat(missing));
        } else if flags.contains('0') && is_number {
            let sign = body.len() - body.trim_start_matches(['-', '+', ' ']).len();
            body.insert_str(sign, &"0".repeat(missing));
        } else {
            body.insert_str(0, &" ".repeat(missing));
        }
        out.push_str(&body);
    }
    out.push_str(rest);
    let is_named = operand.kind() == ValueKind::Map;
    if !operands.is_empty() && !is_named {
        return Err(invalid("not all arguments were converted by the format"));
    }
    Ok(out)
}

fn formatted(code: char, value: &Value, precision: Option<usize>) -> Result<String, Error> {
    let number = || f64::try_from(value.clone()).map_err(|_| invalid("a number is required"));
    let integer = || match value.is_integer() {
        true => i128::try_from(value.clone()),
        #[allow(clippy::cast_possible_truncation)] // saturates
        false => number().map(|number| number as i128),
    };
    Ok(match code {
        's' | 'r' | 'a' => {
            let text = match code {
                's' => text(value),
                _ => {
                    let mut out = String::new();
                    repr(&mut out, value, 0);
                    out
                }
            };
            text.chars().take(precision.unwrap_or(usize::MAX)).collect()
        }
        'd' | 'i' | 'u' => integer()?.to_string(),
        'x' => format!("{:x}", integer()?),
        'X' => format!("{:X}", integer()?),
        'o' => format!("{:o}", integer()?),
        'f' | 'F' => format!("{:.*}", precision.unwrap_or(6), number()?),
        'e' | 'E' => {
            let text = format!("{:.*e}", precision.unwrap_or(6), number()?);
            let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let exponent: i32 = exponent.parse().unwrap_or(0);
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}{}{sign}{:02}", code, exponent.abs())
        }
        'g' | 'G' => float(number()?).trim_end_matches(".0").to_owned(),
        'c' => match value.as_str() {
            Some(text) => text.to_owned(),
            None => u32::try_from(integer()?)
                .ok()
                .and_then(char::from_u32)
                .ok_or_else(|| invalid("%c requires a character"))?
                .to_string(),
        },
        _ => return Err(invalid("unsupported format character")),
    })
}

/// Jinja2's `wordwrap(width=79, break_long_words=true, wrapstring="\n")`; breaks behind hyphens
/// inside of words as well unless `break_on_hyphens` is false.
pub(super) fn wordwrap(value: &str, width: Option<usize>, kwargs: Kwargs) -> Result<String, Error> {
    let width = width.or(kwargs.get("width")?).unwrap_or(79).max(1);
    let break_long = kwargs.get::<Option<bool>>("break_long_words")?.unwrap_or(true);
    let separator = kwargs.get::<Option<String>>("wrapstring")?.unwrap_or_else(|| "\n".to_owned());
    let hyphens = kwargs.get::<Option<bool>>("break_on_hyphens")?.unwrap_or(true);
    kwargs.assert_all_used()?;
    let lines: Vec<String> = value
        .lines()
        .map(|line| wrapped(line, width, break_long, hyphens).join(&separator))
        .collect();
    Ok(lines.join(&separator))
}

fn wrapped(line: &str, width: usize, break_long: bool, hyphens: bool) -> Vec<String> {
    let mut lines = Vec::new();
    let mut current = String::new();
    let mut length = 0;
    for chunk in chunks(line, hyphens) {
        let is_space = chunk.trim().is_empty();
        let mut chunk: Vec<char> = chunk.chars().collect();
        if length + chunk.len() > width && !is_space {
            if break_long && chunk.len() > width {
                while length + chunk.len() > width {
                    let taken: String = chunk.drain(..width.saturating_sub(length)).collect();
                    current.push_str(&taken);
                    lines.push(current.trim_end().to_owned());
                    (current, length) = (String::new(), 0);
                }
            } else if length > 0 {
                lines.push(current.trim_end().to_owned());
                (current, length) = (String::new(), 0);
            }
        }
        if is_space && (length == 0 && !lines.is_empty() || length + chunk.len() > width) {
            // White space at a break is dropped.
            if length > 0 {
                lines.push(current.trim_end().to_owned());
                (current, length) = (String::new(), 0);
            }
            continue;
        }
        length += chunk.len();
        current.extend(chunk);
    }
    if !current.trim_end().is_empty() {
        lines.push(current.trim_end().to_owned());
    }
    lines
}

/// Words and the white space between them; words with hyphens in pieces that end with one.
fn chunks(line: &str, hyphens: bool) -> Vec<String> {
    let mut chunks: Vec<String> = Vec::new();
    let mut before: Option<char> = None;
    let mut before_that: Option<char> = None;
    for c in line.chars() {
        let breaks = match before {
            None => true,
            Some(before) if before.is_whitespace() != c.is_whitespace() => true,
            Some('-') => {
                hyphens && c.is_alphabetic() && before_that.is_some_and(char::is_alphabetic)
            }
            _ => false,
        };
        match chunks.last_mut().filter(|_| !breaks) {
            Some(chunk) => chunk.push(c),
            None => chunks.push(c.to_string()),
        }
        (before_that, before) = (before, Some(c));
    }
    chunks
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::values::plain;
    use super::*;

    #[test]
    fn values_are_printed_as_python_prints_them() {
        let value = plain(&serde_json::json!(
            {"a": 1e-7, "b": null, "c": [true, 1e16, []], "d": "x'y"}
        ));
        assert_eq!(text(&value), "{'a': 1e-07, 'b': None, 'c': [True, 1e+16, []], 'd': \"x'y\"}");
    }

    #[test]
    fn long_lines_are_wrapped_at_words() {
        let wrap = |text: &str, width| wrapped(text, width, true, true);
        assert_eq!(wrap("the quick brown fox", 9), ["the quick", "brown fox"]);
        assert_eq!(wrap("a well-known abcdefghijkl", 7), ["a well-", "known a", "bcdefgh", "ijkl"]);
        assert_eq!(wrapped("abcdefgh ij", 4, false, true), ["abcdefgh", "ij"]);
    }
}
