//! The kernel and its pairing with ROCm.

use crate::host::doctor::entry::{Entry, Finding};
use crate::host::doctor::machine::{Machine, Version};

pub(super) const ENTRIES: [Entry; 5] = [
    Entry {
        id: "kernel-version",
        title: "Kernel version",
        what: "Fails before 6.16.9.",
        cost: "On older kernels ROCm sees about 15.5 GB of the memory.",
        nixos: "hardware.strixhalo.enable = true, and leave boot.kernelPackages to hardware.strixhalo.kernelPackages",
        other: "Install a kernel from 6.16.9 on; from 6.18.4 on if ROCm is 7.2 or later.",
        source: "ROCm/ROCm#5444",
        anywhere: false,
        run: version,
    },
    Entry {
        id: "kernel-rocm-pair",
        title: "Kernel and ROCm go together",
        what: "Fails for ROCm before 7.2 on a kernel from 6.18.4 on, and for ROCm from 7.2 on on an older kernel: 6.18.4 changed the context sizes that it exports. Warns of 6.17.9 to 6.17.13, on which reports contradict each other.",
        cost: "Page faults (`Faulty UTCL2 client ID: CPF (0x4)`) and resets of the GPU.",
        nixos: "hardware.strixhalo.rocm.profile picks both: \"gfx1151-native\" for ROCm 7.2 on 6.18.4 and later, \"gfx1100-compat\" for 6.4.1 on 6.17",
        other: "ROCm 7.2 or later with a kernel from 6.18.4 on, or ROCm 6.4 with one from 6.16.9 to 6.18.3. Fedora and kyuz0's toolboxes patch ROCm 6.4 for newer kernels.",
        source: "ROCm/TheRock#2991, ollama/ollama#13589, ollama/ollama#15601, kyuz0/amd-strix-halo-toolboxes#45",
        anywhere: false,
        run: pair,
    },
    Entry {
        id: "kfd-cwsr",
        title: "Wave save and restore with ROCm before 7.2",
        what: "Fails if ROCm before 7.2 runs without `amdgpu.cwsr_enable=0`: its save area is too small for this GPU's registers, so that an interrupted queue writes past it.",
        cost: "Page faults, `MES failed to respond to msg=REMOVE_QUEUE`, resets of the GPU; the more the kernel moves pages, the more often.",
        nixos: "hardware.strixhalo.cwsr = \"auto\" (the default)",
        other: "Kernel argument amdgpu.cwsr_enable=0, then reboot; or ROCm 7.2 on a kernel from 6.18.4 on.",
        source: "ROCm/TheRock#2991, ROCm/ROCm#5590, ROCm/ROCm#5991",
        anywhere: false,
        run: cwsr,
    },
    Entry {
        id: "amdgpu-lockup-timeout",
        title: "Time that the driver gives a job",
        what: "Warns if a server that uses Vulkan runs on a kernel from 7.0 on with less than 20000 ms.",
        cost: "RADV loses the device in long prompts (`DeviceLost`).",
        nixos: "hardware.strixhalo.lockupTimeout = 20000",
        other: "Kernel argument amdgpu.lockup_timeout=20000, then reboot.",
        source: "ggml-org/llama.cpp#25664, ggml-org/llama.cpp#27076",
        anywhere: false,
        run: lockup_timeout,
    },
    Entry {
        id: "wifi-mt7925",
        title: "MT7925 Wi-Fi",
        what: "Warns if the driver of the MT7925 is loaded on a kernel 7.1.",
        cost: "Hard locks of the machine.",
        nixos: "boot.kernelPackages with 7.2 or later, or boot.blacklistedKernelModules = [ \"mt7925e\" ] and a cable",
        other: "Kernel 7.2 or later, or a cable and `modprobe -r mt7925e`.",
        source: "a public NixOS configuration for this box; fixed in 7.2",
        anywhere: false,
        run: wifi,
    },
];

const OSRELEASE: &str = "/proc/sys/kernel/osrelease";

fn version(machine: &Machine) -> Finding {
    let kernel = &machine.kernel;
    let found = match kernel.version {
        None => return Finding::unknown("The kernel's version cannot be read.", "uname -r"),
        Some(own) if own < Version(6, 16, 9) => Finding::fail(format!(
            "Linux {own} is older than 6.16.9: ROCm sees about 15.5 GB of the memory."
        )),
        Some(own) => Finding::pass(format!("Linux {own} is 6.16.9 or later.")),
    };
    found.with(OSRELEASE, &kernel.release)
}

fn pair(machine: &Machine) -> Finding {
    let Some((rocm, file)) = &machine.runtime.rocm else {
        return Finding::skip("No ROCm is in use here.");
    };
    let Some(kernel) = machine.kernel.version else {
        return Finding::unknown("The kernel's version cannot be read.", "uname -r");
    };
    let is_old_rocm = *rocm < Version(7, 2, 0);
    let is_new_kernel = kernel >= Version(6, 18, 4);
    let found = if is_old_rocm && is_new_kernel {
        Finding::fail(format!(
            "ROCm {rocm} faults on Linux {kernel}: before 7.2 it needs a kernel before 6.18.4."
        ))
    } else if !is_old_rocm && !is_new_kernel {
        Finding::fail(format!("ROCm {rocm} needs Linux 6.18.4 or later, and this is {kernel}."))
    } else if kernel >= Version(6, 17, 9) && kernel <= Version(6, 17, 13) {
        Finding::warn(format!(
            "Reports about ROCm on Linux {kernel} contradict each other; 6.17.8 and earlier are known to go with ROCm {rocm}."
        ))
    } else {
        Finding::pass(format!("ROCm {rocm} and Linux {kernel} go together."))
    };
    found.with(OSRELEASE, &machine.kernel.release).with(file, rocm)
}

fn cwsr(machine: &Machine) -> Finding {
    let Some((rocm, file)) = &machine.runtime.rocm else {
        return Finding::skip("No ROCm is in use here.");
    };
    let parameter = "/sys/module/amdgpu/parameters/cwsr_enable";
    let Some(value) = machine.tree.text(parameter) else {
        let says = "The driver does not tell whether it saves waves.";
        return Finding::unknown(says, format!("cat {parameter}"));
    };
    let is_off = value == "0";
    let found = match machine.runtime.rocm_before_7_2() {
        Some(_) if !is_off => Finding::fail(format!(
            "ROCm {rocm} on Linux {} runs with cwsr_enable = {value}, and its save area is too small for this GPU.",
            machine.kernel.release
        )),
        Some(_) => Finding::pass(format!("Off, as ROCm {rocm} needs it.")),
        None if is_off => Finding::pass(format!("Off; ROCm {rocm} could do with it on.")),
        None => Finding::pass(format!("On, which is right for ROCm {rocm}.")),
    };
    found.with(parameter, &value).with(file, rocm)
}

fn lockup_timeout(machine: &Machine) -> Finding {
    if !machine.runtime.vulkan {
        return Finding::skip("This server uses no Vulkan.");
    }
    if !machine.kernel.is_at_least(Version(7, 0, 0)) {
        return Finding::skip("Only kernels from 7.0 on are known to need it.");
    }
    let parameter = "/sys/module/amdgpu/parameters/lockup_timeout";
    let value = machine.tree.text(parameter);
    let milliseconds = value.as_deref().and_then(|v| v.split(',').next()?.parse::<i64>().ok());
    let found = match milliseconds {
        Some(ms @ 0..20_000) => {
            Finding::warn(format!("A job may take {ms} ms; long prompts take longer."))
        }
        // Negative: no limit.
        Some(_) => Finding::pass("A job may take 20 seconds or more."),
        None => Finding::warn("A job may take the kernel's own time; long prompts take longer."),
    };
    found.with_some(parameter, value).with(OSRELEASE, &machine.kernel.release)
}

fn wifi(machine: &Machine) -> Finding {
    let module = "/sys/module/mt7925e";
    if !machine.tree.exists(module) {
        return Finding::skip("The driver of the MT7925 is not loaded.");
    }
    let is_bad = machine.kernel.version.is_some_and(|v| (v.0, v.1) == (7, 1));
    let found = if is_bad {
        Finding::warn("The MT7925 has locked machines hard on kernels 7.1.")
    } else {
        Finding::pass("No trouble is known with this kernel.")
    };
    found.with(module, "loaded").with(OSRELEASE, &machine.kernel.release)
}
