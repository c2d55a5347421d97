//! The form of `/v1/completions`.

use serde::Serialize;

use super::logprobs::TextColumns;
use super::measures::finish_reason;
use super::{Form, Part, ids};
use crate::api::generation::Choice;
use crate::api::reply::{Collected, ReplyOptions};
use crate::engine::Vocabulary;
use crate::protocol::openai::TextChoice;

/// Legacy completions.
pub(in crate::api) struct TextForm;

impl Form for TextForm {
    const ID_PREFIX: &'static str = "cmpl-";
    const OBJECT: &'static str = "text_completion";
    const CHUNK_OBJECT: &'static str = "text_completion";
    const HAS_ROLE: bool = false;

    fn delta(part: Part<'_>, vocabulary: &Vocabulary, columns: &mut TextColumns) -> impl Serialize {
        let output = part.shows_logprobs.then(|| columns.output(vocabulary, part.tokens));
        TextChoice {
            index: part.index,
            text: part.text.unwrap_or_default(),
            logprobs: part.prompt_columns.or(output),
            finish_reason: part.finish,
            tokens: part.ids,
        }
    }

    fn whole(
        options: &ReplyOptions,
        vocabulary: &Vocabulary,
        choice: &Choice,
        collected: &Collected,
    ) -> impl Serialize {
        let logprobs = options.logprobs.map(|alternatives| {
            let mut columns = TextColumns::new(alternatives > 0);
            let prompt = &collected.prompt;
            let mut logprobs = columns.prompt(vocabulary, prompt, choice.added, &collected.text);
            logprobs.extend(columns.output(vocabulary, &collected.tokens));
            logprobs
        });
        TextChoice {
            index: choice.index,
            text: &collected.text,
            logprobs,
            finish_reason: Some(finish_reason(&collected.ending, false)),
            tokens: options.return_tokens.then(|| ids(&collected.tokens)),
        }
    }
}
