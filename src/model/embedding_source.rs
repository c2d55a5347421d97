//! The models beside the one that chats: their files, checked before anything is loaded.

use super::facts::GgufFacts;
use super::keys::Purpose;
use super::plan::{EmbeddingShape, MemoryNeed, embedding_need};
use super::pooling::Pooling;
use super::source::{Source, SourceError};
use crate::config::{EmbeddingPooling, Settings};

/// A checked model that embeds texts or ranks them.
#[derive(Debug)]
pub struct EmbeddingSource {
    /// Its files and what their header says.
    pub source: Source,
    /// The names that it is served under; the first is given in answers.
    pub names: Vec<String>,
    /// What becomes of the tokens' vectors.
    pub pooling: Pooling,
    /// Most tokens of one text; 0: as many as it was trained for.
    ctx_size: u32,
}

/// Why a model cannot be served beside the one that chats.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddingSourceError {
    /// Its files.
    #[error("{setting}: {error}")]
    File {
        /// The setting that names it.
        setting: &'static str,
        /// What is wrong.
        error: SourceError,
    },
    /// The file does not say how a text becomes one vector.
    #[error(
        "embedding_model.path: {name} does not say how the vectors of a text's tokens become one: name an embedding model, or set embedding_model.pooling to mean, cls or last"
    )]
    NoPooling {
        /// The model's name.
        name: String,
    },
    /// A reranker where an embedding model should be.
    #[error(
        "embedding_model.path: {name} is a reranker: name it by rerank_model.path (--rerank-model)"
    )]
    IsReranker {
        /// The model's name.
        name: String,
    },
    /// No reranker.
    #[error(
        "rerank_model.path: {name} has no classifier that scores a text: name a reranker, and an embedding model by embedding_model.path (--embedding-model)"
    )]
    NoReranker {
        /// The model's name.
        name: String,
    },
    /// The model that should chat makes vectors.
    #[error(
        "model.path: {name} makes vectors of texts and no texts: name it by embedding_model.path (--embedding-model), a reranker by rerank_model.path (--rerank-model), and a model that chats by model.path"
    )]
    NoChatModel {
        /// The model's name.
        name: String,
    },
    /// Two models of one name.
    #[error(
        "{setting}: the name {name} is another model's too: set another one by the model's alias"
    )]
    SameName {
        /// The setting of the later model.
        setting: &'static str,
        /// The name of both.
        name: String,
    },
}

/// The models beside the one that chats.
#[derive(Debug, Default)]
pub struct EmbeddingSources {
    /// The one that embeds.
    pub embedding: Option<EmbeddingSource>,
    /// The one that ranks.
    pub rerank: Option<EmbeddingSource>,
}

impl EmbeddingSources {
    /// Finds and checks the models that the settings name, which have none of the names of the
    /// model that chats. `chat` is what that one's header says.
    pub fn open(
        settings: &Settings,
        chat_names: &[String],
        chat: &GgufFacts,
    ) -> Result<Self, EmbeddingSourceError> {
        if chat.pooling.is_some() {
            let name = chat_names.first().cloned().unwrap_or_default();
            return Err(EmbeddingSourceError::NoChatModel { name });
        }
        let all = Self { embedding: embedding(settings)?, rerank: rerank(settings)? };
        let mut taken = chat_names.to_vec();
        for (setting, model) in
            [("embedding_model.alias", &all.embedding), ("rerank_model.alias", &all.rerank)]
        {
            let Some(model) = model else { continue };
            if let Some(name) = model.names.iter().find(|name| taken.contains(name)) {
                return Err(EmbeddingSourceError::SameName { setting, name: name.clone() });
            }
            taken.extend(model.names.iter().cloned());
        }
        Ok(all)
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &EmbeddingSource> {
        self.embedding.iter().chain(&self.rerank)
    }

    /// What they need together, in bytes.
    pub fn need(&self, on_gpu: bool) -> u64 {
        self.iter().map(|model| model.need(on_gpu).total()).sum()
    }
}

impl EmbeddingSource {
    /// How its context is laid out.
    pub fn shape(&self, on_gpu: bool) -> EmbeddingShape {
        let facts = &self.source.facts;
        let context = if self.ctx_size == 0 { facts.n_ctx_train } else { self.ctx_size };
        EmbeddingShape::new(facts, self.pooling, context, on_gpu)
    }

    /// What it needs.
    pub fn need(&self, on_gpu: bool) -> MemoryNeed {
        embedding_need(&self.source.facts, &self.shape(on_gpu))
    }
}

fn embedding(settings: &Settings) -> Result<Option<EmbeddingSource>, EmbeddingSourceError> {
    let asked = &settings.embedding_model;
    let Some(path) = &asked.path else { return Ok(None) };
    let source = Source::file(path, settings.model.models_dir.as_deref(), Purpose::Embed)
        .map_err(|error| EmbeddingSourceError::File { setting: "embedding_model.path", error })?;
    let names = source.names(&asked.alias);
    let name = names.first().cloned().unwrap_or_default();
    let pooling = match (source.facts.pooling, asked.pooling) {
        (Some(Pooling::Rank), _) => return Err(EmbeddingSourceError::IsReranker { name }),
        (_, EmbeddingPooling::Mean) => Pooling::Mean,
        (_, EmbeddingPooling::Cls) => Pooling::Cls,
        (_, EmbeddingPooling::Last) => Pooling::Last,
        (Some(pooling), EmbeddingPooling::Model) => pooling,
        (None, EmbeddingPooling::Model) => return Err(EmbeddingSourceError::NoPooling { name }),
    };
    Ok(Some(EmbeddingSource { source, names, pooling, ctx_size: asked.ctx_size }))
}

fn rerank(settings: &Settings) -> Result<Option<EmbeddingSource>, EmbeddingSourceError> {
    let asked = &settings.rerank_model;
    let Some(path) = &asked.path else { return Ok(None) };
    let source = Source::file(path, settings.model.models_dir.as_deref(), Purpose::Embed)
        .map_err(|error| EmbeddingSourceError::File { setting: "rerank_model.path", error })?;
    let names = source.names(&asked.alias);
    if !source.facts.has_classifier {
        let name = names.first().cloned().unwrap_or_default();
        return Err(EmbeddingSourceError::NoReranker { name });
    }
    Ok(Some(EmbeddingSource { source, names, pooling: Pooling::Rank, ctx_size: asked.ctx_size }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config::ModelSettings;

    fn file(name: &str) -> Option<PathBuf> {
        Some(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/models").join(name))
    }

    fn open(settings: &Settings) -> Result<EmbeddingSources, String> {
        let chat = Source::open(&ModelSettings::default()).unwrap();
        let names = chat.names(&settings.model.alias);
        EmbeddingSources::open(settings, &names, &chat.facts).map_err(|error| error.to_string())
    }

    #[test]
    fn files_are_found_and_their_pooling_is_theirs_or_what_is_set() {
        assert!(open(&Settings::default()).unwrap().iter().next().is_none());
        let mut settings = Settings::default();
        settings.embedding_model.path = file("tiny-bert.gguf");
        settings.rerank_model.path = file("tiny-reranker.gguf");
        let both = open(&settings).unwrap();
        let names: Vec<&String> = both.iter().flat_map(|model| &model.names).collect();
        assert_eq!(names, ["tiny-bert", "tiny-reranker"]);
        let total: u64 = both.iter().map(|model| model.need(false).total()).sum();
        assert!(total > 0 && both.need(false) == total);
        let model = both.embedding.unwrap();
        let trained = model.source.facts.n_ctx_train;
        assert_eq!(Some(model.pooling), model.source.facts.pooling);
        assert_eq!(model.shape(false).context, trained.min(8192));
        settings.embedding_model.pooling = EmbeddingPooling::Cls;
        settings.embedding_model.ctx_size = 16;
        let model = open(&settings).unwrap().embedding.unwrap();
        assert_eq!((model.pooling, model.shape(false).context), (Pooling::Cls, 16));
    }

    #[test]
    fn a_model_of_another_kind_is_refused_with_the_setting_that_takes_it() {
        let mut settings = Settings::default();
        settings.embedding_model.path = file("tiny-reranker.gguf");
        assert!(open(&settings).unwrap_err().contains("rerank_model.path"));
        settings.embedding_model.path = file("tiny-qwen3moe.gguf");
        assert!(open(&settings).unwrap_err().contains("embedding_model.pooling"));
        settings.embedding_model.path = file("none.gguf");
        assert!(open(&settings).unwrap_err().starts_with("embedding_model.path: "));
        settings.embedding_model.path = None;
        settings.rerank_model.path = file("tiny-bert.gguf");
        assert!(open(&settings).unwrap_err().contains("embedding_model.path"));
        settings.rerank_model.path = file("tiny-reranker.gguf");
        settings.rerank_model.alias = vec!["chat".to_owned()];
        settings.model.alias = vec!["chat".to_owned()];
        assert!(open(&settings).unwrap_err().contains("rerank_model.alias"));
        let chat = Source::file(&file("tiny-qwen3-embedding.gguf").unwrap(), None, Purpose::Embed);
        let error = EmbeddingSources::open(&Settings::default(), &[], &chat.unwrap().facts);
        assert!(error.unwrap_err().to_string().contains("--embedding-model"));
    }
}
