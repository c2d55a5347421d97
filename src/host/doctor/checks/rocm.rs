//! ROCm's environment and its kernels.

use crate::host::doctor::entry::{Entry, Finding};
use crate::host::doctor::machine::{Machine, Version};

pub(super) const ENTRIES: [Entry; 5] = [
    Entry {
        id: "rocm-known-hang",
        title: "The hang of llama.cpp before ROCm 7.0.1",
        what: "Warns of ROCm up to 7.0.0.",
        cost: "llama.cpp can hang this GPU. AMD mended it in releases after 7.0 and never in 6.4; the watchdog restarts the server, and some hangs take a reboot.",
        nixos: "hardware.strixhalo.rocm.profile = \"gfx1151-native\" (or \"vulkan\")",
        other: "ROCm 7.2 on a kernel from 6.18.4 on.",
        source: "ROCm/TheRock#1413, ROCm/rocm-libraries#1132, ROCm/ROCm#5151",
        anywhere: false,
        run: hang,
    },
    Entry {
        id: "hsa-override",
        title: "HSA_OVERRIDE_GFX_VERSION against the build's GPU code",
        what: "Fails if the override names a GPU that the build has no code for, if ROCm before 6.4.4 runs without one, or if the build has no code for gfx1151 and no override is set. Warns of an override on ROCm 7.",
        cost: "HSA_STATUS_ERROR_OUT_OF_RESOURCES without it, memory access faults with a wrong one.",
        nixos: "hardware.strixhalo.rocm.profile, which sets it where it is needed",
        other: "HSA_OVERRIDE_GFX_VERSION=11.0.0 for a build with code for gfx1100 on ROCm 6.4.1; no override for code for gfx1151 on ROCm 6.4.4 or later.",
        source: "ROCm/ROCm#4748, ROCm/ROCm#5824, the replaced set-up",
        anywhere: false,
        run: hsa_override,
    },
    Entry {
        id: "unified-memory",
        title: "GGML_CUDA_ENABLE_UNIFIED_MEMORY",
        what: "Warns if the variable is set, to whatever: 0 turns it on as well. Fails if the unit bounds the service's memory besides.",
        cost: "About 15 % slower, wrong output reported in some versions; the weights are the process's memory and not the GTT's, so that no limit of the GPU bounds them.",
        nixos: "hardware.strixhalo.rocm.unifiedMemory = false",
        other: "Remove the variable from the server's environment.",
        source: "ggml-org/llama.cpp#26148",
        anywhere: false,
        run: unified_memory,
    },
    Entry {
        id: "rocm-environment",
        title: "Variables without effect",
        what: "Shows HSA_XNACK (this GPU cannot replay page faults: no effect found), ROCBLAS_USE_HIPBLASLT (within 5 % on quantized mixtures of experts, more on BF16) and GPU_MAX_HW_QUEUES. Never complains.",
        cost: "None that was reported.",
        nixos: "hardware.strixhalo.rocm.environment",
        other: "Nothing to do.",
        source: "the replaced set-up; reported by users, no single source",
        anywhere: false,
        run: environment,
    },
    Entry {
        id: "rocblas-kernels",
        title: "rocBLAS's kernels for the GPU",
        what: "Fails if the rocBLAS in use has no kernels for the GPU that the override names, or without one for gfx1151.",
        cost: "`Cannot read ...TensileLibrary...gfx1151.dat`, and the server ends.",
        nixos: "hardware.strixhalo.rocm.profile = \"gfx1100-compat\" for a ROCm without kernels for gfx1151",
        other: "HSA_OVERRIDE_GFX_VERSION=11.0.0 with a build for gfx1100, or a ROCm with kernels for gfx1151.",
        source: "reported by users, no single source",
        anywhere: false,
        run: rocblas,
    },
];

const NO_ROCM: &str = "No ROCm is in use here.";
const OVERRIDE: &str = "HSA_OVERRIDE_GFX_VERSION";

fn hang(machine: &Machine) -> Finding {
    let Some((rocm, file)) = &machine.runtime.rocm else { return Finding::skip(NO_ROCM) };
    let found = if *rocm <= Version(7, 0, 0) {
        Finding::warn(format!("llama.cpp can hang this GPU with ROCm {rocm}."))
    } else {
        Finding::pass(format!("Mended in ROCm {rocm}."))
    };
    found.with(file, rocm)
}

/// `11.0.0` is gfx1100, `11.5.1` is gfx1151.
fn target(value: &str) -> Option<String> {
    let numbers: Vec<u32> = value.split('.').map_while(|number| number.parse().ok()).collect();
    match numbers[..] {
        [major, minor, step] => Some(format!("gfx{major}{minor}{step:x}")),
        _ => None,
    }
}

fn hsa_override(machine: &Machine) -> Finding {
    let Some((rocm, file)) = &machine.runtime.rocm else { return Finding::skip(NO_ROCM) };
    let value = machine.variable(OVERRIDE).filter(|value| !value.is_empty());
    let targets = machine.targets.as_deref();
    // What is not known about the build is not held against it.
    let has_code = |gpu: &str| {
        targets.is_none_or(|targets| targets.split([';', ',', ' ']).any(|target| target == gpu))
    };
    let found = match value {
        Some(value) => match target(value) {
            None => Finding::fail(format!("{OVERRIDE}={value} is no version of a GPU.")),
            Some(gpu) if !has_code(&gpu) => Finding::fail(format!(
                "{OVERRIDE}={value} makes the GPU a {gpu}, and this build has code for {} alone.",
                targets.unwrap_or_default()
            )),
            Some(gpu) if *rocm >= Version(7, 0, 0) && gpu != "gfx1151" => Finding::warn(format!(
                "{OVERRIDE}={value} is set, and ROCm {rocm} drives the gfx1151 without it."
            )),
            Some(gpu) => Finding::pass(format!("The GPU is driven as a {gpu}.")),
        },
        None if !has_code("gfx1151") => Finding::fail(format!(
            "No override is set, and this build has code for {} alone.",
            targets.unwrap_or_default()
        )),
        None if *rocm < Version(6, 4, 4) => {
            Finding::fail(format!("ROCm {rocm} cannot start on a gfx1151 without an override."))
        }
        None => Finding::pass(format!("ROCm {rocm} drives the gfx1151 as it is.")),
    };
    found
        .with_some(
            &machine.service.environment_file,
            value.map(|value| format!("{OVERRIDE}={value}")),
        )
        .with(file, rocm)
        .with_some("this build", targets)
}

fn unified_memory(machine: &Machine) -> Finding {
    let name = "GGML_CUDA_ENABLE_UNIFIED_MEMORY";
    if machine.runtime.rocm.is_none() {
        return Finding::skip(NO_ROCM);
    }
    let Some(value) = machine.variable(name) else {
        return Finding::pass("Not set: weights are counted in the GTT.");
    };
    let bound = &machine.service.memory_max;
    let found = match bound {
        None => Finding::warn("Unified memory is on: slower, and outside of the GTT."),
        Some(bound) => Finding::fail(format!(
            "Unified memory is on, so that MemoryMax={bound} counts the weights as well: the kernel kills the server when it loads a model larger than that."
        )),
    };
    found.with(&machine.service.environment_file, format!("{name}={value}")).with_some(
        machine.service.unit.as_deref().unwrap_or_default(),
        bound.as_ref().map(|bound| format!("MemoryMax={bound}")),
    )
}

fn environment(machine: &Machine) -> Finding {
    if machine.runtime.rocm.is_none() {
        return Finding::skip(NO_ROCM);
    }
    let names = ["HSA_XNACK", "ROCBLAS_USE_HIPBLASLT", "GPU_MAX_HW_QUEUES"];
    let set = names.into_iter().filter_map(|name| Some((name, machine.variable(name)?)));
    set.fold(Finding::pass("None of these variables does harm."), |found, (name, value)| {
        found.with(&machine.service.environment_file, format!("{name}={value}"))
    })
}

fn rocblas(machine: &Machine) -> Finding {
    let Some(directory) = &machine.runtime.rocblas else {
        return Finding::skip("This server has no rocBLAS mapped.");
    };
    let library = format!("{directory}/rocblas/library");
    let files = machine.tree.names(&library);
    let gpu = machine.variable(OVERRIDE).and_then(target).unwrap_or("gfx1151".to_owned());
    if files.is_empty() {
        return Finding::unknown("rocBLAS's kernels cannot be found.", format!("ls {library}"));
    }
    let kernels = files.iter().filter(|file| file.contains(&gpu)).count();
    let found = if kernels == 0 {
        Finding::fail(format!("rocBLAS has no kernels for {gpu}."))
    } else {
        Finding::pass(format!("rocBLAS has kernels for {gpu}."))
    };
    found.with(library, format!("{kernels} files for {gpu}"))
}

#[cfg(test)]
mod tests {
    use super::target;

    #[test]
    fn an_override_names_a_gpu() {
        assert_eq!(target("11.0.0").as_deref(), Some("gfx1100"));
        assert_eq!(target("11.5.1").as_deref(), Some("gfx1151"));
        assert_eq!(target("9.0.10").as_deref(), Some("gfx90a"));
        for other in ["", "11", "11.0", "x.0.0", "gfx1100"] {
            assert_eq!(target(other), None, "{other}");
        }
    }
}
