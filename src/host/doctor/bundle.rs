//! A text for somebody who is to help: the report, versions, settings, what the kernel tells of
//! GPU and memory, and lines of the journal, masked as a whole.

use std::fmt::Write;

use super::machine::{KERNEL_COMMAND, Lines, Machine, SERVICE_COMMAND};
use super::mask::Mask;
use super::report::Report;
use super::text;

/// Most lines of each log.
const MAX_LINES: usize = 200;
/// Most bytes of each file.
const MAX_BYTES: usize = 4096;

/// Files that help to understand a machine.
const FILES: [&str; 18] = [
    "etc/os-release",
    "proc/version",
    "proc/cmdline",
    "proc/meminfo",
    "proc/buddyinfo",
    "proc/swaps",
    "sys/class/dmi/id/board_vendor",
    "sys/class/dmi/id/board_name",
    "sys/class/dmi/id/product_name",
    "sys/class/dmi/id/bios_version",
    "sys/class/dmi/id/bios_date",
    "sys/module/ttm/parameters/pages_limit",
    "sys/module/ttm/parameters/page_pool_size",
    "sys/module/amdttm/parameters/pages_limit",
    "sys/module/amdttm/parameters/page_pool_size",
    "sys/firmware/acpi/platform_profile",
    "etc/tuned/active_profile",
    "etc/tuned/recommend.conf",
];
/// Files in the directory of a GPU.
const GPU_FILES: [&str; 8] = [
    "vendor",
    "device",
    "revision",
    "mem_info_vram_total",
    "mem_info_vram_used",
    "mem_info_gtt_total",
    "mem_info_gtt_used",
    "gpu_busy_percent",
];
/// How the variables begin that the bundle has.
const VARIABLES: [&str; 12] = [
    "HSA_",
    "HIP_",
    "ROCR_",
    "ROCBLAS_",
    "GPU_",
    "GGML_",
    "CUDA_",
    "AMD_",
    "RADV_",
    "VK_",
    "LLAMA_",
    "STRIXHALO_",
];
/// Words of the kernel's lines that the bundle has.
const WORDS: [&str; 7] = ["amdgpu", "ttm", "kfd", "drm", "iommu", "ut of memory", "oom"];

/// The whole text.
pub(super) fn bundle(machine: &Machine, report: &Report, version: &str) -> String {
    let mut out = String::from(
        "# strixhalo doctor bundle\nNames of hosts and users, addresses and keys are masked. Read it before you pass it on.\n",
    );
    section(
        &mut out,
        "versions",
        &[
            format!("strixhalo {version}"),
            format!("kernel {}", machine.kernel.release),
            format!("processor {}", machine.cpu),
        ],
    );
    section(&mut out, "report", &[text::render(report, false)]);
    section(&mut out, "settings that were changed", &settings(machine));
    section(&mut out, "variables", &variables(machine));
    section(&mut out, "files", &files(machine));
    let kernel = log(machine.kernel_log(), |line| WORDS.iter().any(|word| line.contains(word)));
    section(&mut out, KERNEL_COMMAND, &kernel);
    section(&mut out, SERVICE_COMMAND, &log(machine.service_log(), |_| true));
    mask(machine).apply(&out)
}

/// Writing to a string does not fail.
fn section(out: &mut String, name: &str, lines: &[String]) {
    let _ = writeln!(out, "\n## {name}");
    for line in lines {
        let _ = writeln!(out, "{}", line.trim_end());
    }
}

fn settings(machine: &Machine) -> Vec<String> {
    match &machine.service.settings {
        Ok(loaded) => loaded
            .changed()
            .into_iter()
            .map(|entry| format!("{} = {} ({})", entry.key, entry.value, entry.origin))
            .collect(),
        Err(error) => vec![error.clone()],
    }
}

fn variables(machine: &Machine) -> Vec<String> {
    let all = machine.service.environment.iter();
    all.filter(|(name, _)| VARIABLES.iter().any(|prefix| name.starts_with(prefix)))
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

fn files(machine: &Machine) -> Vec<String> {
    let tree = &machine.tree;
    let of_gpus = machine
        .gpus
        .iter()
        .flat_map(|gpu| GPU_FILES.map(|file| format!("sys/class/drm/{}/device/{file}", gpu.name)));
    let parameters = "sys/module/amdgpu/parameters";
    let of_driver = tree.names(parameters).into_iter().map(|name| format!("{parameters}/{name}"));
    FILES
        .iter()
        .map(|file| (*file).to_owned())
        .chain(of_gpus)
        .chain(of_driver)
        .filter_map(|file| {
            let text = tree.text(&file)?;
            let end = text.char_indices().map(|(at, _)| at).find(|at| *at >= MAX_BYTES);
            let text = &text[..end.unwrap_or(text.len())];
            Some(format!("/{file}: {}", text.replace('\n', "\n    ")))
        })
        .collect()
}

fn log(lines: &Lines, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    match lines {
        Err(why) => vec![format!("({why})")],
        Ok(lines) => {
            let lines: Vec<&String> = lines.iter().filter(|line| wanted(line)).collect();
            let latest = &lines[lines.len().saturating_sub(MAX_LINES)..];
            latest.iter().map(|line| (*line).clone()).collect()
        }
    }
}

/// What is known of this machine's names and keys.
fn mask(machine: &Machine) -> Mask {
    let tree = &machine.tree;
    let mut mask = Mask::default();
    for file in ["proc/sys/kernel/hostname", "etc/hostname"] {
        mask.add_host(&tree.text(file).unwrap_or_default());
    }
    let own = tree.text("proc/self/environ").unwrap_or_default();
    for (name, value) in own.split('\0').filter_map(|variable| variable.split_once('=')) {
        match name {
            "HOSTNAME" | "HOST" => mask.add_host(value),
            "USER" | "LOGNAME" | "SUDO_USER" => mask.add_user(value),
            _ => {}
        }
    }
    // People have numbers from 1000 on, and may have their real names beside.
    for line in tree.text("etc/passwd").unwrap_or_default().lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let is_person = fields.get(2).and_then(|uid| uid.parse::<u32>().ok()) >= Some(1000);
        if let Some(name) = fields.first().filter(|_| is_person) {
            mask.add_user(name);
            let real = fields.get(4).and_then(|field| field.split(',').next()).unwrap_or_default();
            real.split_whitespace().for_each(|name| mask.add_user(name));
        }
    }
    if let Ok(loaded) = &machine.service.settings {
        let server = &loaded.settings.server;
        server.api_keys.iter().for_each(|key| mask.add_key(key));
        let file = server.api_key_file.as_ref().and_then(|f| tree.text(&f.to_string_lossy()));
        let keys = file.unwrap_or_default();
        keys.lines().filter(|line| !line.starts_with('#')).for_each(|key| mask.add_key(key));
    }
    mask
}
