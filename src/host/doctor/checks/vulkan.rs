//! Vulkan's drivers.

use crate::host::doctor::entry::{Entry, Finding};
use crate::host::doctor::machine::Machine;

pub(super) const ENTRIES: [Entry; 1] = [Entry {
    id: "vulkan-icd",
    title: "Which Vulkan driver is used",
    what: "Warns if AMDVLK is installed beside RADV and no variable chooses, or if there is no driver at all. Skipped if the server uses no Vulkan.",
    cost: "AMDVLK (`AMD open-source driver`, shared memory 32768 in the device's line) is slower, and loads fail that RADV can do.",
    nixos: "hardware.strixhalo.rocm.environment.AMD_VULKAN_ICD = \"RADV\"",
    other: "AMD_VULKAN_ICD=RADV in the server's environment, or uninstall AMDVLK.",
    source: "reported by users, no single source",
    anywhere: false,
    run: icd,
}];

const DIRECTORIES: [&str; 5] = [
    "etc/vulkan/icd.d",
    "usr/share/vulkan/icd.d",
    "usr/local/share/vulkan/icd.d",
    "run/opengl-driver/share/vulkan/icd.d",
    "usr/lib/x86_64-linux-gnu/GL/vulkan/icd.d",
];

fn icd(machine: &Machine) -> Finding {
    if !machine.runtime.vulkan {
        return Finding::skip("This server uses no Vulkan.");
    }
    let files: Vec<String> = DIRECTORIES
        .iter()
        .flat_map(|directory| {
            let names = machine.tree.names(directory).into_iter();
            names.map(move |name| format!("/{directory}/{name}"))
        })
        .filter(|file| file.ends_with(".json"))
        .collect();
    let chosen = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES", "AMD_VULKAN_ICD"]
        .into_iter()
        .find_map(|name| Some((name, machine.variable(name)?)));
    let is_radv = |text: &str| {
        let text = text.to_lowercase();
        text.contains("radv") || text.contains("radeon")
    };
    // AMD's files are amd_icd64.json and, before, amdvlk64.json.
    let amdvlk = files.iter().find(|file| file.contains("/amd_icd") || file.contains("/amdvlk"));
    let is_hijacked = match (&machine.service_log(), amdvlk) {
        (Ok(lines), _) if lines.iter().any(|line| line.contains("AMD open-source driver")) => true,
        (_, amdvlk) => amdvlk.is_some() && chosen.is_none(),
    };
    let found = if let Some((name, value)) = chosen {
        let says =
            if is_radv(value) { "RADV is chosen." } else { "Another driver than RADV is chosen." };
        let found = if is_radv(value) { Finding::pass(says) } else { Finding::warn(says) };
        found.with(&machine.service.environment_file, format!("{name}={value}"))
    } else if is_hijacked {
        Finding::warn("AMDVLK is there, and the loader may take it instead of RADV.")
    } else if files.iter().any(|file| is_radv(file)) {
        Finding::pass("RADV is the only driver for this GPU.")
    } else {
        Finding::warn("No file of RADV is found where Vulkan looks for drivers.").fix(
            "hardware.graphics.enable = true",
            "Install Mesa's Vulkan drivers (mesa-vulkan-drivers, vulkan-radeon).",
        )
    };
    let named = files.iter().filter_map(|file| match (is_radv(file), Some(file) == amdvlk) {
        (true, _) => Some((file, "RADV")),
        (_, true) => Some((file, "AMDVLK")),
        _ => None,
    });
    named.fold(found, |found, (file, driver)| found.with(file, driver))
}
