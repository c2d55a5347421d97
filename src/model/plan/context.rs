//! Which context a model starts with.

use super::super::facts::GgufFacts;
use super::error::{MemoryShortage, PlanError, gib};
use super::memory::{largest_ctx_per_slot, memory_need};
use super::shape::CacheShape;
use crate::config::CacheType;

/// The least context that is worth a start without being asked for.
const MIN_CONTEXT: u64 = 512;

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
        return Err(PlanError::TooFewTokens { ctx_size: user_set.unwrap_or(default), slots });
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
            "context of {asked} tokens per slot is more than the {trained} that the model was trained for: answers get worse past that, unless YaRN stretches it (--rope-scaling yarn --rope-scale {})",
            asked.div_ceil(trained)
        ));
    }
    if let Some(budget) = budget
        && memory_need(facts, shape, per_slot.into()).total() > budget
    {
        let largest = largest_ctx_per_slot(facts, shape, budget);
        let enough = largest.filter(|largest| *largest >= MIN_CONTEXT);
        match enough {
            Some(largest) if user_set.is_none() => {
                let largest = u32::try_from(largest).unwrap_or(u32::MAX).min(per_slot);
                notices.push(format!(
                    "context cut from {per_slot} to {largest} tokens per slot: no more fits into {} of memory",
                    gib(budget)
                ));
                per_slot = largest;
            }
            _ => {
                return Err(PlanError::Memory(shortage(facts, shape, per_slot, budget, largest)));
            }
        }
    }
    let ctx_total =
        per_slot.checked_mul(slots).ok_or(PlanError::TooManyTokens { per_slot, slots })?;
    Ok(ContextDecision { ctx_total, per_slot, notices })
}

fn shortage(
    facts: &GgufFacts,
    shape: &CacheShape,
    per_slot: u32,
    free: u64,
    largest_per_slot: Option<u64>,
) -> MemoryShortage {
    let need = memory_need(facts, shape, per_slot.into());
    let slots = shape.parallel.max(1);
    let small = CacheShape {
        cache_type_k: CacheType::Q4_0,
        cache_type_v: CacheType::Q4_0,
        flash_attn: true,
        ..*shape
    };
    let need_q4_0 = memory_need(facts, &small, per_slot.into()).total();
    MemoryShortage {
        need,
        free,
        slots,
        per_slot,
        largest_ctx: largest_per_slot.map(|largest| largest.saturating_mul(slots.into())),
        need_q4_0: (need_q4_0 < need.total()).then_some(need_q4_0),
    }
}
