//! The one registry of routes: which paths there are, what kind each is, and of which API, in whose
//! form its errors are written. The router, the index, the keys, the metrics' labels and error answers
//! read it.

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
use crate::http::{Dialects, Problem};

/// A path and what answers there.
pub(super) struct Route {
    /// Below `server.api_prefix`.
    pub(super) path: &'static str,
    pub(super) kind: Kind,
    /// The index names it; other paths of the same endpoint are not named.
    pub(super) listed: bool,
    /// Its methods with their endpoints.
    pub(super) methods: fn() -> MethodRouter<AppState>,
    /// Whose it is; also errors before the endpoint are in this API's form.
    dialect: Dialect,
    /// Whether it is there at all; decided when the server starts.
    is_served: fn(&Settings) -> bool,
}

/// An API that routes belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    OpenAi,
    Anthropic,
    Ollama,
    LlamaServer,
    /// Of no other API.
    Own,
}

impl Dialect {
    /// Its name in labels of metrics.
    fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Ollama => "ollama",
            Self::LlamaServer => "llama_server",
            Self::Own => "none",
        }
    }

    /// The API that a path would belong to, had it a route.
    fn of_path(path: &str) -> Self {
        let is_below = |folder: &str| {
            path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if is_below("/api") {
            Self::Ollama
        } else if is_below("/v1/messages") || is_below("/messages") {
            Self::Anthropic
        } else {
            Self::Own
        }
    }

    /// The body of an error answer in its form.
    fn error_body(self, problem: &Problem) -> Value {
        match self {
            Self::OpenAi | Self::LlamaServer | Self::Own => openai::error_body(problem),
            Self::Anthropic => anthropic::error_body(problem),
            Self::Ollama => ollama::error_body(problem),
        }
    }
}

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

use Dialect::{Anthropic, LlamaServer, OpenAi, Own};
use Kind::{Generate, Inspect, Open, Work};

/// All routes.
pub(super) static ROUTES: &[Route] = &[
    Route::new(Open, Own, "/", || get(index::index)).unlisted(),
    Route::new(Open, Own, "/health", || get(health::health)),
    Route::new(Open, Own, "/v1/health", || get(health::health)).unlisted(),
    Route::new(Inspect, OpenAi, "/v1/models", || get(models::list)),
    Route::new(Inspect, OpenAi, "/models", || get(models::list)).unlisted(),
    Route::new(Inspect, OpenAi, "/v1/models/{*id}", || get(models::one)).unlisted(),
    Route::new(Inspect, OpenAi, "/models/{*id}", || get(models::one)).unlisted(),
    Route::new(Generate, OpenAi, "/v1/chat/completions", || post(chat::chat)),
    Route::new(Generate, OpenAi, "/chat/completions", || post(chat::chat)).unlisted(),
    Route::new(Generate, OpenAi, "/v1/completions", || post(completions::completions)),
    Route::new(Generate, Anthropic, "/v1/messages", || post(messages::messages)),
    Route::new(Generate, Anthropic, "/messages", || post(messages::messages)).unlisted(),
    Route::new(Work, Anthropic, "/v1/messages/count_tokens", || post(messages::count_tokens)),
    Route::new(Work, Anthropic, "/messages/count_tokens", || post(messages::count_tokens))
        .unlisted(),
    Route::unsupported(Anthropic, "/v1/messages/batches"),
    Route::new(Generate, OpenAi, "/v1/responses", || post(responses::create)),
    Route::new(Generate, OpenAi, "/responses", || post(responses::create)).unlisted(),
    Route::new(Inspect, OpenAi, "/v1/responses/{id}", || {
        get(responses::stored).delete(responses::delete)
    }),
    Route::new(Inspect, OpenAi, "/responses/{id}", || {
        get(responses::stored).delete(responses::delete)
    })
    .unlisted(),
    Route::new(Work, OpenAi, "/v1/responses/input_tokens", || post(responses::input_tokens)),
    Route::new(Work, OpenAi, "/responses/input_tokens", || post(responses::input_tokens))
        .unlisted(),
    Route::new(Generate, LlamaServer, "/completion", || post(native::completion)),
    Route::new(Generate, LlamaServer, "/completions", || post(native::completion)).unlisted(),
    Route::new(Generate, LlamaServer, "/infill", || post(native::infill)),
    Route::new(Work, LlamaServer, "/apply-template", || post(apply_template::apply_template)),
    Route::new(Work, LlamaServer, "/tokenize", || post(tokenize::tokenize)),
    Route::new(Work, LlamaServer, "/detokenize", || post(tokenize::detokenize)),
    Route::new(Work, LlamaServer, "/props", || get(props::props).post(props::change_props)),
    Route::new(Inspect, LlamaServer, "/slots", || get(slots::slots)),
    Route::new(Inspect, Own, "/metrics", || get(metrics::metrics)),
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
    Route::new(Work, OpenAi, "/v1/embeddings", || post(embeddings::embeddings)),
    Route::new(Work, LlamaServer, "/embedding", || post(embeddings::native)),
    Route::new(Work, LlamaServer, "/embeddings", || post(embeddings::native)).unlisted(),
    Route::new(Work, LlamaServer, "/v1/rerank", || post(rerank::rerank)),
    Route::new(Work, LlamaServer, "/v1/reranking", || post(rerank::rerank)).unlisted(),
    Route::new(Work, LlamaServer, "/rerank", || post(rerank::rerank)).unlisted(),
    Route::new(Work, LlamaServer, "/reranking", || post(rerank::rerank)).unlisted(),
    Route::unsupported(LlamaServer, "/chat/completions/input_tokens"),
    Route::unsupported(LlamaServer, "/v1/chat/completions/input_tokens"),
    Route::unsupported(LlamaServer, "/v1/chat/completions/control"),
    Route::unsupported(OpenAi, "/audio/transcriptions"),
    Route::unsupported(OpenAi, "/v1/audio/transcriptions"),
    Route::unsupported(LlamaServer, "/v1/streams/lookup"),
    Route::unsupported(LlamaServer, "/slots/{id}"),
    Route::new(Kind::Unsupported, LlamaServer, "/lora-adapters", || {
        get(unsupported::unsupported).post(unsupported::unsupported)
    })
    .unlisted(),
    Route::new(Kind::Unsupported, LlamaServer, "/v1/stream", || {
        get(unsupported::unsupported).merge(delete(unsupported::unsupported))
    })
    .unlisted(),
];

impl Route {
    const fn new(
        kind: Kind,
        dialect: Dialect,
        path: &'static str,
        methods: fn() -> MethodRouter<AppState>,
    ) -> Self {
        Self { path, kind, listed: true, methods, dialect, is_served: |_| true }
    }

    /// A route of Ollama's API.
    const fn ollama(
        kind: Kind,
        path: &'static str,
        methods: fn() -> MethodRouter<AppState>,
    ) -> Self {
        let is_served = |settings: &Settings| settings.server.ollama;
        Self { is_served, ..Self::new(kind, Dialect::Ollama, path, methods) }
    }

    const fn ollama_unsupported(
        path: &'static str,
        methods: fn() -> MethodRouter<AppState>,
    ) -> Self {
        Self::ollama(Kind::Unsupported, path, methods).unlisted()
    }

    const fn unsupported(dialect: Dialect, path: &'static str) -> Self {
        Self::new(Kind::Unsupported, dialect, path, || post(unsupported::unsupported)).unlisted()
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

/// How labels and errors tell apart the APIs of the routes that these settings serve.
pub(super) fn dialects(settings: &Settings) -> Dialects {
    let write_error = if settings.server.ollama { write_error } else { write_error_without_ollama };
    Dialects { name: dialect_name, write_error }
}

fn dialect_name(route: Option<&str>) -> &'static str {
    route.and_then(find).map_or(Own, |route| route.dialect).name()
}

/// The body of an error answer; OpenAI's form where no API is known.
fn write_error(path: Option<&str>, problem: &Problem) -> Value {
    dialect_of(path).error_body(problem)
}

/// The same where Ollama's API is closed: its paths are like any other that is no route.
fn write_error_without_ollama(path: Option<&str>, problem: &Problem) -> Value {
    match dialect_of(path) {
        Dialect::Ollama => Own.error_body(problem),
        dialect => dialect.error_body(problem),
    }
}

fn dialect_of(path: Option<&str>) -> Dialect {
    path.map_or(Own, |path| match find(path) {
        Some(route) => route.dialect,
        None => Dialect::of_path(path),
    })
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
    fn what_is_no_route_is_refused_in_the_form_of_its_api() {
        let form = |path| Dialect::of_path(path);
        assert_eq!(form("/api/nope"), Dialect::Ollama);
        assert_eq!(form("/v1/messages/nope"), Anthropic);
        assert_eq!((form("/apis"), form("/v1/nope")), (Own, Own));
        assert_eq!(dialect_name(Some("/api/chat")), "ollama");
        assert_eq!(dialect_name(Some("/completion")), "llama_server");
        assert_eq!(dialect_name(None), "none");
    }

    #[test]
    fn a_path_is_there_once_and_every_endpoint_is_listed_once() {
        for (i, route) in ROUTES.iter().enumerate() {
            assert!(ROUTES[..i].iter().all(|other| other.path != route.path), "{}", route.path);
            assert!(!route.listed || route.kind != Kind::Unsupported, "{}", route.path);
        }
    }
}
