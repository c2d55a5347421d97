//! minijinja, set up to render what transformers' Jinja2 environment renders.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Value, ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, State, escape_formatter};
use minijinja_contrib::pycompat;
use time::OffsetDateTime;

use super::tojson::{float, tojson};

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
    env.set_formatter(|out, state, value| match python_float(value) {
        Some(text) => Ok(out.write_str(&text)?),
        None => escape_formatter(out, state, value),
    });
    env.add_filter("string", |value: Value| match value.kind() {
        ValueKind::String => value,
        _ => Value::from(python_float(&value).unwrap_or_else(|| value.to_string())),
    });
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
    env.add_template_owned(NAME, without_generation_tags(source))?;
    Ok(env)
}

/// Only large and tiny floats look different in minijinja.
fn python_float(value: &Value) -> Option<String> {
    let is_float = value.kind() == ValueKind::Number && !value.is_integer();
    is_float.then(|| f64::try_from(value.clone()).ok().map(float)).flatten()
}

/// Local time, or UTC where the zone cannot be told.
pub(super) fn now() -> OffsetDateTime {
    OffsetDateTime::now_local().unwrap_or_else(|_| OffsetDateTime::now_utc())
}

/// transformers' `{% generation %}` marks the assistant's part for training. It renders what is
/// inside, as a block that is always true does, which also strips the same white space.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        // `{%}` is no tag: its end is not its beginning's.
        let replaced = tag[2..].find("%}").and_then(|length| {
            let inside = &tag[2..2 + length];
            let open = inside.len() - inside.trim_start_matches(['-', '+']).len();
            let word = &inside[open..];
            let close = word.len() - word.trim_end_matches(['-', '+']).len();
            let block = match word[..word.len() - close].trim() {
                "generation" => "if true",
                "endgeneration" => "endif",
                _ => return None,
            };
            let (open, close) = (&inside[..open], &word[word.len() - close..]);
            Some((format!("{{%{open} {block} {close}%}}"), 2 + length + 2))
        });
        match replaced {
            Some((block, length)) => {
                out.push_str(&block);
                rest = &tag[length..];
            }
            None => {
                out.push_str("{%");
                rest = &tag[2..];
            }
        }
    }
    out.push_str(rest);
    out
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
    }

    #[test]
    fn generation_tags_become_blocks_that_strip_the_same_space() {
        let source = "a {%- generation -%} b {% endgeneration %}{% if generation %}{% endif %}";
        assert_eq!(
            without_generation_tags(source),
            "a {%- if true -%} b {% endif %}{% if generation %}{% endif %}"
        );
        for odd in ["{%}", "{%-%}", "{%", "{%}{% generatio %}", "%}{%"] {
            assert_eq!(without_generation_tags(odd), odd);
        }
    }
}
