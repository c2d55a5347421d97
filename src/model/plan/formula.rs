//! The formulas of docs/memory.md, computed by hand.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::super::facts::{GgufFacts, Layer};
use super::embedding::embedding_need;
use super::embedding_shape::EmbeddingShape;
use super::memory::{bytes_per_value, largest_ctx_per_slot, memory_need};
use super::shape::CacheShape;
use super::tests::{coder_next, shape};
use crate::config::CacheType;
use crate::model::{FAMILIES, Family, GraphFacts, Pooling, WeightType};

const TYPES: [CacheType; 9] = {
    use CacheType::*;
    [F32, F16, Bf16, Q8_0, Q5_1, Q5_0, Q4_1, Q4_0, Iq4_nl]
};

/// Keys and values of one token, trained context, bytes of recurrent state of one sequence; as
/// published configurations and llama.cpp's logs have them.
const PUBLISHED: &[(&str, u64, u32, u64)] = &[
    ("qwen3-0.6b", 57_344, 40_960, 0),
    ("qwen3-1.7b", 57_344, 40_960, 0),
    ("qwen3-4b", 73_728, 40_960, 0),
    ("qwen3-4b-2507", 73_728, 262_144, 0),
    ("qwen3-8b", 73_728, 40_960, 0),
    ("qwen3-14b", 81_920, 40_960, 0),
    ("qwen3-32b", 131_072, 40_960, 0),
    ("qwen3-30b-a3b", 49_152, 40_960, 0),
    ("qwen3-30b-a3b-2507", 49_152, 262_144, 0),
    ("qwen3-coder-30b-a3b", 49_152, 262_144, 0),
    ("qwen3-235b-a22b", 96_256, 40_960, 0),
    ("qwen3-235b-a22b-2507", 96_256, 262_144, 0),
    ("qwen3-coder-480b-a35b", 126_976, 262_144, 0),
    ("qwen3-next-80b-a3b", 12_288, 262_144, 79_036_416),
    ("qwen3-coder-next", 12_288, 262_144, 79_036_416),
    ("qwen3.5-35b-a3b", 10_240, 262_144, 65_863_680),
    ("qwen3.6-35b-a3b", 10_240, 262_144, 65_863_680),
    ("qwen3.5-27b", 32_768, 262_144, 156_893_184),
    ("qwen3.6-27b", 32_768, 262_144, 156_893_184),
];

#[test]
fn every_family_takes_what_its_published_sizes_say() {
    assert_eq!(FAMILIES.len(), PUBLISHED.len());
    for &(name, values, trained, state) in PUBLISHED {
        for weights in WeightType::ALL {
            let facts = Family::find(name).unwrap().facts(weights).unwrap();
            assert_eq!(facts.n_ctx_train, trained, "{name}");
            for kind in TYPES {
                let need = memory_need(&facts, &shape(kind, 2), trained.into());
                let (bytes, block) = bytes_per_value(kind);
                let tokens = 2 * u64::from(trained);
                assert_eq!(need.kv, values * bytes * tokens / block, "{name} {kind:?}");
                assert_eq!(need.recurrent, 2 * state, "{name}");
            }
        }
    }
}

#[test]
fn weights_of_a_family_are_those_of_its_matrices() {
    let facts = |name: &str, weights| Family::find(name).unwrap().facts(weights).unwrap();
    // Qwen3-8B: embeddings and output, then of each layer queries and output, keys and values, and
    // the feed-forward layer; norms are f32.
    let matrices =
        2 * 151_936 * 4096 + 36 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 12_288_u64);
    let norms = 4096 + 36 * (2 * 4096 + 2 * 128);
    let dense = facts("qwen3-8b", WeightType::Q8_0);
    assert_eq!(dense.n_params, matrices + norms);
    assert_eq!(dense.tensor_bytes, matrices / 32 * 34 + norms * 4);
    assert_eq!(facts("qwen3-8b", WeightType::F16).tensor_bytes, matrices * 2 + norms * 4);
    // Of four bits and six, by the layer.
    let mixed = facts("qwen3-8b", WeightType::Q4_K_M);
    let six = |values: u64| values / 256 * (210 - 144);
    let (values, down) = (4096 * 1024, 4096 * 12_288);
    let more = 18 * six(values + down) + six(151_936 * 4096);
    assert_eq!(mixed.tensor_bytes, matrices / 256 * 144 + norms * 4 + more);
    assert_eq!(mixed.quantization, Some("Q4_K_M"));
    for (name, billions) in
        [("qwen3-30b-a3b", 30.5), ("qwen3-coder-next", 79.7), ("qwen3-coder-480b-a35b", 480.2)]
    {
        let counted = facts(name, WeightType::Q8_0).n_params as f64 / 1e9;
        assert!((counted - billions).abs() < 0.1, "{name}: {counted}");
    }
}

#[test]
fn embeddings_that_serve_twice_are_there_twice_on_a_gpu() {
    let facts = Family::find("qwen3-0.6b").unwrap().facts(WeightType::Q8_0).unwrap();
    let weights = |on_gpu| {
        memory_need(&facts, &CacheShape { on_gpu, ..shape(CacheType::F16, 1) }, 4096).weights
    };
    assert_eq!(weights(false), facts.tensor_bytes);
    assert_eq!(weights(true) - weights(false), 151_936 * 1024 / 32 * 34);
}

fn layer() -> impl Strategy<Value = Layer> {
    (0..16_u32, 1..9_u32, 1..9_u32, any::<bool>()).prop_map(|(kv_heads, key, value, recurrent)| {
        let kv_heads = if recurrent { 0 } else { kv_heads };
        Layer { kv_heads, key_length: key * 32, value_length: value * 32, recurrent }
    })
}

proptest! {
    #[test]
    fn keys_values_and_states_are_the_sums_over_the_layers(
        layers in proptest::collection::vec(layer(), 1..100),
        types in (0..TYPES.len(), 0..TYPES.len()),
        slots in 1..17_u32,
        tokens in 1..300_000_u64,
        state_values in 0..1_000_000_u64,
        flash_attn in any::<bool>(),
    ) {
        let facts = GgufFacts { layers, state_values, ..coder_next() };
        let (cache_type_k, cache_type_v) = (TYPES[types.0], TYPES[types.1]);
        let shape =
            CacheShape { cache_type_k, cache_type_v, flash_attn, ..shape(CacheType::F16, slots) };
        let need = memory_need(&facts, &shape, tokens);
        let cells = tokens.div_ceil(256) * 256 * u64::from(slots);
        let widest = facts.layers.iter().map(|l| l.kv_heads * l.value_length).max().unwrap();
        let (mut kv, mut states) = (0, 0);
        for layer in &facts.layers {
            let size = |values: u32, kind| {
                let (bytes, block) = bytes_per_value(kind);
                u64::from(values) * bytes * cells / block
            };
            let own = layer.kv_heads * layer.value_length;
            let values = if flash_attn || own == 0 { own } else { widest };
            kv += size(layer.kv_heads * layer.key_length, cache_type_k) + size(values, cache_type_v);
            states += if layer.recurrent { state_values * 4 * u64::from(slots) } else { 0 };
        }
        prop_assert_eq!((need.kv, need.recurrent), (kv, states));
        prop_assert_eq!(need.weights, facts.tensor_bytes);
        prop_assert_eq!(need.total(), need.weights + kv + states + need.compute);
    }

    #[test]
    fn no_sizes_make_the_plan_overflow(
        widths in any::<[u32; 4]>(),
        graph in any::<[u64; 8]>(),
        cells in any::<u64>(),
        slots in any::<u32>(),
        flash_attn in any::<bool>(),
        on_gpu in any::<bool>(),
    ) {
        let [n_embd, n_vocab, n_head, ubatch] = widths;
        let layers = [Layer { kv_heads: 0, key_length: u32::MAX, value_length: u32::MAX, recurrent: true }; 3];
        let [queries, n_ff, experts_used, experts, n_ff_exp, channels, inner, tied_bytes] = graph;
        let graph = GraphFacts {
            queries, n_ff, experts_used, experts, n_ff_exp, channels, inner, tied_bytes,
            gated: flash_attn,
            tied_repacked: on_gpu,
            unused_bytes: tied_bytes,
        };
        // Without a KV cache it is an encoder.
        for kv_heads in [u32::MAX, 0] {
            let layers = layers.iter().map(|layer| Layer { kv_heads, ..*layer }).collect();
            let facts = GgufFacts {
                n_embd, n_vocab, n_head, graph, layers,
                state_values: u64::MAX,
                n_ctx_train: u32::MAX,
                has_window: flash_attn,
                ..coder_next()
            };
            let sizes = shape(CacheType::F16, slots);
            let shape = CacheShape { ubatch, flash_attn, on_gpu, checkpoints: inner, host_cache: channels, ..sizes };
            let need = memory_need(&facts, &shape, cells);
            prop_assert!(need.total() >= need.compute);
            largest_ctx_per_slot(&facts, &shape, cells);
            let texts = EmbeddingShape::new(&facts, Pooling::Mean, ubatch, on_gpu);
            let need = embedding_need(&facts, &texts);
            prop_assert!(need.total() >= need.compute);
        }
    }
}
