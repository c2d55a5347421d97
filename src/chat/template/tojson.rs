//! The `tojson` filter as transformers has it: Python's `json.dumps` with `ensure_ascii` off.

use std::fmt::Write;

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind};

use super::specials::BREAK;
use super::values::{self, Digits, float};
use crate::chat::json_text::json_string;

/// Deeper values are refused instead of overflowing the stack.
const MAX_DEPTH: usize = 200;

struct Style {
    /// Text of one level of indentation; `None`: all on one line.
    indent: Option<String>,
    item: String,
    key: String,
    sort_keys: bool,
    ensure_ascii: bool,
}

/// `value | tojson(indent=.., separators=.., sort_keys=.., ensure_ascii=..)`.
pub(super) fn tojson(value: &Value, indent: Option<Value>, kwargs: Kwargs) -> Result<Value, Error> {
    let indent = match indent {
        Some(indent) => Some(indent),
        None => kwargs.get::<Option<Value>>("indent")?,
    };
    let indent = match indent.filter(|indent| !indent.is_none()) {
        None => None,
        Some(indent) => Some(match indent.as_str() {
            Some(text) => text.chars().take(32).collect(),
            None => " ".repeat(usize::try_from(indent)?.min(32)),
        }),
    };
    let separators = kwargs.get::<Option<Vec<String>>>("separators")?.unwrap_or_default();
    let style = Style {
        item: separators
            .first()
            .cloned()
            .unwrap_or_else(|| if indent.is_some() { "," } else { ", " }.to_owned()),
        key: separators.get(1).cloned().unwrap_or_else(|| ": ".to_owned()),
        indent,
        sort_keys: kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        ensure_ascii: kwargs.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
    };
    kwargs.assert_all_used()?;
    let mut out = String::new();
    write_value(&mut out, value, &style, 0)?;
    Ok(Value::from_safe_string(out))
}

/// JSON text of `value` as Python writes it.
pub(super) fn dump(value: &serde_json::Value) -> Result<String, Error> {
    let style = Style {
        indent: None,
        item: ", ".to_owned(),
        key: ": ".to_owned(),
        sort_keys: false,
        ensure_ascii: false,
    };
    let mut out = String::new();
    write_value(&mut out, &values::plain(value), &style, 0)?;
    Ok(out)
}

fn write_value(out: &mut String, value: &Value, style: &Style, depth: usize) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(Error::new(ErrorKind::BadSerialization, "the value is nested too deeply"));
    }
    if let Some(digits) = Digits::of(value) {
        out.push_str(digits.text());
        return Ok(());
    }
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => write_number(out, value),
        ValueKind::String => write_text(out, value.as_str().unwrap_or_default(), style),
        ValueKind::Seq | ValueKind::Iterable => {
            let mut list = List::open(out, '[', style, depth);
            for item in value.try_iter()? {
                list.next();
                write_value(list.out, &item, style, depth + 1)?;
            }
            list.close(']');
        }
        ValueKind::Map => {
            let mut keys: Vec<Value> = value.try_iter()?.collect();
            if style.sort_keys {
                keys.sort();
            }
            let mut list = List::open(out, '{', style, depth);
            for key in keys {
                list.next();
                write_key(list.out, &key, style);
                list.out.push_str(&style.key);
                write_value(list.out, &value.get_item(&key)?, style, depth + 1)?;
            }
            list.close('}');
        }
        kind => {
            return Err(Error::new(
                ErrorKind::BadSerialization,
                format!("{kind} cannot be written as JSON"),
            ));
        }
    }
    Ok(())
}

struct List<'a> {
    out: &'a mut String,
    style: &'a Style,
    depth: usize,
    is_empty: bool,
}

impl<'a> List<'a> {
    fn open(out: &'a mut String, bracket: char, style: &'a Style, depth: usize) -> Self {
        out.push(bracket);
        Self { out, style, depth, is_empty: true }
    }

    fn next(&mut self) {
        if !self.is_empty {
            self.out.push_str(&self.style.item);
        }
        self.is_empty = false;
        self.line(self.depth + 1);
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = &self.style.indent {
            self.out.push('\n');
            for _ in 0..depth {
                self.out.push_str(indent);
            }
        }
    }

    fn close(mut self, bracket: char) {
        if !self.is_empty {
            self.line(self.depth);
        }
        self.out.push(bracket);
    }
}

fn write_key(out: &mut String, key: &Value, style: &Style) {
    match key.kind() {
        ValueKind::String => write_text(out, key.as_str().unwrap_or_default(), style),
        ValueKind::Bool => out.push_str(if key.is_true() { "\"true\"" } else { "\"false\"" }),
        ValueKind::None => out.push_str("\"null\""),
        _ => write_text(out, &key.to_string(), style),
    }
}

fn write_number(out: &mut String, value: &Value) {
    if value.is_integer() {
        let _ = write!(out, "{value}");
        return;
    }
    match f64::try_from(value.clone()) {
        Ok(number) => out.push_str(&float(number)),
        Err(_) => {
            let _ = write!(out, "{value}");
        }
    }
}

fn write_text(out: &mut String, text: &str, style: &Style) {
    let quoted = json_string(text);
    if !style.ensure_ascii {
        out.push_str(&quoted);
        return;
    }
    for c in quoted.chars() {
        // Our own mark must come out as it went in.
        if c <= '~' || c == BREAK {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _ = write!(out, "\\u{unit:04x}");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn html_and_other_scripts_are_left_alone() {
        let value =
            serde_json::json!({"a": "<b> & 'c' \u{1f600} \u{7f}\u{1}", "b": [1, 2.5, null]});
        assert_eq!(
            dump(&value).unwrap(),
            "{\"a\": \"<b> & 'c' \u{1f600} \u{7f}\\u0001\", \"b\": [1, 2.5, null]}"
        );
    }
}
