//! A request that generates, before and after its sequences are queued.

use http::HeaderMap;

use crate::api::model::ServedModel;
use crate::api::state::AppState;
use crate::chat::{Conversation, Reasoning, ResponseFormat, Tools};
use crate::engine::{ConversationId, Vocabulary};
use crate::http::RequestLog;
use crate::protocol::Options;

/// A checked request that generates, without its prompts.
pub(in crate::api) struct Task {
    pub(in crate::api) model: ServedModel,
    pub(in crate::api) options: Options,
    pub(in crate::api) log: RequestLog,
    /// As the client names it; `id` is 0 where it does not.
    pub(in crate::api) conversation: ConversationId,
    /// Report each token's log probability and this many alternatives.
    pub(in crate::api) logprobs: Option<u32>,
    /// Also those of the prompts' tokens.
    pub(in crate::api) echo_logprobs: bool,
    /// What a chat's answer may be made of; `None`: it is text.
    pub(in crate::api) chat: Option<ChatAnswer>,
}

impl Task {
    /// A task whose answers are text, without log probabilities.
    pub(in crate::api) fn new(
        state: &AppState,
        headers: &HeaderMap,
        model: ServedModel,
        options: Options,
        log: RequestLog,
    ) -> Self {
        Self {
            conversation: super::named_conversation(state, headers, &options),
            model,
            options,
            log,
            logprobs: None,
            echo_logprobs: false,
            chat: None,
        }
    }

    /// The same, as an answer to `conversation`.
    pub(in crate::api) fn answering(self, conversation: &Conversation) -> Self {
        Self { chat: Some(ChatAnswer::of(conversation)), ..self }
    }

    /// The same, with each token's log probability and this many alternatives.
    pub(in crate::api) fn with_logprobs(self, logprobs: Option<u32>) -> Self {
        Self { logprobs, ..self }
    }

    /// Whether a grammar may have to be compiled for its answers.
    pub(super) fn may_have_grammar(&self) -> bool {
        self.options.format != ResponseFormat::Text
            || self.chat.as_ref().is_some_and(|chat| chat.tools.callable().next().is_some())
    }
}

/// Says which tools of a request are left out: their dialect has them skipped, not refused.
pub(in crate::api) fn note_skipped_tools(log: &RequestLog, skipped: &[String]) {
    if !skipped.is_empty() {
        let tools = skipped.join(", ");
        tracing::warn!(request = log.id(), "tools that cannot run here are left out: {tools}");
    }
}

/// What a chat's answer may be made of.
#[derive(Debug, Clone)]
pub(in crate::api) struct ChatAnswer {
    pub(in crate::api) tools: Tools,
    pub(in crate::api) reasoning: Reasoning,
}

impl ChatAnswer {
    /// That of an answer to `conversation`.
    pub(in crate::api) fn of(conversation: &Conversation) -> Self {
        Self { tools: conversation.tool_use.clone(), reasoning: conversation.reasoning }
    }
}

/// What is known of sequences before their first event.
#[derive(Debug)]
pub(in crate::api) struct Started {
    pub(in crate::api) vocabulary: Vocabulary,
    /// Tokens of each prompt.
    pub(in crate::api) prompt_tokens: Vec<usize>,
    pub(in crate::api) choices: Vec<Choice>,
}

impl Started {
    /// Tokens of the prompt that the choice at `index` answers.
    pub(in crate::api) fn prompt_tokens_of(&self, index: usize) -> usize {
        let per_prompt = (self.choices.len() / self.prompt_tokens.len().max(1)).max(1);
        self.prompt_tokens.get(index / per_prompt).copied().unwrap_or(0)
    }
}

/// What is known of one choice before it begins.
#[derive(Debug)]
pub(in crate::api) struct Choice {
    pub(in crate::api) index: u32,
    /// Text that comes before what is generated.
    pub(in crate::api) preface: Option<String>,
    /// The text of its prompt, where the answer repeats it apart.
    pub(in crate::api) prompt: Option<String>,
    /// Tokens at the start of the prompt that are not in its text.
    pub(in crate::api) added: usize,
}
