//! Grammars of custom tools: Lark as a regular expression, which is what a string's schema can hold.
//!
//! A grammar whose rules do not call themselves is an expression; one that does, or that skips text
//! (`%ignore`), is refused. Codex's `apply_patch` is of the first kind.

use std::collections::HashMap;
use std::fmt::Write;

use crate::chat::constraint::is_enforceable;

/// Longer expressions are refused.
const MAX_BYTES: usize = 64 << 10;
/// Parentheses within one another.
const MAX_DEPTH: usize = 40;

/// A regular expression for all of a text, from one in the syntax `regex`.
pub(super) fn of_regex(definition: &str) -> Result<String, String> {
    enforceable(format!("^(?:{definition})$"))
}

/// A regular expression for all of a text that the Lark grammar allows.
pub(super) fn of_lark(definition: &str) -> Result<String, String> {
    if definition.len() > MAX_BYTES {
        return Err(format!("it is longer than {MAX_BYTES} bytes"));
    }
    let mut rules = Rules::default();
    rules.read(definition)?;
    let start = rules.expression("start", &mut Vec::new())?;
    enforceable(format!("^(?:{start})$"))
}

fn enforceable(pattern: String) -> Result<String, String> {
    if pattern.len() <= MAX_BYTES && is_enforceable(&pattern) {
        Ok(pattern)
    } else {
        Err("it is too large, or has look-around, flags, anchors or back references".to_owned())
    }
}

/// The grammar's rules and terminals, which differ only where text is skipped.
#[derive(Default)]
struct Rules<'a> {
    bodies: HashMap<&'a str, Vec<Token<'a>>>,
    done: HashMap<&'a str, String>,
}

#[derive(Debug, Clone, PartialEq)]
enum Token<'a> {
    Name(&'a str),
    /// A literal or an expression between slashes, as an expression.
    Text(String),
    Mark(char),
    /// `{least,most}` of `~ 2..5`.
    Times(String),
}

impl<'a> Rules<'a> {
    fn read(&mut self, text: &'a str) -> Result<(), String> {
        let mut current = None;
        for line in text.lines() {
            let line = line.trim();
            if line.is_empty() || line.starts_with("//") || line.starts_with('#') {
                continue;
            }
            if let Some(directive) = line.strip_prefix('%') {
                self.directive(directive)?;
                current = None;
                continue;
            }
            let (name, body) = match head(line) {
                Some((name, _)) if self.bodies.contains_key(name) => {
                    return Err(format!("`{name}` is defined twice"));
                }
                Some(rule) => rule,
                None => (current.ok_or_else(|| format!("`{}` begins no rule", short(line)))?, line),
            };
            current = Some(name);
            let tokens = tokens(body)?;
            self.bodies.entry(name).or_default().extend(tokens);
        }
        Ok(())
    }

    /// `%import common.LF`, `%import common.LF -> NL` or `%import common (LF, WS)`.
    fn directive(&mut self, directive: &'a str) -> Result<(), String> {
        let unknown = || format!("`%{}` is not supported", short(directive));
        let what = directive.strip_prefix("import").ok_or_else(unknown)?.trim();
        let what = what.strip_prefix("common").ok_or_else(unknown)?.trim();
        let (names, alias) = match what.strip_prefix('.') {
            Some(one) => match one.split_once("->") {
                Some((name, alias)) => (name, Some(alias.trim())),
                None => (one, None),
            },
            None => (what.trim_matches(['(', ')', ' ']), None),
        };
        for name in names.split(',').map(str::trim) {
            let body = common(name).ok_or_else(unknown)?;
            let token = Token::Text(format!("(?:{body})"));
            self.bodies.insert(alias.unwrap_or(name), vec![token]);
        }
        Ok(())
    }

    /// The expression of the rule `name`; `open`: the rules that are being read.
    fn expression(&mut self, name: &'a str, open: &mut Vec<&'a str>) -> Result<String, String> {
        if let Some(done) = self.done.get(name) {
            return Ok(done.clone());
        }
        if open.contains(&name) || open.len() > MAX_DEPTH {
            return Err(format!("the rule `{name}` calls itself, which cannot be enforced"));
        }
        let body = self.bodies.get(name).cloned();
        let body = body.ok_or_else(|| format!("there is no rule `{}`", short(name)))?;
        open.push(name);
        let mut rest = body.as_slice();
        let expression = self.alternatives(&mut rest, open, 0)?;
        open.pop();
        if !rest.is_empty() {
            return Err(format!("the rule `{name}` has a parenthesis too many"));
        }
        self.done.insert(name, expression.clone());
        Ok(expression)
    }

    fn alternatives(
        &mut self,
        rest: &mut &[Token<'a>],
        open: &mut Vec<&'a str>,
        depth: usize,
    ) -> Result<String, String> {
        if depth > MAX_DEPTH {
            return Err("its parentheses are too deep".to_owned());
        }
        let mut out = String::new();
        while let Some((token, after)) = rest.split_first() {
            let mut item = match token {
                Token::Mark(')' | ']') => break,
                Token::Mark('|') => {
                    *rest = after;
                    out.push('|');
                    continue;
                }
                Token::Mark(bracket @ ('(' | '[')) => {
                    *rest = after;
                    let inner = self.alternatives(rest, open, depth + 1)?;
                    let close = if *bracket == '(' { ')' } else { ']' };
                    if rest.first() != Some(&Token::Mark(close)) {
                        return Err(format!("a `{bracket}` is not closed"));
                    }
                    format!("(?:{inner}){}", if close == ']' { "?" } else { "" })
                }
                Token::Name(name) => format!("(?:{})", self.expression(name, open)?),
                Token::Text(text) => text.clone(),
                Token::Mark(c) => return Err(format!("`{c}` repeats nothing")),
                Token::Times(_) => return Err("`~` repeats nothing".to_owned()),
            };
            *rest = &rest[1..];
            match rest.first() {
                Some(Token::Mark(mark @ ('?' | '*' | '+'))) => {
                    item = format!("(?:{item}){mark}");
                    *rest = &rest[1..];
                }
                Some(Token::Times(times)) => {
                    item = format!("(?:{item}){times}");
                    *rest = &rest[1..];
                }
                _ => {}
            }
            out.push_str(&item);
            if out.len() > MAX_BYTES {
                return Err("it is too large".to_owned());
            }
        }
        Ok(out)
    }
}

/// A rule's name, without marks of the parse tree and priority, and what is behind its colon.
fn head(line: &str) -> Option<(&str, &str)> {
    let (name, body) = line.split_once(':')?;
    let name = name.trim().trim_start_matches(['?', '!']);
    let name = name.split_once('.').map_or(name, |(name, _)| name);
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (!name.is_empty() && name.chars().all(is_name)).then_some((name, body))
}

fn tokens(mut text: &str) -> Result<Vec<Token<'_>>, String> {
    let mut out = Vec::new();
    loop {
        text = text.trim_start();
        let Some(first) = text.chars().next() else { return Ok(out) };
        if text.starts_with("//") {
            return Ok(out);
        }
        // An alias names a branch of the parse tree.
        if let Some(alias) = text.strip_prefix("->") {
            let alias = alias.trim_start();
            text = alias.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
            continue;
        }
        let (token, after) = match first {
            '"' => literal(text)?,
            '/' => between_slashes(text)?,
            '~' => times(&text[1..])?,
            '|' | '(' | ')' | '[' | ']' | '?' | '*' | '+' => (Token::Mark(first), &text[1..]),
            c if c.is_ascii_alphabetic() || c == '_' => {
                let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                let end = text.find(|c| !is_name(c)).unwrap_or(text.len());
                (Token::Name(&text[..end]), &text[end..])
            }
            _ => return Err(format!("`{}` is not supported", short(text))),
        };
        out.push(token);
        text = after;
    }
}

/// The length of what begins with `quote` and ends with the next one that is not escaped.
fn quoted_len(text: &str, quote: char) -> Result<usize, String> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Ok(at + c.len_utf8()),
            _ => {}
        }
    }
    Err(format!("`{}` does not end", short(text)))
}

fn no_flags(after: &str) -> Result<(), String> {
    match after.chars().next() {
        Some(c) if c.is_ascii_alphabetic() => Err(format!("the flag `{c}` is not supported")),
        _ => Ok(()),
    }
}

fn literal(text: &str) -> Result<(Token<'_>, &str), String> {
    let end = quoted_len(text, '"')?;
    let after = &text[end..];
    no_flags(after)?;
    if after.starts_with("..") {
        return Err("ranges of characters are not supported; use a class".to_owned());
    }
    let spelled = &text[..end];
    // Lark's escapes are those of JSON, for what grammars have.
    let said: String = serde_json::from_str(spelled)
        .map_err(|_| format!("`{}` has an unknown escape", short(spelled)))?;
    let mut out = String::from("(?:");
    for c in said.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            c if c.is_control() => {
                let _ = write!(out, "\\x{{{:x}}}", u32::from(c));
            }
            c if c.is_ascii_punctuation() && !"<>_".contains(c) => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out.push(')');
    Ok((Token::Text(out), after))
}

fn between_slashes(text: &str) -> Result<(Token<'_>, &str), String> {
    let end = quoted_len(text, '/')?;
    no_flags(&text[end..])?;
    let (mut out, mut escaped, mut in_class) = (String::from("(?:"), false, false);
    for c in text[1..end - 1].chars() {
        match c {
            '.' if !escaped && !in_class => out.push_str("[^\\n]"),
            _ => out.push(c),
        }
        in_class = !escaped && (c == '[' || in_class && c != ']') || escaped && in_class;
        escaped = c == '\\' && !escaped;
    }
    out.push(')');
    Ok((Token::Text(out), &text[end..]))
}

/// `2` or `2..5` behind a tilde.
fn times(text: &str) -> Result<(Token<'_>, &str), String> {
    let text = text.trim_start();
    let number = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let least = number(text);
    let (most, end) = match text[least..].strip_prefix("..") {
        Some(most) => (number(most), least + 2 + number(most)),
        None => (0, least),
    };
    let is_right = (1..=4).contains(&least) && most <= 4;
    if !is_right {
        return Err("`~` needs a number or a range, such as `~ 2..5`".to_owned());
    }
    let out = match end > least {
        true => format!("{{{},{}}}", &text[..least], &text[least + 2..end]),
        false => format!("{{{}}}", &text[..least]),
    };
    Ok((Token::Times(out), &text[end..]))
}

/// Lark's library of terminals, as far as they are expressions.
fn common(name: &str) -> Option<&'static str> {
    Some(match name {
        "LF" => "\\n",
        "CR" => "\\r",
        "NEWLINE" => "(?:\\r?\\n)+",
        "WS" => "[ \\t\\f\\r\\n]+",
        "WS_INLINE" => "[ \\t]+",
        "DIGIT" => "[0-9]",
        "HEXDIGIT" => "[0-9a-fA-F]",
        "INT" => "[0-9]+",
        "SIGNED_INT" => "[+\\-]?[0-9]+",
        "DECIMAL" => "[0-9]+\\.[0-9]*|\\.[0-9]+",
        "NUMBER" => "(?:[0-9]+\\.?[0-9]*|\\.[0-9]+)(?:[eE][+\\-]?[0-9]+)?",
        "LCASE_LETTER" => "[a-z]",
        "UCASE_LETTER" => "[A-Z]",
        "LETTER" => "[a-zA-Z]",
        "WORD" => "[a-zA-Z]+",
        "CNAME" => "[a-zA-Z_][a-zA-Z0-9_]*",
        "ESCAPED_STRING" => "\"(?:[^\"\\\\\\n]|\\\\[^\\n])*\"",
        _ => return None,
    })
}

/// The beginning of a text, for a message.
fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Codex's grammar of patches.
    const PATCH: &str = r#"
start: begin_patch hunk+ end_patch
begin_patch: "*** Begin Patch" LF
end_patch: "*** End Patch" LF?

hunk: add_hunk | delete_hunk | update_hunk
add_hunk: "*** Add File: " filename LF add_line+
delete_hunk: "*** Delete File: " filename LF
update_hunk: "*** Update File: " filename LF change_move? change?

filename: /(.+)/
add_line: "+" /(.*)/ LF -> line

change_move: "*** Move to: " filename LF
change: (change_context | change_line)+ eof_line?
change_context: ("@@" | "@@ " /(.+)/) LF
change_line: ("+" | "-" | " ") /(.*)/ LF
eof_line: "*** End of File" LF

%import common.LF
"#;

    fn matches(grammar: &str, text: &str) -> bool {
        let pattern = of_lark(grammar).unwrap();
        let schema = serde_json::json!({"type": "string", "pattern": pattern});
        jsonschema::is_valid(&schema, &text.into())
    }

    #[test]
    fn codexs_patches_are_an_expression() {
        let patch = "*** Begin Patch\n*** Add File: a/b.rs\n+fn f<T>() {}\n+\n*** Update File: c\n\
                     @@ x\n-a\n+b\n c\n*** End of File\n*** End Patch\n";
        assert!(matches(PATCH, patch));
        assert!(!matches(PATCH, "*** Begin Patch\n*** End Patch\n"));
        assert!(!matches(PATCH, &patch.replace("\n+b", "\n?b")));
    }

    #[test]
    fn what_lark_has_is_read() {
        for (grammar, yes, no) in [
            (r#"start: "a" | "b""#, "b", "ab"),
            ("start: A ~ 2..3\nA: \"x\"", "xxx", "x"),
            ("start: \"a\" [\"b\"] \"c\"", "ac", "abb"),
            ("?start: one\n    | two // both\none: \"1\"\ntwo.2: \"2\"", "2", "12"),
            (r#"start: /[.]\./ "\t\"<""#, "..\t\"<", "x.\t\"<"),
            ("start: N (\",\" N)*\n%import common.INT -> N", "1,22", "1,"),
            ("start: WORD WS_INLINE INT\n%import common (WORD, WS_INLINE, INT)", "ab 5", "ab5"),
        ] {
            assert!(matches(grammar, yes), "{grammar}");
            assert!(!matches(grammar, no), "{grammar}");
        }
        assert!(of_regex(r"[a-z]{2}\d+").is_ok());
    }

    #[test]
    fn what_cannot_be_an_expression_is_named() {
        for (grammar, part) in [
            ("start: \"(\" start \")\" | \"x\"", "calls itself"),
            ("start: a\na: b\nb: \"x\" a?", "calls itself"),
            ("start: x", "no rule `x`"),
            ("first: \"x\"", "no rule `start`"),
            ("start: \"a\"\n%ignore \" \"", "%ignore"),
            ("start: \"a\"i", "flag"),
            ("start: /a(?=b)/", "look-around"),
            ("start: (\"a\"", "not closed"),
            ("start: \"a\")", "too many"),
            ("start: \"a", "does not end"),
            ("start: * \"a\"", "repeats nothing"),
            ("start: \"a\" ~ x", "`~` needs"),
            ("\"a\"", "begins no rule"),
            ("start: \"a\"\nstart: \"b\"", "defined twice"),
        ] {
            let error = of_lark(grammar).unwrap_err();
            assert!(error.contains(part), "{grammar}: {error}");
        }
        assert!(of_regex(r"(a)\1").is_err() && of_regex("(").is_err());
    }

    #[test]
    fn small_grammars_of_huge_expressions_are_refused() {
        let mut grammar = "start: r20\nr0: \"xxxxxxxxxx\"\n".to_owned();
        for i in 1..=20 {
            let _ = writeln!(grammar, "r{i}: r{} r{} r{} r{}", i - 1, i - 1, i - 1, i - 1);
        }
        assert!(of_lark(&grammar).unwrap_err().contains("too large"));
        assert!(of_lark(&format!("start: {}", "(".repeat(100_000))).is_err());
    }
}
