//! What all handlers share: what HTTP needs, the models, the counters.

use std::fmt;
use std::sync::Arc;

use prometheus::Registry;

use super::error::ApiError;
use super::metrics::{Counts, Energy};
use super::model::{Models, Purpose, ServedEmbedding, ServedModel};
use super::stored_responses::StoredResponses;
use crate::config::Settings;
use crate::http::Context;

/// Shared by all handlers; cheap to clone.
#[derive(Clone)]
pub struct AppState {
    inner: Arc<Inner>,
}

impl fmt::Debug for AppState {
    /// Without the settings, which may hold API keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppState").field("models", &self.inner.models).finish_non_exhaustive()
    }
}

struct Inner {
    http: Context,
    models: Models,
    /// Unix time at which the process started, seconds.
    started: u64,
    counts: Arc<Counts>,
    registry: Registry,
    responses: Arc<StoredResponses>,
}

impl AppState {
    /// `registry` has the metrics of `http` and `counts`.
    pub(super) fn with(
        http: Context,
        models: Models,
        started: u64,
        counts: Counts,
        registry: Registry,
    ) -> Self {
        let counts = Arc::new(counts);
        let mib = http.settings().server.responses_store_mib;
        let responses = Arc::new(StoredResponses::new(mib.saturating_mul(1 << 20)));
        Self { inner: Arc::new(Inner { http, models, started, counts, registry, responses }) }
    }

    /// What needs no model.
    pub fn http(&self) -> &Context {
        &self.inner.http
    }

    /// The effective settings, now.
    pub fn settings(&self) -> Arc<Settings> {
        self.inner.http.settings()
    }

    /// The models that are served.
    pub fn models(&self) -> &Models {
        &self.inner.models
    }

    /// The model that answers a request for `asked`. An unknown name is an error only if the
    /// settings say so.
    pub(super) fn resolve(&self, asked: Option<&str>) -> Result<&ServedModel, ApiError> {
        self.models().resolve(asked, self.settings().server.strict_model_names)
    }

    /// The model that embeds or ranks for a request that names `asked`.
    pub(super) fn resolve_for(
        &self,
        purpose: Purpose,
        asked: Option<&str>,
    ) -> Result<&ServedEmbedding, ApiError> {
        self.models().resolve_for(purpose, asked, self.settings().server.strict_model_names)
    }

    /// Unix time of the process's start, seconds.
    pub fn started(&self) -> u64 {
        self.inner.started
    }

    /// What generations are counted in.
    pub(super) fn counts(&self) -> &Arc<Counts> {
        &self.inner.counts
    }

    /// The energy that computing took.
    pub fn energy(&self) -> &Energy {
        &self.inner.counts.energy
    }

    /// Responses that later requests go on from.
    pub(super) fn responses(&self) -> &Arc<StoredResponses> {
        &self.inner.responses
    }

    /// All counters and histograms, those of HTTP included.
    pub(super) fn registry(&self) -> &Registry {
        &self.inner.registry
    }
}
