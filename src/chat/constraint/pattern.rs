//! Regular expressions of JSON schemas (ECMA-262) for an engine without look-around.

use regex_syntax::hir::{Hir, HirKind, Look};

/// Expressions above this many states are not enforced.
const MAX_SIZE: u64 = 2_000;

/// What ECMA-262's `\s` matches.
const BLANKS: &str = r"\t\n\x0b\x0c\r \u{a0}\u{1680}\u{2000}-\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}\u{feff}";

/// The expression in the syntax of Rust's regular expressions, with ECMA-262's meaning; `None`
/// where it cannot be enforced: look-around, back references, word boundaries, anchors within, or
/// too large.
pub(super) fn translate(pattern: &str) -> Option<String> {
    let text = rewrite(pattern)?;
    let hir = parse(&text)?;
    (size(&hir) <= MAX_SIZE && anchored_at_edges(&hir, true, true)).then_some(text)
}

/// An expression for all of a text that the (translated) expression is found in.
pub(super) fn whole(text: &str) -> Option<String> {
    let hir = parse(text)?;
    let mut hir = &hir;
    while let HirKind::Capture(capture) = hir.kind() {
        hir = &capture.sub;
    }
    let branches = match hir.kind() {
        HirKind::Alternation(branches) => branches.clone(),
        _ => vec![hir.clone()],
    };
    let branches: Option<Vec<String>> = branches.into_iter().map(whole_branch).collect();
    Some(branches?.join("|"))
}

fn whole_branch(hir: Hir) -> Option<String> {
    let mut parts = match hir.into_kind() {
        HirKind::Concat(parts) => parts,
        kind => vec![match kind {
            HirKind::Look(look) => Hir::look(look),
            HirKind::Literal(literal) => Hir::literal(literal.0),
            HirKind::Class(class) => Hir::class(class),
            HirKind::Repetition(repetition) => Hir::repetition(repetition),
            HirKind::Capture(capture) => *capture.sub,
            HirKind::Alternation(branches) => Hir::alternation(branches),
            HirKind::Empty | HirKind::Concat(_) => Hir::empty(),
        }],
    };
    let is = |part: Option<&Hir>, look| part.is_some_and(|p| *p.kind() == HirKind::Look(look));
    let starts = is(parts.first(), Look::Start);
    if starts {
        parts.remove(0);
    }
    let ends = is(parts.last(), Look::End);
    if ends {
        parts.pop();
    }
    let inner = Hir::concat(parts);
    if !inner.properties().look_set().is_empty() {
        return None;
    }
    let any = "(?s:.*)";
    let (before, after) = (if starts { "" } else { any }, if ends { "" } else { any });
    Some(format!("{before}(?:{inner}){after}"))
}

fn parse(text: &str) -> Option<Hir> {
    regex_syntax::ParserBuilder::new().nest_limit(50).build().parse(text).ok()
}

/// The pattern with ECMA-262's classes spelled out and groups without names.
fn rewrite(pattern: &str) -> Option<String> {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut chars = pattern.chars().peekable();
    let mut in_class = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                let escaped = chars.next()?;
                let (open, close) = if in_class { ("", "") } else { ("[", "]") };
                match escaped {
                    's' => out.push_str(&format!("{open}{BLANKS}{close}")),
                    'S' => out.push_str(&format!("[^{BLANKS}]")),
                    'd' => out.push_str(&format!("{open}0-9{close}")),
                    'D' => out.push_str("[^0-9]"),
                    'w' => out.push_str(&format!("{open}0-9A-Za-z_{close}")),
                    'W' => out.push_str("[^0-9A-Za-z_]"),
                    // A group, a property or a position: not the same in both, or not enforced.
                    'b' | 'B' | 'k' | 'c' | 'A' | 'z' | 'Z' | 'G' | '<' | '>' | '0'..='9' => {
                        return None;
                    }
                    '/' => out.push('/'),
                    _ => out.extend(['\\', escaped]),
                }
            }
            '[' if in_class => out.push_str("\\["),
            '[' => {
                in_class = true;
                out.push('[');
                if chars.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
                // The empty class, which Rust reads otherwise.
                if chars.peek() == Some(&']') {
                    return None;
                }
            }
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            // Rust's set operations.
            '&' | '~' if in_class => out.extend(['\\', c]),
            '-' if in_class && chars.peek() == Some(&'-') => return None,
            _ if in_class => out.push(c),
            '.' => out.push_str(r"[^\n\r\u{2028}\u{2029}]"),
            '{' if chars.peek() == Some(&',') => return None,
            '(' => {
                out.push('(');
                if chars.next_if_eq(&'?').is_none() {
                    continue;
                }
                match chars.next()? {
                    ':' => out.push_str("?:"),
                    'P' | '<' => {
                        // A name; what looks like one may look behind.
                        let name: String = chars.by_ref().take_while(|&c| c != '>').collect();
                        let name = name.strip_prefix('<').unwrap_or(&name);
                        if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || c == '_')
                        {
                            return None;
                        }
                        out.push_str("?:");
                    }
                    _ => return None,
                }
            }
            c => out.push(c),
        }
    }
    Some(out)
}

/// States that it takes, roughly.
fn size(hir: &Hir) -> u64 {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 0,
        HirKind::Literal(literal) => literal.0.len() as u64,
        HirKind::Class(_) => 1,
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or(repetition.min.saturating_add(1));
            size(&repetition.sub).saturating_mul(u64::from(times))
        }
        HirKind::Capture(capture) => size(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().fold(0, |sum: u64, part| sum.saturating_add(size(part)))
        }
    }
}

/// Whether `^` and `$` stand only where the text begins and ends.
fn anchored_at_edges(hir: &Hir, start: bool, end: bool) -> bool {
    match hir.kind() {
        HirKind::Look(Look::Start) => start,
        HirKind::Look(Look::End) => end,
        HirKind::Look(_) => false,
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) => true,
        HirKind::Repetition(repetition) => repetition.sub.properties().look_set().is_empty(),
        HirKind::Capture(capture) => anchored_at_edges(&capture.sub, start, end),
        HirKind::Alternation(parts) => parts.iter().all(|p| anchored_at_edges(p, start, end)),
        HirKind::Concat(parts) => {
            let last = parts.len() - 1;
            parts
                .iter()
                .enumerate()
                .all(|(i, p)| anchored_at_edges(p, start && i == 0, end && i == last))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_enforced_is_named() {
        for pattern in [
            "^(?!x).*$",
            "(?=a)b",
            r"\bword\b",
            r"(a)\1",
            "(?<=a)b",
            r"a\b",
            "[]",
            "[^]",
            "a^b",
            "a$b",
            "a{,3}",
            "((a{100}){100}){100}",
            r"(?<n>a)\k<n>",
            r"\cA",
            "(?i)a",
            "(",
        ] {
            assert_eq!(translate(pattern), None, "{pattern}");
        }
        for pattern in
            [r"^\d+$", r"^[\w\-.]+@x\.de$", "^(?<a>b)$", r"^\/\w*", "[[&]", "^a$|^b$", "", "a"]
        {
            assert!(translate(pattern).is_some(), "{pattern}");
        }
    }

    #[test]
    fn a_search_becomes_an_expression_for_all_of_the_text() {
        assert_eq!(whole("^ab$").as_deref(), Some("(?:(?:ab))"));
        assert_eq!(whole("^a").as_deref(), Some("(?:a)(?s:.*)"));
        assert_eq!(whole("^ab$|cd").map(|w| w.matches("(?s:.*)").count()), Some(2));
    }
}
