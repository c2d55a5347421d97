//! Calls whose arguments are another language's literals: Python's, as Llama 4 and LFM2 write them,
//! or Gemma's objects.

use super::End;
use super::buffer::{Buffer, Match, starts_with};
use super::call::{CallReader, Name, Names, Progress};
use super::format::Literal as Form;
use super::json::is_json;
use crate::chat::json_text::json_string;

/// Brackets that may be open at once.
const MAX_DEPTH: usize = 32;

/// The reader of such a call. The arguments come out when they are whole.
#[derive(Debug)]
pub(super) struct Literal {
    form: Form,
    names: Names,
    state: State,
}

#[derive(Debug)]
enum State {
    Prefix,
    Name(Name),
    /// In the brackets, where strings hold any text. `begin`: their place behind the mark.
    Arguments {
        name: String,
        begin: usize,
        depth: usize,
        quote: Option<&'static str>,
    },
}

impl Literal {
    pub(super) fn new(form: Form, names: Names) -> Self {
        Self { form, names, state: State::Prefix }
    }

    fn prefix(&self) -> &'static str {
        match self.form {
            Form::Python => "",
            Form::Quoted { prefix, .. } => prefix,
        }
    }
}

impl CallReader for Literal {
    fn read(&mut self, buffer: &mut Buffer) -> Progress {
        loop {
            match &mut self.state {
                State::Prefix => {
                    buffer.skip_blanks();
                    if buffer.rest().is_empty() {
                        return Progress::More;
                    }
                    match starts_with(buffer.rest(), self.prefix()) {
                        Match::Maybe => return Progress::More,
                        Match::No => return Progress::NoCall,
                        Match::Yes => buffer.skip(self.prefix().len()),
                    }
                    self.state = State::Name(Name::default());
                }
                State::Name(name) => {
                    let name = match name.read(buffer) {
                        None => return Progress::More,
                        Some(Some(name)) if self.names.admit(&name, buffer) => name,
                        Some(_) => return Progress::NoCall,
                    };
                    let bracket = if self.form == Form::Python { '(' } else { '{' };
                    if !buffer.rest().starts_with(bracket) {
                        return Progress::NoCall;
                    }
                    let begin = buffer.pending().len();
                    self.state = State::Arguments { name, begin, depth: 0, quote: None };
                }
                State::Arguments { name, begin, depth, quote } => {
                    match scan(self.form, buffer, depth, quote) {
                        Match::Maybe => return Progress::More,
                        Match::No => return Progress::NoCall,
                        Match::Yes => {}
                    }
                    let text = &buffer.pending()[*begin..];
                    let Some(arguments) = Reader::new(self.form, text).call() else {
                        return Progress::NoCall;
                    };
                    buffer.framing_to(*begin);
                    buffer.call(name);
                    buffer.arguments(&arguments);
                    buffer.value_to(buffer.pending().len());
                    buffer.end();
                    return Progress::Ended { closed: false };
                }
            }
        }
    }

    fn finish(&mut self, buffer: &mut Buffer, _: End) -> Progress {
        let State::Arguments { name, begin, .. } = &self.state else { return Progress::NoCall };
        let begin = *begin;
        buffer.skip_all();
        buffer.framing_to(begin);
        buffer.call(name);
        buffer.value_to(buffer.pending().len());
        buffer.cut();
        Progress::Broken
    }
}

/// Looks for the closing bracket. `quote` is open, if any.
fn scan(
    form: Form,
    buffer: &mut Buffer,
    depth: &mut usize,
    quote: &mut Option<&'static str>,
) -> Match {
    let opening: &[&'static str] = match form {
        Form::Python => &["'", "\""],
        Form::Quoted { quote: "<escape>", .. } => &["<escape>"],
        Form::Quoted { .. } => &["<|\"|>"],
    };
    let mut used = 0;
    let mut found = Match::Maybe;
    let text = buffer.rest();
    while let Some(&byte) = text.as_bytes().get(used) {
        if let Some(open) = *quote {
            if form == Form::Python && byte == b'\\' {
                // The escaped character may be longer than a byte: what follows is no quote.
                if used + 1 >= text.len() {
                    break;
                }
                used += 2;
                continue;
            }
            if byte == open.as_bytes()[0] {
                match starts_with(&text[used..], open) {
                    Match::Yes => {
                        *quote = None;
                        used += open.len();
                        continue;
                    }
                    Match::Maybe => break,
                    Match::No => {}
                }
            }
            used += 1;
            continue;
        }
        let tag = opening.iter().find(|tag| tag.as_bytes()[0] == byte);
        if let Some(tag) = tag {
            match starts_with(&text[used..], tag) {
                Match::Yes => {
                    *quote = Some(tag);
                    used += tag.len();
                    continue;
                }
                Match::Maybe => break,
                Match::No => {}
            }
        }
        used += 1;
        match byte {
            b'(' | b'[' | b'{' if *depth >= MAX_DEPTH => return Match::No,
            b'(' | b'[' | b'{' => *depth += 1,
            b')' | b']' | b'}' => *depth = depth.saturating_sub(1),
            _ => {}
        }
        if *depth == 0 {
            found = Match::Yes;
            break;
        }
    }
    // An escaped character's other bytes belong to it.
    while !text.is_char_boundary(used) {
        used += 1;
    }
    buffer.skip(used);
    found
}

/// Translates literals to JSON.
struct Reader<'a> {
    form: Form,
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn new(form: Form, rest: &'a str) -> Self {
        Self { form, rest }
    }

    /// The arguments of a call with their brackets.
    fn call(mut self) -> Option<String> {
        let (open, close, colon) = match self.form {
            Form::Python => ('(', ')', '='),
            Form::Quoted { .. } => ('{', '}', ':'),
        };
        let object = self.members(open, close, colon)?;
        self.rest.is_empty().then_some(object)
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, c: char) -> Option<()> {
        self.blanks();
        self.rest = self.rest.strip_prefix(c)?;
        Some(())
    }

    fn members(&mut self, open: char, close: char, colon: char) -> Option<String> {
        self.take(open)?;
        let mut out = String::from("{");
        let mut keys: Vec<String> = Vec::new();
        while self.take(close).is_none() {
            if !keys.is_empty() {
                self.take(',')?;
                // A comma may precede the end.
                if self.take(close).is_some() {
                    break;
                }
            }
            let key = self.key(colon)?;
            self.take(colon)?;
            let value = self.value()?;
            // One key twice is a fault; the first counts, as in other formats.
            if !keys.contains(&key) {
                out.push_str(if keys.is_empty() { "" } else { ", " });
                out.push_str(&format!("{key}: {value}"));
                keys.push(key);
            }
        }
        out.push('}');
        Some(out)
    }

    /// A key as a JSON string.
    fn key(&mut self, colon: char) -> Option<String> {
        self.blanks();
        if let Some(text) = self.string() {
            return Some(json_string(&text));
        }
        let end = self.rest.find([colon, ',', '(', ')', '{', '}', '[', ']', '\n'])?;
        let (key, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!key.trim().is_empty()).then(|| json_string(key.trim()))
    }

    fn value(&mut self) -> Option<String> {
        self.blanks();
        if let Some(text) = self.string() {
            return Some(json_string(&text));
        }
        match self.rest.chars().next()? {
            '{' => self.members('{', '}', ':'),
            '[' => self.items('[', ']'),
            '(' => self.items('(', ')'),
            _ => {
                let end = self.rest.find([',', ')', ']', '}']).unwrap_or(self.rest.len());
                let (word, rest) = self.rest.split_at(end);
                self.rest = rest;
                match word.trim() {
                    "True" => Some("true".to_owned()),
                    "False" => Some("false".to_owned()),
                    "None" => Some("null".to_owned()),
                    word if is_json(word) => Some(word.to_owned()),
                    _ => None,
                }
            }
        }
    }

    fn items(&mut self, open: char, close: char) -> Option<String> {
        self.take(open)?;
        let mut items = Vec::new();
        while self.take(close).is_none() {
            if !items.is_empty() {
                self.take(',')?;
                if self.take(close).is_some() {
                    break;
                }
            }
            items.push(self.value()?);
        }
        Some(format!("[{}]", items.join(", ")))
    }

    /// A string's text, if one comes next.
    fn string(&mut self) -> Option<String> {
        if let Form::Quoted { quote, .. } = self.form {
            let (text, rest) = self.rest.strip_prefix(quote)?.split_once(quote)?;
            self.rest = rest;
            return Some(text.to_owned());
        }
        let quote = self.rest.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let mut out = String::new();
        let mut chars = self.rest[1..].chars();
        loop {
            match chars.next()? {
                '\\' => escape(&mut chars, &mut out)?,
                c if c == quote => break,
                c => out.push(c),
            }
        }
        self.rest = chars.as_str();
        Some(out)
    }
}

/// What a backslash and `chars` stand for in Python.
fn escape(chars: &mut std::str::Chars<'_>, out: &mut String) -> Option<()> {
    let code = |chars: &mut std::str::Chars<'_>, length: usize| {
        let digits = chars.as_str().get(..length)?;
        let code = u32::from_str_radix(digits, 16).ok()?;
        *chars = chars.as_str()[length..].chars();
        Some(code)
    };
    match chars.next()? {
        'n' => out.push('\n'),
        't' => out.push('\t'),
        'r' => out.push('\r'),
        'b' => out.push('\u{8}'),
        'f' => out.push('\u{c}'),
        c @ ('\\' | '\'' | '"') => out.push(c),
        '\n' => {}
        'x' => out.push(char::from_u32(code(chars, 2)?)?),
        'u' => {
            let high = code(chars, 4)?;
            if (0xd800..0xdc00).contains(&high) {
                let mut low = chars.as_str().strip_prefix("\\u")?.chars();
                let pair = [high as u16, code(&mut low, 4)? as u16];
                out.push_str(&String::from_utf16(&pair).ok()?);
                *chars = low;
            } else {
                out.push(char::from_u32(high)?);
            }
        }
        // Python keeps what it does not know.
        c => out.extend(['\\', c]),
    }
    Some(())
}
