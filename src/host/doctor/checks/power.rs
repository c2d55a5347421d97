//! Power, fans, and what costs speed.

use crate::host::doctor::entry::{Entry, Finding};
use crate::host::doctor::machine::Machine;

pub(super) const ENTRIES: [Entry; 6] = [
    Entry {
        id: "iommu",
        title: "IOMMU",
        what: "Warns if it is on. `iommu=pt` gains nothing, and `amd_iommu=pt` does not exist.",
        cost: "On: 5 to 12 % of speed, 13 to 16 % of prompts where the package's power is the limit. Off: the NPU, and protection from devices that read memory by themselves (DMA), such as one in a USB4 port. Whoever needs these keeps it on.",
        nixos: "hardware.strixhalo.iommu = \"off\"",
        other: "Kernel argument amd_iommu=off, then reboot; or IOMMU off in the firmware set-up.",
        source: "kyuz0/amd-strix-halo-toolboxes#66, noamsto/nix-amd-ai#132",
        anywhere: false,
        run: iommu,
    },
    Entry {
        id: "npu",
        title: "NPU",
        what: "Shows whether the NPU's driver is loaded. It costs the GPU nothing, and no part of this server uses it. Never complains.",
        cost: "None.",
        nixos: "",
        other: "Nothing to do. Who wants it needs a kernel from 7.0 on and the IOMMU.",
        source: "noamsto/nix-amd-ai#94",
        anywhere: false,
        run: npu,
    },
    Entry {
        id: "power-profile",
        title: "Power profile",
        what: "Warns if neither TuneD nor power-profiles-daemon has a performance profile, or if TuneD runs another one than it was told to.",
        cost: "Prompts are read 5 to 24 % slower.",
        nixos: "hardware.strixhalo.powerProfile = \"accelerator-performance\"",
        other: "tuned-adm profile accelerator-performance, or powerprofilesctl set performance.",
        source: "reported by users, no single source",
        anywhere: false,
        run: profile,
    },
    Entry {
        id: "package-power-limit",
        title: "Power that the package may take",
        what: "Warns below 85 W.",
        cost: "From 85 to 120 W prompts gain 17 % and generation 8 %; below 85 W more is lost.",
        nixos: "",
        other: "In the firmware set-up choose the highest TDP or power mode, 85 W or more.",
        source: "reported by users, no single source",
        anywhere: false,
        run: limit,
    },
    Entry {
        id: "fan-control",
        title: "Fans and power mode of AXB35 boards",
        what: "Warns if the board's controller is in another mode than performance. Skipped without the module ec_su_axb35.",
        cost: "The package is throttled to keep the fans quiet.",
        nixos: "",
        other: "echo performance | sudo tee /sys/class/ec_su_axb35/apu/power_mode",
        source: "cmetz/ec-su_axb35-linux, kyuz0's workload watcher, strixhalo-homelab#16",
        anywhere: false,
        run: fans,
    },
    Entry {
        id: "sleep-targets",
        title: "Sleep",
        what: "Shows whether the machine may sleep. Never complains: no report of ROCm after a suspend was found.",
        cost: "A server that sleeps answers nobody.",
        nixos: "hardware.strixhalo.sleep = false (the default)",
        other: "sudo systemctl mask sleep.target suspend.target hibernate.target hybrid-sleep.target",
        source: "a choice of this project",
        anywhere: false,
        run: sleep,
    },
];

fn iommu(machine: &Machine) -> Finding {
    let argument = |name| machine.kernel.argument(name);
    let units = machine.tree.names("sys/class/iommu");
    let is_off = argument("amd_iommu") == Some("off") || units.is_empty();
    let pt = [("iommu", argument("iommu")), ("amd_iommu", argument("amd_iommu"))];
    let mut found = if is_off {
        Finding::pass("Off: the fastest, without the NPU and without protection from DMA.")
    } else if pt.iter().any(|(_, value)| *value == Some("pt")) {
        Finding::warn("On: pass-through (`pt`) wins none of the lost speed back.")
    } else {
        Finding::warn("On: it costs speed, and gives the NPU and protection from DMA.")
    };
    for (name, value) in pt {
        found = found.with_some("/proc/cmdline", value.map(|value| format!("{name}={value}")));
    }
    found.with(
        "/sys/class/iommu",
        if units.is_empty() { "empty".to_owned() } else { units.join(" ") },
    )
}

fn npu(machine: &Machine) -> Finding {
    let module = "/sys/module/amdxdna";
    if machine.tree.exists(module) {
        Finding::pass("The NPU's driver is loaded.").with(module, "loaded")
    } else {
        Finding::skip("The NPU's driver is not loaded.")
    }
}

/// Profiles that let the package run at its limit.
const FAST: [&str; 6] = [
    "accelerator-performance",
    "throughput-performance",
    "latency-performance",
    "network-throughput",
    "hpc-compute",
    "performance",
];

fn profile(machine: &Machine) -> Finding {
    let tree = &machine.tree;
    let (tuned, platform) = ("etc/tuned/active_profile", "sys/firmware/acpi/platform_profile");
    let told = tree.text("etc/tuned/recommend.conf").and_then(|text| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix('['))?;
        Some(line.trim_end_matches(']').to_owned())
    });
    let is_fast = |profile: &str| profile.split_whitespace().any(|name| FAST.contains(&name));
    if let Some(active) = tree.text(tuned).filter(|profile| !profile.is_empty()) {
        let found = match &told {
            Some(told) if *told != active => {
                Finding::warn(format!("TuneD runs {active} and was told {told}."))
                    .fix("systemctl restart tuned", format!("tuned-adm profile {told}"))
            }
            _ if is_fast(&active) => Finding::pass(format!("TuneD runs {active}.")),
            _ => Finding::warn(format!("TuneD runs {active}.")),
        };
        return found
            .with(format!("/{tuned}"), &active)
            .with_some("/etc/tuned/recommend.conf", told);
    }
    let governor = "sys/devices/system/cpu/cpufreq/policy0/scaling_governor";
    let found = match (tree.text(platform), tree.text(governor)) {
        (Some(profile), _) if is_fast(&profile) => {
            Finding::pass("The platform's profile is performance.")
        }
        (None, Some(governor)) if is_fast(&governor) => {
            Finding::pass("The processor's governor is performance.")
        }
        (None, None) => {
            let says = "Neither TuneD nor the platform tells a profile.";
            return Finding::unknown(says, "tuned-adm active; powerprofilesctl get");
        }
        (profile, governor) => {
            Finding::warn(format!("The profile is {}.", profile.or(governor).unwrap_or_default()))
        }
    };
    found
        .with_some(format!("/{platform}"), tree.text(platform))
        .with_some(format!("/{governor}"), tree.text(governor))
}

fn limit(machine: &Machine) -> Finding {
    let Some((gpu, watts)) = machine.gpu().and_then(|gpu| Some((gpu, gpu.power_cap?))) else {
        return Finding::unknown("The driver does not tell a limit.", "sudo ryzenadj -i");
    };
    let found = if watts < 85.0 {
        Finding::warn(format!("The package may take {watts:.0} W."))
    } else {
        Finding::pass(format!("The package may take {watts:.0} W."))
    };
    found.with(
        format!("/sys/class/drm/{}/device/hwmon/hwmon*/power1_cap", gpu.name),
        format!("{:.0}", watts * 1e6),
    )
}

fn fans(machine: &Machine) -> Finding {
    let class = "sys/class/ec_su_axb35";
    let Some(mode) = machine.tree.text(&format!("{class}/apu/power_mode")) else {
        return Finding::skip("The module ec_su_axb35 is not loaded.");
    };
    let found = if mode == "performance" {
        Finding::pass("The board is in performance mode.")
    } else {
        Finding::warn(format!("The board is in the mode {mode}."))
    };
    let fan = format!("{class}/fan1/mode");
    found
        .with(format!("/{class}/apu/power_mode"), &mode)
        .with_some(format!("/{fan}"), machine.tree.text(&fan))
}

fn sleep(machine: &Machine) -> Finding {
    let unit = "etc/systemd/system/sleep.target";
    match machine.tree.link(unit) {
        Some(to) if to == "/dev/null" => {
            Finding::pass("The machine may not sleep.").with(format!("/{unit}"), to)
        }
        _ => Finding::pass("The machine may sleep, and answers nobody while it does."),
    }
}
