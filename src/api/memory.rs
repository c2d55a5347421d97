//! The memory of a loaded model: what was planned, and what it takes.

use serde_json::{Map, Value, json};

use crate::engine::Allocations;
use crate::host::GpuPool;
use crate::model::{Budget, MemoryNeed};

/// What was known about memory before and after a load.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemoryReport {
    /// What the plan says that the model needs.
    pub planned: MemoryNeed,
    /// What it might take; `None`: unknown.
    pub budget: Option<Budget>,
    /// Memory of the GPUs of amdgpu in front of the load.
    pub gpus_before: Vec<GpuPool>,
    /// And behind it.
    pub gpus_after: Vec<GpuPool>,
}

impl MemoryReport {
    /// Plan and actual in bytes, as `/props` shows them.
    pub(super) fn to_json(&self, allocated: &Allocations) -> Value {
        let mut planned: Map<String, Value> = self
            .planned
            .parts()
            .iter()
            .map(|part| (part.key.to_owned(), part.bytes.into()))
            .collect();
        planned.insert("total".to_owned(), self.planned.total().into());
        let used = |pools: &[GpuPool]| pools.iter().map(|pool| pool.used).collect::<Vec<_>>();
        json!({
            "planned": planned,
            "budget": self.budget,
            "allocated": {"total": allocated.total(), "buffers": allocated.buffers},
            "gpu_used": {"before": used(&self.gpus_before), "after": used(&self.gpus_after)},
        })
    }
}
