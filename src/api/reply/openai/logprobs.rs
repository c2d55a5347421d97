//! Log probabilities of tokens, in the chat API's shape and in the legacy one.

use crate::engine::{OutputToken, TextAssembler, Token, TokenLogprobs, Vocabulary};
use crate::protocol::openai::{
    Alternatives, ChatLogprobs, ChatTokenLogprob, TextLogprobs, TokenLogprob,
};

/// OpenAI's number for "practically impossible"; JSON has no infinity.
const MIN_LOGPROB: f32 = -9999.0;

/// The chat API's shape: every token, also those that hold a part of a character.
pub(in crate::api::reply) fn chat(vocabulary: &Vocabulary, tokens: &[OutputToken]) -> ChatLogprobs {
    let one = |id: Token, logprob: f32| {
        let bytes = vocabulary.piece(id, true);
        TokenLogprob {
            id,
            token: String::from_utf8_lossy(&bytes).into_owned(),
            bytes,
            logprob: finite(logprob),
        }
    };
    let content = tokens
        .iter()
        .filter_map(|token| {
            let logprobs = token.logprobs.as_ref()?;
            Some(ChatTokenLogprob {
                token: one(token.id, logprobs.logprob),
                top_logprobs: logprobs.top.iter().map(|&(id, p)| one(id, p)).collect(),
            })
        })
        .collect();
    ChatLogprobs { content }
}

/// Builds the legacy shape's columns, whose offsets run through all chunks of a choice.
#[derive(Debug)]
pub(in crate::api) struct TextColumns {
    /// Whether alternatives were asked for.
    alternatives: bool,
    /// Characters of the choice's text so far.
    offset: u64,
    /// Makes the text of generated tokens as the engine does, to count its characters.
    output: TextAssembler<()>,
}

impl TextColumns {
    pub(super) fn new(alternatives: bool) -> Self {
        Self { alternatives, offset: 0, output: TextAssembler::new(Vec::new()) }
    }

    /// The columns of generated tokens.
    pub(super) fn output(
        &mut self,
        vocabulary: &Vocabulary,
        tokens: &[OutputToken],
    ) -> TextLogprobs {
        let mut columns = TextLogprobs::default();
        for token in tokens {
            let piece = vocabulary.piece(token.id, true);
            self.push(&mut columns, vocabulary, &piece, token.logprobs.as_ref());
            // Control tokens are not in the text.
            let visible = vocabulary.piece(token.id, false);
            self.offset += characters(&self.output.push((), &visible).text);
        }
        columns
    }

    /// The columns of a prompt, of whose first tokens `added` are not in its text. The choice's
    /// `text` begins with it.
    pub(super) fn prompt(
        &mut self,
        vocabulary: &Vocabulary,
        tokens: &[(Token, Option<TokenLogprobs>)],
        added: usize,
        text: &str,
    ) -> TextLogprobs {
        let mut columns = TextLogprobs::default();
        let mut rest = text.as_bytes();
        let mut decoder = TextAssembler::new(Vec::new());
        for (i, (id, logprobs)) in tokens.iter().enumerate() {
            let piece = vocabulary.piece(*id, true);
            self.push(&mut columns, vocabulary, &piece, logprobs.as_ref());
            if i >= added {
                // Some vocabularies put a space in front that is not in the text.
                let seen = match piece.strip_prefix(b" ") {
                    Some(bare) if !rest.starts_with(&piece) && rest.starts_with(bare) => bare,
                    _ => piece.as_slice(),
                };
                let decoded = decoder.push((), seen).text;
                self.offset += characters(&decoded);
                rest = rest.get(decoded.len()..).unwrap_or_default();
            }
        }
        self.offset += characters(&decoder.finish().text);
        columns
    }

    fn push(
        &self,
        columns: &mut TextLogprobs,
        vocabulary: &Vocabulary,
        piece: &[u8],
        logprobs: Option<&TokenLogprobs>,
    ) {
        let token = legacy_text(piece);
        let alternatives = logprobs.filter(|_| self.alternatives).map(|l| {
            let mut all: Vec<_> = l
                .top
                .iter()
                .map(|&(id, p)| (legacy_text(&vocabulary.piece(id, true)), finite(p)))
                .collect();
            if all.iter().all(|(text, _)| *text != token) {
                all.push((token.clone(), finite(l.logprob)));
            }
            Alternatives(all)
        });
        columns.tokens.push(token);
        columns.token_logprobs.push(logprobs.map(|l| finite(l.logprob)));
        columns.top_logprobs.push(alternatives);
        columns.text_offset.push(self.offset);
    }
}

impl TextLogprobs {
    /// Appends the columns of `later`.
    pub(super) fn extend(&mut self, later: Self) {
        self.tokens.extend(later.tokens);
        self.token_logprobs.extend(later.token_logprobs);
        self.top_logprobs.extend(later.top_logprobs);
        self.text_offset.extend(later.text_offset);
    }
}

fn finite(logprob: f32) -> f32 {
    if logprob.is_nan() { MIN_LOGPROB } else { logprob.clamp(MIN_LOGPROB, 0.0) }
}

fn characters(text: &str) -> u64 {
    text.chars().count() as u64
}

/// A token's text as OpenAI's legacy API writes it where it is not whole characters.
fn legacy_text(piece: &[u8]) -> String {
    match std::str::from_utf8(piece) {
        Ok(text) => text.to_owned(),
        Err(_) => {
            let hex: String = piece.iter().map(|byte| format!("\\x{byte:02x}")).collect();
            format!("bytes:{hex}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_characters_are_spelt_as_bytes() {
        assert_eq!(legacy_text("é".as_bytes()), "é");
        assert_eq!(legacy_text(&[0xe2, 0x82]), "bytes:\\xe2\\x82");
    }

    #[test]
    fn impossible_tokens_have_a_finite_log_probability() {
        assert_eq!(finite(f32::NEG_INFINITY), MIN_LOGPROB);
        assert_eq!(finite(f32::NAN), MIN_LOGPROB);
        assert_eq!(finite(-0.5), -0.5);
    }
}
