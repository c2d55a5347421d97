//! JSON text as it comes, one byte at a time: whether it still is JSON, and where its values begin
//! and end.

use crate::chat::json_text::json_string;

/// Brackets that may be open at once.
const MAX_DEPTH: usize = 128;

/// What the last byte did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// More may follow.
    Going,
    /// The byte was the last of the value.
    Done,
    /// The value ended before this byte, which is not its own (numbers only).
    Before,
    /// No JSON begins like this.
    Wrong,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Value,
    ValueOrEnd,
    KeyOrEnd,
    Key,
    Colon,
    CommaOrEnd,
    Str {
        key: bool,
    },
    Escape {
        key: bool,
    },
    /// `low`: the second half of a surrogate pair must come.
    Hex {
        key: bool,
        left: u8,
        code: u32,
        low: bool,
    },
    LowEscape {
        key: bool,
    },
    LowU {
        key: bool,
    },
    Literal {
        rest: &'static [u8],
    },
    Minus,
    Zero,
    Int,
    Dot,
    Fraction,
    E,
    ESign,
    Exponent,
}

/// A validator of one value: a byte for each open bracket, and a state. Halves of surrogate pairs
/// must be whole pairs, as serde_json and clients demand.
#[derive(Debug, Clone)]
pub(super) struct Json {
    stack: Vec<u8>,
    at: At,
}

pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

/// Whether all of `text` is one JSON value.
pub(super) fn is_json(text: &str) -> bool {
    let mut json = Json::new();
    let text = text.trim_matches(|c: char| c.is_ascii() && is_blank(c as u8));
    for (i, byte) in text.bytes().enumerate() {
        match json.push(byte) {
            Step::Going => {}
            Step::Done => return i + 1 == text.len(),
            Step::Before | Step::Wrong => return false,
        }
    }
    // A number ends with the text.
    json.push(b' ') == Step::Before
}

/// Whether all of `text` is the beginning of a JSON value, or a whole one.
pub(super) fn begins_json(text: &str) -> bool {
    let mut json = Json::new();
    let mut is_done = false;
    text.bytes().all(|byte| {
        let step = if is_done { Step::Wrong } else { json.push(byte) };
        is_done = step == Step::Done;
        matches!(step, Step::Going | Step::Done)
    })
}

/// Whether all of `text` is one JSON object.
pub(super) fn is_object(text: &str) -> bool {
    text.trim_start().starts_with('{') && is_json(text)
}

/// `text` as it stands between the quotes of a JSON string.
pub(super) fn escaped(text: &str) -> String {
    let quoted = json_string(text);
    quoted[1..quoted.len() - 1].to_owned()
}

impl Json {
    pub(super) fn new() -> Self {
        Self { stack: Vec::new(), at: At::Value }
    }

    pub(super) fn depth(&self) -> usize {
        self.stack.len()
    }

    /// Whether the text so far ends inside a string.
    pub(super) fn in_string(&self) -> bool {
        matches!(self.at, At::Str { .. }) || self.in_escape()
    }

    /// Whether the text so far ends inside an escape or between the halves of a surrogate pair.
    pub(super) fn in_escape(&self) -> bool {
        matches!(
            self.at,
            At::Escape { .. } | At::Hex { .. } | At::LowEscape { .. } | At::LowU { .. }
        )
    }

    /// Whether a value (no key, no bracket) is expected next.
    pub(super) fn expects_value(&self) -> bool {
        matches!(self.at, At::Value | At::ValueOrEnd)
    }

    /// Whether a key is expected next.
    pub(super) fn expects_key(&self) -> bool {
        matches!(self.at, At::Key | At::KeyOrEnd)
    }

    /// Whether a value of an object or list is whole, and a comma or bracket expected.
    pub(super) fn is_behind_value(&self) -> bool {
        self.at == At::CommaOrEnd
    }

    /// Whether a key is whole, and a colon expected.
    pub(super) fn is_behind_key(&self) -> bool {
        self.at == At::Colon
    }

    fn ended(&mut self) -> Step {
        if self.stack.is_empty() {
            return Step::Done;
        }
        self.at = At::CommaOrEnd;
        Step::Going
    }

    fn open(&mut self, bracket: u8, at: At) -> Step {
        if self.stack.len() >= MAX_DEPTH {
            return Step::Wrong;
        }
        self.stack.push(bracket);
        self.go(at)
    }

    fn close(&mut self, bracket: u8) -> Step {
        if self.stack.pop() == Some(bracket) { self.ended() } else { Step::Wrong }
    }

    fn number_ended(&mut self, byte: u8) -> Step {
        if self.stack.is_empty() {
            return Step::Before;
        }
        self.at = At::CommaOrEnd;
        self.push(byte)
    }

    fn go(&mut self, at: At) -> Step {
        self.at = at;
        Step::Going
    }

    pub(super) fn push(&mut self, byte: u8) -> Step {
        match self.at {
            At::Value | At::ValueOrEnd | At::KeyOrEnd | At::Key | At::Colon | At::CommaOrEnd
                if is_blank(byte) =>
            {
                Step::Going
            }
            At::ValueOrEnd if byte == b']' => self.close(b'['),
            At::Value | At::ValueOrEnd => self.value(byte),
            At::KeyOrEnd if byte == b'}' => self.close(b'{'),
            At::KeyOrEnd | At::Key if byte == b'"' => self.go(At::Str { key: true }),
            At::KeyOrEnd | At::Key => Step::Wrong,
            At::Colon if byte == b':' => self.go(At::Value),
            At::Colon => Step::Wrong,
            At::CommaOrEnd => match (byte, self.stack.last()) {
                (b',', Some(b'{')) => self.go(At::Key),
                (b',', Some(_)) => self.go(At::Value),
                (b'}', _) => self.close(b'{'),
                (b']', _) => self.close(b'['),
                _ => Step::Wrong,
            },
            At::Str { .. }
            | At::Escape { .. }
            | At::Hex { .. }
            | At::LowEscape { .. }
            | At::LowU { .. } => self.string(byte),
            At::Literal { rest } => match rest.split_first() {
                Some((&want, [])) if want == byte => self.ended(),
                Some((&want, rest)) if want == byte => self.go(At::Literal { rest }),
                _ => Step::Wrong,
            },
            _ => self.number(byte),
        }
    }

    fn value(&mut self, byte: u8) -> Step {
        match byte {
            b'{' => self.open(b'{', At::KeyOrEnd),
            b'[' => self.open(b'[', At::ValueOrEnd),
            b'"' => self.go(At::Str { key: false }),
            b't' => self.go(At::Literal { rest: b"rue" }),
            b'f' => self.go(At::Literal { rest: b"alse" }),
            b'n' => self.go(At::Literal { rest: b"ull" }),
            b'-' => self.go(At::Minus),
            b'0' => self.go(At::Zero),
            b'1'..=b'9' => self.go(At::Int),
            _ => Step::Wrong,
        }
    }

    fn string(&mut self, byte: u8) -> Step {
        match self.at {
            At::Str { key } => match byte {
                b'"' if key => self.go(At::Colon),
                b'"' => self.ended(),
                b'\\' => self.go(At::Escape { key }),
                0..=0x1f => Step::Wrong,
                _ => Step::Going,
            },
            At::Escape { key } => match byte {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.go(At::Str { key }),
                b'u' => self.go(At::Hex { key, left: 4, code: 0, low: false }),
                _ => Step::Wrong,
            },
            At::Hex { key, left, code, low } => {
                let Some(digit) = char::from(byte).to_digit(16) else { return Step::Wrong };
                let code = code << 4 | digit;
                match (left, code, low) {
                    (2.., ..) => self.go(At::Hex { key, left: left - 1, code, low }),
                    (_, 0xdc00..=0xdfff, true) => self.go(At::Str { key }),
                    (_, 0xd800..=0xdbff, false) => self.go(At::LowEscape { key }),
                    (_, 0xdc00..=0xdfff, false) | (_, _, true) => Step::Wrong,
                    _ => self.go(At::Str { key }),
                }
            }
            At::LowEscape { key } if byte == b'\\' => self.go(At::LowU { key }),
            At::LowU { key } if byte == b'u' => {
                self.go(At::Hex { key, left: 4, code: 0, low: true })
            }
            _ => Step::Wrong,
        }
    }

    fn number(&mut self, byte: u8) -> Step {
        match self.at {
            At::Minus => match byte {
                b'0' => self.go(At::Zero),
                b'1'..=b'9' => self.go(At::Int),
                _ => Step::Wrong,
            },
            At::Zero | At::Int => match byte {
                b'0'..=b'9' if self.at == At::Int => Step::Going,
                b'.' => self.go(At::Dot),
                b'e' | b'E' => self.go(At::E),
                _ => self.number_ended(byte),
            },
            At::Dot | At::E | At::ESign => match byte {
                b'0'..=b'9' if self.at == At::Dot => self.go(At::Fraction),
                b'0'..=b'9' => self.go(At::Exponent),
                b'+' | b'-' if self.at == At::E => self.go(At::ESign),
                _ => Step::Wrong,
            },
            At::Fraction | At::Exponent => match byte {
                b'0'..=b'9' => Step::Going,
                b'e' | b'E' if self.at == At::Fraction => self.go(At::E),
                _ => self.number_ended(byte),
            },
            _ => Step::Wrong,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn texts_are_json_where_serde_json_says_so() {
        let good = [
            "{}",
            " [1, -0, 1.5e+3, 9007199254740993] ",
            "\"a\\u00e9\\ud83e\\udd80\"",
            "null",
            "-1",
            "0",
            "{\"a\": {\"b\": [true, false]}}",
            "\"\u{7f}é\"",
        ];
        let bad = [
            "",
            " ",
            "{",
            "{\"a\"}",
            "[1,]",
            "01",
            "1.",
            "-",
            "tru",
            "\"\\ud83e\"",
            "\"\\udd80\"",
            "\"\\ud83e\\u0041\"",
            "\"\n\"",
            "{} x",
            "nul",
            "1 2",
            "{'a': 1}",
        ];
        for text in good.iter().chain(&bad) {
            let known = serde_json::from_str::<serde_json::Value>(text).is_ok();
            assert_eq!(known, good.contains(text), "{text}");
            assert_eq!(is_json(text), known, "{text}");
        }
        assert!(!is_json(&"[".repeat(200)));
    }

    #[test]
    fn strings_are_escaped_as_serde_json_escapes_them() {
        let text: String =
            (0..0x120).filter_map(char::from_u32).chain("🦀\u{2028}".chars()).collect();
        assert_eq!(json_string(&text), serde_json::to_string(&text).unwrap());
    }
}
