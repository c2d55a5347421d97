//! Memory of the loaded models: planned, allocated, and where the layers are.

use super::families::{Families, Sample};
use crate::engine::ModelFacts;
use crate::model::MemoryNeed;

/// A model that is loaded, and what its memory was planned to be.
pub(super) struct Loaded<'a> {
    pub(super) name: &'a str,
    pub(super) facts: &'a ModelFacts,
    pub(super) planned: MemoryNeed,
}

/// Plan and actual of these models.
pub(super) fn add_memory(families: &mut Families, loaded: &[Loaded<'_>]) {
    let mut planned = Vec::new();
    let mut allocated = Vec::new();
    let mut layers = Vec::new();
    for Loaded { name, facts, planned: need } in loaded {
        let name = ("model", *name);
        for part in need.parts() {
            planned.push(([name, ("part", part.key)], part.bytes as f64));
        }
        for buffer in &facts.allocations.buffers {
            let labels =
                [name, ("part", buffer.used_for.key()), ("memory", buffer.memory.as_str())];
            allocated.push((labels, buffer.bytes as f64));
        }
        let placed = facts.allocations.placement();
        let on_cpu = placed.layers.saturating_sub(placed.gpu_layers);
        for (place, count) in [("gpu", placed.gpu_layers), ("cpu", on_cpu)] {
            layers.push(([name, ("place", place)], count as f64));
        }
    }
    families.gauges(
        "strixhalo_model_memory_planned_bytes",
        "Memory that the plan says a model needs, by part.",
        &samples(&planned),
    );
    families.gauges(
        "strixhalo_model_memory_allocated_bytes",
        "Memory that llama.cpp allocated for a model, by part and where it lies.",
        &samples(&allocated),
    );
    families.gauges(
        "strixhalo_model_layers",
        "Layers of a model, the output among them, by what computes them.",
        &samples(&layers),
    );
}

fn samples<'a, const N: usize>(rows: &'a [([(&'a str, &'a str); N], f64)]) -> Vec<Sample<'a>> {
    rows.iter().map(|(labels, value)| (labels.as_slice(), *value)).collect()
}
