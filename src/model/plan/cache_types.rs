//! Kind of attention and types of the KV cache.

use super::super::facts::{GgufFacts, Layer};
use super::error::{CacheTypeConflict, PlanError, name};
use super::memory::bytes_per_value;
use crate::config::CacheType;

/// Whether flash attention is used, and what the user should know if that is not what was `wanted`.
pub fn decide_flash_attention(facts: &GgufFacts, wanted: bool) -> (bool, Option<String>) {
    // llama.cpp switches it off there, and then refuses quantized values.
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
    let reason_k = odd(|layer| layer.key_length, k).map(|size| CacheTypeConflict::KeySize { size });
    // llama.cpp asks for it even where no values are cached.
    let reason_v = if v.is_quantized() && !flash_attn {
        Some(CacheTypeConflict::FlashAttention)
    } else {
        odd(|layer| layer.value_length, v).map(|size| CacheTypeConflict::ValueSize { size })
    };
    let mut settle = |key, kind, set, conflict| match conflict {
        None => Ok(kind),
        Some(conflict) if set => Err(PlanError::CacheType { key, kind, conflict }),
        Some(conflict) => {
            notices.push(format!("context.{key} is f16: {} {conflict}", name(kind)));
            Ok(CacheType::F16)
        }
    };
    let mut types =
        (settle("cache_type_k", k, k_set, reason_k)?, settle("cache_type_v", v, v_set, reason_v)?);
    if facts.shares_key_and_value && types.0 != types.1 {
        if k_set && v_set {
            return Err(PlanError::TwoCacheTypes);
        }
        let one = if v_set || !(flash_attn || k_set) { types.1 } else { types.0 };
        if one.is_quantized() && !flash_attn {
            return Err(PlanError::QuantizedWithoutFlash);
        }
        notices.push(format!(
            "both cache types are {}: this model keeps keys and values in one tensor",
            name(one)
        ));
        types = (one, one);
    }
    Ok((types.0, types.1, notices))
}
