//! A checked request to engine events: the prompt, the sequences, and what they are measured by.

mod answer;
mod blocking;
mod conversation;
mod embedding;
mod infill;
mod meter;
mod output;
mod prompt;
mod submit;
mod task;

pub(super) use answer::{AnswerEvent, Ending};
pub(super) use blocking::off_the_reactor;
pub(super) use conversation::named as named_conversation;
pub(super) use embedding::{Embedded, embed, embedding_tokens};
pub(super) use infill::infill_prompt;
pub(super) use prompt::{
    Tokenized, chat_prompt, count_tokens, relocated, render, sampling_params, text_prompt,
};
pub(super) use submit::{Running, start};
pub(super) use task::{Choice, Started, Task, note_skipped_tools};
