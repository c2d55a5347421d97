//! The memory plan: what a model and its context need, and which context fits.

mod budget;
mod layout;

pub use budget::{GpuMemory, budget};
pub use layout::{Layout, layout};

use crate::config::CacheType;

use super::facts::{GgufFacts, Layer};

/// llama.cpp rounds the cells of a sequence up to this.
const CELL_STEP: u64 = 256;
/// The least context that is worth a start without being asked for.
const LEAST_CONTEXT: u64 = 512;

/// Everything but the context's length that decides the size of the caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheShape {
    /// Slots.
    pub parallel: u32,
    /// Type of cached keys.
    pub cache_type_k: CacheType,
    /// Type of cached values.
    pub cache_type_v: CacheType,
    /// Tokens computed at once.
    pub ubatch: u32,
    /// Whether flash attention is used.
    pub flash_attn: bool,
}

/// Bytes that a loaded model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryNeed {
    /// Weights.
    pub weights: u64,
    /// Keys and values of all slots.
    pub kv: u64,
    /// Recurrent states of all slots.
    pub recurrent: u64,
    /// Compute buffers, estimated.
    pub compute: u64,
}

impl MemoryNeed {
    /// The sum.
    pub fn total(&self) -> u64 {
        [self.kv, self.recurrent, self.compute]
            .iter()
            .fold(self.weights, |sum, part| sum.saturating_add(*part))
    }
}

/// The context to start with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextDecision {
    /// Tokens of all slots together.
    pub ctx_total: u32,
    /// Tokens of one slot.
    pub per_slot: u32,
    /// What the user should know, one line each.
    pub notices: Vec<String>,
}

/// The settings cannot be met; one line with the numbers and the ways out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The settings contradict the model.
    #[error("{0}")]
    Settings(String),
    /// Memory does not suffice.
    #[error("{0}")]
    Memory(String),
}

/// Size of a cached value as a fraction: bytes over values of a block.
pub fn bytes_per_value(kind: CacheType) -> (u64, u64) {
    match kind {
        CacheType::F32 => (4, 1),
        CacheType::F16 | CacheType::Bf16 => (2, 1),
        CacheType::Q8_0 => (34, 32),
        CacheType::Q5_1 => (24, 32),
        CacheType::Q5_0 => (22, 32),
        CacheType::Q4_1 => (20, 32),
        CacheType::Q4_0 | CacheType::Iq4_nl => (18, 32),
    }
}

fn name(kind: CacheType) -> String {
    format!("{kind:?}").to_lowercase()
}

/// Bytes of keys and values that one token takes in all layers.
fn bytes_per_token(facts: &GgufFacts, shape: &CacheShape) -> u64 {
    let row = |values: u64, kind| {
        let (bytes, block) = bytes_per_value(kind);
        values.div_ceil(block).saturating_mul(bytes)
    };
    let values_of = |layer: &Layer| u64::from(layer.kv_heads) * u64::from(layer.value_length);
    let widest = facts.layers.iter().map(values_of).max().unwrap_or(0);
    facts.layers.iter().fold(0, |sum: u64, layer: &Layer| {
        let keys = u64::from(layer.kv_heads) * u64::from(layer.key_length);
        let keys = row(keys, shape.cache_type_k);
        // Without flash attention values are stored transposed, in all layers as wide as the widest.
        let values = match values_of(layer) {
            own if own == 0 || shape.flash_attn => own,
            _ => widest,
        };
        let values = row(values, shape.cache_type_v);
        sum.saturating_add(keys).saturating_add(values)
    })
}

/// What the model needs with `per_slot` tokens of context in each slot.
pub fn memory_need(facts: &GgufFacts, shape: &CacheShape, per_slot: u64) -> MemoryNeed {
    let slots = u64::from(shape.parallel.max(1));
    let cells = per_slot.checked_next_multiple_of(CELL_STEP).unwrap_or(u64::MAX);
    let has_kv = facts.layers.iter().any(|layer| layer.kv_heads > 0);
    MemoryNeed {
        weights: facts.tensor_bytes,
        kv: bytes_per_token(facts, shape).saturating_mul(cells).saturating_mul(slots),
        recurrent: (facts.recurrent_layers() as u64)
            .saturating_mul(facts.state_values)
            .saturating_mul(4)
            .saturating_mul(slots),
        compute: compute_buffers(facts, shape, if has_kv { cells } else { 0 }),
    }
}

/// llama.cpp's graph for the largest ubatch: logits of every token, some activations, the
/// attention mask, and without flash attention the scores of all heads, and once more as f16. An
/// estimate from above.
fn compute_buffers(facts: &GgufFacts, shape: &CacheShape, cells: u64) -> u64 {
    let per_token = u64::from(facts.n_vocab)
        .saturating_mul(4)
        .saturating_add(u64::from(facts.n_embd).saturating_mul(4 * 16));
    let per_cell = if shape.flash_attn { 6 } else { 6 + 6 * u64::from(facts.n_head) };
    u64::from(shape.ubatch).saturating_mul(per_token.saturating_add(cells.saturating_mul(per_cell)))
}

/// The most tokens per slot that fit into `budget` bytes, a multiple of 256; `None`: not even
/// the least. A model without a KV cache takes any context.
pub fn largest_ctx_per_slot(facts: &GgufFacts, shape: &CacheShape, budget: u64) -> Option<u64> {
    let fits = |steps: u64| memory_need(facts, shape, steps * CELL_STEP).total() <= budget;
    if !fits(1) {
        return None;
    }
    // The need grows with the context: halve the range between what fits and what does not.
    let (mut low, mut high) = (1, u64::from(u32::MAX) / CELL_STEP);
    if fits(high) {
        return Some(high * CELL_STEP);
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if fits(middle) { low = middle } else { high = middle }
    }
    Some(low * CELL_STEP)
}

/// The context to start with. `user_set` is a value that the user gave (0: the trained context
/// per slot) and is never cut; `default` is cut per slot to what the model was trained for and
/// to what fits. `budget` is the memory that may be used, in bytes; `None`: unknown, so nothing
/// is cut or refused for memory. Past learned positions nothing can be computed, so a value that
/// the user gave is cut to them, as llama-server does with every model.
pub fn decide_context(
    facts: &GgufFacts,
    user_set: Option<u32>,
    default: u32,
    shape: &CacheShape,
    budget: Option<u64>,
) -> Result<ContextDecision, PlanError> {
    let slots = shape.parallel.max(1);
    let trained = facts.n_ctx_train;
    let mut notices = Vec::new();
    let asked = match user_set {
        Some(0) => trained,
        Some(total) => total / slots,
        None => default / slots,
    };
    if asked == 0 {
        return Err(PlanError::Settings(format!(
            "context.ctx_size {} is less than one token for each of {slots} slots: raise it or lower context.parallel",
            user_set.unwrap_or(default)
        )));
    }
    let mut per_slot = asked;
    if asked > trained && facts.has_learned_positions {
        per_slot = trained;
        notices.push(format!(
            "context cut from {asked} to {trained} tokens per slot: the model has learned no further positions"
        ));
    } else if user_set.is_none() && asked > trained {
        per_slot = trained;
        notices.push(format!(
            "context cut from {asked} to {trained} tokens per slot: the model was trained for no more"
        ));
    } else if user_set.is_some() && asked > trained {
        notices.push(format!(
            "context of {asked} tokens per slot is more than the {trained} that the model was trained for: answers get worse past that, unless the model supports YaRN and it is set up"
        ));
    }
    if let Some(budget) = budget
        && memory_need(facts, shape, per_slot.into()).total() > budget
    {
        let largest = largest_ctx_per_slot(facts, shape, budget);
        let enough = largest.filter(|largest| *largest >= LEAST_CONTEXT);
        match enough {
            Some(largest) if user_set.is_none() => {
                let largest = u32::try_from(largest).unwrap_or(u32::MAX).min(per_slot);
                notices.push(format!(
                    "context cut from {per_slot} to {largest} tokens per slot: no more fits into {} of memory",
                    gib(budget)
                ));
                per_slot = largest;
            }
            _ => return Err(refusal(facts, shape, per_slot, budget, largest)),
        }
    }
    let ctx_total = per_slot.checked_mul(slots).ok_or_else(|| {
        PlanError::Settings(format!(
            "{slots} slots of {per_slot} tokens are more than llama.cpp can count: lower context.parallel or context.ctx_size"
        ))
    })?;
    Ok(ContextDecision { ctx_total, per_slot, notices })
}

fn refusal(
    facts: &GgufFacts,
    shape: &CacheShape,
    per_slot: u32,
    budget: u64,
    largest: Option<u64>,
) -> PlanError {
    let need = memory_need(facts, shape, per_slot.into());
    let slots = shape.parallel.max(1);
    let state = if need.recurrent > 0 {
        format!(", recurrent state {}", gib(need.recurrent))
    } else {
        String::new()
    };
    let numbers = format!(
        "{slots} x {per_slot} tokens of context need {} (weights {}, KV cache {}{state}, compute buffers about {}), but {} are free",
        gib(need.total()),
        gib(need.weights),
        gib(need.kv),
        gib(need.compute),
        gib(budget)
    );
    let Some(largest) = largest else {
        return PlanError::Memory(format!(
            "{numbers}: free memory, use a smaller quantisation of the model, or a smaller model"
        ));
    };
    let mut ways =
        vec![format!("set context.ctx_size to at most {}", largest.saturating_mul(slots.into()))];
    let small = CacheShape {
        cache_type_k: CacheType::Q4_0,
        cache_type_v: CacheType::Q4_0,
        flash_attn: true,
        ..*shape
    };
    let q4_fits = memory_need(facts, &small, per_slot.into()).total();
    if q4_fits < need.total() {
        ways.push(format!("set both cache types to q4_0 (then {} are needed)", gib(q4_fits)));
    }
    if slots > 1 {
        ways.push(format!("lower context.parallel from {slots} and context.ctx_size with it"));
    }
    ways.push("use a smaller quantisation of the model".to_owned());
    ways.truncate(3);
    PlanError::Memory(format!("{numbers}: {}", ways.join(", or ")))
}

/// Whether flash attention is used, and what the user should know if that is not what was `wanted`.
pub fn decide_flash_attention(facts: &GgufFacts, wanted: bool) -> (bool, Option<String>) {
    // llama.cpp switches it off there, and then refuses quantised values.
    let can = facts.architecture != "grok";
    let notice = || "flash attention is off: llama.cpp has none for grok".to_owned();
    (wanted && can, (wanted && !can).then(notice))
}

/// The types of the KV cache. A type that the model or the lack of flash attention rules out is
/// replaced by f16 with a notice; one that the user set is an error.
pub fn decide_cache_types(
    facts: &GgufFacts,
    k: CacheType,
    k_set: bool,
    v: CacheType,
    v_set: bool,
    flash_attn: bool,
) -> Result<(CacheType, CacheType, Vec<String>), PlanError> {
    let mut notices = Vec::new();
    let cached = || facts.layers.iter().filter(|layer| layer.kv_heads > 0);
    let odd = |length: fn(&Layer) -> u32, kind| {
        let block = bytes_per_value(kind).1;
        cached().map(length).find(|length| !u64::from(*length).is_multiple_of(block))
    };
    let reason_k = odd(|layer| layer.key_length, k)
        .map(|size| format!("needs a key size divisible by 32, this model's is {size}"));
    // llama.cpp asks for it even where no values are cached.
    let reason_v = if v.is_quantised() && !flash_attn {
        Some("needs flash attention".to_owned())
    } else {
        odd(|layer| layer.value_length, v)
            .map(|size| format!("needs a value size divisible by 32, this model's is {size}"))
    };
    let mut settle = |key: &str, kind, set, reason: Option<String>| match reason {
        None => Ok(kind),
        Some(reason) if set => Err(PlanError::Settings(format!(
            "context.{key} {} {reason}: set it to f16{}",
            name(kind),
            if reason.starts_with("needs flash") { ", or turn flash attention on" } else { "" }
        ))),
        Some(reason) => {
            notices.push(format!("context.{key} is f16: {} {reason}", name(kind)));
            Ok(CacheType::F16)
        }
    };
    let mut types =
        (settle("cache_type_k", k, k_set, reason_k)?, settle("cache_type_v", v, v_set, reason_v)?);
    if facts.shares_key_and_value && types.0 != types.1 {
        if k_set && v_set {
            return Err(PlanError::Settings(
                "this model keeps keys and values in one tensor: set context.cache_type_k and context.cache_type_v to the same type".to_owned(),
            ));
        }
        let one = if v_set || !(flash_attn || k_set) { types.1 } else { types.0 };
        if one.is_quantised() && !flash_attn {
            return Err(PlanError::Settings(
                "this model keeps keys and values in one tensor, and quantised values need flash attention: set context.cache_type_k to f16, or turn flash attention on".to_owned(),
            ));
        }
        notices.push(format!(
            "both cache types are {}: this model keeps keys and values in one tensor",
            name(one)
        ));
        types = (one, one);
    }
    Ok((types.0, types.1, notices))
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / (1_u64 << 30) as f64)
}

#[cfg(test)]
mod tests;
