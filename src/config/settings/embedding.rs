//! Sections `embedding_model` and `rerank_model`: models beside the one that chats.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A model that makes vectors of texts, served beside the other one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EmbeddingModelSettings {
    /// Path of the GGUF file of an embedding model, which answers `/v1/embeddings`; relative paths
    /// are looked up in `model.models_dir`. It is loaded beside the chat model, on the same GPUs, and
    /// both must fit into memory. Unset: there are no embeddings.
    pub path: Option<PathBuf>,
    /// Names that requests give as `model` to reach it; the first is the one that answers give.
    /// Empty: the file's name without `.gguf`.
    pub alias: Vec<String>,
    /// Most tokens of one text; a longer one is an error and not cut. 0: as many as the model was
    /// trained for, and more are cut to that. Most models compute a text whole, for which buffers
    /// grow with this; 8192 is what most of them were trained for.
    #[schemars(range(max = 1_048_576))]
    pub ctx_size: u32,
    /// How the vectors of a text's tokens become one: `mean`, `cls` (the first one), `last`, or
    /// `model`, the default, as the model's file says. Another one than a model was trained with
    /// makes vectors of little use.
    pub pooling: EmbeddingPooling,
}

impl Default for EmbeddingModelSettings {
    fn default() -> Self {
        Self { path: None, alias: Vec::new(), ctx_size: 8192, pooling: EmbeddingPooling::Model }
    }
}

/// How the vectors of a text's tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EmbeddingPooling {
    /// As the file says.
    Model,
    /// Their mean.
    Mean,
    /// The first token's is taken.
    Cls,
    /// The last token's is taken.
    Last,
}

/// A model that scores documents by how well they answer a query, served beside the other ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RerankModelSettings {
    /// Path of the GGUF file of a reranker, which answers `/v1/rerank`; relative paths are looked up
    /// in `model.models_dir`. It is loaded beside the other models, on the same GPUs, and all must
    /// fit into memory. Unset: there is no reranking.
    pub path: Option<PathBuf>,
    /// Names that requests give as `model` to reach it; the first is the one that answers give.
    /// Empty: the file's name without `.gguf`.
    pub alias: Vec<String>,
    /// Most tokens of a query with one document; more are an error. 0: as many as the model was
    /// trained for, and more are cut to that. Buffers grow with this; 8192 is what most rerankers
    /// were trained for.
    #[schemars(range(max = 1_048_576))]
    pub ctx_size: u32,
}

impl Default for RerankModelSettings {
    fn default() -> Self {
        Self { path: None, alias: Vec::new(), ctx_size: 8192 }
    }
}
