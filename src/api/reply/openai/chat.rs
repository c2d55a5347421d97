//! The form of `/v1/chat/completions`.

use serde::Serialize;

use super::logprobs::{self, TextColumns};
use super::measures::finish_reason;
use super::{Form, Part, ids};
use crate::api::generation::Choice;
use crate::api::reply::{Collected, ReplyOptions};
use crate::engine::Vocabulary;
use crate::protocol::openai::{AnswerMessage, ChatChoice, ChatDelta, Delta};

/// Chat completions.
pub(in crate::api) struct ChatForm;

impl Form for ChatForm {
    const ID_PREFIX: &'static str = "chatcmpl-";
    const OBJECT: &'static str = "chat.completion";
    const CHUNK_OBJECT: &'static str = "chat.completion.chunk";
    const HAS_ROLE: bool = true;

    fn delta(part: Part<'_>, vocabulary: &Vocabulary, _: &mut TextColumns) -> impl Serialize {
        ChatDelta {
            index: part.index,
            delta: Delta { role: part.role.then_some("assistant"), content: part.text },
            logprobs: part.shows_logprobs.then(|| logprobs::chat(vocabulary, part.tokens)),
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
        ChatChoice {
            index: choice.index,
            message: AnswerMessage { role: "assistant", content: collected.text.clone() },
            logprobs: options.logprobs.map(|_| logprobs::chat(vocabulary, &collected.tokens)),
            finish_reason: finish_reason(&collected.summary.finish),
            tokens: options.return_tokens.then(|| ids(&collected.tokens)),
        }
    }
}
