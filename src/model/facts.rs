//! What a GGUF header says about the model: geometry of its caches, names, template.

use super::architecture;
use super::gguf::{Entry, Gguf, GgufError, MetaValue, TOKENS, ValueType};
use super::quantization::file_type_name;
use super::rope::RopeFacts;
use super::sampling::recommendations;
use crate::config::Recommendation;

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
    /// Whether each position has a vector that was learned (GPT-2, StarCoder): there is none past
    /// the trained context, and llama.cpp aborts on one.
    pub has_learned_positions: bool,
    /// Its rotary positions.
    pub rope: RopeFacts,
    /// Whether layers see a window of the tokens only, or chunks of them.
    pub has_window: bool,
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

    pub(super) fn read(gguf: &Gguf) -> Result<Self, GgufError> {
        let keys = Keys::of(gguf)?;
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
            has_learned_positions: gguf
                .tensors
                .iter()
                .any(|tensor| tensor.name == "position_embd.weight"),
            rope: RopeFacts::read(&keys)?,
            has_window: ["attention.sliding_window", "attention.chunk_size"]
                .iter()
                .any(|key| keys.number(key).is_ok_and(|tokens| tokens.is_some_and(|n| n > 0))),
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
    let attends_beside_state = keys.architecture == "falcon-h1";
    let used = (0..used as usize)
        .map(|index| {
            let recurrent = recurrent.get(index).copied().unwrap_or(false);
            let counts = kv_heads.as_ref().or(heads.as_ref());
            let kv_heads = counts.and_then(|counts| counts.get(index).copied()).unwrap_or(0);
            Layer {
                kv_heads: if recurrent && !attends_beside_state { 0 } else { kv_heads },
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

/// Typed access to the metadata of one architecture.
pub(super) struct Keys<'a> {
    pub(super) gguf: &'a Gguf,
    pub(super) architecture: &'a str,
}

impl<'a> Keys<'a> {
    pub(super) fn of(gguf: &'a Gguf) -> Result<Self, GgufError> {
        let mut keys = Self { gguf, architecture: "" };
        match keys.text("general.type")? {
            Some("adapter") => return Err(not_a_model("a LoRA adapter")),
            Some("mmproj") => return Err(not_a_model("a vision or audio projector (mmproj)")),
            Some("imatrix") => return Err(not_a_model("an importance matrix")),
            _ => {}
        }
        keys.architecture = keys.text("general.architecture")?.ok_or_else(|| {
            GgufError(
                "general.architecture is missing: it is not a model, or the file is damaged"
                    .to_owned(),
            )
        })?;
        if keys.architecture == "clip" {
            return Err(not_a_model("a vision or audio projector (mmproj)"));
        }
        if !architecture::is_known(keys.architecture) {
            let hint = architecture::nearest(keys.architecture)
                .map(|known| format!(" (the nearest that it knows is `{known}`)"))
                .unwrap_or_default();
            return Err(GgufError(format!(
                "the llama.cpp in this server does not know the architecture `{}`{hint}: use another model or a newer server",
                keys.architecture
            )));
        }
        let causal = keys.key("attention.causal");
        let causal = match keys.gguf.meta.get(&causal) {
            None => true,
            Some(Entry { value: MetaValue::Bool(causal), .. }) => *causal,
            Some(entry) => return Err(wrong_type(&causal, entry, "bool")),
        };
        if !causal || !architecture::generates_text(keys.architecture) {
            return Err(GgufError(format!(
                "a model of the architecture `{}` does not generate text token by token (it embeds, drafts, speaks or denoises): serve a chat or completion model",
                keys.architecture
            )));
        }
        Ok(keys)
    }

    pub(super) fn key(&self, suffix: &str) -> String {
        format!("{}.{suffix}", self.architecture)
    }

    pub(super) fn entry(&self, suffix: &str) -> Option<&'a Entry> {
        self.gguf.meta.get(&self.key(suffix))
    }

    /// The text at the full key `key`.
    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, GgufError> {
        match self.gguf.meta.get(key) {
            None => Ok(None),
            Some(Entry { value: MetaValue::Text(text), .. }) => Ok(Some(text)),
            Some(entry) => Err(wrong_type(key, entry, "str")),
        }
    }

    /// The u32 at `{architecture}.{suffix}`; llama.cpp takes no other type.
    pub(super) fn number(&self, suffix: &str) -> Result<Option<u32>, GgufError> {
        match self.entry(suffix) {
            None => Ok(None),
            Some(Entry { kind: ValueType::U32, value: MetaValue::Unsigned(value) }) => {
                Ok(u32::try_from(*value).ok())
            }
            Some(entry) => Err(wrong_type(&self.key(suffix), entry, "u32")),
        }
    }

    fn required(&self, suffix: &str) -> Result<u32, GgufError> {
        match self.number(suffix)? {
            Some(0) => Err(GgufError(format!("{} is 0: the file is damaged", self.key(suffix)))),
            Some(value) => Ok(value),
            None => Err(GgufError(format!(
                "{} is missing: the file is damaged or was converted wrongly",
                self.key(suffix)
            ))),
        }
    }

    /// A value for each of `layers` layers, given as one number for all or as an array.
    pub(super) fn per_layer(
        &self,
        suffix: &str,
        layers: u32,
    ) -> Result<Option<Vec<u32>>, GgufError> {
        let Some(entry) = self.entry(suffix) else { return Ok(None) };
        let count = layers as usize;
        let MetaValue::Array(array) = &entry.value else {
            return match (entry.kind, &entry.value) {
                (ValueType::Bool, MetaValue::Bool(flag)) => Ok(Some(vec![u32::from(*flag); count])),
                _ => Ok(self.number(suffix)?.map(|value| vec![value; count])),
            };
        };
        let key = self.key(suffix);
        if array.len != u64::from(layers) {
            return Err(GgufError(format!(
                "{key} has {} values, but the model has {layers} layers",
                array.len
            )));
        }
        match (&array.integers, array.kind) {
            (Some(values), ValueType::U32 | ValueType::I32 | ValueType::Bool) => values
                .iter()
                .map(|value| {
                    u32::try_from(*value)
                        .map_err(|_| GgufError(format!("{key} has the value {value}")))
                })
                .collect::<Result<_, _>>()
                .map(Some),
            _ => Err(wrong_type(&key, entry, "list of u32")),
        }
    }

    pub(super) fn is_mla(&self) -> Result<bool, GgufError> {
        let set = |key| Ok::<bool, GgufError>(self.number(key)?.unwrap_or(0) != 0);
        Ok(set("attention.key_length_mla")? && set("attention.value_length_mla")?)
    }

    /// Number of tokens; an error when the file has no vocabulary.
    pub(super) fn vocabulary(&self) -> Result<u32, GgufError> {
        let model = self.text("tokenizer.ggml.model")?;
        if matches!(model, None | Some("none" | "no_vocab")) {
            return Err(GgufError(
                "it has no tokenizer, so text cannot be served: download a complete model, or convert it again with its tokenizer"
                    .to_owned(),
            ));
        }
        match self.gguf.meta.get(TOKENS) {
            Some(Entry { value: MetaValue::Array(array), .. }) if array.kind == ValueType::Text => {
                if array.len == 0 {
                    return Err(GgufError("its vocabulary is empty: the file is damaged".into()));
                }
                u32::try_from(array.len)
                    .map_err(|_| GgufError("its vocabulary is too large".to_owned()))
            }
            Some(entry) => Err(wrong_type(TOKENS, entry, "list of str")),
            None => Err(GgufError(format!(
                "it has no vocabulary ({TOKENS} is missing): download a complete model, or convert it again"
            ))),
        }
    }
}

fn not_a_model(what: &str) -> GgufError {
    GgufError(format!("it is {what}, not a language model: give the model's own GGUF file"))
}

pub(super) fn wrong_type(key: &str, entry: &Entry, expected: &str) -> GgufError {
    let found = match &entry.value {
        MetaValue::Array(array) => format!("a list of {}", array.kind.name()),
        _ => entry.kind.name().to_owned(),
    };
    GgufError(format!(
        "{key} has the type {found}, llama.cpp expects {expected}: the file is damaged or was converted wrongly"
    ))
}
