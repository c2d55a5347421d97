//! Memory for the states that are kept beside the context.

use super::super::facts::GgufFacts;
use super::context::{ContextDecision, decide_context};
use super::error::PlanError;
use super::memory::{memory_need, recurrent_states};
use super::shape::CacheShape;
use crate::config::Loaded;

/// A default takes at most this part of the memory.
const SHARE: u64 = 8;

/// The context, and the shape with what is kept beside it. A bound that was set is kept and counts
/// like the weights do. Of the defaults, the one for recurrent states is there before the context is
/// fitted, as without them each turn of a conversation is read anew; the one for saved states takes
/// of what is left then.
pub(super) fn decide_caches(
    loaded: &Loaded,
    facts: &GgufFacts,
    shape: CacheShape,
    budget: Option<u64>,
) -> Result<(CacheShape, ContextDecision), PlanError> {
    let settings = &loaded.settings;
    let is_set = |key: &str| loaded.origins.is_set(key);
    let at_most_a_share = |bytes: u64| bytes.min(budget.map_or(u64::MAX, |budget| budget / SHARE));
    let user_set = is_set("context.ctx_size").then_some(settings.context.ctx_size);
    let decide = |shape| decide_context(facts, user_set, settings.context.ctx_size, &shape, budget);
    let left = |shape: &CacheShape, decided: &ContextDecision| {
        let need = memory_need(facts, shape, decided.per_slot.into()).total();
        budget.map_or(u64::MAX, |budget| budget.saturating_sub(need))
    };

    let ram = u64::try_from(settings.cache.ram_mib).ok().map(|mib| mib << 20);
    let host_cache = ram.filter(|_| is_set("cache.ram_mib"));
    let checkpoints = match settings.cache.checkpoint_mib << 20 {
        _ if !facts.needs_checkpoints() => 0,
        bytes if is_set("cache.checkpoint_mib") => bytes,
        default => at_most_a_share(default),
    };
    let mut shape = CacheShape { host_cache: host_cache.unwrap_or(0), checkpoints, ..shape };
    let decided = match decide(shape) {
        Err(PlanError::Memory(_)) if !is_set("cache.checkpoint_mib") => {
            let decided = decide(CacheShape { checkpoints: 0, ..shape })?;
            shape.checkpoints = 0;
            let left = left(&shape, &decided);
            shape.checkpoints = checkpoints.min(left);
            if shape.keeps_states_on_device(facts) {
                let on_device = recurrent_states(facts, shape.parallel.max(1).into());
                shape.checkpoints = checkpoints.min(left.saturating_sub(on_device));
            }
            decided
        }
        decided => decided?,
    };
    if host_cache.is_none() {
        let left = left(&shape, &decided);
        // A negative number asks for all.
        shape.host_cache = ram.map_or(left, |default| at_most_a_share(default).min(left));
    }
    Ok((shape, decided))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::tests::{coder_next, shape};
    use super::*;
    use crate::config::{CacheType, Sources, load};

    const GIB: u64 = 1 << 30;

    fn settings(variables: &[(&str, &str)]) -> Loaded {
        let environment = variables.iter().map(|(name, value)| (name.into(), value.into()));
        load(Sources { environment: environment.collect(), ..Sources::default() }).unwrap()
    }

    /// Bytes for saved states and for checkpoints, and tokens of a slot, or the error.
    fn decided(
        facts: &GgufFacts,
        variables: &[(&str, &str)],
        budget: Option<u64>,
    ) -> Result<(u64, u64, u32), String> {
        let shape = shape(CacheType::Q8_0, 2);
        decide_caches(&settings(variables), facts, shape, budget)
            .map(|(shape, context)| (shape.host_cache, shape.checkpoints, context.per_slot))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_cut_to_a_share_and_to_what_the_context_leaves() {
        let hybrid = coder_next();
        let whole = (8 * GIB, 2 * GIB, 262_144);
        assert_eq!(decided(&hybrid, &[], None), Ok(whole));
        assert_eq!(decided(&hybrid, &[], Some(100 * GIB)), Ok(whole));
        assert_eq!(decided(&hybrid, &[], Some(40 * GIB)), Ok((5 * GIB, 2 * GIB, 262_144)));
        // The context is cut, so nothing is left for saved states.
        let (host_cache, checkpoints, per_slot) = decided(&hybrid, &[], Some(14 * GIB)).unwrap();
        assert!(host_cache < 256 << 20 && checkpoints == 14 * GIB / 8, "{host_cache}");
        assert!((512..262_144).contains(&per_slot), "{per_slot}");
        let dense = GgufFacts { layers: vec![hybrid.layers[3]; 12], ..hybrid };
        assert_eq!(decided(&dense, &[], None), Ok((8 * GIB, 0, 262_144)));
    }

    #[test]
    fn a_bound_that_is_set_is_kept_and_the_context_gives_way() {
        let hybrid = coder_next();
        let set = [("LLAMA_ARG_CACHE_RAM", "6144"), ("STRIXHALO_CACHE__CHECKPOINT_MIB", "1024")];
        let (host_cache, checkpoints, per_slot) = decided(&hybrid, &set, Some(17 * GIB)).unwrap();
        assert_eq!((host_cache, checkpoints), (6 * GIB, GIB));
        assert!(per_slot < 262_144, "{per_slot}");
        let all = [("LLAMA_ARG_CACHE_RAM", "-1")];
        let (host_cache, ..) = decided(&hybrid, &all, Some(100 * GIB)).unwrap();
        assert!(host_cache > 60 * GIB && host_cache < 90 * GIB, "{host_cache}");
        assert_eq!(decided(&hybrid, &[("LLAMA_ARG_CACHE_RAM", "0")], None).unwrap().0, 0);

        let both = [("LLAMA_ARG_CACHE_RAM", "6144"), ("LLAMA_ARG_CTX_SIZE", "524288")];
        let text = decided(&hybrid, &both, Some(17 * GIB)).unwrap_err();
        for part in ["saved states 6.0 GiB", "lower cache.ram_mib"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn checkpoints_that_nobody_set_give_way_to_a_context_that_somebody_did() {
        let hybrid = coder_next();
        let set = [("LLAMA_ARG_CTX_SIZE", "524288")];
        let whole = decided(&hybrid, &set, None).unwrap().2;
        let need = memory_need(&hybrid, &shape(CacheType::Q8_0, 2), whole.into());
        let tight = decided(&hybrid, &set, Some(need.total() + need.recurrent + 100)).unwrap();
        assert_eq!(tight, (0, 100, whole));
    }

    #[test]
    fn on_a_gpu_each_slot_has_a_state_there_besides() {
        let hybrid = coder_next();
        let need = |on_gpu, checkpoints| {
            let shape = CacheShape { on_gpu, checkpoints, ..shape(CacheType::Q8_0, 2) };
            memory_need(&hybrid, &shape, 1024)
        };
        let (cpu, gpu) = (need(false, GIB), need(true, GIB));
        assert_eq!(cpu.checkpoints, GIB);
        assert_eq!(gpu.checkpoints, GIB + gpu.recurrent);
        assert_eq!(need(true, 0).checkpoints, 0);
    }
}
