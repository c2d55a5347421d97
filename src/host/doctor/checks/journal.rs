//! Messages of this boot that are known to mean something.

use crate::host::doctor::entry::{Entry, Finding};
use crate::host::doctor::machine::{KERNEL_COMMAND, Lines, Machine, SERVICE_COMMAND};
use crate::host::doctor::report::Status;

/// Longest part of a line that is shown.
const MAX_SHOWN: usize = 200;

pub(super) const ENTRIES: [Entry; 11] = [
    Entry {
        id: "journal-mes-hang",
        title: "The GPU's scheduler stopped answering",
        what: "`MES failed to respond to msg=`, `failed to remove hardware queue from MES`, `GPU reset begin!`",
        cost: "The GPU hangs; often only a reboot brings it back.",
        nixos: "",
        other: "See the checks `mes-firmware`, `kernel-rocm-pair` and `kfd-cwsr`, then reboot.",
        source: "ROCm/ROCm#5724, ROCm/ROCm#5590",
        anywhere: false,
        run: |machine| {
            kernel(
                machine,
                Status::Fail,
                &[
                    "MES failed to respond to msg=",
                    "failed to remove hardware queue from MES",
                    "GPU reset begin!",
                ],
            )
        },
    },
    Entry {
        id: "journal-page-fault",
        title: "Page faults of the GPU",
        what: "`[gfxhub] page fault`, `GCVM_L2_PROTECTION_FAULT_STATUS`, `CPF (0x4)`",
        cost: "The server's process is ended, or the GPU is reset.",
        nixos: "See the check `kernel-rocm-pair`: hardware.strixhalo.rocm.profile picks a pair that goes together",
        other: "See the check `kernel-rocm-pair`: ROCm 7.2 or later on a kernel from 6.18.4 on, or an older kernel.",
        source: "ROCm/TheRock#2991",
        anywhere: false,
        run: |machine| {
            kernel(
                machine,
                Status::Fail,
                &["[gfxhub] page fault", "GCVM_L2_PROTECTION_FAULT_STATUS", "CPF (0x4)"],
            )
        },
    },
    Entry {
        id: "journal-memory-fault",
        title: "Memory access fault of the GPU",
        what: "`Memory access fault by GPU node`, `HSA_STATUS_ERROR_EXCEPTION`",
        cost: "The server ends, and running answers are lost.",
        nixos: "",
        other: "See the checks `kernel-rocm-pair`, `hsa-override` and `kfd-cwsr`.",
        source: "ROCm/ROCm#5824, ROCm/TheRock#2991",
        anywhere: false,
        run: |machine| {
            service(
                machine,
                Status::Fail,
                &["Memory access fault by GPU node", "HSA_STATUS_ERROR_EXCEPTION"],
            )
        },
    },
    Entry {
        id: "journal-hsa-out-of-resources",
        title: "HSA_STATUS_ERROR_OUT_OF_RESOURCES",
        what: "`Unable to open /dev/kfd read-write`, `HSA_STATUS_ERROR_OUT_OF_RESOURCES`",
        cost: "ROCm finds no GPU.",
        nixos: "See, in this order, the checks `gpu-groups`, `hsa-override` and `kernel-rocm-pair`",
        other: "See, in this order, the checks `gpu-groups`, `hsa-override` (HSA_OVERRIDE_GFX_VERSION=11.0.0 on ROCm 6.4.1) and `kernel-rocm-pair`.",
        source: "ROCm/rocminfo#34, the replaced set-up",
        anywhere: false,
        run: |machine| {
            service(
                machine,
                Status::Fail,
                &["Unable to open /dev/kfd read-write", "HSA_STATUS_ERROR_OUT_OF_RESOURCES"],
            )
        },
    },
    Entry {
        id: "journal-no-device",
        title: "rocBLAS sees no device",
        what: "`Could not initialize Tensile host: No devices found`",
        cost: "The server ends.",
        nixos: "",
        other: "See the checks `gpu-groups` and `hip-visible-devices`.",
        source: "reported by users, no single source",
        anywhere: false,
        run: |machine| {
            service(machine, Status::Fail, &["Could not initialize Tensile host: No devices found"])
        },
    },
    Entry {
        id: "journal-rocblas-kernels",
        title: "rocBLAS has no kernels for this GPU",
        what: "`Cannot read ...TensileLibrary...`",
        cost: "The server ends.",
        nixos: "hardware.strixhalo.rocm.profile = \"gfx1100-compat\"",
        other: "HSA_OVERRIDE_GFX_VERSION=11.0.0 with a build for gfx1100, or a ROCm with kernels for gfx1151.",
        source: "reported by users, no single source",
        anywhere: false,
        run: |machine| service(machine, Status::Fail, &["TensileLibrary"]),
    },
    Entry {
        id: "journal-hipblaslt",
        title: "hipBLASLt falls back",
        what: "`rocBLAS warning: hipBlasLT failed, falling back to tensile.` Never complains.",
        cost: "None: hipBLASLt has no tuned solution for every size of a mixture of experts, and rocBLAS takes over.",
        nixos: "",
        other: "Nothing to do.",
        source: "the replaced set-up",
        anywhere: false,
        run: |machine| {
            service(machine, Status::Pass, &["hipBlasLT failed, falling back to tensile"])
        },
    },
    Entry {
        id: "journal-gpu-memory",
        title: "The GPU's memory ran out",
        what: "`radv/amdgpu: Failed to allocate a buffer`, `Device memory allocation of size ... failed`",
        cost: "A load or a request fails.",
        nixos: "See the checks `gtt-limit`, `uma-carveout` and `memory-headroom`; a smaller services.strixhalo.settings.context.ctx_size",
        other: "See the checks `gtt-limit`, `uma-carveout` and `memory-headroom`; a smaller --ctx-size, --cache-type-k q4_0 --cache-type-v q4_0, a smaller quantization.",
        source: "reported by users, no single source",
        anywhere: false,
        run: |machine| {
            service(
                machine,
                Status::Warn,
                &["radv/amdgpu: Failed to allocate a buffer", "Device memory allocation of size"],
            )
        },
    },
    Entry {
        id: "journal-memory-critical",
        title: "Memory critical error",
        what: "`Memory critical error ... Memory in use`",
        cost: "The server ends. Seen with ROCm 7.2.4, gone in 7.13.",
        nixos: "A newer nixpkgs, or hardware.strixhalo.rocm.profile = \"vulkan\"",
        other: "ROCm 7.13 or later, or Vulkan.",
        source: "ROCm/ROCm#6182",
        anywhere: false,
        run: |machine| service(machine, Status::Fail, &["Memory critical error"]),
    },
    Entry {
        id: "journal-oom-killer",
        title: "The system's memory ran out",
        what: "`Out of memory: Killed process`, for any process, also by the limit of a unit.",
        cost: "The kernel ends the largest process, which is often the server.",
        nixos: "See the checks `uma-carveout`, `gtt-over-memory` and `memory-headroom`; a smaller services.strixhalo.settings.context.ctx_size. Of a `Memory cgroup`: a higher services.strixhalo.memoryMax",
        other: "See the checks `uma-carveout`, `gtt-over-memory` and `memory-headroom`; a smaller --ctx-size or quantization. Of a `Memory cgroup`: a higher MemoryMax=.",
        source: "halogen-flash-server#95, the replaced set-up",
        anywhere: true,
        run: |machine| kernel(machine, Status::Fail, &["ut of memory: Killed process"]),
    },
    Entry {
        id: "journal-device-lost",
        title: "Vulkan lost the device",
        what: "`DeviceLost`, `VK_ERROR_DEVICE_LOST`",
        cost: "The server ends in the middle of a long prompt.",
        nixos: "hardware.strixhalo.lockupTimeout = 20000",
        other: "Kernel argument amdgpu.lockup_timeout=20000, then reboot.",
        source: "ggml-org/llama.cpp#25664, ggml-org/llama.cpp#27076",
        anywhere: false,
        run: |machine| service(machine, Status::Warn, &["DeviceLost", "VK_ERROR_DEVICE_LOST"]),
    },
];

fn kernel(machine: &Machine, status: Status, signatures: &[&str]) -> Finding {
    search(machine.kernel_log(), KERNEL_COMMAND, status, signatures)
}

fn service(machine: &Machine, status: Status, signatures: &[&str]) -> Finding {
    let log = machine.service_log();
    if log.is_err() && machine.service.unit.is_none() {
        return Finding::skip("There is no service with a journal.");
    }
    search(log, SERVICE_COMMAND, status, signatures)
}

/// Looks for any of the signatures; `status` is what one means.
fn search(log: &Lines, command: &str, status: Status, signatures: &[&str]) -> Finding {
    let lines = match log {
        Ok(lines) => lines,
        Err(why) => {
            let pattern = signatures.first().copied().unwrap_or_default();
            let says = format!("Not looked for: {why}.");
            return Finding::unknown(says, format!("sudo {command} | grep -F '{pattern}'"));
        }
    };
    let is_hit = |line: &&String| signatures.iter().any(|signature| line.contains(signature));
    let hits = lines.iter().filter(is_hit).count();
    let Some(last) = lines.iter().rev().find(is_hit) else {
        return Finding::pass("Not in this boot's journal.");
    };
    let shown: String = last.chars().take(MAX_SHOWN).collect();
    let times = if hits == 1 { "once".to_owned() } else { format!("{hits} times") };
    Finding::new(status, format!("Found {times} since the boot.")).with(command, shown)
}
