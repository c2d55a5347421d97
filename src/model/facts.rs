//! What a GGUF header says about the model: geometry of its caches, names, template.

use std::borrow::Cow;

use super::architecture;
use super::gguf::{Gguf, GgufError, MetaValue};
use super::graph::GraphFacts;
use super::keys::{Keys, Purpose};
use super::pooling::{Pooling, has_classifier};
use super::quantization::file_type_name;
use super::rope::RopeFacts;
use super::sampling::recommendations;
use crate::config::{Recommendation, Rope};

/// What a model file says about itself.
#[derive(Debug, Clone, PartialEq)]
pub struct GgufFacts {
    /// llama.cpp's name of the architecture, such as `qwen3moe`.
    pub architecture: String,
    /// The model's name.
    pub name: Option<String>,
    /// How most of its weights are stored, such as `Q4_K_M`.
    pub quantization: Option<&'static str>,
    /// Bytes of all tensors.
    pub tensor_bytes: u64,
    /// Bytes of all files.
    pub file_bytes: u64,
    /// Weights, counted.
    pub n_params: u64,
    /// Tokens of context that the model was trained for.
    pub n_ctx_train: u32,
    /// Width of the residual stream.
    pub n_embd: u32,
    /// Tokens of the vocabulary.
    pub n_vocab: u32,
    /// Most attention heads of any layer.
    pub n_head: u32,
    /// The layers that compute each token; predictors of further tokens are left out.
    pub layers: Vec<Layer>,
    /// f32 values of recurrent state in one recurrent layer for one sequence.
    pub state_values: u64,
    /// Whether a token sees only those before it.
    pub is_causal: bool,
    /// How the file says that a text becomes one vector; `None`: it is no model that embeds.
    pub pooling: Option<Pooling>,
    /// Whether it has a classifier, which scores a text: it can rank.
    pub has_classifier: bool,
    /// Whether each position has a vector that was learned (GPT-2, StarCoder): there is none past
    /// the trained context, and llama.cpp aborts on one.
    pub has_learned_positions: bool,
    /// Its rotary positions.
    pub rope: RopeFacts,
    /// Whether layers see a window of the tokens only, or chunks of them.
    pub has_window: bool,
    /// The widths that decide its compute buffers.
    pub graph: GraphFacts,
    /// Whether keys and values are one compressed tensor, which must have one type.
    pub shares_key_and_value: bool,
    /// The chat template.
    pub chat_template: Option<String>,
    /// Sampling values that it recommends, not checked.
    pub sampling: Vec<Recommendation>,
}

/// What a layer caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Layer {
    /// Heads whose keys and values are cached; 0: none.
    pub kv_heads: u32,
    /// Values of one key.
    pub key_length: u32,
    /// Values of one cached value; 0 where only keys are cached.
    pub value_length: u32,
    /// Keeps a state of fixed size for each sequence.
    pub recurrent: bool,
}

impl Layer {
    /// Cached values of one token.
    pub fn values(&self) -> u64 {
        u64::from(self.kv_heads) * u64::from(self.value_length)
    }
}

impl GgufFacts {
    /// Number of layers.
    pub fn n_layer(&self) -> usize {
        self.layers.len()
    }

    /// Layers that keep a recurrent state.
    pub fn recurrent_layers(&self) -> usize {
        self.layers.iter().filter(|layer| layer.recurrent).count()
    }

    /// Whether a sequence needs checkpoints to go back to: a recurrent state cannot be cut, and of a
    /// layer that sees a window a saved state has no more than the window before its end.
    pub fn needs_checkpoints(&self) -> bool {
        self.recurrent_layers() > 0 || self.has_window
    }

    /// Tokens of a step that can be taken back out of the recurrent states, where `speculation` needs
    /// that: llama.cpp keeps as many states more of each sequence. Most drafts that fail are no
    /// longer; three more take 0.9 GiB for four slots of a Qwen3-Coder-Next. A CPU would spend up to
    /// 5 % of each step on them, and copies a state for less. llama.cpp ends the process where they do
    /// not fit into a ubatch with the token before them and another one.
    pub fn rollback_tokens(&self, speculation: bool, on_gpu: bool, ubatch: u32) -> u32 {
        const KEPT: u32 = 3;
        let rolls_back = self.recurrent_layers() > 0
            && !self.has_window
            && architecture::rolls_back(&self.architecture);
        if speculation && on_gpu && rolls_back && ubatch > KEPT + 1 { KEPT } else { 0 }
    }

    /// Whether any layer has a KV cache.
    pub fn has_kv(&self) -> bool {
        self.layers.iter().any(|layer| layer.kv_heads > 0)
    }

    /// The model as if it had been trained for the context that `rope` stretches it to. Without a
    /// stretching that was asked for, and with learned positions, that is the trained one.
    pub fn stretched(&self, rope: &Rope) -> Cow<'_, Self> {
        let trained = self.n_ctx_train;
        let reach =
            if self.has_learned_positions { trained } else { self.rope.reach(trained, rope) };
        if reach == trained {
            return Cow::Borrowed(self);
        }
        Cow::Owned(Self { n_ctx_train: reach, ..self.clone() })
    }

    /// Why a part of the rotary positions that were asked for changes nothing, if so.
    pub fn rope_without_effect(&self, rope: &Rope) -> Option<&'static str> {
        if self.has_learned_positions && *rope != Rope::default() {
            return Some("the settings of rotary positions have no effect: this model has none");
        }
        self.rope.without_effect(rope)
    }

    pub(super) fn read(gguf: &Gguf, purpose: Purpose) -> Result<Self, GgufError> {
        let keys = Keys::of(gguf, purpose)?;
        let tokens = keys.vocabulary()?;
        let n_ctx_train = keys.required("context_length")?;
        let n_embd = keys.required("embedding_length")?;
        let layers = layers(&keys, n_embd)?;
        let heads = keys.per_layer("attention.head_count", layers.total)?;
        Ok(Self {
            name: keys.text("general.name")?.map(str::to_owned),
            quantization: match gguf.meta.get("general.file_type").map(|entry| &entry.value) {
                Some(MetaValue::Unsigned(id)) => file_type_name(*id),
                _ => None,
            },
            tensor_bytes: gguf.tensor_bytes(),
            file_bytes: gguf.file_bytes,
            n_params: gguf
                .tensors
                .iter()
                .map(|tensor| tensor.dims.iter().product::<u64>())
                .fold(0, u64::saturating_add),
            n_ctx_train,
            n_embd,
            n_vocab: tokens,
            n_head: heads.iter().flatten().copied().max().unwrap_or(0),
            state_values: state_values(&keys, n_embd)?,
            is_causal: keys.is_causal,
            pooling: Pooling::read(&keys)?,
            has_classifier: has_classifier(gguf),
            has_learned_positions: gguf
                .tensors
                .iter()
                .any(|tensor| tensor.name == "position_embd.weight"),
            rope: RopeFacts::read(&keys)?,
            has_window: ["attention.sliding_window", "attention.chunk_size"]
                .iter()
                .any(|key| keys.number(key).is_ok_and(|tokens| tokens.is_some_and(|n| n > 0))),
            graph: GraphFacts::read(gguf, &keys, layers.total, layers.used.len() as u32)?,
            shares_key_and_value: keys.is_mla()? || keys.architecture == "deepseek4",
            layers: layers.used,
            sampling: recommendations(gguf),
            chat_template: keys
                .text("tokenizer.chat_template")?
                .filter(|template| !template.trim().is_empty())
                .map(str::to_owned),
            architecture: keys.architecture.to_owned(),
        })
    }
}

struct Layers {
    used: Vec<Layer>,
    /// With the predictors of further tokens, which per-layer arrays count too.
    total: u32,
}

fn layers(keys: &Keys<'_>, n_embd: u32) -> Result<Layers, GgufError> {
    let total = keys.required("block_count")?;
    if total > 512 {
        return Err(GgufError(format!(
            "{} is {total}: llama.cpp takes 1 to 512 layers",
            keys.key("block_count")
        )));
    }
    let predictors = keys.number("nextn_predict_layers")?.unwrap_or(0);
    let used = total.checked_sub(predictors).filter(|used| *used > 0).ok_or_else(|| {
        GgufError(format!(
            "{} is {predictors}, but the model has only {total} layers",
            keys.key("nextn_predict_layers")
        ))
    })?;
    let heads = keys.per_layer("attention.head_count", total)?;
    let kv_heads = keys.per_layer("attention.head_count_kv", total)?;
    let first_heads = heads.as_ref().and_then(|heads| heads.first().copied()).unwrap_or(0);
    let default_length = n_embd.checked_div(first_heads).unwrap_or(0);
    let key_length = keys.number("attention.key_length")?.unwrap_or(default_length);
    let value_length = if keys.is_mla()? {
        0
    } else {
        keys.number("attention.value_length")?.unwrap_or(default_length)
    };
    let recurrent = recurrent_layers(keys, total, kv_heads.as_deref())?;
    let is_encoder = architecture::is_encoder(keys.architecture);
    let attends_beside_state = keys.architecture == "falcon-h1";
    let used = (0..used as usize)
        .map(|index| {
            let recurrent = recurrent.get(index).copied().unwrap_or(false);
            let counts = kv_heads.as_ref().or(heads.as_ref());
            let kv_heads = counts.and_then(|counts| counts.get(index).copied()).unwrap_or(0);
            let uncached = (recurrent && !attends_beside_state) || is_encoder;
            Layer {
                kv_heads: if uncached { 0 } else { kv_heads },
                key_length,
                value_length,
                recurrent,
            }
        })
        .collect();
    Ok(Layers { used, total })
}

/// Which layers are recurrent, as llama.cpp's models decide it.
fn recurrent_layers(
    keys: &Keys<'_>,
    total: u32,
    kv_heads: Option<&[u32]>,
) -> Result<Vec<bool>, GgufError> {
    let count = total as usize;
    if architecture::is_recurrent(keys.architecture) {
        return Ok(vec![true; count]);
    }
    if let Some(listed) = keys.per_layer("attention.recurrent_layers", total)? {
        return Ok(listed.iter().map(|flag| *flag != 0).collect());
    }
    if architecture::has_interval(keys.architecture) {
        let interval = keys.number("full_attention_interval")?.unwrap_or(4);
        if interval == 0 {
            return Err(GgufError(format!("{} is 0", keys.key("full_attention_interval"))));
        }
        let used = total - keys.number("nextn_predict_layers")?.unwrap_or(0).min(total);
        return Ok((0..total).map(|index| index < used && (index + 1) % interval != 0).collect());
    }
    let has_state = ["ssm.state_size", "shortconv.l_cache", "kda.head_dim"]
        .iter()
        .any(|key| keys.entry(key).is_some());
    if !has_state {
        return Ok(vec![false; count]);
    }
    if keys.architecture == "falcon-h1" {
        return Ok(vec![true; count]);
    }
    // Nemotron-H has layers that are feed-forward only: no KV heads and no state either.
    let feed_forward = if keys.architecture.starts_with("nemotron_h") {
        keys.per_layer("feed_forward_length", total)?
    } else {
        None
    };
    Ok((0..count)
        .map(|index| {
            let at = |list: Option<&[u32]>| list.and_then(|list| list.get(index).copied());
            at(kv_heads) == Some(0) && at(feed_forward.as_deref()).unwrap_or(0) == 0
        })
        .collect())
}

/// f32 values that one recurrent layer keeps for a sequence: `n_embd_r` and `n_embd_s` in
/// llama.cpp's `llama-hparams.cpp`.
fn state_values(keys: &Keys<'_>, n_embd: u32) -> Result<u64, GgufError> {
    let number = |key: &str| Ok::<u64, GgufError>(keys.number(key)?.unwrap_or(0).into());
    let n_embd = u64::from(n_embd);
    let head_size = number("wkv.head_size")?;
    if head_size > 0 {
        let shifts = keys.number("token_shift_count")?.unwrap_or(2);
        return Ok(n_embd.saturating_mul(head_size.saturating_add(shifts.into())));
    }
    let short = number("shortconv.l_cache")?;
    if short > 0 {
        return Ok(n_embd * (short - 1));
    }
    let conv = number("ssm.conv_kernel")?.saturating_sub(1);
    let kda = number("kda.head_dim")?;
    if kda > 0 {
        let heads = match keys.entry("attention.head_count").map(|entry| &entry.value) {
            Some(MetaValue::Unsigned(heads)) => *heads,
            _ => 0,
        };
        let inner = heads.saturating_mul(kda);
        let conv = if conv > 0 { conv } else { 3 };
        return Ok((3 * conv).saturating_mul(inner).saturating_add(inner.saturating_mul(kda)));
    }
    let (inner, state) = (number("ssm.inner_size")?, number("ssm.state_size")?);
    let groups = number("ssm.group_count")?;
    let channels = inner.saturating_add((2 * groups).saturating_mul(state));
    Ok(conv.saturating_mul(channels).saturating_add(inner.saturating_mul(state)))
}
