//! The prompt of a completion, whatever API it came by.

/// One prompt: text, token ids, or both in turn. Ids are checked against the model later.
pub type Prompt = Vec<PromptPiece>;

/// A part of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PromptPiece {
    /// Text to be tokenized.
    Text(String),
    /// A token id.
    Token(i128),
}
