#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::config::CacheType;
use crate::model::{GgufFacts, GraphFacts, Layer, RopeFacts};

const GB: f64 = 1e9;

pub(super) fn model(layers: usize, kv_heads: u32, head: u32, trained: u32) -> GgufFacts {
    let layer = Layer { kv_heads, key_length: head, value_length: head, recurrent: false };
    GgufFacts {
        architecture: "qwen3".to_owned(),
        name: None,
        quantization: None,
        tensor_bytes: 8 << 30,
        file_bytes: 8 << 30,
        n_params: 0,
        n_ctx_train: trained,
        n_embd: 4096,
        n_vocab: 151_936,
        n_head: 32,
        layers: vec![layer; layers],
        state_values: 0,
        is_causal: true,
        pooling: None,
        has_classifier: false,
        has_learned_positions: false,
        rope: RopeFacts::default(),
        has_window: false,
        graph: GraphFacts { queries: 4096, n_ff: 12_288, ..GraphFacts::default() },
        shares_key_and_value: false,
        chat_template: None,
        sampling: Vec::new(),
    }
}

pub(super) fn coder_next() -> GgufFacts {
    let mut facts = model(48, 2, 256, 262_144);
    for (index, layer) in facts.layers.iter_mut().enumerate() {
        if (index + 1) % 4 != 0 {
            layer.recurrent = true;
            layer.kv_heads = 0;
        }
    }
    facts.state_values = 4096 * 128 + 3 * (4096 + 2 * 16 * 128);
    facts
}

pub(super) fn shape(kind: CacheType, parallel: u32) -> CacheShape {
    CacheShape {
        parallel,
        cache_type_k: kind,
        cache_type_v: kind,
        ubatch: 512,
        flash_attn: true,
        on_gpu: true,
        rollback_tokens: 0,
        host_cache: 0,
        checkpoints: 0,
    }
}

#[test]
fn kv_sizes_are_exact_for_the_qwen3_family() {
    for (layers, heads, q4_0, q8_0, f16) in [
        (36, 8, 43.49, 82.14, 154.62),
        (40, 8, 48.32, 91.27, 171.80),
        (48, 4, 28.99, 54.76, 103.08),
        (64, 8, 77.31, 146.03, 274.88),
    ] {
        let facts = model(layers, heads, 128, 40_960);
        for (kind, expected) in
            [(CacheType::Q4_0, q4_0), (CacheType::Q8_0, q8_0), (CacheType::F16, f16)]
        {
            let kv = memory_need(&facts, &shape(kind, 1), 1 << 20).kv as f64 / GB;
            assert!((kv - expected).abs() < 0.006, "{layers} layers, {kind:?}: {kv}");
        }
    }
}

#[test]
fn a_hybrid_pays_for_its_attention_layers_and_one_state_per_slot() {
    let need = memory_need(&coder_next(), &shape(CacheType::F16, 2), 262_144);
    assert_eq!(need.kv, 12_288 * 2 * 262_144 * 2);
    assert_eq!(need.recurrent, 2 * (75 * (1 << 20) + 3 * (1 << 17)));
}

#[test]
fn keys_and_values_may_have_different_types() {
    let facts = model(1, 1, 32, 4096);
    let mixed = CacheShape { cache_type_v: CacheType::Q4_0, ..shape(CacheType::Q8_0, 1) };
    assert_eq!(memory_need(&facts, &mixed, 256).kv, 256 * (34 + 18));
    assert_eq!(memory_need(&facts, &mixed, 257).kv, 512 * (34 + 18));
}

#[test]
fn the_default_context_is_cut_to_the_trained_one_and_says_so() {
    let facts = model(36, 8, 128, 40_960);
    let decision = decide_context(&facts, None, 524_288, &shape(CacheType::Q8_0, 2), None).unwrap();
    assert_eq!((decision.per_slot, decision.ctx_total), (40_960, 81_920));
    assert!(decision.notices[0].contains("from 262144 to 40960"), "{:?}", decision.notices);
}

#[test]
fn the_default_context_is_cut_to_what_fits_and_says_so() {
    let facts = model(36, 8, 128, 262_144);
    let shape = shape(CacheType::F16, 2);
    let budget = 40 << 30;
    let decision = decide_context(&facts, None, 524_288, &shape, Some(budget)).unwrap();
    let need = |per_slot| memory_need(&facts, &shape, per_slot).total();
    assert!(need(decision.per_slot.into()) <= budget);
    assert!(need(u64::from(decision.per_slot) + 256) > budget);
    assert_eq!(decision.per_slot % 256, 0);
    assert!(decision.notices[0].contains("40.0 GiB"), "{:?}", decision.notices);
}

#[test]
fn a_context_that_was_set_is_never_cut() {
    let facts = model(36, 8, 128, 40_960);
    let shape = shape(CacheType::Q8_0, 2);
    let decision = decide_context(&facts, Some(262_144), 1, &shape, Some(1 << 40)).unwrap();
    assert_eq!((decision.per_slot, decision.ctx_total), (131_072, 262_144));
    assert!(decision.notices[0].contains("YaRN"), "{:?}", decision.notices);
    let error = decide_context(&facts, Some(262_144), 1, &shape, Some(10 << 30)).unwrap_err();
    let text = error.to_string();
    for part in ["weights 8.0 GiB", "10.0 GiB are free", "context.ctx_size to at most", "q4_0"] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(text.matches(", or ").count(), 2, "{text}");
    let PlanError::Memory(shortage) = error else { panic!("{error:?}") };
    assert_eq!(shortage.free, 10 << 30);
    assert_eq!(shortage.need, memory_need(&facts, &shape, 131_072));
    let largest = u32::try_from(shortage.largest_ctx.unwrap()).unwrap();
    assert!(decide_context(&facts, Some(largest), 1, &shape, Some(10 << 30)).is_ok());
}

#[test]
fn no_context_is_longer_than_the_positions_that_were_learned() {
    let facts = GgufFacts { has_learned_positions: true, ..model(12, 12, 64, 1024) };
    let shape = shape(CacheType::F16, 2);
    for user_set in [Some(65_536), None] {
        let decision = decide_context(&facts, user_set, 524_288, &shape, None).unwrap();
        assert_eq!((decision.per_slot, decision.ctx_total), (1024, 2048));
        assert!(decision.notices[0].contains("to 1024 tokens per slot"), "{:?}", decision.notices);
    }
    let decision = decide_context(&facts, Some(1000), 1, &shape, None).unwrap();
    assert_eq!((decision.per_slot, decision.notices.len()), (500, 0));
}

#[test]
fn grok_has_no_flash_attention_and_so_no_quantized_values_by_default() {
    let grok = GgufFacts { architecture: "grok".to_owned(), ..model(64, 8, 128, 8192) };
    let (flash_attn, notice) = decide_flash_attention(&grok, true);
    assert!(!flash_attn && notice.is_some());
    let q8 = CacheType::Q8_0;
    let (k, v, _) = decide_cache_types(&grok, q8, false, q8, false, flash_attn).unwrap();
    assert_eq!((k, v), (q8, CacheType::F16));
    assert_eq!(decide_flash_attention(&grok, false), (false, None));
    assert_eq!(decide_flash_attention(&model(1, 1, 32, 4096), true), (true, None));
}

#[test]
fn zero_means_the_trained_context_in_every_slot() {
    let facts = model(36, 8, 128, 40_960);
    let decision = decide_context(&facts, Some(0), 1, &shape(CacheType::F16, 4), None).unwrap();
    assert_eq!((decision.per_slot, decision.ctx_total), (40_960, 163_840));
    assert!(decision.notices.is_empty());
}

#[test]
fn weights_that_do_not_fit_are_refused_even_by_default() {
    let facts = model(36, 8, 128, 40_960);
    let error =
        decide_context(&facts, None, 8192, &shape(CacheType::Q8_0, 1), Some(1 << 30)).unwrap_err();
    assert!(error.to_string().contains("smaller quantization"), "{error}");
}

#[test]
fn fewer_tokens_than_slots_are_a_settings_error() {
    let facts = model(1, 1, 32, 4096);
    let error = decide_context(&facts, Some(3), 1, &shape(CacheType::F16, 4), None).unwrap_err();
    assert_eq!(error, PlanError::TooFewTokens { ctx_size: 3, slots: 4 });
}

#[test]
fn cache_types_that_cannot_be_fall_back_or_are_an_error_when_set() {
    let odd = model(2, 2, 80, 4096);
    let (q8, f16) = (CacheType::Q8_0, CacheType::F16);
    let (k, v, notices) = decide_cache_types(&odd, q8, false, q8, false, true).unwrap();
    assert_eq!((k, v, notices.len()), (f16, f16, 2));
    let error = decide_cache_types(&odd, q8, true, q8, false, true).unwrap_err();
    assert!(error.to_string().contains("divisible by 32, this model's is 80"), "{error}");

    let even = model(2, 2, 128, 4096);
    assert_eq!(decide_cache_types(&even, q8, true, q8, true, true).unwrap(), (q8, q8, vec![]));
    let (k, v, notices) = decide_cache_types(&even, q8, false, q8, false, false).unwrap();
    assert_eq!((k, v, notices.len()), (q8, f16, 1));
    let error = decide_cache_types(&even, q8, false, q8, true, false).unwrap_err();
    assert!(error.to_string().contains("turn flash attention on"), "{error}");
}

#[test]
fn a_model_with_one_tensor_for_both_takes_one_type() {
    let mut mla = model(2, 1, 576, 4096);
    mla.shares_key_and_value = true;
    for layer in &mut mla.layers {
        layer.value_length = 0;
    }
    let types = |k_set, v_set| {
        decide_cache_types(&mla, CacheType::Q8_0, k_set, CacheType::F16, v_set, true)
    };
    let (k, v, notices) = types(false, true).unwrap();
    assert_eq!((k, v, notices.len()), (CacheType::F16, CacheType::F16, 1));
    assert!(types(true, true).is_err());
    // Without flash attention neither may be quantized.
    let (q8, f16) = (CacheType::Q8_0, CacheType::F16);
    let (k, v, _) = decide_cache_types(&mla, q8, false, q8, false, false).unwrap();
    assert_eq!((k, v), (f16, f16));
    let error = decide_cache_types(&mla, q8, true, q8, false, false).unwrap_err();
    assert!(error.to_string().contains("cache_type_k to f16, or turn flash"), "{error}");
}

#[test]
fn without_flash_attention_values_are_not_quantized_even_where_there_are_none() {
    let mut recurrent = model(2, 0, 0, 4096);
    recurrent.layers.iter_mut().for_each(|layer| layer.recurrent = true);
    let q8 = CacheType::Q8_0;
    let (_, v, _) = decide_cache_types(&recurrent, q8, false, q8, false, false).unwrap();
    assert_eq!(v, CacheType::F16);
}

#[test]
fn without_flash_attention_all_layers_store_values_of_the_widest() {
    let mut facts = model(4, 8, 128, 4096);
    facts.layers[3].kv_heads = 2;
    let kv = |flash_attn| {
        let shape = CacheShape { flash_attn, ..shape(CacheType::F16, 1) };
        memory_need(&facts, &shape, 1024).kv
    };
    assert_eq!(kv(false) - kv(true), 6 * 128 * 2 * 1024);
}
