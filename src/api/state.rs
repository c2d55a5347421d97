//! What all handlers share: the settings, the state of loading, the model's names.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus::Registry;
use tokio::sync::watch;

use super::ApiError;
use super::error::openai_error;
use super::metrics::Counts;
use crate::chat::Template;
use crate::config::Settings;
use crate::engine::Engine;
use crate::http::{Context, Keys};

/// Shared by all handlers; cheap to clone.
#[derive(Clone)]
pub struct AppState {
    inner: Arc<Inner>,
}

impl fmt::Debug for AppState {
    /// Without the settings, which may hold API keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppState").field("names", &self.inner.names).finish_non_exhaustive()
    }
}

struct Inner {
    http: Context,
    /// Names the model answers to; the first is given in answers. Never empty.
    names: Vec<String>,
    /// Unix time at which the process started, seconds.
    started: u64,
    load: watch::Receiver<LoadState>,
    held: AtomicUsize,
    counts: Arc<Counts>,
    registry: Registry,
}

/// How far the model is.
#[derive(Debug, Clone)]
pub enum LoadState {
    /// Being read; `progress` from 0 to 1.
    Loading {
        /// Share of the model that has been read.
        progress: f32,
    },
    /// Serving.
    Ready(Arc<Model>),
    /// Loading failed; the message is fit for clients.
    Failed(String),
}

/// A loaded model and what is derived from it once.
#[derive(Debug)]
pub struct Model {
    /// The engine that computes it.
    pub engine: Engine,
    /// Its chat template; `Err` says why there is none.
    pub template: Result<Template, String>,
}

impl AppState {
    /// `names` must not be empty.
    pub fn new(
        settings: Settings,
        keys: Keys,
        names: Vec<String>,
        started: u64,
        load: watch::Receiver<LoadState>,
    ) -> Self {
        let registry = Registry::new();
        Self {
            inner: Arc::new(Inner {
                http: Context::new(settings, keys, &registry, |_, problem| openai_error(problem)),
                names,
                started,
                load,
                held: AtomicUsize::new(0),
                counts: Arc::new(Counts::new(&registry)),
                registry,
            }),
        }
    }

    /// What needs no model.
    pub fn http(&self) -> &Context {
        &self.inner.http
    }

    /// The effective settings, now.
    pub fn settings(&self) -> Arc<Settings> {
        self.inner.http.settings()
    }

    /// The name that answers carry.
    pub fn model_name(&self) -> &str {
        self.inner.names.first().map_or("", String::as_str)
    }

    /// All names the model answers to.
    pub fn model_names(&self) -> &[String] {
        &self.inner.names
    }

    /// Unix time of the process's start, seconds.
    pub fn started(&self) -> u64 {
        self.inner.started
    }

    /// What generations are counted in.
    pub(super) fn counts(&self) -> &Arc<Counts> {
        &self.inner.counts
    }

    /// All counters and histograms, those of HTTP included.
    pub(super) fn registry(&self) -> &Registry {
        &self.inner.registry
    }

    /// How far the model is, now.
    pub fn load_state(&self) -> LoadState {
        self.inner.load.borrow().clone()
    }

    /// The model if it is ready, else 503 at once.
    pub fn model_now(&self) -> Result<Arc<Model>, ApiError> {
        match &*self.inner.load.borrow() {
            LoadState::Ready(model) => Ok(model.clone()),
            LoadState::Loading { progress } => Err(ApiError::unavailable(
                format!("the model is loading ({:.0} %)", progress * 100.0),
                "loading",
            )),
            LoadState::Failed(message) => Err(ApiError::unavailable(message, "load_failed")),
        }
    }

    /// The model, waiting for it while it loads. At most `limits.queue` requests wait.
    pub async fn model(&self) -> Result<Arc<Model>, ApiError> {
        if !matches!(&*self.inner.load.borrow(), LoadState::Loading { .. }) {
            return self.model_now();
        }
        let limit = self.settings().limits.queue as usize;
        let _held = Held::enter(&self.inner.held, limit)?;
        let mut load = self.inner.load.clone();
        tokio::select! {
            biased;
            state = load.wait_for(|state| !matches!(state, LoadState::Loading { .. })) => {
                // Who loads ends without a word only when told to.
                let ended = state.is_ok();
                if ended { self.model_now() } else { Err(ApiError::shutting_down()) }
            }
            () = self.http().drain_begun() => Err(ApiError::shutting_down()),
        }
    }

    /// Requests that wait for the model to be loaded.
    pub fn held(&self) -> usize {
        self.inner.held.load(Ordering::Acquire)
    }
}

/// Seconds after which a model that loads may be ready.
const LOADING_RETRY_AFTER: u64 = 10;

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
