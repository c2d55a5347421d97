//! Rotary positions (RoPE) of the section `context`, as llama.cpp takes them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How rotary positions are stretched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RopeScaling {
    /// As the model's file says.
    Model,
    /// Not at all.
    None,
    /// Every frequency alike.
    Linear,
    /// Low frequencies only (YaRN).
    Yarn,
}

/// The rotary positions that were asked for. 0, and -1 of the factors, stands for the model's own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rope {
    /// How positions are stretched.
    pub scaling: RopeScaling,
    /// Base frequency; 0: the model's.
    pub freq_base: f32,
    /// One over the factor of stretching; 0: the model's.
    pub freq_scale: f32,
    /// Tokens of context before YaRN; 0: the model's.
    pub yarn_orig_ctx: u32,
    /// Share of extrapolation; negative: the model's.
    pub yarn_ext_factor: f32,
    /// Scale of attention; negative: the model's.
    pub yarn_attn_factor: f32,
    /// Lower bound of rotations; negative: the model's.
    pub yarn_beta_slow: f32,
    /// Upper bound of rotations; negative: the model's.
    pub yarn_beta_fast: f32,
}

impl Default for Rope {
    fn default() -> Self {
        Self {
            scaling: RopeScaling::Model,
            freq_base: 0.0,
            freq_scale: 0.0,
            yarn_orig_ctx: 0,
            yarn_ext_factor: -1.0,
            yarn_attn_factor: -1.0,
            yarn_beta_slow: -1.0,
            yarn_beta_fast: -1.0,
        }
    }
}
