//! The settings structs, the single source of names, types, ranges, defaults and documentation.
//!
//! Everything else about a setting (its names in the environment and on the command line, the
//! JSON schema, the example file, the reference page, its range check) is derived from here.

mod cache;
mod embedding;
mod model;
mod rope;
mod sampling;

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use cache::*;
pub use embedding::*;
pub use model::*;
pub use rope::*;
pub use sampling::*;

/// All settings of the server.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Which model is served, and how it is loaded.
    pub model: ModelSettings,
    /// A model that makes vectors of texts, served beside the other one.
    pub embedding_model: EmbeddingModelSettings,
    /// A model that scores documents by how well they answer a query, served beside the other ones.
    pub rerank_model: RerankModelSettings,
    /// The context: its size, its slots, and what a step computes.
    pub context: ContextSettings,
    /// What is kept of conversations that no slot computes, so that their next turn is not read anew.
    pub cache: CacheSettings,
    /// Sampling values for requests that do not set their own.
    pub sampling: SamplingSettings,
    /// The HTTP server.
    pub server: ServerSettings,
    /// Bounds on what clients may ask for and how long they may take.
    pub limits: LimitSettings,
    /// Logging.
    pub log: LogSettings,
}

/// The HTTP server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerSettings {
    /// Addresses to listen on: IP addresses, host names, or `unix:PATH`. Only this machine by
    /// default, because no API key is set either.
    pub host: Vec<String>,
    /// TCP port of all addresses that are not sockets in the file system; 0 takes a free one and
    /// logs it.
    pub port: u16,
    /// Path prefix of all routes, such as `/llm`, for a server behind a shared proxy. Empty: none.
    pub api_prefix: String,
    /// File with API keys, one per line; lines that start with `#` are comments. Unset: no key
    /// is asked for.
    pub api_key_file: Option<PathBuf>,
    /// API keys given directly. A file is safer: command lines and environments can be read.
    pub api_keys: Vec<String>,
    /// Origins that browsers may call from, such as `https://chat.example`; `*` allows all,
    /// `localhost`, the default, pages of this machine on any port. Empty turns CORS off. Other
    /// web pages cannot use the server behind its user's back.
    pub cors_origins: Vec<String>,
    /// Host names, such as `chat.example`, under which a server may be asked that has no key and
    /// listens on loopback addresses only; `*` allows all names, but no pages of other origins. By
    /// default it answers to loopback names and those of `host` alone, so that a web page cannot
    /// reach it by a name of its own that leads here (DNS rebinding). A proxy or container that asks
    /// under another name needs that name here, such as `host.docker.internal` or that of an
    /// `upstream` of nginx, which nginx sends unless it is told otherwise.
    pub allowed_hosts: Vec<String>,
    /// Refuse requests for a model name that is not served, instead of answering them with the
    /// model there is. Off by default: many clients come with a fixed name.
    pub strict_model_names: bool,
    /// Serve `/metrics` for Prometheus. On by default: it holds no text.
    pub metrics: bool,
    /// Serve `/slots`, the state of each slot. On by default, as in llama-server.
    pub slots: bool,
    /// Accept `POST /props`. Off by default, as in llama-server.
    pub props: bool,
    /// MiB of memory for responses that later requests name (`store` and `previous_response_id` of
    /// `/v1/responses`); the ones that were not used for the longest time go first, and all go with
    /// the server. 0: none are kept, and a request that names one is refused. 64 hold a day of chats.
    #[schemars(range(max = 1_048_576))]
    pub responses_store_mib: u64,
    /// Serve Ollama's API under `/api`, for clients that speak no other. On by default: it tells and
    /// does nothing that the other routes do not.
    pub ollama: bool,
    /// Worker threads of the HTTP runtime; 0: chosen for this machine.
    #[schemars(range(max = 1024))]
    pub threads: u32,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            host: vec!["127.0.0.1".to_owned()],
            port: 8091,
            api_prefix: String::new(),
            api_key_file: None,
            api_keys: Vec::new(),
            cors_origins: vec!["localhost".to_owned()],
            allowed_hosts: Vec::new(),
            strict_model_names: false,
            metrics: true,
            slots: true,
            props: false,
            responses_store_mib: 64,
            ollama: true,
            threads: 0,
        }
    }
}

/// Bounds on what clients may ask for and how long they may take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LimitSettings {
    /// Most bytes of a request body. 32 MiB hold the longest prompt that any context takes.
    #[schemars(range(min = 1024, max = 1_099_511_627_776_u64))]
    pub body_bytes: u64,
    /// Seconds a client may take to send its request headers. Short, so that idle connections
    /// cannot use the server up.
    #[schemars(range(min = 1, max = 86_400))]
    pub header_timeout: u64,
    /// Seconds that a client may be silent while it sends a request body, and how far it may fall
    /// behind 16 KiB a second. So slow links can send large bodies, but a client that sends a byte
    /// now and then is answered with 408.
    #[schemars(range(min = 1, max = 86_400))]
    pub body_timeout: u64,
    /// Open client connections; more are answered with 503 at once. Each costs a file descriptor
    /// and some 20 kB: this many are far more than slots can serve, and no burden.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub connections: u32,
    /// Seconds that a request may take from its headers to the end of its answer, waiting
    /// included; 0: no limit. Beyond it a generation ends with finish reason `length`; if nothing
    /// was generated, the answer is 504. Off by default: long answers of large models take long.
    #[schemars(range(max = 604_800))]
    pub request_timeout: u64,
    /// Most tokens that one choice may have, whatever the request asks for; the answer then ends
    /// with finish reason `length`. 0: no limit but the context, which is the default because
    /// clients know best how much they want.
    pub max_tokens: u32,
    /// Requests that may wait for a slot; more are answered with 429. Beyond some hundreds, most
    /// clients give up before their turn.
    #[schemars(range(max = 1_000_000))]
    pub queue: u32,
    /// Seconds between keep-alive comments on a stream that has nothing to send; 0: none. Clients
    /// and proxies give up after about 30 seconds of silence.
    #[schemars(range(max = 86_400))]
    pub sse_ping_interval: u64,
    /// Bytes of output buffered for a client that reads slowly. 1 MiB is more than most whole
    /// answers, so that generation never waits for such a client.
    #[schemars(range(min = 1024, max = 1_073_741_824))]
    pub stream_buffer_bytes: u64,
    /// Seconds that buffer may stay full before the client is dropped and its slot freed. Time
    /// for a network to come back, not for a client that stopped reading.
    #[schemars(range(min = 1, max = 86_400))]
    pub stream_stall_timeout: u64,
    /// Seconds that one step of the engine may take before the heartbeat to systemd's watchdog
    /// stops, so that a hung GPU ends in a restart. A step is planned to take two seconds at most;
    /// a minute is beyond any that still computes. Only with a `WatchdogSec=`, at least twice
    /// this.
    #[schemars(range(min = 1, max = 86_400))]
    pub stall_timeout: u64,
    /// Seconds that running requests get to finish after SIGTERM. Below systemd's stop timeout of
    /// 90 seconds.
    #[schemars(range(max = 86_400))]
    pub drain_timeout: u64,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            body_bytes: 32 << 20,
            header_timeout: 10,
            body_timeout: 30,
            connections: 1024,
            request_timeout: 0,
            max_tokens: 0,
            queue: 256,
            sse_ping_interval: 10,
            stream_buffer_bytes: 1 << 20,
            stream_stall_timeout: 30,
            stall_timeout: 60,
            drain_timeout: 30,
        }
    }
}

/// Logging.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// `off`, `error`, `warn`, `info`, `debug` or `trace`, or a filter such as
    /// `info,strixhalo::engine=debug`. No level logs prompts or keys.
    pub level: String,
    /// How lines are written: `text`, `json`, `journald` (to systemd's journal, with fields), or
    /// `auto`, which is journald where systemd has connected stderr to the journal, else text.
    pub format: LogFormat,
    /// Colors in text lines: `on`, `off`, or `auto`, which is on for a terminal unless
    /// `NO_COLOR` is set.
    pub colors: LogColors,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Auto, colors: LogColors::Auto }
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Chosen by where stderr goes.
    Auto,
    /// Readable lines.
    Text,
    /// One JSON object per line.
    Json,
    /// Entries with fields in systemd's journal.
    Journald,
}

/// Colors in log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogColors {
    /// Always.
    On,
    /// Never.
    Off,
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
}
