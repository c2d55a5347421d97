//! A load that would not fit: its numbers, and who holds the memory.

use std::fmt;

use super::budget::Budget;
use super::error::{MemoryShortage, gib};
use crate::host::GpuClient;

/// A load that is refused because it would not fit: the shortage, what leads to the memory that is
/// free, and who holds the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What is needed and would help.
    pub shortage: MemoryShortage,
    /// What is free.
    pub budget: Budget,
    /// Processes that hold memory of the GPU, the largest first; only of a plan for a GPU.
    pub holders: Vec<GpuClient>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shortage, budget, holders } = self;
        write!(f, "{}, but {budget}", shortage.needs())?;
        let holders: Vec<String> = holders.iter().take(MAX_HOLDERS).map(holder).collect();
        if !holders.is_empty() {
            write!(f, "; the GPU's memory is held by {}", holders.join(", "))?;
        }
        write!(f, ": {}", shortage.ways_out())
    }
}

/// Processes that are named.
const MAX_HOLDERS: usize = 3;

fn holder(client: &GpuClient) -> String {
    let name = if client.name.is_empty() { "a process" } else { &client.name };
    format!("{name} ({}) {}", client.pid, gib(client.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::plan::{GpuMemory, MemoryNeed, MemoryReadings, budget};

    #[test]
    fn a_refusal_names_who_holds_the_memory_and_three_ways_out() {
        let gpus =
            vec![GpuMemory { total: 96 << 30, free: 24 << 30, is_shared: true, is_gtt: true }];
        let read = MemoryReadings { gpus, ..MemoryReadings::default() };
        let client = |pid, name: &str, bytes| GpuClient { pid, name: name.to_owned(), bytes };
        let refusal = budget(&read).map(|budget| Refusal {
            shortage: MemoryShortage {
                need: MemoryNeed { weights: 80 << 30, ..MemoryNeed::default() },
                free: 24 << 30,
                slots: 2,
                per_slot: 4096,
                largest_ctx: None,
                need_q4_0: None,
            },
            budget,
            holders: vec![client(900, "llama-server", 68 << 30), client(7, "", 1 << 30)],
        });
        let text = refusal.map(|refusal| refusal.to_string()).unwrap_or_default();
        assert_eq!(
            text,
            "2 x 4096 tokens of context need 80.0 GiB (weights 80.0 GiB, KV cache 0.0 GiB), but 24.0 GiB are free (96.0 GiB of GTT, less 72.0 GiB in use); the GPU's memory is held by llama-server (900) 68.0 GiB, a process (7) 1.0 GiB: free memory, or use a smaller quantization of the model, or use a smaller model"
        );
    }
}
