//! How a model makes one vector of a text, or one score of a query and a document.

use super::gguf::{Gguf, GgufError};
use super::keys::Keys;

/// What becomes of the vectors of a text's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// The first token's is taken.
    Cls,
    /// The last token's is taken.
    Last,
    /// A classifier scores the text, which is a query with a document: a reranker.
    Rank,
}

impl Pooling {
    /// Its name in settings, and llama-server's.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Cls => "cls",
            Self::Last => "last",
            Self::Rank => "rank",
        }
    }

    /// What the file says; `None`: nothing, or that each token keeps its own vector.
    pub(super) fn read(keys: &Keys<'_>) -> Result<Option<Self>, GgufError> {
        Ok(match keys.number("pooling_type")? {
            Some(1) => Some(Self::Mean),
            Some(2) => Some(Self::Cls),
            Some(3) => Some(Self::Last),
            Some(4) => Some(Self::Rank),
            None | Some(0) => None,
            Some(other) => {
                return Err(GgufError(format!(
                    "{} is {other}, which llama.cpp does not know",
                    keys.key("pooling_type")
                )));
            }
        })
    }
}

/// Whether the model has what scores a text: it can rank, whatever pooling the file names.
pub(super) fn has_classifier(gguf: &Gguf) -> bool {
    let is_head = |name: &str| matches!(name, "cls.weight" | "cls.output.weight");
    gguf.tensors.iter().any(|tensor| is_head(&tensor.name))
}
