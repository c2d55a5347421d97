//! JSON as a template's values.

use std::fmt;
use std::sync::Arc;

use minijinja::value::{Object, ObjectRepr, Value};
use serde_json::Value as Json;

/// Begins the text of a number that neither JSON values nor minijinja can hold as it was written.
const DIGITS: char = '\u{f0b60}';

/// A number of a call's arguments, printed as the model wrote it.
#[derive(Debug)]
pub(super) struct Digits(String);

impl Digits {
    /// The value as such a number.
    pub(super) fn of(value: &Value) -> Option<&Self> {
        value.downcast_object_ref()
    }

    pub(super) fn text(&self) -> &str {
        &self.0
    }

    pub(super) fn is_integer(&self) -> bool {
        self.0.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
    }
}

impl Object for Digits {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn is_true(self: &Arc<Self>) -> bool {
        self.0.parse::<f64>() != Ok(0.0)
    }

    fn render(self: &Arc<Self>, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// A number with the digits of `literal`, which is one by JSON's syntax or Python's `NaN` and
/// `Infinity`.
pub(super) fn number(literal: &str) -> Json {
    let exact = if literal == "-0" {
        Some(Json::from(0))
    } else if let Ok(integer) = literal.parse::<i64>() {
        Some(integer.into())
    } else if let Ok(integer) = literal.parse::<u64>() {
        Some(integer.into())
    } else {
        literal
            .parse::<f64>()
            .ok()
            .filter(|number| float(*number) == literal)
            .and_then(|number| serde_json::Number::from_f64(number).map(Json::Number))
    };
    exact.unwrap_or_else(|| format!("{DIGITS}{literal}").into())
}

/// The number that [`number`] hid in a text. Other texts that begin with the mark are texts.
fn digits(text: &str) -> Option<Value> {
    let literal = text.strip_prefix(DIGITS)?;
    let is_number = matches!(literal, "NaN" | "Infinity" | "-Infinity")
        || number_length(literal) == Some(literal.len());
    is_number.then(|| Value::from_object(Digits(literal.to_owned())))
}

/// JSON as a value.
pub(super) fn plain(json: &Json) -> Value {
    value(json, &mut |_| None)
}

/// JSON as a value whose texts, also keys, are changed by `change`; `None` keeps one.
pub(super) fn value(json: &Json, change: &mut impl FnMut(&str) -> Option<String>) -> Value {
    let text = |text: &str, change: &mut dyn FnMut(&str) -> Option<String>| {
        change(text).map_or_else(|| Value::from(text), Value::from)
    };
    match json {
        Json::Null => Value::from(()),
        Json::Bool(flag) => Value::from(*flag),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(integer), _) => Value::from(integer),
            (_, Some(integer)) => Value::from(integer),
            _ => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(string) => digits(string).unwrap_or_else(|| text(string, change)),
        Json::Array(items) => {
            Value::from(items.iter().map(|item| value(item, change)).collect::<Vec<_>>())
        }
        Json::Object(fields) => {
            let pairs: Vec<(Value, Value)> =
                fields.iter().map(|(key, item)| (text(key, change), value(item, change))).collect();
            Value::from_pairs(pairs)
        }
    }
}

/// Bytes of the number at the start of `text`.
pub(super) fn number_length(text: &str) -> Option<usize> {
    let digits = |at: usize| {
        let rest = text.get(at..)?;
        let length = rest.bytes().take_while(u8::is_ascii_digit).count();
        (length > 0).then_some(at + length)
    };
    let begin = usize::from(text.starts_with('-'));
    let mut end = digits(begin)?;
    if end > begin + 1 && text[begin..].starts_with('0') {
        return None;
    }
    if text[end..].starts_with('.') {
        end = digits(end + 1)?;
    }
    if text[end..].starts_with(['e', 'E']) {
        let sign = usize::from(text[end + 1..].starts_with(['+', '-']));
        end = digits(end + 1 + sign)?;
    }
    Some(end)
}

/// A float as Python's `repr` writes it: the shortest digits, an exponent of at least two.
pub(super) fn float(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    match exponent.parse::<i32>() {
        Ok(exponent) if number != 0.0 && !(-4..16).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ => format!("{number:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_python_writes_them() {
        for (number, text) in [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (-0.0, "-0.0"),
            (1e16, "1e+16"),
            (123456789012345680.0, "1.2345678901234568e+17"),
            (1e15, "1000000000000000.0"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (1e100, "1e+100"),
        ] {
            assert_eq!(float(number), text);
        }
    }
}
