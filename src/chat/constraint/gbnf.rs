//! llama.cpp's grammars (GBNF) as Lark.

mod check;
mod parser;

use std::collections::HashMap;
use std::fmt::Write;

use super::lark::escaped;

/// Longer grammars are refused.
const MAX_BYTES: usize = 256 * 1024;
/// Parentheses within one another.
const MAX_DEPTH: usize = 40;
/// Repetitions of one element.
const MAX_REPEAT: u32 = 2_000;

/// What is wrong with a grammar.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Error {
    pub(super) line: usize,
    pub(super) message: String,
}

/// The rules in Lark, `start` first.
///
/// # Errors
///
/// The line and what is wrong there: no `root`, an undefined rule, a rule that begins with itself
/// without end, anything that is no GBNF.
pub(super) fn to_lark(text: &str) -> Result<String, Error> {
    if text.len() > MAX_BYTES {
        return Err(Error {
            line: 1,
            message: format!("the grammar is longer than {MAX_BYTES} bytes"),
        });
    }
    let mut parser = parser::Parser::new(text);
    let mut rules: Vec<Rule> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    parser.blanks(true);
    while parser.peek().is_some() {
        let rule = parser.rule()?;
        // As in llama.cpp, the last of several counts.
        match places.get(&rule.name) {
            Some(&place) => rules[place] = rule,
            None => {
                places.insert(rule.name.clone(), rules.len());
                rules.push(rule);
            }
        }
        parser.blanks(true);
    }
    let Some(&root) = places.get("root") else {
        return Err(Error { line: 1, message: "there is no rule `root`".into() });
    };
    check::check(&rules, &places)?;
    let mut out = format!("start: r{root}\n");
    for (i, rule) in rules.iter().enumerate() {
        let _ = write!(out, "r{i}: ");
        write_alternatives(&mut out, &rule.body, &places);
        out.push('\n');
    }
    Ok(out)
}

struct Rule {
    name: String,
    line: usize,
    body: Alternatives,
}

type Alternatives = Vec<Vec<Repeated>>;

struct Repeated {
    element: Element,
    least: u32,
    most: Option<u32>,
}

enum Element {
    Literal(String),
    /// A character class as a regular expression.
    Class(String),
    Name {
        name: String,
        line: usize,
    },
    Token {
        id: u32,
        not: bool,
    },
    Group(Alternatives),
}

type Parsed<T> = Result<T, Error>;

fn write_alternatives(out: &mut String, body: &Alternatives, places: &HashMap<String, usize>) {
    for (i, sequence) in body.iter().enumerate() {
        if i > 0 {
            out.push_str(" | ");
        }
        let mut is_empty = true;
        for one in sequence {
            if one.most == Some(0)
                || matches!(&one.element, Element::Literal(text) if text.is_empty())
            {
                continue;
            }
            is_empty = false;
            match &one.element {
                Element::Literal(text) => {
                    let _ = write!(out, "/{}/", escaped(text));
                }
                Element::Class(regex) => {
                    let _ = write!(out, "/{regex}/");
                }
                Element::Name { name, .. } => {
                    let _ = write!(out, "r{}", places.get(name).copied().unwrap_or_default());
                }
                Element::Token { id, not } => {
                    let _ = write!(out, "<[{}{id}]>", if *not { "^" } else { "" });
                }
                Element::Group(inner) => {
                    out.push('(');
                    write_alternatives(out, inner, places);
                    out.push(')');
                }
            }
            let _ = match (one.least, one.most) {
                (1, Some(1)) => Ok(()),
                (0, None) => write!(out, "*"),
                (1, None) => write!(out, "+"),
                (0, Some(1)) => write!(out, "?"),
                (least, None) => write!(out, "{{{least},}}"),
                (least, Some(most)) => write!(out, "{{{least},{most}}}"),
            };
            out.push(' ');
        }
        if is_empty {
            out.push_str("\"\" ");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_line_and_what_is_wrong() {
        for (text, line, part) in [
            ("a ::= \"x\"", 1, "no rule `root`"),
            ("root ::= a\na ::= b", 2, "no rule `b`"),
            ("root ::= \"x", 1, "expected `\"`"),
            ("root ::= [z-a]", 1, "ends before it begins"),
            ("root ::= \"a\"\nb = \"x\"", 2, "expected `::=`"),
            ("root ::= (\"a\" | \"b\"", 1, "expected `)`"),
            ("root ::= root \"a\" | \"b\"", 1, "begins with itself"),
            ("root ::= a\na ::= \"x\"? b\nb ::= a \"y\"", 2, "begins with itself"),
            ("root ::= \"\\q\"", 1, "unknown escape"),
            ("root ::= \"\\u12\"", 1, "4 hexadecimal digits"),
            ("root ::= \"a\"{5,2}", 1, "ends before it begins"),
            ("root ::= \"a\"{99999}", 1, "repetitions"),
            ("root ::= <think>", 1, "by its number"),
            ("root ::= \"a\" )", 1, "end of the line"),
            ("", 1, "no rule `root`"),
        ] {
            let error = to_lark(text).unwrap_err();
            assert_eq!(error.line, line, "{text}: {error:?}");
            assert!(error.message.contains(part), "{text}: {error:?}");
        }
        assert!(to_lark(&format!("root ::= {}", "(".repeat(100_000))).is_err());
    }
}
