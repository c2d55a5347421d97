//! The plan as a report: what the settings need, and what else would fit.

use serde::Serialize;

use super::super::facts::GgufFacts;
use super::cache_types::decide_cache_types;
use super::error::{MemoryShortage, PlanError};
use super::layout::{Layout, layout, layout_with};
use super::memory::{MemoryNeed, largest_ctx_per_slot, memory_need};
use super::shape::CacheShape;
use crate::config::{CacheType, FlashAttn, Loaded, RopeScaling};

/// Types of the KV cache of different sizes, the largest first.
const TYPES: [CacheType; 6] = {
    use CacheType::*;
    [F16, Q8_0, Q5_1, Q5_0, Q4_1, Q4_0]
};
/// How far model cards stretch with YaRN.
const FACTORS: [u32; 2] = [2, 4];

/// What a model needs under the settings, and what would fit. All sizes are in bytes.
#[derive(Debug, Clone, Serialize)]
pub struct PlanReport {
    /// llama.cpp's name of the architecture.
    pub architecture: String,
    /// How most weights are stored.
    pub quantization: Option<&'static str>,
    /// Weights, counted.
    pub parameters: u64,
    /// Tokens of context that the model was trained for, stretched if the settings say so.
    pub trained_context: u32,
    /// Whether a GPU computes.
    pub on_gpu: bool,
    /// Slots.
    pub slots: u32,
    /// Tokens of one slot.
    pub context_per_slot: u32,
    /// Type of cached keys.
    pub cache_type_k: CacheType,
    /// Type of cached values.
    pub cache_type_v: CacheType,
    /// Whether flash attention is used.
    pub flash_attention: bool,
    /// Tokens computed at once.
    pub ubatch: u32,
    /// What is needed.
    pub need: MemoryNeed,
    /// The sum of what is needed.
    pub total: u64,
    /// What is free; `None`: unknown.
    pub free: Option<u64>,
    /// Whether it fits; unknown memory fits all.
    pub fits: bool,
    /// What would help, in one line; `None`: it fits.
    pub shortage: Option<String>,
    /// What was chosen for the user, or what the user should know, one line each.
    pub notices: Vec<String>,
    /// The largest context for each type of the KV cache; empty where the memory is unknown.
    pub largest_context: Vec<LargestContext>,
    /// What a context past the trained one would take.
    pub yarn: Vec<StretchedContext>,
}

/// The largest context that fits with one type of the KV cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LargestContext {
    /// The type of keys and values.
    pub cache_type: CacheType,
    /// Tokens of one slot; `None`: not even the least fits.
    pub per_slot: Option<u64>,
    /// Whether flash attention is used, which quantized values need.
    pub flash_attention: bool,
}

/// A context past the trained one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StretchedContext {
    /// YaRN's factor, for `context.rope_scale`.
    pub factor: u32,
    /// Tokens of one slot.
    pub per_slot: u64,
    /// Keys and values of all slots.
    pub kv: u64,
    /// All that is needed.
    pub total: u64,
    /// Whether it fits.
    pub fits: bool,
}

impl PlanReport {
    /// Plans as a start would, with `budget` bytes (`None`: unknown). Settings that cannot be are an
    /// error; a model that does not fit is none.
    pub fn new(
        loaded: &Loaded,
        facts: &GgufFacts,
        on_gpu: bool,
        budget: Option<u64>,
    ) -> Result<Self, PlanError> {
        // `layout` stretches the facts itself.
        let decided = layout(loaded, facts, on_gpu, budget);
        let stretched = facts.stretched(&loaded.settings.context.rope());
        let facts = stretched.as_ref();
        let (shape, per_slot, need, shortage, notices) = match decided {
            Ok(Layout { shape, context, notices }) => {
                let need = memory_need(facts, &shape, context.per_slot.into());
                let notices = [notices, context.notices].concat();
                (shape, context.per_slot, need, None, notices)
            }
            Err(PlanError::Memory(shortage)) => {
                let (shape, notices) = without_budget(loaded, facts, on_gpu, &shortage)?;
                let text = Some(shortage.to_string());
                (shape, shortage.per_slot, shortage.need, text, notices)
            }
            Err(error) => return Err(error),
        };
        // A bound of saved states that nobody set gives way to the context.
        let is_set = loaded.origins.is_set("cache.ram_mib");
        let shape = CacheShape { host_cache: if is_set { shape.host_cache } else { 0 }, ..shape };
        let fits = |bytes: u64| budget.is_none_or(|budget| bytes <= budget);
        Ok(Self {
            architecture: facts.architecture.clone(),
            quantization: facts.quantization,
            parameters: facts.n_params,
            trained_context: facts.n_ctx_train,
            on_gpu,
            slots: shape.parallel,
            context_per_slot: per_slot,
            cache_type_k: shape.cache_type_k,
            cache_type_v: shape.cache_type_v,
            flash_attention: shape.flash_attn,
            ubatch: shape.ubatch,
            need,
            total: need.total(),
            free: budget,
            fits: shortage.is_none(),
            shortage,
            notices,
            largest_context: budget
                .map(|budget| largest_contexts(facts, &shape, budget))
                .unwrap_or_default(),
            yarn: yarn(loaded, facts)
                .into_iter()
                .map(|(factor, per_slot)| {
                    let shape = shape_that_fits(loaded, facts, shape, per_slot, budget);
                    let need = memory_need(facts, &shape, per_slot);
                    let total = need.total();
                    StretchedContext { factor, per_slot, kv: need.kv, total, fits: fits(total) }
                })
                .collect(),
        })
    }
}

/// The layout of settings that do not fit: the smaller one, with flash attention unless it is off.
fn without_budget(
    loaded: &Loaded,
    facts: &GgufFacts,
    on_gpu: bool,
    shortage: &MemoryShortage,
) -> Result<(CacheShape, Vec<String>), PlanError> {
    let flash_attn = loaded.settings.context.flash_attn != FlashAttn::Off;
    let Layout { shape, notices, .. } = layout_with(loaded, facts, flash_attn, on_gpu, None)?;
    let MemoryNeed { host_cache, checkpoints, .. } = shortage.need;
    Ok((CacheShape { host_cache, checkpoints, ..shape }, notices))
}

/// With flash attention where the context does not fit without, as a start would have it.
fn shape_that_fits(
    loaded: &Loaded,
    facts: &GgufFacts,
    shape: CacheShape,
    per_slot: u64,
    budget: Option<u64>,
) -> CacheShape {
    let fits = budget.is_none_or(|budget| memory_need(facts, &shape, per_slot).total() <= budget);
    let may_change = loaded.settings.context.flash_attn != FlashAttn::Off;
    CacheShape { flash_attn: shape.flash_attn || (may_change && !fits), ..shape }
}

fn largest_contexts(facts: &GgufFacts, shape: &CacheShape, budget: u64) -> Vec<LargestContext> {
    TYPES
        .into_iter()
        .filter_map(|cache_type| {
            let flash_attention = shape.flash_attn || cache_type.is_quantized();
            decide_cache_types(facts, cache_type, true, cache_type, true, flash_attention).ok()?;
            let shape = CacheShape {
                cache_type_k: cache_type,
                cache_type_v: cache_type,
                flash_attn: flash_attention,
                ..*shape
            };
            let per_slot = largest_ctx_per_slot(facts, &shape, budget);
            Some(LargestContext { cache_type, per_slot, flash_attention })
        })
        .collect()
}

/// Factors and the tokens of a slot that they reach, unless the settings or the file stretch already.
fn yarn(loaded: &Loaded, facts: &GgufFacts) -> Vec<(u32, u64)> {
    let rope = loaded.settings.context.rope();
    let is_set = rope.scaling != RopeScaling::Model || rope.freq_scale != 0.0;
    let has_kv = facts.has_kv();
    if is_set || facts.rope.factor.is_some() || facts.has_learned_positions || !has_kv {
        return Vec::new();
    }
    let before = u64::from(facts.n_ctx_train);
    FACTORS.into_iter().map(|factor| (factor, before * u64::from(factor))).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::tests::coder_next;
    use super::*;
    use crate::config::{Sources, load};

    #[test]
    fn rotary_positions_are_stretched_once() {
        let yarn = [("LLAMA_ARG_ROPE_SCALING_TYPE", "yarn"), ("LLAMA_ARG_ROPE_SCALE", "4")];
        let environment = yarn.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let sources = Sources { environment: environment.collect(), ..Sources::default() };
        let facts = GgufFacts { n_ctx_train: 2048, ..coder_next() };
        let report = PlanReport::new(&load(sources).unwrap(), &facts, true, None).unwrap();
        assert_eq!((report.trained_context, report.context_per_slot), (8192, 8192));
    }

    #[test]
    fn a_stretched_context_has_flash_attention_where_it_needs_it() {
        let dense = super::super::tests::model(28, 8, 128, 1024);
        let facts = GgufFacts { n_ctx_train: 16_384, n_params: 600_000_000, ..dense };
        let loaded = load(Sources::default()).unwrap();
        let short = PlanReport::new(&loaded, &facts, false, None).unwrap();
        assert!(!short.flash_attention && !short.yarn.is_empty(), "{short:?}");
        let needed = short.yarn[1].total;
        let bound = PlanReport::new(&loaded, &facts, false, Some(needed - (64 << 20))).unwrap();
        assert!(!bound.flash_attention, "{bound:?}");
        assert!(bound.yarn[1].total < needed, "{bound:?}");
    }
}
