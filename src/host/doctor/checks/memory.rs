//! Memory: what the firmware takes, what the GPU may map, what is left.

use crate::host::Meminfo;
use crate::host::doctor::entry::{Entry, Finding};
use crate::host::doctor::machine::{Machine, Ttm};

pub(super) const ENTRIES: [Entry; 6] = [
    Entry {
        id: "uma-carveout",
        title: "UMA frame buffer of the firmware",
        what: "Fails if the firmware sets more than 4 GiB aside for the GPU.",
        cost: "That memory is lost to the system, and GTT cannot reach it; with 64 or 96 GB the system is starved, and a load ends in the OOM killer.",
        nixos: "",
        other: "In the firmware set-up (Advanced, AMD CBS, NBIO, GFX Configuration, UMA Frame Buffer Size) choose the smallest value: 512 MB, on some boards 2 GB. Never leave the choice to the firmware.",
        source: "halogen-flash-server#95, LifeOS#50, ds4#475; the replaced set-up had 96 GB",
        anywhere: false,
        run: carveout,
    },
    Entry {
        id: "gtt-limit",
        title: "Memory that the GPU may map (GTT)",
        what: "Warns if the limit is the kernel's own, half of the memory, or if the parameter is given to a module that is not in use.",
        cost: "Half of the memory is out of the GPU's reach, and a large model does not load.",
        nixos: "hardware.strixhalo.memory.gttGiB",
        other: "Kernel arguments ttm.pages_limit=30720000 ttm.page_pool_size=30720000 (117 GiB, for 128 GB; one GiB is 262144 pages), then reboot.",
        source: "noamsto/nix-amd-ai#42; the kernel's drivers/gpu/drm/ttm",
        anywhere: false,
        run: gtt_limit,
    },
    Entry {
        id: "gttsize-deprecated",
        title: "amdgpu.gttsize",
        what: "Warns if the deprecated parameter is set.",
        cost: "It conflicts with ttm.pages_limit; the smaller of the two counts.",
        nixos: "Remove amdgpu.gttsize from boot.kernelParams and use hardware.strixhalo.memory.gttGiB",
        other: "Remove the kernel argument amdgpu.gttsize and set ttm.pages_limit alone, then reboot.",
        source: "the kernel's own message; ROCm/ROCm#5595",
        anywhere: false,
        run: gttsize,
    },
    Entry {
        id: "gtt-over-memory",
        title: "The limit against the memory there is",
        what: "Fails if the GPU may map more than the system has, warns if less than 6 GiB would be left.",
        cost: "The load of a large model ends in the OOM killer, or the system runs short under load.",
        nixos: "hardware.strixhalo.memory.gttGiB, at most the memory less 6; hardware.strixhalo.memory.installedGiB if less is installed",
        other: "Lower ttm.pages_limit to the memory less 6 GiB (262144 pages a GiB), or give the system the memory of the UMA frame buffer.",
        source: "reported by users: 80 to 112 of 128 GiB run well, from 120 on the host runs short",
        anywhere: false,
        run: over_memory,
    },
    Entry {
        id: "ttm-page-pool",
        title: "Pages that the driver keeps for reuse",
        what: "Warns if the pool is larger than the limit, which bounds the GPU alone.",
        cost: "The pool can never fill; whoever set it meant the limit.",
        nixos: "hardware.strixhalo.memory.pagePoolSize, or leave it unset",
        other: "Kernel argument ttm.page_pool_size, at most ttm.pages_limit.",
        source: "the kernel's drivers/gpu/drm/ttm/ttm_pool.c",
        anywhere: false,
        run: page_pool,
    },
    Entry {
        id: "memory-headroom",
        title: "Memory that is free now",
        what: "Warns if less than 4 GiB can be taken: MemAvailable less CmaFree. Swap in use and the kernel's compaction counters are shown.",
        cost: "While the kernel moves pages the GPU's queues are paused: the server seems to hang.",
        nixos: "A smaller services.strixhalo.settings.context.ctx_size, q4_0 for the cache types, or a smaller quantization",
        other: "A smaller --ctx-size, --cache-type-k q4_0 --cache-type-v q4_0, or a smaller quantization (`strixhalo plan` counts); stop what else takes memory.",
        source: "halogen-flash-server#85",
        anywhere: true,
        run: headroom,
    },
];

const GIB: u64 = 1 << 30;
const PAGE: u64 = 4096;
const MEMINFO: &str = "/proc/meminfo";

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / GIB as f64)
}

fn meminfo(memory: &Meminfo) -> String {
    format!("MemTotal: {} kB", memory.total / 1024)
}

/// The file of the GPU's memory.
fn file(card: &str, name: &str) -> String {
    format!("/sys/class/drm/{card}/device/mem_info_{name}")
}

fn no_gpu() -> Finding {
    Finding::unknown(
        "amdgpu drives no GPU here.",
        "cat /sys/class/drm/card*/device/mem_info_{vram,gtt}_total",
    )
}

fn carveout(machine: &Machine) -> Finding {
    let Some((gpu, vram)) = machine.gpu().and_then(|gpu| Some((gpu, gpu.vram_total?))) else {
        return no_gpu();
    };
    let seen = machine.memory.map_or(0, |memory| memory.total);
    let found = if vram > 4 * GIB {
        Finding::fail(format!(
            "The firmware takes {} for the GPU, and the system sees {}.",
            gib(vram),
            gib(seen)
        ))
    } else {
        Finding::pass(format!("The firmware takes {}.", gib(vram)))
    };
    found
        .with(file(&gpu.name, "vram_total"), vram)
        .with_some(MEMINFO, machine.memory.as_ref().map(meminfo))
}

/// Bytes that the GPU may map, and where that stands.
fn limit(machine: &Machine) -> Option<(u64, String, u64)> {
    let by_module = machine.ttm.as_ref().and_then(|ttm| {
        let pages = ttm.pages_limit?;
        Some((pages.saturating_mul(PAGE), ttm.file("pages_limit"), pages))
    });
    by_module.or_else(|| {
        let gpu = machine.gpu()?;
        let bytes = gpu.gtt_total?;
        Some((bytes, file(&gpu.name, "gtt_total"), bytes))
    })
}

fn gtt_limit(machine: &Machine) -> Finding {
    let (Some(gpu), Some(memory)) = (machine.gpu(), &machine.memory) else { return no_gpu() };
    let Some(gtt) = gpu.gtt_total else { return no_gpu() };
    let module = machine.ttm.as_ref().map_or("ttm", |ttm| ttm.module);
    // What is soldered on, by what the firmware left of it.
    let (gibs, pages) = match (memory.total + gpu.vram_total.unwrap_or(0)) / GIB {
        110.. => ("117", 30_720_000),
        80..110 => ("88", 23_040_000),
        _ => ("57", 14_848_000),
    };
    let other = format!(
        "Kernel arguments {module}.pages_limit={pages} {module}.page_pool_size={pages} ({gibs} GiB), then reboot."
    );
    let is_misnamed = module == "amdttm"
        && machine.kernel.argument("ttm.pages_limit").is_some()
        && machine.kernel.argument("amdttm.pages_limit").is_none();
    let found = if is_misnamed {
        Finding::warn(format!(
            "ttm.pages_limit is set, but AMD's own driver uses the module amdttm: the GPU may map {}.",
            gib(gtt)
        ))
    } else if gtt <= memory.total / 100 * 55 {
        Finding::warn(format!(
            "The GPU may map {}, the kernel's own half of {}.",
            gib(gtt),
            gib(memory.total)
        ))
    } else if gtt > memory.total {
        Finding::pass(format!("The GPU may map {}, which `gtt-over-memory` judges.", gib(gtt)))
    } else {
        Finding::pass(format!("The GPU may map {} of {}.", gib(gtt), gib(memory.total)))
    };
    let parameter = machine.ttm.as_ref().map_or(String::new(), |ttm| ttm.file("pages_limit"));
    let ready = machine.kernel_line("of GTT memory ready").map(without_time);
    found
        .with(file(&gpu.name, "gtt_total"), gtt)
        .with_some(parameter, machine.ttm.as_ref().and_then(|ttm| ttm.pages_limit))
        .with(MEMINFO, meminfo(memory))
        .with_some("journalctl -b -k", ready)
        .fix("hardware.strixhalo.memory.gttGiB", other)
}

/// A line of the kernel without the time before it.
fn without_time(line: &str) -> &str {
    line.find("amdgpu").map_or(line, |at| &line[at..])
}

fn gttsize(machine: &Machine) -> Finding {
    let parameter = "/sys/module/amdgpu/parameters/gttsize";
    let argument = machine.kernel.argument("amdgpu.gttsize");
    let value = machine.tree.number(parameter);
    let line = machine.kernel_line("Configuring gttsize via module parameter is deprecated");
    let is_set = argument.is_some() || value.is_some_and(|value| value >= 0) || line.is_some();
    let found = if is_set {
        Finding::warn("amdgpu.gttsize is set; it is deprecated and conflicts with ttm.pages_limit.")
    } else {
        Finding::pass("Not set.")
    };
    found
        .with_some(parameter, value)
        .with_some("/proc/cmdline", argument.map(|value| format!("amdgpu.gttsize={value}")))
}

fn over_memory(machine: &Machine) -> Finding {
    let (Some((limit, file, value)), Some(memory)) = (limit(machine), &machine.memory) else {
        return no_gpu();
    };
    let left = memory.total.saturating_sub(limit);
    let found = if limit > memory.total {
        Finding::fail(format!(
            "The GPU may map {}, and the system has {}.",
            gib(limit),
            gib(memory.total)
        ))
    } else if left < 6 * GIB {
        Finding::warn(format!("The GPU may map all but {} of the memory.", gib(left)))
    } else {
        Finding::pass(format!("{} stay for the system.", gib(left)))
    };
    let gibs = (memory.total / GIB).saturating_sub(6);
    found.with(file, value).with(MEMINFO, meminfo(memory)).fix(
        format!("hardware.strixhalo.memory.gttGiB = {gibs}"),
        format!(
            "Kernel argument {}.pages_limit={} ({gibs} GiB), then reboot; if the UMA frame buffer is large, make that small first.",
            machine.ttm.as_ref().map_or("ttm", |ttm| ttm.module),
            gibs * (GIB / PAGE)
        ),
    )
}

fn page_pool(machine: &Machine) -> Finding {
    let numbers = |ttm: &Ttm| Some((ttm.page_pool_size?, ttm.pages_limit?));
    let Some((ttm, (pool, limit))) =
        machine.ttm.as_ref().and_then(|ttm| Some((ttm, numbers(ttm)?)))
    else {
        let says = "The driver does not tell its pool.";
        return Finding::unknown(says, "cat /sys/module/*ttm/parameters/page_pool_size");
    };
    let found = if pool > limit {
        Finding::warn(format!("The pool of {pool} pages is larger than the limit of {limit}."))
    } else {
        Finding::pass("At most the limit.")
    };
    found.with(ttm.file("page_pool_size"), pool).with(ttm.file("pages_limit"), limit)
}

fn headroom(machine: &Machine) -> Finding {
    let Some(memory) = &machine.memory else {
        return Finding::unknown("/proc/meminfo cannot be read.", "free -h");
    };
    let free = memory.available.saturating_sub(memory.cma_free);
    let swapped = memory.swap_total.saturating_sub(memory.swap_free);
    let says = format!("{} can be taken, {} are in swap.", gib(free), gib(swapped));
    let found = if free < 4 * GIB { Finding::warn(says) } else { Finding::pass(says) };
    let counters = machine.tree.text("proc/vmstat").map(|text| {
        let wanted = ["compact_stall ", "compact_fail "];
        let lines = text.lines().filter(|line| wanted.iter().any(|name| line.starts_with(name)));
        lines.collect::<Vec<_>>().join(", ")
    });
    found
        .with(
            MEMINFO,
            format!(
                "MemAvailable: {} kB, CmaFree: {} kB",
                memory.available / 1024,
                memory.cma_free / 1024
            ),
        )
        .with_some("/proc/vmstat", counters.filter(|counters| !counters.is_empty()))
}
