//! The models that are served: their names, how far their loading is, and the loaded model itself,
//! which a request takes once and everything below it works with.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

use super::error::ApiError;
use super::memory::MemoryReport;
use crate::chat::Template;
use crate::engine::Engine;
use crate::http::Context;

/// Seconds after which a model that loads may be ready.
const LOADING_RETRY_AFTER: u64 = 10;

/// How far the model is.
#[derive(Debug, Clone)]
pub enum LoadState {
    /// The GPU is tested before anything is read.
    Testing,
    /// Being read; `progress` from 0 to 1.
    Loading {
        /// Share of the model that has been read.
        progress: f32,
    },
    /// Serving.
    Ready(Arc<LoadedModel>),
    /// Loading failed; the message is fit for clients.
    Failed(String),
}

impl LoadState {
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

/// All models that are served. A request that names none gets the first.
#[derive(Debug)]
pub struct Models(Vec<ServedModel>);

impl Models {
    /// No two of them may have a name in common.
    pub fn new(models: Vec<ServedModel>) -> Self {
        Self(models)
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &ServedModel> {
        self.0.iter()
    }

    /// The model of this name.
    pub(super) fn find(&self, name: &str) -> Option<&ServedModel> {
        self.iter().find(|model| model.names().iter().any(|known| known == name))
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
        let first = self.0.first().filter(|_| !strict || asked.is_none());
        named.or(first).ok_or_else(|| self.unknown(asked.unwrap_or_default()))
    }

    /// The error of a request for a model that is not served.
    pub(super) fn unknown(&self, asked: &str) -> ApiError {
        let names: Vec<&str> =
            self.iter().flat_map(ServedModel::names).map(String::as_str).collect();
        ApiError::NoModel { asked: asked.to_owned(), served: names.join(", ") }
    }
}

/// A model that is served, loaded or not. Cheap to clone.
#[derive(Clone)]
pub struct ServedModel(Arc<Inner>);

struct Inner {
    /// Names the model answers to; the first is given in answers. Never empty.
    names: Vec<String>,
    load: watch::Receiver<LoadState>,
    held: AtomicUsize,
}

impl fmt::Debug for ServedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServedModel").field("names", &self.0.names).finish_non_exhaustive()
    }
}

impl ServedModel {
    /// `names` must not be empty.
    pub fn new(names: Vec<String>, load: watch::Receiver<LoadState>) -> Self {
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

    /// How far it is, now.
    pub fn load_state(&self) -> LoadState {
        self.0.load.borrow().clone()
    }

    /// Whether it is still being loaded.
    pub(super) fn is_loading(&self) -> bool {
        self.0.load.borrow().is_starting()
    }

    /// The loaded model, else 503 at once.
    pub fn now(&self) -> Result<Arc<LoadedModel>, ApiError> {
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
    pub(super) async fn loaded(&self, http: &Context) -> Result<Arc<LoadedModel>, ApiError> {
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
}
