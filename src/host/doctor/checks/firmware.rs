//! The GPU's firmware.

use crate::host::doctor::entry::{Entry, Finding};
use crate::host::doctor::machine::{Machine, Version};

pub(super) const ENTRIES: [Entry; 3] = [
    Entry {
        id: "mes-firmware",
        title: "Firmware of the GPU's scheduler (MES)",
        what: "0x80 is good; fails for 0x82 and 0x83. Only root can read it.",
        cost: "The scheduler stops answering (`MES failed to respond to msg=`), and the GPU hangs until a reboot.",
        nixos: "Update nixpkgs, whose linux-firmware 20260110 and 20260309 are good; hardware.enableRedistributableFirmware installs it",
        other: "Install linux-firmware 20251111, 20260110 or 20260309, rebuild the initramfs, reboot.",
        source: "ROCm/ROCm#5724, NixOS/nixpkgs#466945",
        anywhere: false,
        run: mes,
    },
    Entry {
        id: "firmware-version",
        title: "Version of linux-firmware",
        what: "Fails for 20251125, which has MES 0x83. Warns of 20260810 on kernels from 7.2 on: one reporter saw loops in tool calls and answers that stop early.",
        cost: "With 20251125 the GPU hangs; with 20260810 answers may be wrong.",
        nixos: "Update nixpkgs, whose linux-firmware 20260110 and 20260309 are good",
        other: "Install linux-firmware 20251111, 20260110 or 20260309, rebuild the initramfs, reboot.",
        source: "ROCm/ROCm#5724, NixOS/nixpkgs#466945; noamsto/nix-amd-ai#105 for 20260810, one reporter",
        anywhere: false,
        run: version,
    },
    Entry {
        id: "firmware-override",
        title: "Firmware that overrides the package",
        what: "Warns of files for this GPU in /lib/firmware/updates, which win over the package's.",
        cost: "A later update of linux-firmware changes nothing.",
        nixos: "Remove them; hardware.firmware is the way to add firmware",
        other: "Remove the files, rebuild the initramfs, reboot; or leave them if you put them there for MES 0x80.",
        source: "ROCm/ROCm#5724, whose workaround leaves such files behind",
        anywhere: false,
        run: overrides,
    },
];

/// Begins the names of this GPU's firmware files (gfx1151).
const FILES: &str = "gc_11_5_1_";

fn mes(machine: &Machine) -> Finding {
    let tree = &machine.tree;
    let directory = "sys/kernel/debug/dri";
    let found = tree.names(directory).into_iter().find_map(|name| {
        let file = format!("{directory}/{name}/amdgpu_firmware_info");
        let text = tree.text(&file)?;
        let line = text.lines().find(|line| line.starts_with("MES feature"))?.to_owned();
        let hex = line.rsplit_once("0x")?.1.trim().to_owned();
        // The upper bits say which kind of firmware it is.
        let version = u32::from_str_radix(&hex, 16).ok()? & 0xfff;
        Some((format!("/{file}"), line, version))
    });
    let Some((file, line, version)) = found else {
        return Finding::unknown(
            "Only root can read the version.",
            "sudo sh -c 'grep MES /sys/kernel/debug/dri/*/amdgpu_firmware_info'",
        );
    };
    let found = match version {
        0x80 => Finding::pass("MES 0x80 is known to be good."),
        0x82 | 0x83 => Finding::fail(format!("MES {version:#x} hangs this GPU.")),
        _ => {
            let says = format!("Nothing was reported about MES {version:#x}.");
            Finding::unknown(says, "Nothing to do while the GPU does not hang.")
        }
    };
    found.with(file, line)
}

fn version(machine: &Machine) -> Finding {
    let Some((file, value, date)) = package(machine) else {
        return Finding::unknown(
            "The version of linux-firmware cannot be seen here.",
            "rpm -q amd-gpu-firmware linux-firmware, or ask your package manager",
        );
    };
    let found = match date {
        20_251_125 => Finding::fail("linux-firmware 20251125 has MES 0x83, which hangs this GPU."),
        20_260_810 if machine.kernel.is_at_least(Version(7, 2, 0)) => Finding::warn(
            "One reporter saw loops and early stops with linux-firmware 20260810 on a kernel 7.2.",
        ),
        date => Finding::pass(format!("Nothing bad is known of linux-firmware {date}.")),
    };
    found.with(file, value)
}

/// Where the version stands, the package as it is named there, and its date.
fn package(machine: &Machine) -> Option<(String, String, u32)> {
    let tree = &machine.tree;
    let date = |name: &str| {
        let numbers = name.split(|c: char| !c.is_ascii_digit());
        let dates = numbers.filter(|number| number.len() == 8 && number.starts_with("20"));
        dates.filter_map(|number| number.parse::<u32>().ok()).next()
    };
    // NixOS links the files, or the whole directory, into the package.
    let system = "run/current-system/firmware/amdgpu";
    let files = tree.names(system).into_iter().filter(|name| name.starts_with(FILES));
    let file = files.map(|name| format!("{system}/{name}")).next();
    let package = file.into_iter().chain([system.to_owned()]).find_map(|path| {
        let to = tree.target(&path)?;
        let package = to.split('/').find(|part| part.contains("linux-firmware"))?.to_owned();
        let date = date(&package)?;
        Some((format!("/{path}"), package, date))
    });
    if package.is_some() {
        return package;
    }
    // Arch.
    let pacman = "var/lib/pacman/local";
    let mut packages = tree.names(pacman).into_iter();
    if let Some(package) = packages.find(|name| {
        ["linux-firmware-2", "linux-firmware-amdgpu-"].iter().any(|prefix| name.starts_with(prefix))
    }) {
        return Some((format!("/{pacman}/{package}"), package.clone(), date(&package)?));
    }
    // Debian and Ubuntu.
    let dpkg = "var/lib/dpkg/status";
    let text = tree.text(dpkg)?;
    text.split("\n\n").find_map(|paragraph| {
        let field = |name: &str| paragraph.lines().find_map(|line| line.strip_prefix(name));
        let name = field("Package: ")?;
        let is_firmware =
            ["firmware-amd-graphics", "linux-firmware", "linux-firmware-amd-graphics"];
        if !is_firmware.contains(&name) || !field("Status: ")?.ends_with(" installed") {
            return None;
        }
        let version = field("Version: ")?;
        Some((format!("/{dpkg}"), format!("{name} {version}"), date(version)?))
    })
}

fn overrides(machine: &Machine) -> Finding {
    let directory = "lib/firmware/updates/amdgpu";
    let names = machine.tree.names(directory);
    let files: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| name.starts_with(FILES)).collect();
    if files.is_empty() {
        return Finding::pass("No file overrides the package's firmware.");
    }
    Finding::warn("Files in /lib/firmware/updates win over those of linux-firmware.")
        .with(format!("/{directory}"), files.join(" "))
}
