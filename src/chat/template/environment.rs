//! minijinja, set up to render what transformers' Jinja2 environment renders.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest, Value, ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, State, escape_formatter};
use minijinja_contrib::pycompat;
use time::OffsetDateTime;

use super::python;
use super::source::translated;
use super::tojson::tojson;
use super::values::Digits;

/// Instructions of one rendering, about two seconds; long conversations take a hundredth.
pub(super) const FUEL: u64 = 50_000_000;
/// The same for a conversation of a few words.
pub(super) const PROBE_FUEL: u64 = 500_000;
pub(super) const NAME: &str = "chat";

/// What a template passed to `raise_exception`.
#[derive(Debug)]
pub(super) struct Raised(pub(super) String);

impl std::fmt::Display for Raised {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

pub(super) fn environment(source: &str) -> Result<Environment<'static>, Error> {
    let mut env = Environment::new();
    env.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    env.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    env.set_fuel(Some(FUEL));
    env.set_recursion_limit(150);
    // Errors then know the failing expression.
    env.set_debug(true);
    env.set_unknown_method_callback(method);
    env.set_formatter(|out, state, value| match python::printed(value) {
        Some(text) => Ok(out.write_str(&text)?),
        None => escape_formatter(out, state, value),
    });
    env.add_filter("string", |value: Value| match value.kind() {
        ValueKind::String => value,
        _ => Value::from(python::text(&value)),
    });
    env.add_filter("percent", python::percent);
    env.add_filter("wordwrap", python::wordwrap);
    // Python's booleans are numbers.
    env.add_test("number", |value: &Value| {
        matches!(value.kind(), ValueKind::Number | ValueKind::Bool) || Digits::of(value).is_some()
    });
    env.add_test("integer", |value: &Value| {
        value.is_integer() || Digits::of(value).is_some_and(Digits::is_integer)
    });
    env.add_test("float", |value: &Value| {
        value.is_number() && !value.is_integer()
            || Digits::of(value).is_some_and(|digits| !digits.is_integer())
    });
    env.add_test("callable", python::is_callable);
    env.add_function("dict", dict);
    env.add_function("joiner", minijinja_contrib::globals::joiner);
    env.add_function("cycler", |items: Rest<Value>| minijinja_contrib::globals::cycler(items.0));
    // Everything with a length and items, as Jinja2 sees it.
    env.add_test("sequence", |value: &Value| {
        matches!(value.kind(), ValueKind::Seq | ValueKind::String | ValueKind::Map)
    });
    // minijinja iterates over none and calls it iterable; templates ask to tell the two apart.
    env.add_test("iterable", |value: &Value| {
        !matches!(value.kind(), ValueKind::None | ValueKind::Number | ValueKind::Bool)
            && value.try_iter().is_ok()
    });
    env.add_filter("tojson", tojson);
    env.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message.clone()).with_source(Raised(message)))
    });
    env.add_function("strftime_now", |format: String| strftime(&format, now()));
    env.add_template_owned(NAME, translated(source))?;
    Ok(env)
}

/// Python's `dict`: of a mapping or of pairs, and of named arguments.
fn dict(from: Option<Value>, named: Kwargs) -> Result<Value, Error> {
    let mut pairs: Vec<(Value, Value)> = Vec::new();
    if let Some(from) = from.filter(|from| !from.is_undefined()) {
        let is_map = from.kind() == ValueKind::Map;
        for item in from.try_iter()? {
            if is_map {
                let value = from.get_item(&item)?;
                pairs.push((item, value));
                continue;
            }
            let pair: Vec<Value> = item.try_iter()?.take(3).collect();
            let [key, value] = pair.try_into().map_err(|_| {
                Error::new(ErrorKind::InvalidOperation, "dict takes a mapping or pairs")
            })?;
            pairs.push((key, value));
        }
    }
    for name in named.args() {
        pairs.push((Value::from(name), named.get(name)?));
    }
    Ok(Value::from_pairs(pairs))
}

/// Local time, or UTC where the zone cannot be told.
pub(super) fn now() -> OffsetDateTime {
    OffsetDateTime::now_local().unwrap_or_else(|_| OffsetDateTime::now_utc())
}

fn list<'a>(texts: impl IntoIterator<Item = &'a str>) -> Value {
    texts.into_iter().map(Value::from).collect()
}

/// Python's methods of strings beyond those of minijinja-contrib.
fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let Some(text) = value.as_str().filter(|_| value.kind() == ValueKind::String) else {
        return pycompat::unknown_method_callback(state, value, name, args);
    };
    Ok(match name {
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Value::from(text.strip_prefix(prefix).unwrap_or(text))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Value::from(text.strip_suffix(suffix).unwrap_or(text))
        }
        "partition" => {
            let (separator,): (&str,) = from_args(args)?;
            match text.split_once(separator) {
                Some((before, after)) => list([before, separator, after]),
                None => list([text, "", ""]),
            }
        }
        "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            match text.rsplit_once(separator) {
                Some((before, after)) => list([before, separator, after]),
                None => list(["", "", text]),
            }
        }
        "rsplit" => {
            let (separator, count): (&str, Option<usize>) = from_args(args)?;
            let count = count.map_or(usize::MAX, |count| count.saturating_add(1));
            let mut parts: Vec<&str> = text.rsplitn(count, separator).collect();
            parts.reverse();
            list(parts)
        }
        "index" => {
            let (what,): (&str,) = from_args(args)?;
            match text.find(what) {
                Some(at) => Value::from(text[..at].chars().count()),
                None => {
                    return Err(Error::new(ErrorKind::InvalidOperation, "substring not found"));
                }
            }
        }
        "zfill" => {
            let (width,): (usize,) = from_args(args)?;
            let missing = width.min(1024).saturating_sub(text.chars().count());
            let digits = text.trim_start_matches(['+', '-']);
            let (sign, digits) = text.split_at(text.len() - digits.len());
            Value::from(format!("{sign}{}{digits}", "0".repeat(missing)))
        }
        "ljust" | "rjust" => {
            let (width, fill): (usize, Option<&str>) = from_args(args)?;
            let missing = width.min(4096).saturating_sub(text.chars().count());
            let fill = fill.unwrap_or(" ").repeat(missing);
            Value::from(if name == "ljust" {
                format!("{text}{fill}")
            } else {
                format!("{fill}{text}")
            })
        }
        "casefold" => {
            let () = from_args(args)?;
            Value::from(text.to_lowercase())
        }
        _ => return pycompat::unknown_method_callback(state, value, name, args),
    })
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Python's `strftime` in the C locale, for the codes that dates need.
pub(super) fn strftime(format: &str, now: OffsetDateTime) -> String {
    use std::fmt::Write;
    let month = MONTHS.get(usize::from(u8::from(now.month())) - 1).copied().unwrap_or_default();
    let weekday = now.weekday().to_string();
    let hour12 = match now.hour() % 12 {
        0 => 12,
        hour => hour,
    };
    let (offset_hours, offset_minutes, _) = now.offset().as_hms();
    let mut out = String::new();
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut code = rest.next();
        // glibc's `%-d`: without padding.
        let padded = code != Some('-');
        if !padded {
            code = rest.next();
        }
        let width = |width: usize| if padded { width } else { 0 };
        let _ = match code {
            Some('Y') => write!(out, "{:04}", now.year()),
            Some('y') => write!(out, "{:02}", now.year().rem_euclid(100)),
            Some('m') => write!(out, "{:0w$}", u8::from(now.month()), w = width(2)),
            Some('d') => write!(out, "{:0w$}", now.day(), w = width(2)),
            Some('e') => write!(out, "{:w$}", now.day(), w = width(2)),
            Some('H') => write!(out, "{:0w$}", now.hour(), w = width(2)),
            Some('I') => write!(out, "{hour12:0w$}", w = width(2)),
            Some('M') => write!(out, "{:0w$}", now.minute(), w = width(2)),
            Some('S') => write!(out, "{:0w$}", now.second(), w = width(2)),
            Some('f') => write!(out, "{:06}", now.microsecond()),
            Some('j') => write!(out, "{:0w$}", now.ordinal(), w = width(3)),
            Some('p') => write!(out, "{}", if now.hour() < 12 { "AM" } else { "PM" }),
            Some('P') => write!(out, "{}", if now.hour() < 12 { "am" } else { "pm" }),
            Some('k') => write!(out, "{:w$}", now.hour(), w = width(2)),
            Some('l') => write!(out, "{hour12:w$}", w = width(2)),
            Some('C') => write!(out, "{:02}", now.year().div_euclid(100)),
            Some('G') => write!(out, "{:04}", now.to_iso_week_date().0),
            Some('g') => write!(out, "{:02}", now.to_iso_week_date().0.rem_euclid(100)),
            Some('V') => write!(out, "{:0w$}", now.iso_week(), w = width(2)),
            Some('U') => write!(out, "{:0w$}", now.sunday_based_week(), w = width(2)),
            Some('W') => write!(out, "{:0w$}", now.monday_based_week(), w = width(2)),
            Some('r') => write!(out, "{}", strftime("%I:%M:%S %p", now)),
            Some('B') => write!(out, "{month}"),
            Some('b' | 'h') => write!(out, "{month:.3}"),
            Some('A') => write!(out, "{weekday}"),
            Some('a') => write!(out, "{weekday:.3}"),
            Some('w') => write!(out, "{}", now.weekday().number_days_from_sunday()),
            Some('u') => write!(out, "{}", now.weekday().number_from_monday()),
            Some('F') => write!(out, "{}", strftime("%Y-%m-%d", now)),
            Some('T' | 'X') => write!(out, "{}", strftime("%H:%M:%S", now)),
            Some('R') => write!(out, "{}", strftime("%H:%M", now)),
            Some('D' | 'x') => write!(out, "{}", strftime("%m/%d/%y", now)),
            Some('c') => write!(out, "{}", strftime("%a %b %e %H:%M:%S %Y", now)),
            Some('s') => write!(out, "{}", now.unix_timestamp()),
            Some('z') => {
                let sign = if now.offset().is_negative() { '-' } else { '+' };
                write!(out, "{sign}{:02}{:02}", offset_hours.abs(), offset_minutes.abs())
            }
            Some('Z') => write!(out, "{}", if now.offset().is_utc() { "UTC" } else { "" }),
            Some('n') => out.write_char('\n'),
            Some('t') => out.write_char('\t'),
            Some('%') => write!(out, "%"),
            Some(other) => write!(out, "%{other}"),
            None => write!(out, "%"),
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_python_writes_them() {
        let day = time::macros::datetime!(2026-03-05 00:07:09 UTC);
        assert_eq!(
            strftime("%d %b %Y|%Y-%m-%d|%B %-d, %Y|%A %a|%I:%M %p|%j|%y%%", day),
            "05 Mar 2026|2026-03-05|March 5, 2026|Thursday Thu|12:07 AM|064|26%"
        );
        assert_eq!(
            strftime("%V %G %U %W %k %l %P %C %g %r", day),
            "10 2026 09 09  0 12 am 20 26 12:07:09 AM"
        );
        let new_year = time::macros::datetime!(2027-01-01 13:00:00 UTC);
        assert_eq!(strftime("%V %G %U %-k %-l %P", new_year), "53 2026 00 13 1 pm");
    }
}
