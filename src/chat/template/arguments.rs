//! The arguments of calls in a history: JSON as models write it, read so that nothing is lost.

use serde_json::{Map, Value};

use super::values::{number, number_length};

/// Deeper arguments are taken for text.
const MAX_DEPTH: usize = 100;

/// The object in `text`, if it is one by Python's rules: `NaN` and `Infinity` are numbers, strings
/// may have line breaks. Numbers keep their digits, and halves of characters become U+FFFD.
pub(super) fn object(text: &str) -> Option<Value> {
    let mut reader = Reader { rest: text };
    reader.space();
    let value = reader.value(0).filter(Value::is_object)?;
    reader.space();
    reader.rest.is_empty().then_some(value)
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn take(&mut self, token: &str) -> bool {
        let after = self.rest.strip_prefix(token);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        match self.rest.as_bytes().first()? {
            b'{' => self.fields(depth),
            b'[' => self.items(depth),
            b'"' => self.string().map(Value::String),
            _ => {
                for (word, value) in
                    [("true", true.into()), ("false", false.into()), ("null", Value::Null)]
                {
                    if self.take(word) {
                        return Some(value);
                    }
                }
                for word in ["NaN", "Infinity", "-Infinity"] {
                    if self.take(word) {
                        return Some(number(word));
                    }
                }
                let (literal, rest) = self.rest.split_at(number_length(self.rest)?);
                self.rest = rest;
                Some(number(literal))
            }
        }
    }

    fn fields(&mut self, depth: usize) -> Option<Value> {
        let mut fields = Map::new();
        self.take("{");
        self.space();
        if self.take("}") {
            return Some(fields.into());
        }
        loop {
            self.space();
            let key = self.string()?;
            self.space();
            if !self.take(":") {
                return None;
            }
            self.space();
            let value = self.value(depth + 1)?;
            fields.insert(key, value);
            self.space();
            if self.take("}") {
                return Some(fields.into());
            }
            if !self.take(",") {
                return None;
            }
        }
    }

    fn items(&mut self, depth: usize) -> Option<Value> {
        let mut items = Vec::new();
        self.take("[");
        self.space();
        if self.take("]") {
            return Some(items.into());
        }
        loop {
            self.space();
            items.push(self.value(depth + 1)?);
            self.space();
            if self.take("]") {
                return Some(items.into());
            }
            if !self.take(",") {
                return None;
            }
        }
    }

    fn string(&mut self) -> Option<String> {
        self.rest = self.rest.strip_prefix('"')?;
        let mut out = String::new();
        loop {
            let at = self.rest.find(['"', '\\'])?;
            out.push_str(&self.rest[..at]);
            let is_end = self.rest[at..].starts_with('"');
            self.rest = &self.rest[at + 1..];
            if is_end {
                return Some(out);
            }
            let escape = self.rest.chars().next()?;
            self.rest = &self.rest[escape.len_utf8()..];
            out.push(match escape {
                '"' | '\\' | '/' => escape,
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'u' => self.escaped()?,
                _ => return None,
            });
        }
    }

    /// The character behind `\u`.
    fn escaped(&mut self) -> Option<char> {
        let unit = |text: &str| {
            let digits = text.get(..4).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
            u16::from_str_radix(digits, 16).ok()
        };
        let first = unit(self.rest)?;
        self.rest = &self.rest[4..];
        let second = self.rest.strip_prefix("\\u").and_then(unit);
        let pair = second.and_then(|second| {
            let both = char::decode_utf16([first, second]).next()?.ok()?;
            (both.len_utf16() == 2).then_some(both)
        });
        if pair.is_some() {
            self.rest = &self.rest[6..];
        }
        Some(pair.or(char::from_u32(first.into())).unwrap_or(char::REPLACEMENT_CHARACTER))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_python_reads_is_read() {
        for (text, value) in [
            ("{}", json!({})),
            (
                " {\"a\" : [1, -2.5, true, null, \"\\u00e9\\n\"]} ",
                json!({"a": [1, -2.5, true, null, "é\n"]}),
            ),
            (
                r#"{"h": "\ud83d", "k": "\ud83d\ude00\ude00x"}"#,
                json!({"h": "\u{fffd}", "k": "😀\u{fffd}x"}),
            ),
            ("{\"a\": \"line\nbreak\"}", json!({"a": "line\nbreak"})),
            (r#"{"a": 1, "b": {}, "a": -0}"#, json!({"a": 0, "b": {}})),
        ] {
            assert_eq!(object(text), Some(value), "{text}");
        }
    }

    #[test]
    fn what_is_no_object_is_none() {
        let deep = "[".repeat(100_000);
        for text in [
            "",
            "5",
            "[1]",
            "{\"a\": 1",
            "{\"a\" 1}",
            "{a: 1}",
            "{\"a\": 01}",
            "{\"a\": 1.}",
            "{\"a\": 1e}",
            "{\"a\": \"\\x\"}",
            "{\"a\": \"\\u12\"}",
            "{\"a\": 1,}",
            "{} x",
            "{\"a\": -}",
            &format!("{{\"a\": {deep}"),
        ] {
            assert_eq!(object(text), None, "{text:.20}");
        }
    }

    proptest::proptest! {
        #[test]
        fn all_that_serde_reads_is_read_alike(text in r#"\{("[ab]":(-?[1-9][0-9]{0,3}|"(\\n|é|\\u00e9|a)*"|\[\]|\{\}|null),){0,4}"c":1\}"#) {
            let expected: Option<Value> = serde_json::from_str(&text).ok();
            proptest::prop_assert_eq!(object(&text), expected);
        }
    }
}
