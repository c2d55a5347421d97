//! The models that are served: their names, how far their loading is, and the loaded model itself,
//! which a request takes once and everything below it works with.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

use super::error::ApiError;
use super::memory::MemoryReport;
use crate::chat::Template;
use crate::engine::{EmbeddingEngine, Engine, ModelFacts};
use crate::http::Context;

/// Seconds after which a model that loads may be ready.
const LOADING_RETRY_AFTER: u64 = 10;

/// How far the model is.
#[derive(Debug, Clone)]
pub enum LoadState<M = Arc<LoadedModel>> {
    /// The GPU is tested before anything is read.
    Testing,
    /// Being read; `progress` from 0 to 1.
    Loading {
        /// Share of the model that has been read.
        progress: f32,
    },
    /// Serving.
    Ready(M),
    /// Loading failed; the message is fit for clients.
    Failed(String),
}

impl<M> LoadState<M> {
    /// Whether the model is on its way.
    pub fn is_starting(&self) -> bool {
        matches!(self, Self::Testing | Self::Loading { .. })
    }
}

/// A loaded model and what is derived from it once.
#[derive(Debug)]
pub struct LoadedModel {
    /// The engine that computes it.
    pub engine: Engine,
    /// Its chat template; `Err` says why there is none.
    pub template: Result<Template, String>,
    /// What its memory was planned to be, and what the GPU had.
    pub memory: MemoryReport,
}

/// A model that makes vectors of texts, or scores.
pub type ServedEmbedding = ServedModel<EmbeddingEngine>;

/// What a model does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It makes vectors of texts.
    Embed,
    /// It scores documents by a query.
    Rank,
}

impl Purpose {
    /// Such a model, where it answers, and the setting that names one.
    fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Embed => (
                "an embedding model",
                "/v1/embeddings",
                "`embedding_model.path` (--embedding-model)",
            ),
            Self::Rank => ("a reranker", "/v1/rerank", "`rerank_model.path` (--rerank-model)"),
        }
    }
}

/// A model, for lists of models.
pub(super) struct Described<'a> {
    /// Never empty.
    pub(super) names: &'a [String],
    /// Ollama's word for what it does.
    pub(super) capability: &'static str,
    /// `None`: it is not loaded.
    pub(super) facts: Option<ModelFacts>,
}

impl Described<'_> {
    /// The name that answers give.
    pub(super) fn name(&self) -> &str {
        &self.names[0]
    }
}

/// All models that are served. A request that names none gets the first that can answer it.
#[derive(Debug)]
pub struct Models {
    chat: Vec<ServedModel>,
    embedding: Option<ServedEmbedding>,
    rerank: Option<ServedEmbedding>,
}

impl Models {
    /// No two of them may have a name in common.
    pub fn new(models: Vec<ServedModel>) -> Self {
        Self { chat: models, embedding: None, rerank: None }
    }

    /// With a model that embeds, and one that ranks.
    #[must_use]
    pub fn beside(
        self,
        embedding: Option<ServedEmbedding>,
        rerank: Option<ServedEmbedding>,
    ) -> Self {
        Self { embedding, rerank, ..self }
    }

    /// Each of those that generate.
    pub fn iter(&self) -> impl Iterator<Item = &ServedModel> {
        self.chat.iter()
    }

    /// Each of those that embed or rank.
    pub fn beside_iter(&self) -> impl Iterator<Item = &ServedEmbedding> {
        self.embedding.iter().chain(&self.rerank)
    }

    /// Each of them, with what is known of those that are loaded.
    pub(super) fn described(&self) -> impl Iterator<Item = Described<'_>> {
        let chat = self.chat.iter().map(|served| Described {
            names: served.names(),
            capability: "completion",
            facts: served.now().ok().map(|model| model.engine.facts().clone()),
        });
        let beside = self.beside_iter().map(|served| Described {
            names: served.names(),
            capability: "embedding",
            facts: served.now().ok().map(|engine| engine.facts().clone()),
        });
        chat.chain(beside)
    }

    /// The model of this name among those that embed or rank.
    pub(super) fn find_beside(&self, name: &str) -> Option<&ServedEmbedding> {
        self.beside_iter().find(|model| model.is_named(name))
    }

    /// The model that embeds or ranks for a request that names `asked`; an empty name is none. A
    /// model that cannot is an error, and so is an unknown name if `strict`.
    pub(super) fn resolve_for(
        &self,
        purpose: Purpose,
        asked: Option<&str>,
        strict: bool,
    ) -> Result<&ServedEmbedding, ApiError> {
        let (model, route, setting) = purpose.words();
        let served = match purpose {
            Purpose::Embed => &self.embedding,
            Purpose::Rank => &self.rerank,
        };
        let asked = asked.filter(|name| !name.is_empty());
        if let Some(name) = asked
            && !served.as_ref().is_some_and(|served| served.is_named(name))
        {
            let instead = match served {
                Some(served) => format!("name `{}`", served.name()),
                None => format!("{model} is served if {setting} names one"),
            };
            let other = match purpose {
                Purpose::Embed => (&self.rerank, Purpose::Rank),
                Purpose::Rank => (&self.embedding, Purpose::Embed),
            };
            let is_other = other.0.as_ref().is_some_and(|served| served.is_named(name));
            if is_other || self.find(name).is_some() {
                let (is, at) = match is_other {
                    true => (other.1.words().0, other.1.words().1),
                    false => ("a model that generates text", "/v1/chat/completions"),
                };
                let message =
                    format!("`{name}` is {is}, which answers {at} and not {route}: {instead}");
                return Err(ApiError::invalid("model", message));
            }
            if strict {
                return Err(self.unknown(name));
            }
        }
        served.as_ref().ok_or_else(|| {
            ApiError::NotImplemented(format!(
                "{route} needs {model}, and none is served: name its file by {setting}"
            ))
        })
    }

    /// The model of this name among those that generate.
    pub(super) fn find(&self, name: &str) -> Option<&ServedModel> {
        self.iter().find(|model| model.is_named(name))
    }

    /// The model that answers a request for `asked`; an empty name is none. If `strict`, an unknown
    /// name is an error, else it stands for the first model.
    pub(super) fn resolve(
        &self,
        asked: Option<&str>,
        strict: bool,
    ) -> Result<&ServedModel, ApiError> {
        let asked = asked.filter(|name| !name.is_empty());
        let named = asked.and_then(|name| self.find(name));
        if let Some(name) = asked.filter(|_| named.is_none())
            && self.find_beside(name).is_some()
        {
            let ranks = self.rerank.as_ref().is_some_and(|served| served.is_named(name));
            let (is, route, _) = if ranks { Purpose::Rank } else { Purpose::Embed }.words();
            let instead = self.chat.first().map_or("", ServedModel::name);
            let message = format!(
                "`{name}` is {is} and generates no text: it answers {route}; name `{instead}` here"
            );
            return Err(ApiError::invalid("model", message));
        }
        let first = self.chat.first().filter(|_| !strict || asked.is_none());
        named.or(first).ok_or_else(|| self.unknown(asked.unwrap_or_default()))
    }

    /// The error of a request for a model that is not served.
    pub(super) fn unknown(&self, asked: &str) -> ApiError {
        let names: Vec<&str> = self
            .iter()
            .flat_map(ServedModel::names)
            .chain(self.beside_iter().flat_map(ServedModel::names))
            .map(String::as_str)
            .collect();
        ApiError::NoModel { asked: asked.to_owned(), served: names.join(", ") }
    }
}

/// A model that is served, loaded or not. Cheap to clone.
#[derive(Clone)]
pub struct ServedModel<M = Arc<LoadedModel>>(Arc<Inner<M>>);

struct Inner<M> {
    /// Names the model answers to; the first is given in answers. Never empty.
    names: Vec<String>,
    load: watch::Receiver<LoadState<M>>,
    held: AtomicUsize,
}

impl<M> fmt::Debug for ServedModel<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServedModel").field("names", &self.0.names).finish_non_exhaustive()
    }
}

impl<M: Clone> ServedModel<M> {
    /// `names` must not be empty.
    pub fn new(names: Vec<String>, load: watch::Receiver<LoadState<M>>) -> Self {
        Self(Arc::new(Inner { names, load, held: AtomicUsize::new(0) }))
    }

    /// The name that answers carry.
    pub fn name(&self) -> &str {
        self.0.names.first().map_or("", String::as_str)
    }

    /// All names it answers to.
    pub fn names(&self) -> &[String] {
        &self.0.names
    }

    /// Whether it answers to this name.
    pub(super) fn is_named(&self, name: &str) -> bool {
        self.names().iter().any(|known| known == name)
    }

    /// How far it is, now.
    pub fn load_state(&self) -> LoadState<M> {
        self.0.load.borrow().clone()
    }

    /// Whether it is still being loaded.
    pub(super) fn is_loading(&self) -> bool {
        self.0.load.borrow().is_starting()
    }

    /// The loaded model, else 503 at once.
    pub fn now(&self) -> Result<M, ApiError> {
        match &*self.0.load.borrow() {
            LoadState::Ready(model) => Ok(model.clone()),
            LoadState::Testing => Err(ApiError::unavailable(
                "the GPU is tested before the model is loaded",
                "loading",
            )),
            LoadState::Loading { progress } => Err(ApiError::unavailable(
                format!("the model is loading ({:.0} %)", progress * 100.0),
                "loading",
            )),
            LoadState::Failed(message) => Err(ApiError::unavailable(message, "load_failed")),
        }
    }

    /// The loaded model, waiting for it while it loads. At most `limits.queue` requests wait.
    pub(super) async fn loaded(&self, http: &Context) -> Result<M, ApiError> {
        if !self.is_loading() {
            return self.now();
        }
        let limit = http.settings().limits.queue as usize;
        let _held = Held::enter(&self.0.held, limit)?;
        let mut load = self.0.load.clone();
        tokio::select! {
            biased;
            state = load.wait_for(|state| !state.is_starting()) => {
                // The loader drops its sender only when it is told to stop.
                let ended = state.is_ok();
                if ended { self.now() } else { Err(ApiError::shutting_down()) }
            }
            () = http.drain_begun() => Err(ApiError::shutting_down()),
        }
    }

    /// Requests that wait for it to be loaded.
    pub fn held(&self) -> usize {
        self.0.held.load(Ordering::Acquire)
    }
}

/// Counts a request that waits for the model, for as long as it waits.
struct Held<'a>(&'a AtomicUsize);

impl<'a> Held<'a> {
    fn enter(held: &'a AtomicUsize, limit: usize) -> Result<Self, ApiError> {
        held.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| (n < limit).then_some(n + 1))
            .map(|_| Self(held))
            .map_err(|waiting| ApiError::QueueFull { waiting, retry_after: LOADING_RETRY_AFTER })
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_request_gets_the_model_that_it_names_else_the_first_unless_names_are_strict() {
        let model = |names: &[&str]| {
            let names = names.iter().map(|&name| name.to_owned()).collect();
            ServedModel::new(names, watch::channel(LoadState::Loading { progress: 0.0 }).1)
        };
        let models = Models::new(vec![model(&["org/big", "big"]), model(&["small"])]);
        let name = |asked, strict| models.resolve(asked, strict).map(ServedModel::name);
        for strict in [false, true] {
            assert_eq!(name(None, strict), Ok("org/big"));
            assert_eq!(name(Some(""), strict), Ok("org/big"));
            assert_eq!(name(Some("big"), strict), Ok("org/big"));
            assert_eq!(name(Some("small"), strict), Ok("small"));
        }
        assert_eq!(name(Some("gpt-4"), false), Ok("org/big"));
        let error = name(Some("gpt-4"), true).unwrap_err();
        assert!(error.to_string().contains("served: org/big, big, small"), "{error}");
    }

    #[test]
    fn a_model_that_cannot_answer_is_refused_with_the_one_that_can() {
        fn loading<M: Clone>(name: &str) -> ServedModel<M> {
            let load = watch::channel(LoadState::Loading { progress: 0.0 }).1;
            ServedModel::new(vec![name.to_owned()], load)
        }
        let alone = || Models::new(vec![loading("chat")]);
        let models = alone().beside(Some(loading("bge")), Some(loading("ranker")));
        let named = |purpose, asked, strict| {
            models.resolve_for(purpose, asked, strict).map(|served| served.name().to_owned())
        };
        assert_eq!(named(Purpose::Embed, None, true).unwrap(), "bge");
        assert_eq!(named(Purpose::Embed, Some("text-embedding-3-small"), false).unwrap(), "bge");
        assert_eq!(named(Purpose::Rank, Some("ranker"), true).unwrap(), "ranker");
        let told = |error: ApiError| {
            let problem = error.problem();
            (problem.status.as_u16(), problem.message)
        };
        for (error, status, words) in [
            (
                named(Purpose::Embed, Some("chat"), false).unwrap_err(),
                400,
                ["chat/completions", "`bge`"],
            ),
            (
                named(Purpose::Embed, Some("ranker"), false).unwrap_err(),
                400,
                ["/v1/rerank", "`bge`"],
            ),
            (
                named(Purpose::Rank, Some("bge"), false).unwrap_err(),
                400,
                ["/v1/embeddings", "`ranker`"],
            ),
            (named(Purpose::Rank, Some("x"), true).unwrap_err(), 404, ["chat, bge, ranker", "`x`"]),
            (models.resolve(Some("bge"), false).unwrap_err(), 400, ["/v1/embeddings", "`chat`"]),
            (models.resolve(Some("ranker"), false).unwrap_err(), 400, ["/v1/rerank", "`chat`"]),
            (
                alone().resolve_for(Purpose::Embed, Some("x"), false).unwrap_err(),
                501,
                ["embedding_model.path", "/v1/embeddings"],
            ),
            (
                alone().resolve_for(Purpose::Rank, Some("chat"), false).unwrap_err(),
                400,
                ["rerank_model.path", "chat/completions"],
            ),
        ] {
            let (told, message) = told(error);
            assert_eq!(told, status, "{message}");
            assert!(words.iter().all(|word| message.contains(word)), "{message}");
        }
    }
}
