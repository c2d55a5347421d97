//! llama-server's measurements, which its answers carry.

use serde::Serialize;

/// llama-server's `timings`: counts, milliseconds, tokens per second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Timings {
    pub cache_n: u32,
    pub prompt_n: u32,
    pub prompt_ms: f64,
    pub prompt_per_token_ms: f64,
    pub prompt_per_second: f64,
    pub predicted_n: u32,
    pub predicted_ms: f64,
    pub predicted_per_token_ms: f64,
    pub predicted_per_second: f64,
    /// Of speculation; llama-server leaves both out where nothing was drafted.
    #[serde(skip_serializing_if = "is_zero")]
    pub draft_n: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draft_n_accepted: Option<u32>,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// llama-server's `prompt_progress`.
#[derive(Debug, Clone, Copy, Serialize)]
#[allow(missing_docs)]
pub struct Progress {
    pub total: u32,
    pub cache: u32,
    pub processed: u32,
    pub time_ms: u64,
}
