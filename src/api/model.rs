//! A model that is served: its names, how far its loading is, and the loaded model itself, which a
//! request takes once and everything below it works with.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

use super::error::ApiError;
use crate::chat::Template;
use crate::engine::Engine;
use crate::http::Context;

/// Seconds after which a model that loads may be ready.
const LOADING_RETRY_AFTER: u64 = 10;

/// How far the model is.
#[derive(Debug, Clone)]
pub enum LoadState {
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

/// A loaded model and what is derived from it once.
#[derive(Debug)]
pub struct LoadedModel {
    /// The engine that computes it.
    pub engine: Engine,
    /// Its chat template; `Err` says why there is none.
    pub template: Result<Template, String>,
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

    /// The error of a request for a model of another name.
    pub(super) fn is_not(&self, asked: &str) -> ApiError {
        ApiError::NoModel { asked: asked.to_owned(), served: self.names().join(", ") }
    }

    /// How far it is, now.
    pub fn load_state(&self) -> LoadState {
        self.0.load.borrow().clone()
    }

    /// Whether it is still being loaded.
    pub(super) fn is_loading(&self) -> bool {
        matches!(&*self.0.load.borrow(), LoadState::Loading { .. })
    }

    /// The loaded model, else 503 at once.
    pub fn now(&self) -> Result<Arc<LoadedModel>, ApiError> {
        match &*self.0.load.borrow() {
            LoadState::Ready(model) => Ok(model.clone()),
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
            state = load.wait_for(|state| !matches!(state, LoadState::Loading { .. })) => {
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
