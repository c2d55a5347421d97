//! One file for each family of endpoints. What two of them share stands in `generation` or `reply`.

pub(super) mod apply_template;
mod body;
pub(super) mod chat;
pub(super) mod completions;
mod details;
pub(super) mod embeddings;
pub(super) mod health;
pub(super) mod index;
pub(super) mod messages;
pub(super) mod models;
pub(super) mod native;
pub(super) mod ollama;
pub(super) mod props;
pub(super) mod rerank;
pub(super) mod responses;
mod sampling;
pub(super) mod slots;
pub(super) mod tokenize;
pub(super) mod unsupported;
