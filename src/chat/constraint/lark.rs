//! Texts as Lark has them.

use std::fmt::Write;

/// A string literal.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The text within a regular expression between slashes.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            c if c.is_control() => {
                let _ = write!(out, "\\x{{{:x}}}", c as u32);
            }
            c if c.is_ascii_punctuation() && !"<>_".contains(c) => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

/// A regular expression for use between slashes.
pub(super) fn slashed(regex: &str) -> String {
    let mut out = String::with_capacity(regex.len());
    let mut escaping = false;
    for c in regex.chars() {
        match c {
            '/' if !escaping => out.push_str("\\/"),
            '\n' => out.push_str(if escaping { "n" } else { "\\n" }),
            c => out.push(c),
        }
        escaping = c == '\\' && !escaping;
    }
    out
}
