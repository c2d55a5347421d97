//! Characters that a vocabulary cannot spell.
//!
//! SentencePiece vocabularies have a token for every byte, for what they know no token of. One
//! that was made without them has llama.cpp throw at such a character, past all C, which ends the
//! process.

use std::collections::HashSet;

/// What a vocabulary without all byte tokens can spell.
#[derive(Debug)]
pub(super) struct Spelling {
    chars: HashSet<char>,
    bytes: HashSet<u8>,
}

impl Spelling {
    /// `texts` are those of all tokens; `None`: there is a token for every byte.
    pub(super) fn new(texts: impl IntoIterator<Item = impl AsRef<str>>) -> Option<Self> {
        let mut spelling = Self { chars: HashSet::new(), bytes: HashSet::new() };
        for text in texts {
            let text = text.as_ref();
            let mut chars = text.chars();
            match (chars.next(), chars.next()) {
                (Some(c), None) => drop(spelling.chars.insert(c)),
                _ => spelling.bytes.extend(byte(text)),
            }
        }
        (spelling.bytes.len() < 256).then_some(spelling)
    }

    pub(super) fn has(&self, c: char) -> bool {
        // Spaces are spelt so.
        let c = if c == ' ' { '\u{2581}' } else { c };
        let mut utf8 = [0; 4];
        self.chars.contains(&c)
            || c.encode_utf8(&mut utf8).bytes().all(|byte| self.bytes.contains(&byte))
    }
}

/// The byte of a token such as `<0x0A>`; llama.cpp looks for capital digits.
fn byte(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    let is_digit = |c: u8| c.is_ascii_digit() || (b'A'..=b'F').contains(&c);
    (digits.len() == 2 && digits.bytes().all(is_digit))
        .then(|| u8::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_all_bytes_everything_can_be_spelt() {
        let bytes: Vec<String> = (0..=255).map(|byte| format!("<0x{byte:02X}>")).collect();
        assert!(Spelling::new(&bytes).is_none());
        let spelling = Spelling::new(&bytes[..128]).unwrap();
        assert!(spelling.has('a') && spelling.has('\n') && !spelling.has('é'));
    }

    #[test]
    fn without_bytes_only_tokens_of_one_character_can() {
        let spelling = Spelling::new(["a", "bc", "é", "\u{2581}", "<0xc3>", "<0x1>"]).unwrap();
        assert!(spelling.has('a') && spelling.has('é') && spelling.has(' '));
        assert!(!spelling.has('b') && !spelling.has('\n') && !spelling.has('ü'));
    }
}
