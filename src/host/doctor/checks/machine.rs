//! What this machine is.

use crate::host::doctor::entry::{Entry, Finding};
use crate::host::doctor::machine::Machine;

pub(super) const ENTRIES: [Entry; 2] = [
    Entry {
        id: "machine",
        title: "A Strix Halo",
        what: "Whether this is the machine that the checks are made for: by the processor's name, or the PCI id 1002:1586 of its GPU. On any other, the checks of kernel, firmware, memory, devices, ROCm, Vulkan and power are skipped.",
        cost: "None.",
        nixos: "",
        other: "Nothing to do.",
        source: "the processor's name and the PCI id of the Radeon 8060S",
        anywhere: true,
        run: machine,
    },
    Entry {
        id: "container",
        title: "Container",
        what: "Whether this runs in a container. Device nodes and groups are then those that the container was given, and the fixes of the kernel belong to its host.",
        cost: "None, if the container got the devices: see `device-kfd` and `gpu-groups`.",
        nixos: "",
        other: "Nothing to do.",
        source: "the replaced set-up, which ran in Docker",
        anywhere: true,
        run: container,
    },
];

fn machine(machine: &Machine) -> Finding {
    let cpu = if machine.cpu.is_empty() { "unknown" } else { &machine.cpu };
    let found = if machine.is_strix_halo {
        Finding::pass(format!("This is a Strix Halo: {cpu}."))
    } else {
        Finding::skip(format!(
            "This machine is no Strix Halo (processor: {cpu}); what is known of that GPU is not checked."
        ))
    };
    found.with("/proc/cpuinfo", cpu)
}

fn container(machine: &Machine) -> Finding {
    match &machine.container {
        None => Finding::skip("This is no container."),
        Some(kind) => Finding::pass(format!(
            "This is a container ({kind}): kernel and memory are the host's, devices and groups are what the container was given."
        )),
    }
}
