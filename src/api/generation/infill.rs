//! Prompts that make a model fill a gap in a text.

use super::prompt::{Tokenized, check, n_ctx, of_text};
use crate::api::error::ApiError;
use crate::api::model::LoadedModel;
use crate::engine::{Token, Vocabulary};
use crate::protocol::llama_server::{ExtraFile, Infill};

/// The repository's and the file's name, which no request tells.
const REPOSITORY: &str = "myproject\n";
const FILE: &str = "filename\n";
/// Between files, for models without a token for it.
const SNIPPET: &str = "\n\n--- snippet ---\n\n";

/// A token of ordinary text has fewer bytes; of a text that is cut to a number of tokens, more than
/// so many bytes for each need not be read.
const MAX_BYTES_PER_TOKEN: usize = 16;

/// How many tokens of the texts a prompt takes.
#[derive(Debug, PartialEq, Eq)]
struct Room {
    prefix: usize,
    suffix: usize,
    /// All of them together.
    all: usize,
}

/// The prompt of a gap as llama-server makes it: of the text around it what fits into a batch, three
/// times as much from before as from behind, and of the other files what else fits into the context.
pub(in crate::api) fn infill_prompt(
    model: &LoadedModel,
    infill: &Infill,
    batch: u32,
    max_tokens: Option<u32>,
) -> Result<Tokenized, ApiError> {
    let vocabulary = model.engine.vocabulary();
    let fim = vocabulary.fim().ok_or_else(|| {
        ApiError::NotImplemented(
            "this model cannot fill a gap in a text: its vocabulary has no tokens for that (FIM); \
             load one that has, such as Qwen2.5-Coder or Qwen3-Coder"
                .to_owned(),
        )
    })?;
    let prompt = vocabulary.tokenize(&infill.prompt, false, false);
    let room = Room::of(n_ctx(model), batch as usize, max_tokens, prompt.len());
    let prefix = last(vocabulary, &infill.prefix, room.prefix);
    let suffix = first(vocabulary, &infill.suffix, room.suffix);

    let mut tokens: Vec<Token> = vocabulary.bos().into_iter().collect();
    let added = tokens.len();
    if !infill.extra.is_empty() {
        let named = |token: Option<Token>, name: &str| {
            token.into_iter().chain(vocabulary.tokenize(name, false, false)).collect()
        };
        let mut head: Vec<Token> = Vec::new();
        if fim.repository.is_some() {
            head = named(fim.repository, REPOSITORY);
        }
        let before = |file: &ExtraFile| match fim.file {
            Some(_) => named(fim.file, &format!("{}\n", file.name)),
            None => vocabulary.tokenize(SNIPPET, false, false),
        };
        let own = fim.file.map(|_| named(fim.file, FILE)).unwrap_or_default();
        let mut left =
            room.all.saturating_sub(prefix.len() + suffix.len() + head.len() + own.len());
        let mut files: Vec<Vec<Token>> = Vec::new();
        // The last ones are the nearest.
        for file in infill.extra.iter().rev() {
            let mut text: Vec<Token> = before(file);
            if text.len() >= left {
                break;
            }
            text.extend(first(vocabulary, &file.text, left - text.len()));
            left -= text.len();
            files.push(text);
        }
        if !files.is_empty() {
            tokens.extend(head);
            tokens.extend(files.into_iter().rev().flatten());
            tokens.extend(own);
        }
    }
    tokens.push(fim.prefix);
    tokens.extend(prefix);
    tokens.extend(prompt);
    tokens.push(fim.suffix);
    tokens.extend(suffix);
    tokens.push(fim.middle);
    check(model, of_text(tokens, None, added), "prompt")
}

impl Room {
    /// Of a context of `n_ctx` tokens, for an answer of `max_tokens` behind `prompt` tokens.
    fn of(n_ctx: usize, batch: usize, max_tokens: Option<u32>, prompt: usize) -> Self {
        /// BOS and the three tokens that frame the gap.
        const FRAME: usize = 4;
        let answer = max_tokens.map_or(n_ctx / 4, |n| n as usize).min(n_ctx / 2);
        let all = n_ctx.saturating_sub(answer + prompt + FRAME + 1);
        let batch = batch.min(all);
        Self { prefix: batch / 4 * 3, suffix: (batch / 4).saturating_sub(prompt), all }
    }
}

/// At most `most` tokens of the end of a text.
fn last(vocabulary: &Vocabulary, text: &str, most: usize) -> Vec<Token> {
    let bytes = most.saturating_mul(MAX_BYTES_PER_TOKEN);
    let begin = text.len().saturating_sub(bytes);
    let begin = (begin..=text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    let mut tokens = vocabulary.tokenize(&text[begin..], false, false);
    tokens.drain(..tokens.len().saturating_sub(most));
    tokens
}

/// At most `most` tokens of the beginning of a text.
fn first(vocabulary: &Vocabulary, text: &str, most: usize) -> Vec<Token> {
    let bytes = most.saturating_mul(MAX_BYTES_PER_TOKEN).min(text.len());
    let end = (0..=bytes).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    let mut tokens = vocabulary.tokenize(&text[..end], false, false);
    tokens.truncate(most);
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_around_a_gap_leave_room_for_its_text() {
        let room = |n_ctx, batch, max, prompt| {
            let Room { prefix, suffix, all } = Room::of(n_ctx, batch, max, prompt);
            (prefix, suffix, all)
        };
        assert_eq!(room(32768, 2048, Some(100), 0), (1536, 512, 32_663));
        assert_eq!(room(32768, 2048, Some(100), 12), (1536, 500, 32_651));
        for (n_ctx, max, prompt) in
            [(512, None, 0), (512, Some(10_000), 5), (512, Some(0), 600), (8, None, 1)]
        {
            let (prefix, suffix, all) = room(n_ctx, 2048, max, prompt);
            assert!(prefix + suffix <= all, "{prefix} {suffix} {all}");
            assert!(all + prompt + 4 < n_ctx || all == 0, "{n_ctx} {all}");
        }
    }
}
