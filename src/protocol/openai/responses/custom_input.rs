//! The input of a custom tool, which the model says as the argument `input` of a function.

use serde_json::Value;

/// The parameter that holds the input.
pub(super) const PARAMETER: &str = "input";

/// Reads a call's arguments, which come in pieces, as the text that they hold.
#[derive(Debug, Clone, Default)]
pub(super) struct CustomInput {
    /// All pieces so far.
    arguments: String,
    /// Bytes of `arguments` that are read.
    read: usize,
    state: State,
    text: String,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Ahead of the text.
    #[default]
    Before,
    Within,
    Behind,
    /// The arguments have another form, which is read when they are whole.
    Other,
}

impl CustomInput {
    /// The text that a piece adds.
    pub(super) fn push(&mut self, piece: &str) -> &str {
        let before = self.text.len();
        self.arguments.push_str(piece);
        if self.state == State::Before {
            match opening(&self.arguments) {
                Opening::Ends(at) => (self.read, self.state) = (at, State::Within),
                Opening::GoesOn => {}
                Opening::IsAnother => self.state = State::Other,
            }
        }
        while self.state == State::Within && self.read < self.arguments.len() {
            let rest = &self.arguments[self.read..];
            let plain = rest.find(['"', '\\']).unwrap_or(rest.len());
            self.text.push_str(&rest[..plain]);
            self.read += plain;
            match rest[plain..].chars().next() {
                Some('"') => self.state = State::Behind,
                Some(_) => match escape(&rest[plain..]) {
                    Some((c, len)) => {
                        self.text.push(c);
                        self.read += len;
                    }
                    None => break,
                },
                None => {}
            }
        }
        &self.text[before..]
    }

    /// The whole input, and how many bytes of it were given out before; of arguments in another form,
    /// the arguments.
    pub(super) fn finish(mut self) -> (String, usize) {
        let given = self.text.len();
        if matches!(self.state, State::Before | State::Other) {
            let input = serde_json::from_str(&self.arguments).ok().and_then(|value: Value| {
                value.as_object()?.get(PARAMETER)?.as_str().map(str::to_owned)
            });
            self.text = match self.state {
                // Cut before the text began: nothing of it is there.
                State::Before => input.unwrap_or_default(),
                _ => input.unwrap_or(self.arguments),
            };
        }
        (self.text, given)
    }
}

enum Opening {
    /// The text begins at this byte.
    Ends(usize),
    GoesOn,
    IsAnother,
}

/// `{"input": "`, with any white space.
fn opening(arguments: &str) -> Opening {
    let mut rest = arguments;
    for part in ["{", "\"input\"", ":", "\""] {
        rest = rest.trim_ascii_start();
        match rest.strip_prefix(part) {
            Some(after) => rest = after,
            None if part.starts_with(rest) => return Opening::GoesOn,
            None => return Opening::IsAnother,
        }
    }
    Opening::Ends(arguments.len() - rest.len())
}

/// The character that `text` begins with an escape of, and the escape's length; `None`: it goes on.
fn escape(text: &str) -> Option<(char, usize)> {
    let c = match text[1..].chars().next()? {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'u' => return unicode(text),
        c => return Some((c, 1 + c.len_utf8())),
    };
    Some((c, 2))
}

/// `\u00e9`, or two of them for a character beyond the first plane. Halves become U+FFFD.
fn unicode(text: &str) -> Option<(char, usize)> {
    let unit = |at: usize| {
        let digits = text.as_bytes().get(at..at + 6)?.strip_prefix(b"\\u")?;
        Some(u16::from_str_radix(std::str::from_utf8(digits).unwrap_or_default(), 16).ok())
    };
    let Some(first) = unit(0)? else { return Some((char::REPLACEMENT_CHARACTER, 2)) };
    let second = match first {
        // What may become its other half must have come.
        0xd800..=0xdbff if "\\u".starts_with(&text[6..]) => return None,
        0xd800..=0xdbff if text[6..].starts_with("\\u") => unit(6)?,
        _ => None,
    };
    let both = [first, second.unwrap_or_default()];
    match char::decode_utf16(both).next() {
        Some(Ok(c)) => Some((c, 6 * c.len_utf16())),
        _ => Some((char::REPLACEMENT_CHARACTER, 6)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(pieces: &[&str]) -> String {
        let mut input = CustomInput::default();
        let given: String = pieces.iter().map(|piece| input.push(piece).to_owned()).collect();
        let (whole, n) = input.finish();
        assert_eq!((whole.get(..n), n), (Some(given.as_str()), given.len()));
        whole
    }

    #[test]
    fn the_input_is_the_parameters_text_and_of_other_forms_all_of_it() {
        assert_eq!(read(&["{\"inp", "ut\": \"a\\n", "b\"}"]), "a\nb");
        assert_eq!(read(&[" { \"input\" : \"\\ud83d", "\\ude00\\u00e9\\\"\" }"]), "😀é\"");
        assert_eq!(read(&["{\"input\":\"\\ud83dx\\u", "00e9"]), "\u{fffd}xé");
        assert_eq!(read(&["{\"input\":\"cut \\"]), "cut ");
        assert_eq!(read(&["{\"x\": 1, \"input\": \"late\"}"]), "late");
        assert_eq!(read(&["{\"patch\": \"x\"}"]), "{\"patch\": \"x\"}");
        assert_eq!(read(&["{\"input\": 5}"]), "{\"input\": 5}");
        assert_eq!(read(&["plain"]), "plain");
        assert_eq!(read(&[]), "");
        for cut in ["{", "{\"inp", "{\"input\": "] {
            assert_eq!(read(&[cut]), "");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_however_it_is_cut(text in any::<String>(), cuts in prop::collection::vec(1usize..9, 0..40)) {
            let arguments = json!({"input": text}).to_string();
            let (mut pieces, mut rest) = (Vec::new(), arguments.as_str());
            for cut in cuts {
                let end = (cut..=rest.len()).find(|&end| rest.is_char_boundary(end));
                let Some(end) = end else { break };
                pieces.push(&rest[..end]);
                rest = &rest[end..];
            }
            pieces.push(rest);
            prop_assert_eq!(read(&pieces), text);
        }

        #[test]
        fn nothing_panics(pieces in prop::collection::vec("[\\\\\"u{}input:0-9d8é ]{0,9}", 0..20)) {
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            read(&[&["{\"input\":\""], pieces.as_slice()].concat());
            read(&pieces);
        }
    }
}
