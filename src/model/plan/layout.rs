//! How the context is laid out: kind of attention, types of the KV cache, size.

use super::super::facts::GgufFacts;
use super::cache_types::{decide_cache_types, decide_flash_attention};
use super::caches::decide_caches;
use super::context::ContextDecision;
use super::error::PlanError;
use super::shape::CacheShape;
use crate::config::{FlashAttn, Loaded, Speculation};

/// Tokens of a slot that are worth more than speed on a CPU, where reading them takes many minutes.
const MIN_COMFORTABLE_CONTEXT: u32 = 32_768;

/// Weights below which a step is so short that the more operations of attention without the flash
/// kernels take longer than what they save: the demo model answers 770 requests/s instead of 1120.
const SMALL: u64 = 50_000_000;

/// What was decided.
#[derive(Debug)]
pub struct Layout {
    /// Kind of attention, types of the KV cache, and what is kept beside it.
    pub shape: CacheShape,
    /// The size.
    pub context: ContextDecision,
    /// What was chosen for the user, one line each.
    pub notices: Vec<String>,
}

/// The layout that was asked for. On a CPU flash attention is the slower kind, the more so the
/// deeper the sequence and most of all with quantized values, but it takes less memory: unless it
/// was asked for, it is used there only where a context of [`MIN_COMFORTABLE_CONTEXT`] tokens a slot would not fit
/// without it, in models that need it or are small, or with quantized values that were asked for.
pub fn layout(
    loaded: &Loaded,
    facts: &GgufFacts,
    on_gpu: bool,
    budget: Option<u64>,
) -> Result<Layout, PlanError> {
    let trained = facts.n_ctx_train;
    let rope = loaded.settings.context.rope();
    let stretched = facts.stretched(&rope);
    let facts = stretched.as_ref();
    let mut layout = unstretched(loaded, facts, on_gpu, budget)?;
    if facts.n_ctx_train != trained {
        layout.notices.push(format!(
            "rotary positions are stretched from {trained} to {} tokens, as it was set",
            facts.n_ctx_train
        ));
    }
    layout.notices.extend(facts.rope_without_effect(&rope).map(str::to_owned));
    Ok(layout)
}

fn unstretched(
    loaded: &Loaded,
    facts: &GgufFacts,
    on_gpu: bool,
    budget: Option<u64>,
) -> Result<Layout, PlanError> {
    let with = |flash_attn| layout_with(loaded, facts, flash_attn, on_gpu, budget);
    match loaded.settings.context.flash_attn {
        FlashAttn::On if loaded.origins.is_set("context.flash_attn") => with(true),
        FlashAttn::Off => with(false),
        FlashAttn::On | FlashAttn::Auto if on_gpu || keeps_flash(facts) => with(true),
        FlashAttn::On | FlashAttn::Auto => {
            let mut plain = match (with(false), with(true)) {
                (Err(_), flash) => return flash,
                (Ok(plain), Ok(flash))
                    if plain.context.per_slot
                        < flash.context.per_slot.min(MIN_COMFORTABLE_CONTEXT) =>
                {
                    return Ok(flash);
                }
                (Ok(plain), _) => plain,
            };
            plain.notices.insert(
                0,
                "flash attention is off, it is slower on a CPU; --flash-attn on turns it on"
                    .to_owned(),
            );
            Ok(plain)
        }
    }
}

/// Models that are slower or worse without flash attention: small ones; those whose keys and values
/// are one tensor, which would have to be f16; and MiniMax-M3, which then computes its sparse layers
/// as dense ones.
fn keeps_flash(facts: &GgufFacts) -> bool {
    facts.n_params < SMALL || facts.shares_key_and_value || facts.architecture == "minimax-m3"
}

/// The layout with flash attention or without.
pub(super) fn layout_with(
    loaded: &Loaded,
    facts: &GgufFacts,
    flash_attn: bool,
    on_gpu: bool,
    budget: Option<u64>,
) -> Result<Layout, PlanError> {
    let context = &loaded.settings.context;
    let is_set = |key: &str| loaded.origins.is_set(key);
    let (flash_attn, no_flash) = decide_flash_attention(facts, flash_attn);
    let (cache_type_k, cache_type_v, notices) = decide_cache_types(
        facts,
        context.cache_type_k,
        is_set("context.cache_type_k"),
        context.cache_type_v,
        is_set("context.cache_type_v"),
        flash_attn,
    )?;
    let shape = CacheShape {
        parallel: context.parallel,
        cache_type_k,
        cache_type_v,
        ubatch: context.ubatch,
        flash_attn,
        on_gpu,
        rollback_tokens: facts.rollback_tokens(
            context.speculation == Speculation::Auto,
            on_gpu,
            context.ubatch,
        ),
        host_cache: 0,
        checkpoints: 0,
    };
    let (shape, context) = decide_caches(loaded, facts, shape, budget)?;
    Ok(Layout { shape, context, notices: no_flash.into_iter().chain(notices).collect() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::config::{CacheType, ModelSettings, Sources, load};
    use crate::model::{Source, memory_need};

    fn settings(variables: &[(&str, &str)]) -> Loaded {
        let environment = variables.iter().map(|(name, value)| (name.into(), value.into()));
        load(Sources { environment: environment.collect(), ..Sources::default() }).unwrap()
    }

    /// The built-in model, as if it were large and trained for many tokens.
    fn facts() -> GgufFacts {
        let facts = Source::open(&ModelSettings::default()).unwrap().facts;
        GgufFacts { n_ctx_train: 262_144, n_params: 600_000_000, ..facts }
    }

    fn of(layout: &Layout) -> (bool, CacheType, CacheType) {
        (layout.shape.flash_attn, layout.shape.cache_type_k, layout.shape.cache_type_v)
    }

    fn need(layout: &Layout, per_slot: u32) -> Option<u64> {
        let shape = CacheShape { host_cache: 0, ..layout.shape };
        Some(memory_need(&facts(), &shape, per_slot.into()).total())
    }

    const FLASH: (bool, CacheType, CacheType) = (true, CacheType::Q8_0, CacheType::Q8_0);
    const PLAIN: (bool, CacheType, CacheType) = (false, CacheType::Q8_0, CacheType::F16);

    #[test]
    fn flash_attention_is_for_gpus_unless_it_or_what_needs_it_is_set() {
        let set = |name, value| settings(&[(name, value)]);
        for (loaded, on_gpu, expected) in [
            (settings(&[]), true, FLASH),
            (set("LLAMA_ARG_FLASH_ATTN", "auto"), true, FLASH),
            (set("LLAMA_ARG_FLASH_ATTN", "off"), true, PLAIN),
            (settings(&[]), false, PLAIN),
            (set("LLAMA_ARG_FLASH_ATTN", "auto"), false, PLAIN),
            (set("LLAMA_ARG_FLASH_ATTN", "off"), false, PLAIN),
            (set("LLAMA_ARG_FLASH_ATTN", "on"), false, FLASH),
            (set("LLAMA_ARG_CACHE_TYPE_V", "q8_0"), false, FLASH),
        ] {
            let layout = layout(&loaded, &facts(), on_gpu, None).unwrap();
            assert_eq!(of(&layout), expected, "{:?}, GPU: {on_gpu}", loaded.origins);
        }
    }

    #[test]
    fn on_a_cpu_a_context_goes_before_speed_up_to_32768_tokens_a_slot() {
        let by_default = settings(&[]);
        let plain = layout(&by_default, &facts(), false, None).unwrap();
        for (fits, expected) in [(40_960, PLAIN), (32_768, PLAIN), (16_384, FLASH)] {
            let layout = layout(&by_default, &facts(), false, need(&plain, fits)).unwrap();
            assert_eq!(of(&layout), expected, "{fits}");
            assert!(layout.context.per_slot >= fits);
        }
        let set = settings(&[("LLAMA_ARG_CTX_SIZE", "131072")]);
        let flash = layout(&settings(&[("LLAMA_ARG_FLASH_ATTN", "on")]), &facts(), false, None);
        let just_enough = need(&flash.unwrap(), 65_536);
        let layout = layout(&set, &facts(), false, just_enough).unwrap();
        assert_eq!((of(&layout), layout.context.per_slot), (FLASH, 65_536));
    }

    #[test]
    fn a_context_within_what_yarn_stretches_to_is_no_warning() {
        let facts = GgufFacts { n_ctx_train: 40_960, ..facts() };
        let yarn = [
            ("LLAMA_ARG_ROPE_SCALING_TYPE", "yarn"),
            ("LLAMA_ARG_ROPE_SCALE", "4"),
            ("LLAMA_ARG_YARN_ORIG_CTX", "32768"),
        ];
        let of = |more: &[(&str, &str)]| {
            layout(&settings(&[&yarn[..], more].concat()), &facts, true, None).unwrap()
        };
        let set = of(&[("LLAMA_ARG_CTX_SIZE", "262144")]);
        assert_eq!((set.context.per_slot, set.context.notices.len()), (131_072, 0));
        assert!(set.notices[0].contains("from 40960 to 131072"), "{:?}", set.notices);
        assert_eq!(of(&[]).context.per_slot, 131_072);
        let past = of(&[("LLAMA_ARG_CTX_SIZE", "262146")]);
        assert!(past.context.notices[0].contains("--rope-scale 2"), "{:?}", past.context.notices);
    }

    #[test]
    fn small_models_and_those_that_need_it_keep_flash_attention_on_a_cpu() {
        for facts in [
            GgufFacts { n_params: 2_000_000, ..facts() },
            GgufFacts { shares_key_and_value: true, ..facts() },
            GgufFacts { architecture: "minimax-m3".to_owned(), ..facts() },
        ] {
            let layout = layout(&settings(&[]), &facts, false, None).unwrap();
            assert_eq!((of(&layout), layout.notices), (FLASH, Vec::new()));
        }
    }
}
