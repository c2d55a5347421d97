//! Where layers are computed, and what is allocated for them.

use strixhalo::engine::{BufferUse, LoadError, LoadParams};

use crate::{load, params};

#[test]
fn a_load_tells_where_the_layers_are_and_what_was_allocated() {
    let engine = load(LoadParams { gpus: Some(Vec::new()), ..params(2, 1024) });
    let facts = engine.facts();
    // The built-in model has five layers, and its output counts as one.
    assert_eq!(facts.allocations.layers.len(), 6);
    let allocations = &facts.allocations;
    let weights = allocations.bytes(BufferUse::Weights) as f64;
    assert!(weights > 0.9 * facts.size as f64 && weights < 1.5 * facts.size as f64, "{weights}");
    for used_for in [BufferUse::Kv, BufferUse::Compute, BufferUse::Output] {
        assert!(allocations.bytes(used_for) > 0, "{used_for:?}: {allocations:?}");
    }
    assert_eq!(allocations.placement().backend(), "CPU");
}

#[test]
fn layers_that_are_not_on_the_gpu_that_is_required_are_an_error() {
    let missing = LoadParams {
        gpus: Some(Vec::new()),
        gpu_required: true,
        n_gpu_layers: Some(999),
        ..params(1, 512)
    };
    let error = strixhalo::engine::load(missing, |_| true, || {}).unwrap_err();
    assert_eq!(error, LoadError::Offload { offloaded: 0, asked: 6 });
}
