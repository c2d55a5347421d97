//! Sections `model` and `context`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::rope::{Rope, RopeScaling};

/// Which model is served, and how it is loaded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ModelSettings {
    /// Path of the GGUF file; of a split model, any of its parts. Relative paths are looked up
    /// in `models_dir` when that is set. Unset: the built-in demo model, so that a first start
    /// needs no download.
    pub path: Option<PathBuf>,
    /// Directory that relative model paths are looked up in. Unset: the working directory.
    pub models_dir: Option<PathBuf>,
    /// Names the model is served under; the first is the one that answers give. Empty: the
    /// model's file name without `.gguf`, which needs no upkeep when the model changes.
    pub alias: Vec<String>,
    /// Layers computed on the GPU; 999 means all. All is the default because the GPU of a
    /// Strix Halo shares the memory of the CPU: a layer left on the CPU saves nothing.
    pub n_gpu_layers: u32,
    /// Whether a GPU must be there: `required` refuses to start without one, or with fewer layers
    /// on it than `n_gpu_layers` asks for; `auto` uses one if found, and warns if there is one
    /// that cannot be used; `off` never uses one. The default runs everywhere; an appliance wants
    /// `required`, so that a lost GPU is an error and not a slow server.
    pub gpu: Gpu,
    /// GPUs that the model is loaded on, by llama.cpp's names, such as `Vulkan0` or `ROCm0`;
    /// `strixhalo version` lists them, and `none` is the CPU alone. A name that is not there is an
    /// error. Empty: all GPUs of one backend, those with a memory of their own first, which is
    /// the one GPU of a Strix Halo through ROCm where a build has ROCm, else through Vulkan.
    pub device: Vec<String>,
    /// What happens if a model with its context would not fit into the memory that is free:
    /// `refuse` or `warn`. Refused by default: a load that does not fit into the memory that the
    /// GPU may use (GTT) wedges the driver amdgpu, and only a reboot helps. `warn` is for a
    /// machine whose numbers are known to mislead, such as a CPU that maps a model larger than
    /// its memory.
    pub memory_gate: MemoryGate,
    /// Map the file into memory instead of reading it. Off by default: on Strix Halo, loading
    /// through mmap is many times slower for files of tens of gigabytes.
    pub mmap: bool,
    /// Lock the model in memory so that it is never swapped out. Off by default because it needs
    /// a raised memlock limit, and GPU memory is not swapped anyway.
    pub mlock: bool,
    /// Jinja chat template used instead of the model's own, or `chatml`. Unset: the one in the
    /// GGUF file, which is what the model was trained with.
    pub chat_template: Option<String>,
    /// File with a Jinja chat template used instead of the model's own. Unset: the one in the
    /// GGUF file.
    pub chat_template_file: Option<PathBuf>,
    /// Variables given to the chat template in every request, such as `enable_thinking`; a
    /// request's own `chat_template_kwargs` override them. Empty: the template's own defaults.
    pub chat_template_kwargs: Map<String, Value>,
    /// Decode a few tokens after loading, so that the first request does not pay for it. On by
    /// default; it takes well under a second on a GPU.
    pub warmup: bool,
    /// Whether the GPU must prove itself before the model is loaded: `startup` compares what it
    /// computes with the CPU on three small models, as `strixhalo verify-gpu` does, and ends the
    /// start where they differ. Off by default because it takes some 10 to 60 seconds of every start;
    /// worth it after an update of the kernel, the driver or this server.
    pub selftest: SelfTest,
}

impl Default for ModelSettings {
    fn default() -> Self {
        Self {
            path: None,
            models_dir: None,
            alias: Vec::new(),
            n_gpu_layers: 999,
            gpu: Gpu::Auto,
            device: Vec::new(),
            memory_gate: MemoryGate::Refuse,
            mmap: false,
            mlock: false,
            chat_template: None,
            chat_template_file: None,
            chat_template_kwargs: Map::new(),
            warmup: true,
            selftest: SelfTest::Off,
        }
    }
}

/// Whether the GPU is tested before it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SelfTest {
    /// It is not.
    Off,
    /// Each start tests it before the model is loaded, and fails if it does not agree with the CPU.
    Startup,
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

/// What happens to a load that would not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MemoryGate {
    /// It is an error before anything is loaded.
    Refuse,
    /// It is tried, with a warning.
    Warn,
}

/// The context: its size, its slots, and what a step computes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ContextSettings {
    /// Tokens of context in total, shared out evenly over the slots; 0: the trained context per
    /// slot. The default, 262144 per slot, is cut to what the model was trained for and to what
    /// fits in memory; a value that is set is never cut.
    pub ctx_size: u32,
    /// Slots: requests computed at the same time; more of them wait. Two by default: one long
    /// conversation and one more, each with room for a long context.
    #[schemars(range(min = 1, max = 256))]
    pub parallel: u32,
    /// Most tokens in one decode call. 2048 keeps the GPU busy on prompts; larger values gain
    /// little.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub batch: u32,
    /// Most tokens computed at once inside a decode call; at most `batch`. 512 balances prompt
    /// speed and the size of the compute buffers.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub ubatch: u32,
    /// Flash attention: `on`, `off` or `auto`. On by default: it is what makes quantized values
    /// in the cache possible, and long contexts fast on a GPU. On a CPU it makes most models
    /// slower, so there it counts as `auto` unless it is set.
    pub flash_attn: FlashAttn,
    /// Data type of cached keys. `q8_0` halves the memory of `f16` with no visible loss.
    pub cache_type_k: CacheType,
    /// Data type of cached values; quantized types need flash attention. `q8_0` halves the
    /// memory of `f16` with no visible loss. Without flash attention `f16` is used unless it is set.
    pub cache_type_v: CacheType,
    /// CPU threads while generating; 0: chosen for this machine.
    #[schemars(range(max = 1024))]
    pub threads: u32,
    /// CPU threads while reading prompts; 0: same as `threads`.
    #[schemars(range(max = 1024))]
    pub threads_batch: u32,
    /// Reuse what slots hold of earlier prompts. On by default: a conversation is then read once
    /// and not again at every turn.
    pub cache_prompt: bool,
    /// Guess the next tokens where text repeats itself, and compute them in one step: `auto` or
    /// `off`. On by default: only tokens that would have come anyway are kept, and it stops by itself
    /// where guessing costs more than it gives.
    pub speculation: Speculation,
    /// While streams run, the time in milliseconds a step may take, so that a long prompt does
    /// not stall them; shorter is smoother for them and slower for prompts. 250 ms still
    /// flows, and costs a prompt beside streams little of its speed.
    #[schemars(range(min = 1, max = 60_000))]
    pub step_target_ms: u32,
    /// How rotary positions (RoPE) are stretched: `none`, `linear`, `yarn`, or `model`, the default,
    /// as the model's file says. `yarn` with `rope_scale` is what model cards ask for to go past the
    /// trained context; it changes answers at any length, so it is not done unasked.
    pub rope_scaling: RopeScaling,
    /// The context is stretched by this factor, such as 4 for four times the trained one; 0: as the
    /// model's file says. The context that a model is taken to be trained for grows with it.
    #[schemars(range(min = 0.0, max = 1_000_000.0))]
    pub rope_scale: f32,
    /// Base frequency of rotary positions; 0: the model's own, which fits nearly always.
    #[schemars(range(min = 0.0))]
    pub rope_freq_base: f32,
    /// The same as `rope_scale`, told as its inverse: 0.25 stretches by 4; 0: as the model's file says.
    #[schemars(range(min = 0.0, max = 1_000_000.0))]
    pub rope_freq_scale: f32,
    /// Tokens of context before YaRN's stretching; 0: what the model's file says. Qwen3's cards name
    /// 32768, while its files say 40960.
    #[schemars(range(max = 2_147_483_647))]
    pub yarn_orig_ctx: u32,
    /// YaRN's share of extrapolation; 0: interpolation alone; -1: 1 with YaRN and 0 without, or what
    /// the model's file says.
    #[schemars(range(min = -1.0, max = 1000.0))]
    pub yarn_ext_factor: f32,
    /// YaRN's scale of attention; -1: the model's own. llama.cpp computes it from the stretching
    /// wherever `yarn_ext_factor` is not 0.
    #[schemars(range(min = -1.0, max = 1000.0))]
    pub yarn_attn_factor: f32,
    /// YaRN's lower bound of rotations (alpha); -1: the model's own.
    #[schemars(range(min = -1.0, max = 1_000_000.0))]
    pub yarn_beta_slow: f32,
    /// YaRN's upper bound of rotations (beta); -1: the model's own.
    #[schemars(range(min = -1.0, max = 1_000_000.0))]
    pub yarn_beta_fast: f32,
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
            speculation: Speculation::Auto,
            step_target_ms: 250,
            rope_scaling: RopeScaling::Model,
            rope_scale: 0.0,
            rope_freq_base: 0.0,
            rope_freq_scale: 0.0,
            yarn_orig_ctx: 0,
            yarn_ext_factor: -1.0,
            yarn_attn_factor: -1.0,
            yarn_beta_slow: -1.0,
            yarn_beta_fast: -1.0,
        }
    }
}

impl ContextSettings {
    /// Its rotary positions.
    pub fn rope(&self) -> Rope {
        let freq_scale = match self.rope_scale {
            0.0 => self.rope_freq_scale,
            scale => scale.recip(),
        };
        Rope {
            scaling: self.rope_scaling,
            freq_base: self.rope_freq_base,
            freq_scale,
            yarn_orig_ctx: self.yarn_orig_ctx,
            yarn_ext_factor: self.yarn_ext_factor,
            yarn_attn_factor: self.yarn_attn_factor,
            yarn_beta_slow: self.yarn_beta_slow,
            yarn_beta_fast: self.yarn_beta_fast,
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
    /// Used on a GPU; on a CPU only in models that are small or need it, where 32,768 tokens a slot
    /// would not fit into memory without it, and if `cache_type_v` is set to a quantized type.
    Auto,
}

/// Whether tokens are guessed ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Speculation {
    /// Wherever it gains time.
    Auto,
    /// Never.
    Off,
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

impl CacheType {
    /// Whether values are stored in blocks with a shared scale, which needs flash attention for V.
    pub fn is_quantized(self) -> bool {
        !matches!(self, Self::F32 | Self::F16 | Self::Bf16)
    }
}
