//! The gate that every load passes: what would not fit is refused before llama.cpp allocates. A
//! load that does not fit the GTT wedges amdgpu until a reboot.

use std::path::Path;

use super::exit::{Exit, Failure};
use crate::config::{Loaded, MemoryGate};
use crate::engine::{Device, is_unified};
use crate::host::{self, GpuPool, Memory, free_2mib_blocks};
use crate::model::{
    Account, Budget, GgufFacts, GpuMemory, Layout, MemoryNeed, MemoryReadings, MemoryShortage,
    PlanError, Refusal, budget, layout, memory_need,
};

/// Free blocks of 2 MiB below which a GPU's memory comes in small pieces.
const MIN_2MIB_BLOCKS: u64 = 512;

/// What passed.
#[derive(Debug)]
pub(super) struct Passed {
    pub(super) layout: Layout,
    /// What the layout needs.
    pub(super) need: MemoryNeed,
    /// What it may take; `None`: unknown.
    pub(super) budget: Option<Budget>,
    /// Memory of the GPUs of amdgpu, before the load.
    pub(super) pools: Vec<GpuPool>,
    /// What may go wrong all the same, one line each.
    pub(super) warnings: Vec<String>,
}

/// Plans for these `gpus` (none: the CPU) against what is free now. `root`: where /proc and /sys
/// are; `unified`: whether the variable `GGML_CUDA_ENABLE_UNIFIED_MEMORY` is there; `others`: bytes
/// that the models beside this one need.
pub(super) fn pass(
    loaded: &Loaded,
    facts: &GgufFacts,
    gpus: &[&Device],
    unified: bool,
    others: u64,
    root: &Path,
) -> Result<Passed, Failure> {
    let pools = GpuPool::read_all(root);
    let read = MemoryReadings {
        host: Memory::read(root),
        gpus: gpus.iter().map(|gpu| gpu_memory(gpu, &pools)).collect(),
        is_unified: is_unified(gpus, unified),
        service: None,
    };
    let budget = budget(&read).map(|whole| whole.without(others));
    let on_gpu = !gpus.is_empty();
    let mut warnings = Vec::new();
    let plan = |bytes| layout(loaded, facts, on_gpu, bytes);
    let layout = match (plan(budget.map(|budget| budget.bytes)), budget) {
        (Err(PlanError::Memory(shortage)), Some(budget)) => {
            let refusal = refusal(shortage, budget, on_gpu, root).to_string();
            match loaded.settings.model.memory_gate {
                MemoryGate::Refuse => {
                    return Err(Failure::new(Exit::Internal, refusal));
                }
                MemoryGate::Warn => {
                    warnings.push(format!("model.memory_gate lets this load pass: {refusal}"));
                    // The context as if the weights took nothing, else what was asked for.
                    let without_weights = facts.tensor_bytes.saturating_add(budget.bytes);
                    plan(Some(without_weights)).or_else(|_| plan(None))?
                }
            }
        }
        (layout, _) => layout?,
    };
    if on_gpu && let Some(blocks) = free_2mib_blocks(root).filter(|n| *n < MIN_2MIB_BLOCKS) {
        warnings.push(format!(
            "only {blocks} blocks of 2 MiB are free: the GPU gets its memory in small pieces, which loads and computes more slowly; `echo 1 | sudo tee /proc/sys/vm/compact_memory`, or a reboot, makes it whole again"
        ));
    }
    let need = memory_need(facts, &layout.shape, layout.context.per_slot.into());
    warnings.extend(cgroup_shortage(&need, budget, read.host));
    Ok(Passed { layout, need, budget, pools, warnings })
}

/// A cgroup bounds no buffers of a GPU, but what is saved of conversations lies in the process.
fn cgroup_shortage(
    need: &MemoryNeed,
    budget: Option<Budget>,
    host: Option<Memory>,
) -> Option<String> {
    budget.filter(|budget| matches!(budget.account, Account::Shared | Account::Gpu))?;
    let cgroup = host?.cgroup?;
    let saved = need.host_cache.saturating_add(need.checkpoints);
    let mib = |bytes: u64| bytes >> 20;
    (saved > cgroup.available).then(|| {
        format!(
            "saved states may take {} MiB, but this cgroup's limit (memory.max, {} MiB) leaves {}: the kernel kills the server when they do; lower cache.ram_mib or raise the limit",
            mib(saved), mib(cgroup.max), mib(cgroup.available)
        )
    })
}

fn refusal(shortage: MemoryShortage, budget: Budget, on_gpu: bool, root: &Path) -> Refusal {
    // Free memory as the budget has it, also where a layout was tried with less.
    let shortage = MemoryShortage { free: budget.bytes, ..shortage };
    let holders = if on_gpu { host::gpu_clients(root) } else { Vec::new() };
    Refusal { shortage, budget, holders }
}

/// What ggml tells of a GPU, bounded by what the kernel tells of the memory that its buffers lie
/// in: a runtime may count memory that it cannot have.
fn gpu_memory(gpu: &Device, pools: &[GpuPool]) -> GpuMemory {
    let at = |pool: &&GpuPool| match (&pool.pci, &gpu.pci) {
        (Some(a), Some(b)) => a.eq_ignore_ascii_case(b),
        _ => false,
    };
    // A runtime that tells no place on the bus drives the one GPU that there is.
    let only = |pool: &&GpuPool| {
        let is_amd = gpu.backend == "ROCm" || gpu.description.contains("AMD");
        pools.len() == 1 && (gpu.pci.is_none() || pool.pci.is_none()) && is_amd
    };
    let pool = pools.iter().find(at).or_else(|| pools.iter().find(only));
    let told = GpuMemory {
        total: gpu.memory_total,
        free: gpu.memory_free,
        is_shared: gpu.is_integrated,
        is_gtt: false,
    };
    match pool {
        Some(pool) if gpu.is_integrated => {
            let free = pool.total.saturating_sub(pool.used);
            // Zero is what a runtime says that does not know.
            let free = if gpu.memory_total == 0 { free } else { free.min(told.free) };
            GpuMemory { total: pool.total, free, is_gtt: pool.is_gtt, ..told }
        }
        _ => told,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::{Sources, load};
    use crate::model::Source;

    const GIB: u64 = 1 << 30;
    const CARD: &str = "sys/class/drm/card1/device";

    /// A Strix Halo with 100 GiB available, a GTT of 96 GiB of which `used` are in use, and as many
    /// free blocks of 2 MiB.
    fn machine(used: u64, blocks: u64) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let kib = |gib: u64| (gib * GIB) >> 10;
        for (path, text) in [
            (
                "proc/meminfo".to_owned(),
                format!("MemTotal: {} kB\nMemAvailable: {} kB\n", kib(125), kib(100)),
            ),
            (
                "proc/buddyinfo".to_owned(),
                format!("Node 0, zone Normal 1 1 1 1 1 1 1 1 1 {blocks} 0\n"),
            ),
            (format!("{CARD}/uevent"), "PCI_SLOT_NAME=0000:c5:00.0\n".to_owned()),
            (format!("{CARD}/mem_info_gtt_total"), (96 * GIB).to_string()),
            (format!("{CARD}/mem_info_gtt_used"), (used * GIB).to_string()),
            (format!("{CARD}/mem_info_vram_total"), (GIB / 2).to_string()),
            (format!("{CARD}/mem_info_vram_used"), "0".to_owned()),
            ("sys/class/kfd/kfd/proc/900/vram_1".to_owned(), (used * GIB).to_string()),
            ("proc/900/comm".to_owned(), "llama-server\n".to_owned()),
        ] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn rocm(total: u64, free: u64) -> Device {
        Device {
            index: 0,
            name: "ROCm0".to_owned(),
            description: "AMD Radeon 8060S".to_owned(),
            backend: "ROCm".to_owned(),
            pci: Some("0000:C5:00.0".to_owned()),
            is_gpu: true,
            is_integrated: true,
            memory_total: total,
            memory_free: free,
        }
    }

    fn settings(variables: &[(&str, &str)]) -> Loaded {
        let environment = variables.iter().map(|(name, value)| (name.into(), value.into()));
        load(Sources { environment: environment.collect(), ..Sources::default() }).unwrap()
    }

    /// The built-in model, as if its weights took `gib`.
    fn weights(gib: u64) -> GgufFacts {
        let facts = Source::open(&settings(&[]).settings.model).unwrap().facts;
        GgufFacts { tensor_bytes: gib * GIB, n_ctx_train: 262_144, ..facts }
    }

    fn passes(gib: u64, used: u64, unified: bool, set: &[(&str, &str)]) -> Result<Passed, String> {
        let device = rocm(96 * GIB, 96 * GIB);
        let root = machine(used, 1000);
        pass(&settings(set), &weights(gib), &[&device], unified, 0, root.path())
            .map_err(|failure| format!("{} {}", failure.exit as u8, failure.message))
    }

    #[test]
    fn a_model_that_does_not_fit_the_free_gtt_is_refused_and_the_holder_named() {
        assert!(passes(80, 4, false, &[]).is_ok());
        let refused = passes(80, 70, false, &[]).unwrap_err();
        for part in [
            "70 2 x",
            "26.0 GiB are free (96.0 GiB of GTT, less 70.0 GiB in use)",
            "held by llama-server (900) 70.0 GiB",
            "free memory, or use a smaller quantization of the model, or use a smaller model",
        ] {
            assert!(refused.contains(part), "{part}: {refused}");
        }
    }

    #[test]
    fn models_that_fit_alone_and_not_together_are_refused_with_all_numbers() {
        let gate = |gib, others| {
            let (device, root) = (rocm(96 * GIB, 96 * GIB), machine(6, 1000));
            pass(&settings(&[]), &weights(gib), &[&device], false, others * GIB, root.path())
                .map_err(|failure| failure.message)
        };
        assert!(gate(80, 0).is_ok() && gate(40, 45).is_ok());
        let refused = gate(80, 45).unwrap_err();
        let free = "45.0 GiB are free (96.0 GiB of GTT, less 6.0 GiB in use, less 45.0 GiB for the models of embedding_model and rerank_model)";
        assert!(refused.contains(free), "{refused}");
    }

    #[test]
    fn a_context_that_nobody_set_is_cut_to_the_free_gtt() {
        let whole = passes(1, 0, false, &[]).unwrap();
        let need = whole.need.total();
        let cut = passes(95, 0, false, &[]).unwrap();
        assert!(need > GIB && cut.need.total() <= 96 * GIB);
        assert!(cut.layout.context.per_slot < whole.layout.context.per_slot);
        assert_eq!(cut.need.total(), cut.need.parts().iter().map(|part| part.bytes).sum::<u64>());
    }

    #[test]
    fn with_unified_memory_the_machine_counts_and_not_the_gtt() {
        let passed = passes(80, 70, true, &[]).unwrap();
        assert_eq!(passed.budget.unwrap().bytes, 99 * GIB);
        let refused = passes(120, 0, true, &[]).unwrap_err();
        assert!(refused.contains("GGML_CUDA_ENABLE_UNIFIED_MEMORY"), "{refused}");
    }

    #[test]
    fn the_gate_can_be_told_to_warn() {
        let set = [("STRIXHALO_MODEL__MEMORY_GATE", "warn")];
        let passed = passes(80, 70, false, &set).unwrap();
        assert!(passed.warnings[0].contains("memory_gate lets this load pass"), "{passed:?}");
        assert!(passed.layout.context.per_slot >= 512);
    }

    #[test]
    fn memory_in_small_pieces_is_a_warning() {
        let device = rocm(96 * GIB, 96 * GIB);
        let warned = |blocks, gpus: &[&Device]| {
            let root = machine(0, blocks);
            pass(&settings(&[]), &weights(1), gpus, false, 0, root.path()).unwrap().warnings.len()
        };
        assert_eq!((warned(511, &[&device]), warned(512, &[&device]), warned(5, &[])), (1, 0, 0));
    }

    #[test]
    fn a_cgroup_that_has_no_room_for_saved_states_is_a_warning_on_a_gpu() {
        let device = rocm(96 * GIB, 96 * GIB);
        let root = machine(0, 1000);
        for (path, text) in [
            ("proc/self/cgroup", "0::/a\n"),
            ("sys/fs/cgroup/a/memory.max", "4294967296\n"),
            ("sys/fs/cgroup/a/memory.current", "0\n"),
        ] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let warned = |set: &[(&str, &str)]| {
            pass(&settings(set), &weights(1), &[&device], false, 0, root.path()).unwrap().warnings
        };
        assert!(warned(&[])[0].contains("memory.max, 4096 MiB) leaves 4096"), "{:?}", warned(&[]));
        assert!(warned(&[("LLAMA_ARG_CACHE_RAM", "2048")]).is_empty());
    }

    #[test]
    fn the_smaller_of_what_runtime_and_kernel_tell_counts() {
        let root = machine(16, 1000);
        let pools = GpuPool::read_all(root.path());
        let free = |gpu: &Device| gpu_memory(gpu, &pools).free / GIB;
        assert_eq!(free(&rocm(96 * GIB, 96 * GIB)), 80);
        assert_eq!(free(&rocm(96 * GIB, 15 * GIB)), 15);
        assert_eq!(free(&rocm(0, 0)), 80);
        let unplaced = Device { pci: None, ..rocm(96 * GIB, 96 * GIB) };
        assert_eq!(free(&unplaced), 80);
        let elsewhere = Device { pci: Some("0000:03:00.0".to_owned()), ..unplaced };
        assert_eq!(free(&elsewhere), 96);
    }
}
