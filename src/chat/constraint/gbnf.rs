//! llama.cpp's grammars (GBNF) as Lark.

use std::collections::{BTreeSet, HashMap};
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
    let mut parser = Parser { chars: text.chars().collect(), at: 0, line: 1, depth: 0 };
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
    check(&rules, &places)?;
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

struct Parser {
    chars: Vec<char>,
    at: usize,
    line: usize,
    depth: usize,
}

type Parsed<T> = Result<T, Error>;

impl Parser {
    fn fail<T>(&self, message: impl Into<String>) -> Parsed<T> {
        Err(Error { line: self.line, message: message.into() })
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        self.line += usize::from(c == '\n');
        Some(c)
    }

    fn take(&mut self, text: &str) -> bool {
        let is = text.chars().enumerate().all(|(i, c)| self.chars.get(self.at + i) == Some(&c));
        if is {
            self.at += text.chars().count();
        }
        is
    }

    /// White space and comments; line breaks where they do not end a rule.
    fn blanks(&mut self, breaks: bool) {
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' => {}
                '\n' | '\r' if breaks => {}
                '#' => {
                    while self.peek().is_some_and(|c| c != '\n' && c != '\r') {
                        self.next();
                    }
                    continue;
                }
                _ => return,
            }
            self.next();
        }
    }

    fn name(&mut self) -> Option<String> {
        let begin = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
            self.at += 1;
        }
        (self.at > begin).then(|| self.chars[begin..self.at].iter().collect())
    }

    fn found(&self) -> String {
        match self.peek() {
            None => "the end of the grammar".into(),
            Some('\n' | '\r') => "the end of the line".into(),
            Some(c) => format!("`{c}`"),
        }
    }

    fn rule(&mut self) -> Parsed<Rule> {
        let line = self.line;
        let Some(name) = self.name() else {
            return self.fail(format!("expected the name of a rule, found {}", self.found()));
        };
        self.blanks(false);
        if !self.take("::=") {
            return self.fail(format!("expected `::=` after `{name}`, found {}", self.found()));
        }
        self.blanks(true);
        let body = self.alternatives(false)?;
        match self.peek() {
            None | Some('\n' | '\r') => Ok(Rule { name, line, body }),
            Some(_) => self.fail(format!("expected the end of the line, found {}", self.found())),
        }
    }

    fn alternatives(&mut self, nested: bool) -> Parsed<Alternatives> {
        let mut all = vec![self.sequence(nested)?];
        loop {
            self.blanks(nested);
            if !self.take("|") {
                // An alternative may begin the next line.
                let (at, line) = (self.at, self.line);
                self.blanks(true);
                if !self.take("|") {
                    (self.at, self.line) = (at, line);
                    return Ok(all);
                }
            }
            self.blanks(true);
            all.push(self.sequence(nested)?);
        }
    }

    fn sequence(&mut self, nested: bool) -> Parsed<Vec<Repeated>> {
        let mut all: Vec<Repeated> = Vec::new();
        loop {
            self.blanks(nested);
            let Some(element) = self.element()? else { return Ok(all) };
            let mut one = Repeated { element, least: 1, most: Some(1) };
            self.blanks(nested);
            while let Some((least, most)) = self.repetition()? {
                if (one.least, one.most) != (1, Some(1)) {
                    one = Repeated { element: Element::Group(vec![vec![one]]), least, most };
                } else {
                    (one.least, one.most) = (least, most);
                }
                self.blanks(nested);
            }
            all.push(one);
        }
    }

    fn element(&mut self) -> Parsed<Option<Element>> {
        let line = self.line;
        Ok(Some(match self.peek() {
            Some('"') => self.literal()?,
            Some('[') => self.class()?,
            Some('(') => {
                self.next();
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return self
                        .fail(format!("more than {MAX_DEPTH} parentheses within one another"));
                }
                self.blanks(true);
                let inner = self.alternatives(true)?;
                self.blanks(true);
                if !self.take(")") {
                    return self.fail(format!("expected `)`, found {}", self.found()));
                }
                self.depth -= 1;
                Element::Group(inner)
            }
            Some('.') => {
                self.next();
                Element::Class("(?s:.)".into())
            }
            Some('<' | '!') => self.token()?,
            Some(c) if c.is_ascii_alphanumeric() || c == '_' || c == '-' => {
                let name = self.name().unwrap_or_default();
                Element::Name { name, line }
            }
            _ => return Ok(None),
        }))
    }

    fn token(&mut self) -> Parsed<Element> {
        let not = self.take("!");
        if !self.take("<[") {
            return self.fail("a token is written by its number, as `<[1234]>`");
        }
        let begin = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        let id: String = self.chars[begin..self.at].iter().collect();
        match id.parse() {
            Ok(id) if self.take("]>") => Ok(Element::Token { id, not }),
            _ => self.fail("a token is written by its number, as `<[1234]>`"),
        }
    }

    /// A character of a literal or a class; `None` at `end`.
    fn character(&mut self, end: char) -> Parsed<Option<char>> {
        let Some(c) = self.next() else {
            return self.fail(format!("expected `{end}` before the end"));
        };
        if c == end {
            return Ok(None);
        }
        if c != '\\' {
            return Ok(Some(c));
        }
        let digits = match self.next() {
            Some('n') => return Ok(Some('\n')),
            Some('r') => return Ok(Some('\r')),
            Some('t') => return Ok(Some('\t')),
            Some(c @ ('"' | '[' | ']' | '\\' | '-' | '^' | '/')) => return Ok(Some(c)),
            Some('x') => 2,
            Some('u') => 4,
            Some('U') => 8,
            Some(c) => return self.fail(format!("unknown escape `\\{c}`")),
            None => return self.fail("expected a character after `\\`"),
        };
        let text: String = self.chars[self.at..].iter().take(digits).collect();
        let code = u32::from_str_radix(&text, 16)
            .ok()
            .filter(|_| text.len() == digits && !text.starts_with('+'));
        match code.map(char::from_u32) {
            None => self.fail(format!("expected {digits} hexadecimal digits")),
            Some(None) => self.fail(format!("`{text}` is no character")),
            Some(Some(c)) => {
                self.at += digits;
                Ok(Some(c))
            }
        }
    }

    fn literal(&mut self) -> Parsed<Element> {
        self.next();
        let mut text = String::new();
        while let Some(c) = self.character('"')? {
            text.push(c);
        }
        Ok(Element::Literal(text))
    }

    fn class(&mut self) -> Parsed<Element> {
        self.next();
        let not = self.take("^");
        let mut regex = String::from(if not { "[^" } else { "[" });
        let mut is_empty = true;
        while let Some(from) = self.character(']')? {
            is_empty = false;
            let _ = write!(regex, "\\x{{{:x}}}", from as u32);
            let ranges =
                self.peek() == Some('-') && self.chars.get(self.at + 1).is_some_and(|c| *c != ']');
            if ranges {
                self.next();
                match self.character(']')? {
                    Some(to) if from <= to => {
                        let _ = write!(regex, "-\\x{{{:x}}}", to as u32);
                    }
                    _ => return self.fail("a range ends before it begins"),
                }
            }
        }
        if is_empty {
            return self.fail("a class without characters");
        }
        regex.push(']');
        Ok(Element::Class(regex))
    }

    fn repetition(&mut self) -> Parsed<Option<(u32, Option<u32>)>> {
        let simple = match self.peek() {
            Some('*') => Some((0, None)),
            Some('+') => Some((1, None)),
            Some('?') => Some((0, Some(1))),
            Some('{') => None,
            _ => return Ok(None),
        };
        self.next();
        if simple.is_some() {
            return Ok(simple);
        }
        self.blanks(true);
        let least = self.number()?;
        self.blanks(true);
        let most = if self.take(",") {
            self.blanks(true);
            self.number()?
        } else {
            least
        };
        self.blanks(true);
        if !self.take("}") || least.is_none() && most.is_none() {
            return self.fail("a repetition is written as `{n}`, `{n,}`, `{,m}` or `{n,m}`");
        }
        let least = least.unwrap_or(0);
        if most.is_some_and(|most| most < least) {
            return self.fail("a repetition that ends before it begins");
        }
        Ok(Some((least, most)))
    }

    fn number(&mut self) -> Parsed<Option<u32>> {
        let begin = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        if begin == self.at {
            return Ok(None);
        }
        let text: String = self.chars[begin..self.at].iter().collect();
        match text.parse() {
            Ok(n) if n <= MAX_REPEAT => Ok(Some(n)),
            _ => self.fail(format!("more than {MAX_REPEAT} repetitions")),
        }
    }
}

/// That all names are rules, and that no rule begins with itself.
fn check(rules: &[Rule], places: &HashMap<String, usize>) -> Parsed<()> {
    for rule in rules {
        undefined(&rule.body, places)?;
    }
    // Rules that may be empty: until no more are found.
    let mut empty = BTreeSet::new();
    loop {
        let before = empty.len();
        for (i, rule) in rules.iter().enumerate() {
            if rule
                .body
                .iter()
                .any(|sequence| sequence.iter().all(|one| may_be_empty(one, places, &empty)))
            {
                empty.insert(i);
            }
        }
        if empty.len() == before {
            break;
        }
    }
    let firsts: Vec<BTreeSet<usize>> = rules
        .iter()
        .map(|rule| {
            let mut names = BTreeSet::new();
            first_names(&rule.body, places, &empty, &mut names);
            names
        })
        .collect();
    for (i, rule) in rules.iter().enumerate() {
        let mut seen = BTreeSet::new();
        let mut todo: Vec<usize> = firsts[i].iter().copied().collect();
        while let Some(next) = todo.pop() {
            if next == i {
                return Err(Error {
                    line: rule.line,
                    message: format!("the rule `{}` begins with itself", rule.name),
                });
            }
            if seen.insert(next) {
                todo.extend(&firsts[next]);
            }
        }
    }
    Ok(())
}

fn undefined(body: &Alternatives, places: &HashMap<String, usize>) -> Parsed<()> {
    for one in body.iter().flatten() {
        match &one.element {
            Element::Name { name, line } if !places.contains_key(name) => {
                return Err(Error { line: *line, message: format!("there is no rule `{name}`") });
            }
            Element::Group(inner) => undefined(inner, places)?,
            _ => {}
        }
    }
    Ok(())
}

fn may_be_empty(one: &Repeated, places: &HashMap<String, usize>, empty: &BTreeSet<usize>) -> bool {
    one.least == 0
        || match &one.element {
            Element::Literal(text) => text.is_empty(),
            Element::Class(_) | Element::Token { .. } => false,
            Element::Name { name, .. } => {
                places.get(name).is_some_and(|place| empty.contains(place))
            }
            Element::Group(inner) => inner
                .iter()
                .any(|sequence| sequence.iter().all(|one| may_be_empty(one, places, empty))),
        }
}

/// The rules that the alternatives can begin with.
fn first_names(
    body: &Alternatives,
    places: &HashMap<String, usize>,
    empty: &BTreeSet<usize>,
    names: &mut BTreeSet<usize>,
) {
    for sequence in body {
        for one in sequence {
            match &one.element {
                Element::Name { name, .. } => names.extend(places.get(name)),
                Element::Group(inner) => first_names(inner, places, empty, names),
                _ => {}
            }
            if !may_be_empty(one, places, empty) {
                break;
            }
        }
    }
}

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
