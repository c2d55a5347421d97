//! The settings structs, the single source of names, types, defaults and documentation.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// All settings of the server.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Which model is served, and how it is loaded.
    pub model: ModelSettings,
    /// The context: its size, its slots, and what a step computes.
    pub context: ContextSettings,
    /// Sampling values for requests that do not set their own.
    pub sampling: SamplingSettings,
    /// The HTTP server.
    pub server: ServerSettings,
    /// Bounds on what clients may ask for and how long they may take.
    pub limits: LimitSettings,
    /// Logging.
    pub log: LogSettings,
}

/// Which model is served, and how it is loaded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ModelSettings {
    /// Path of the GGUF file; of a split model, any of its parts. Relative paths are looked up
    /// in `models_dir` when that is set. Unset: the built-in demo model.
    pub path: Option<PathBuf>,
    /// Directory that relative model paths are looked up in.
    pub models_dir: Option<PathBuf>,
    /// Names the model is served under; the first is the one that answers give. Empty: the
    /// model's file name without `.gguf`.
    pub alias: Vec<String>,
    /// Layers on the GPU; 999 means all.
    pub n_gpu_layers: u32,
    /// Whether a GPU must be there: `required` refuses to start without one, `auto` uses one if
    /// found, `off` never does.
    pub gpu: Gpu,
    /// Map the file into memory instead of reading it. Off by default: on Strix Halo, loading
    /// through mmap is many times slower for large files.
    pub mmap: bool,
    /// Lock the model in memory so that it is never swapped out.
    pub mlock: bool,
    /// Jinja chat template used instead of the model's own.
    pub chat_template: Option<String>,
    /// File with a Jinja chat template used instead of the model's own.
    pub chat_template_file: Option<PathBuf>,
    /// Variables given to the chat template in every request, such as `enable_thinking`.
    pub chat_template_kwargs: Map<String, Value>,
    /// Decode a few tokens after loading, so that the first request does not pay for it.
    pub warmup: bool,
}

impl Default for ModelSettings {
    fn default() -> Self {
        Self {
            path: None,
            models_dir: None,
            alias: Vec::new(),
            n_gpu_layers: 999,
            gpu: Gpu::Auto,
            mmap: false,
            mlock: false,
            chat_template: None,
            chat_template_file: None,
            chat_template_kwargs: Map::new(),
            warmup: true,
        }
    }
}

/// Whether a GPU must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Gpu {
    /// Starting without a GPU is an error.
    Required,
    /// A GPU is used if there is one.
    Auto,
    /// The CPU computes everything.
    Off,
}

/// The context: its size, its slots, and what a step computes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ContextSettings {
    /// Tokens of context in total, shared out evenly over the slots; 0: the trained context per
    /// slot. The default is cut to what the model was trained for and to what fits in memory; a
    /// value that is set is never cut.
    pub ctx_size: u32,
    /// Slots: requests computed at the same time.
    pub parallel: u32,
    /// Most tokens in one decode call.
    pub batch: u32,
    /// Most tokens computed at once inside a decode call.
    pub ubatch: u32,
    /// Flash attention.
    pub flash_attn: FlashAttn,
    /// Data type of cached keys.
    pub cache_type_k: CacheType,
    /// Data type of cached values; quantised types need flash attention.
    pub cache_type_v: CacheType,
    /// CPU threads while generating; 0: chosen for this machine.
    pub threads: u32,
    /// CPU threads while reading prompts; 0: same as `threads`.
    pub threads_batch: u32,
    /// Reuse what slots hold of earlier prompts.
    pub cache_prompt: bool,
    /// While streams run, the time in milliseconds a step may take, so that a long prompt does
    /// not stall them.
    pub step_target_ms: u32,
}

impl Default for ContextSettings {
    fn default() -> Self {
        Self {
            ctx_size: 524_288,
            parallel: 2,
            batch: 2048,
            ubatch: 512,
            flash_attn: FlashAttn::On,
            cache_type_k: CacheType::Q8_0,
            cache_type_v: CacheType::Q8_0,
            threads: 0,
            threads_batch: 0,
            cache_prompt: true,
            step_target_ms: 100,
        }
    }
}

/// Flash attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FlashAttn {
    /// Used, or the start fails.
    On,
    /// Not used.
    Off,
    /// Used where it is faster.
    Auto,
}

/// Data types of the KV cache, with their bytes per value in `model::plan`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, non_camel_case_types)] // llama.cpp's names; the unit is in `model::plan`
pub enum CacheType {
    F32,
    F16,
    Bf16,
    Q8_0,
    Q4_0,
    Q4_1,
    Iq4_nl,
    Q5_0,
    Q5_1,
}

/// Sampling values for requests that do not set their own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SamplingSettings {
    /// 0 takes the most likely token; 1 samples from the model's own distribution.
    pub temperature: f32,
    /// Samples among the k most likely tokens; 0: all.
    pub top_k: u32,
    /// Samples among the most likely tokens whose probabilities add up to this; 1: all.
    pub top_p: f32,
    /// Drops tokens less likely than this share of the most likely one; 0: none.
    pub min_p: f32,
    /// Locally typical sampling; 1: off.
    pub typical_p: f32,
    /// Keeps tokens within this many standard deviations of the best logit; -1: off.
    pub top_n_sigma: f32,
    /// Probability of removing the top choices (XTC); 0: off.
    pub xtc_probability: f32,
    /// Tokens above this probability count as top choices for XTC; above 0.5: off.
    pub xtc_threshold: f32,
    /// Half of the range in which the temperature moves with entropy; 0: off.
    pub dynatemp_range: f32,
    /// Exponent that maps entropy to temperature.
    pub dynatemp_exponent: f32,
    /// Tokens that the penalties look back on; 0: off, -1: the whole context.
    pub repeat_last_n: i32,
    /// Divides the logits of repeated tokens; 1: off.
    pub repeat_penalty: f32,
    /// Subtracted once per occurrence of a token; 0: off.
    pub frequency_penalty: f32,
    /// Subtracted from tokens that occurred; 0: off.
    pub presence_penalty: f32,
    /// DRY repetition penalty; 0: off.
    pub dry_multiplier: f32,
    /// Base of DRY's exponential growth.
    pub dry_base: f32,
    /// Repetitions up to this length are free of DRY's penalty.
    pub dry_allowed_length: i32,
    /// Tokens that DRY looks back on; 0: off, -1: the whole context.
    pub dry_penalty_last_n: i32,
    /// Strings that interrupt a repetition for DRY.
    pub dry_sequence_breakers: Vec<String>,
    /// Mirostat version: 0 (off), 1 or 2.
    pub mirostat: u8,
    /// Mirostat's target entropy.
    pub mirostat_tau: f32,
    /// Mirostat's learning rate.
    pub mirostat_eta: f32,
    /// The samplers in the order they apply.
    pub samplers: Vec<SamplerKind>,
    /// Seed of the random generator; -1: a new one for every request.
    pub seed: i64,
    /// Most tokens generated for a request that sets no limit; -1: until the context is full.
    pub n_predict: i32,
}

impl Default for SamplingSettings {
    fn default() -> Self {
        use SamplerKind::*;
        Self {
            temperature: 1.0,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.01,
            typical_p: 1.0,
            top_n_sigma: -1.0,
            xtc_probability: 0.0,
            xtc_threshold: 0.1,
            dynatemp_range: 0.0,
            dynatemp_exponent: 1.0,
            repeat_last_n: 64,
            repeat_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            dry_multiplier: 0.0,
            dry_base: 1.75,
            dry_allowed_length: 2,
            dry_penalty_last_n: 64,
            dry_sequence_breakers: ["\n", ":", "\"", "*"].map(str::to_owned).to_vec(),
            mirostat: 0,
            mirostat_tau: 5.0,
            mirostat_eta: 0.1,
            samplers: vec![Penalties, Dry, TopNSigma, TopK, TypP, TopP, MinP, Xtc, Temperature],
            seed: -1,
            n_predict: -1,
        }
    }
}

/// The samplers of a chain, by llama-server's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // each is documented at its setting
pub enum SamplerKind {
    Penalties,
    Dry,
    TopNSigma,
    TopK,
    #[serde(alias = "typical_p")]
    TypP,
    TopP,
    MinP,
    Xtc,
    Temperature,
}

/// The HTTP server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerSettings {
    /// Addresses to listen on: IP addresses, host names, or `unix:PATH`.
    pub host: Vec<String>,
    /// TCP port; 0 takes a free one and logs it.
    pub port: u16,
    /// Path prefix of all routes, such as `/llm`.
    pub api_prefix: String,
    /// File with API keys, one per line; lines that start with `#` are comments. Unset: no key
    /// is asked for.
    pub api_key_file: Option<PathBuf>,
    /// API keys given directly. A file is safer: command lines and environments can be read.
    pub api_keys: Vec<String>,
    /// Origins that browsers may call from; `*` allows all, empty turns CORS off.
    pub cors_origins: Vec<String>,
    /// Refuse requests for a model name that is not served, instead of answering them.
    pub strict_model_names: bool,
    /// Serve `/metrics`.
    pub metrics: bool,
    /// Serve `/slots`.
    pub slots: bool,
    /// Accept `POST /props`.
    pub props: bool,
    /// Worker threads of the HTTP runtime; 0: chosen for this machine.
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
            cors_origins: Vec::new(),
            strict_model_names: false,
            metrics: true,
            slots: true,
            props: false,
            threads: 0,
        }
    }
}

/// Bounds on what clients may ask for and how long they may take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LimitSettings {
    /// Most bytes of a request body.
    pub body_bytes: u64,
    /// Seconds a client may take to send its request headers.
    pub header_timeout: u64,
    /// Requests that may wait for a slot; more are answered with 429.
    pub queue: u32,
    /// Seconds between keep-alive comments on a stream that has nothing to send; 0: none.
    pub sse_ping_interval: u64,
    /// Bytes of output buffered for a client that reads slowly.
    pub stream_buffer_bytes: u64,
    /// Seconds that buffer may stay full before the client is dropped.
    pub stream_stall_timeout: u64,
    /// Seconds that running requests get to finish after SIGTERM.
    pub drain_timeout: u64,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            body_bytes: 32 << 20,
            header_timeout: 10,
            queue: 256,
            sse_ping_interval: 10,
            stream_buffer_bytes: 1 << 20,
            stream_stall_timeout: 30,
            drain_timeout: 30,
        }
    }
}

/// Logging.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// `error`, `warn`, `info`, `debug` or `trace`, or a filter such as `info,strixhalo::engine=debug`.
    pub level: String,
    /// How lines are written.
    pub format: LogFormat,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Auto }
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
}
