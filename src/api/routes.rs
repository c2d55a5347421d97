//! The one registry of routes: which paths there are, what kind each is, and in which API's form its
//! errors are written. The router, the index, the keys, the metrics' labels and error answers read it.

use axum::routing::{MethodRouter, delete, get, post};
use serde_json::Value;

use super::endpoints::{
    apply_template, chat, completions, embeddings, health, index, messages, models, native,
    ollama as ollama_endpoints, props, rerank, responses, slots, tokenize, unsupported,
};
use super::metrics;
use super::reply::{anthropic, ollama, openai};
use super::state::AppState;
use crate::config::Settings;
use crate::http::Problem;

/// A path and what answers there.
pub(super) struct Route {
    /// Below `server.api_prefix`.
    pub(super) path: &'static str,
    pub(super) kind: Kind,
    /// The index names it; other paths of the same endpoint are not named.
    pub(super) listed: bool,
    /// Its methods with their endpoints.
    pub(super) methods: fn() -> MethodRouter<AppState>,
    /// The form of its errors, also of those before the endpoint.
    errors: ErrorForm,
    /// Whether it is there at all; decided when the server starts.
    is_served: fn(&Settings) -> bool,
}

/// Writes the body of an error answer in the form of an API.
type ErrorForm = fn(&Problem) -> Value;

const OPENAI: ErrorForm = openai::error_body;
const ANTHROPIC: ErrorForm = anthropic::error_body;
const OLLAMA: ErrorForm = ollama::error_body;

/// What a route does, as far as others treat it by that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Answers without an API key.
    Open,
    /// Tells what is known, at once.
    Inspect,
    /// Reads a body, and may wait for the model.
    Work,
    /// Reads a body and generates; its metrics have series from the start.
    Generate,
    /// A route of llama-server or Ollama that is not a part of this server.
    Unsupported,
}

use Kind::{Generate, Inspect, Open, Work};

/// All routes.
pub(super) static ROUTES: &[Route] = &[
    Route::new(Open, OPENAI, "/", || get(index::index)).unlisted(),
    Route::new(Open, OPENAI, "/health", || get(health::health)),
    Route::new(Open, OPENAI, "/v1/health", || get(health::health)).unlisted(),
    Route::new(Inspect, OPENAI, "/v1/models", || get(models::list)),
    Route::new(Inspect, OPENAI, "/models", || get(models::list)).unlisted(),
    Route::new(Inspect, OPENAI, "/v1/models/{*id}", || get(models::one)).unlisted(),
    Route::new(Inspect, OPENAI, "/models/{*id}", || get(models::one)).unlisted(),
    Route::new(Generate, OPENAI, "/v1/chat/completions", || post(chat::chat)),
    Route::new(Generate, OPENAI, "/chat/completions", || post(chat::chat)).unlisted(),
    Route::new(Generate, OPENAI, "/v1/completions", || post(completions::completions)),
    Route::new(Generate, ANTHROPIC, "/v1/messages", || post(messages::messages)),
    Route::new(Generate, ANTHROPIC, "/messages", || post(messages::messages)).unlisted(),
    Route::new(Work, ANTHROPIC, "/v1/messages/count_tokens", || post(messages::count_tokens)),
    Route::new(Work, ANTHROPIC, "/messages/count_tokens", || post(messages::count_tokens))
        .unlisted(),
    Route::unsupported(ANTHROPIC, "/v1/messages/batches"),
    Route::new(Generate, OPENAI, "/v1/responses", || post(responses::create)),
    Route::new(Generate, OPENAI, "/responses", || post(responses::create)).unlisted(),
    Route::new(Inspect, OPENAI, "/v1/responses/{id}", || {
        get(responses::stored).delete(responses::delete)
    }),
    Route::new(Inspect, OPENAI, "/responses/{id}", || {
        get(responses::stored).delete(responses::delete)
    })
    .unlisted(),
    Route::new(Work, OPENAI, "/v1/responses/input_tokens", || post(responses::input_tokens)),
    Route::new(Work, OPENAI, "/responses/input_tokens", || post(responses::input_tokens))
        .unlisted(),
    Route::new(Generate, OPENAI, "/completion", || post(native::completion)),
    Route::new(Generate, OPENAI, "/completions", || post(native::completion)).unlisted(),
    Route::new(Generate, OPENAI, "/infill", || post(native::infill)),
    Route::new(Work, OPENAI, "/apply-template", || post(apply_template::apply_template)),
    Route::new(Work, OPENAI, "/tokenize", || post(tokenize::tokenize)),
    Route::new(Work, OPENAI, "/detokenize", || post(tokenize::detokenize)),
    Route::new(Work, OPENAI, "/props", || get(props::props).post(props::change_props)),
    Route::new(Inspect, OPENAI, "/slots", || get(slots::slots)),
    Route::new(Inspect, OPENAI, "/metrics", || get(metrics::metrics)),
    Route::ollama(Generate, "/api/chat", || post(ollama_endpoints::chat::chat)),
    Route::ollama(Generate, "/api/generate", || post(ollama_endpoints::generate::generate)),
    Route::ollama(Inspect, "/api/tags", || get(ollama_endpoints::models::tags)),
    Route::ollama(Inspect, "/api/ps", || get(ollama_endpoints::models::running)),
    Route::ollama(Work, "/api/show", || post(ollama_endpoints::models::show)),
    Route::ollama(Inspect, "/api/version", || get(ollama_endpoints::models::version)),
    Route::ollama(Work, "/api/embed", || post(ollama_endpoints::embed::embed)),
    Route::ollama(Work, "/api/embeddings", || post(ollama_endpoints::embed::embeddings)).unlisted(),
    Route::ollama_unsupported("/api/pull", || post(unsupported::unsupported)),
    Route::ollama_unsupported("/api/push", || post(unsupported::unsupported)),
    Route::ollama_unsupported("/api/create", || post(unsupported::unsupported)),
    Route::ollama_unsupported("/api/copy", || post(unsupported::unsupported)),
    Route::ollama_unsupported("/api/delete", || delete(unsupported::unsupported)),
    Route::ollama_unsupported("/api/blobs/{digest}", || {
        get(unsupported::unsupported).post(unsupported::unsupported)
    }),
    Route::new(Work, OPENAI, "/v1/embeddings", || post(embeddings::embeddings)),
    Route::new(Work, OPENAI, "/embedding", || post(embeddings::native)),
    Route::new(Work, OPENAI, "/embeddings", || post(embeddings::native)).unlisted(),
    Route::new(Work, OPENAI, "/v1/rerank", || post(rerank::rerank)),
    Route::new(Work, OPENAI, "/v1/reranking", || post(rerank::rerank)).unlisted(),
    Route::new(Work, OPENAI, "/rerank", || post(rerank::rerank)).unlisted(),
    Route::new(Work, OPENAI, "/reranking", || post(rerank::rerank)).unlisted(),
    Route::unsupported(OPENAI, "/chat/completions/input_tokens"),
    Route::unsupported(OPENAI, "/v1/chat/completions/input_tokens"),
    Route::unsupported(OPENAI, "/v1/chat/completions/control"),
    Route::unsupported(OPENAI, "/audio/transcriptions"),
    Route::unsupported(OPENAI, "/v1/audio/transcriptions"),
    Route::unsupported(OPENAI, "/v1/streams/lookup"),
    Route::unsupported(OPENAI, "/slots/{id}"),
    Route::new(Kind::Unsupported, OPENAI, "/lora-adapters", || {
        get(unsupported::unsupported).post(unsupported::unsupported)
    })
    .unlisted(),
    Route::new(Kind::Unsupported, OPENAI, "/v1/stream", || {
        get(unsupported::unsupported).merge(delete(unsupported::unsupported))
    })
    .unlisted(),
];

impl Route {
    const fn new(
        kind: Kind,
        errors: ErrorForm,
        path: &'static str,
        methods: fn() -> MethodRouter<AppState>,
    ) -> Self {
        Self { path, kind, listed: true, methods, errors, is_served: |_| true }
    }

    /// A route of Ollama's API.
    const fn ollama(
        kind: Kind,
        path: &'static str,
        methods: fn() -> MethodRouter<AppState>,
    ) -> Self {
        let is_served = |settings: &Settings| settings.server.ollama;
        Self { is_served, ..Self::new(kind, OLLAMA, path, methods) }
    }

    const fn ollama_unsupported(
        path: &'static str,
        methods: fn() -> MethodRouter<AppState>,
    ) -> Self {
        Self::ollama(Kind::Unsupported, path, methods).unlisted()
    }

    const fn unsupported(errors: ErrorForm, path: &'static str) -> Self {
        Self::new(Kind::Unsupported, errors, path, || post(unsupported::unsupported)).unlisted()
    }

    const fn unlisted(mut self) -> Self {
        self.listed = false;
        self
    }
}

/// The routes that these settings serve.
pub(super) fn served(settings: &Settings) -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().filter(move |route| (route.is_served)(settings))
}

/// Whether the route of this path answers without a key.
pub(super) fn is_open(path: &str) -> bool {
    find(path).is_some_and(|route| route.kind == Open)
}

/// The route of this path, which is a route's own and not a request's.
fn find(path: &str) -> Option<&'static Route> {
    ROUTES.iter().find(|route| route.path == path)
}

/// The body of an error answer; OpenAI's form where no route is known.
pub(super) fn write_error(route: Option<&str>, problem: &Problem) -> Value {
    let errors = route.and_then(find).map_or(OPENAI, |route| route.errors);
    errors(problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_names_every_endpoint() {
        let readme = include_str!("../../README.md");
        for route in ROUTES.iter().filter(|route| route.listed) {
            assert!(readme.contains(route.path), "README.md lacks {}", route.path);
        }
    }

    #[test]
    fn a_path_is_there_once_and_every_endpoint_is_listed_once() {
        for (i, route) in ROUTES.iter().enumerate() {
            assert!(ROUTES[..i].iter().all(|other| other.path != route.path), "{}", route.path);
            assert!(!route.listed || route.kind != Kind::Unsupported, "{}", route.path);
        }
    }
}
