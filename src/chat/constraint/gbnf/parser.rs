//! Reads the rules of a GBNF.

use std::fmt::Write;

use super::{Alternatives, Element, Error, MAX_DEPTH, MAX_REPEAT, Parsed, Repeated, Rule};

pub(super) struct Parser {
    chars: Vec<char>,
    at: usize,
    line: usize,
    depth: usize,
}

impl Parser {
    pub(super) fn new(text: &str) -> Self {
        Self { chars: text.chars().collect(), at: 0, line: 1, depth: 0 }
    }

    fn fail<T>(&self, message: impl Into<String>) -> Parsed<T> {
        Err(Error { line: self.line, message: message.into() })
    }

    pub(super) fn peek(&self) -> Option<char> {
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
    pub(super) fn blanks(&mut self, breaks: bool) {
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

    pub(super) fn rule(&mut self) -> Parsed<Rule> {
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
