//! The form of `/v1/chat/completions`.

use serde::Serialize;

use super::logprobs::{self, TextColumns};
use super::measures::finish_reason;
use super::{Form, Part, call_id, ids};
use crate::api::generation::Choice;
use crate::api::reply::{Collected, CollectedCall, ReplyOptions};
use crate::engine::Vocabulary;
use crate::protocol::openai::{
    AnswerCall, AnswerFunction, AnswerMessage, ChatChoice, ChatDelta, Delta,
};

/// Chat completions.
pub(in crate::api) struct ChatForm;

impl Form for ChatForm {
    const ID_PREFIX: &'static str = "chatcmpl-";
    const OBJECT: &'static str = "chat.completion";
    const CHUNK_OBJECT: &'static str = "chat.completion.chunk";
    const HAS_ROLE: bool = true;

    fn delta(part: Part<'_>, vocabulary: &Vocabulary, _: &mut TextColumns) -> impl Serialize {
        let (function_call, tool_calls) = match part.legacy_functions {
            true => (part.calls.into_iter().next().map(|call| call.function), Vec::new()),
            false => (None, part.calls),
        };
        let delta = Delta {
            role: part.role.then_some("assistant"),
            content: part.text,
            reasoning_content: part.reasoning,
            tool_calls,
            function_call,
        };
        ChatDelta {
            index: part.index,
            delta,
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
        let calls = &collected.calls;
        let legacy = options.legacy_functions;
        let message = AnswerMessage {
            role: "assistant",
            content: (calls.is_empty() || !collected.text.is_empty())
                .then_some(collected.text.as_str()),
            reasoning_content: (!collected.reasoning.is_empty())
                .then_some(collected.reasoning.as_str()),
            tool_calls: calls
                .iter()
                .filter(|_| !legacy)
                .map(|call| AnswerCall {
                    id: call_id(),
                    kind: "function",
                    function: function(call),
                })
                .collect(),
            function_call: calls.first().filter(|_| legacy).map(function),
        };
        ChatChoice {
            index: choice.index,
            message,
            logprobs: options.logprobs.map(|_| logprobs::chat(vocabulary, &collected.tokens)),
            finish_reason: finish_reason(&collected.ending, options.legacy_functions),
            tokens: options.return_tokens.then(|| ids(&collected.tokens)),
        }
    }
}

fn function(call: &CollectedCall) -> AnswerFunction<'_> {
    AnswerFunction { name: &call.name, arguments: &call.arguments }
}
