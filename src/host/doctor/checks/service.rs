//! The server: its settings, its port, whether it uses the GPU, how fast it loaded.

use serde_json::Value;

use crate::config::Gpu;
use crate::host::doctor::entry::{Entry, Finding};
use crate::host::doctor::machine::{Answer, Machine, SERVICE_COMMAND, Version};

const GIB: f64 = (1_u64 << 30) as f64;

pub(super) const ENTRIES: [Entry; 7] = [
    Entry {
        id: "settings",
        title: "Settings of the server",
        what: "Fails if the settings that the service would read are refused. Files that only the service may read are `unknown`.",
        cost: "The server does not start.",
        nixos: "services.strixhalo.settings (checked when the system is built)",
        other: "strixhalo config check FILE",
        source: "this project",
        anywhere: true,
        run: settings,
    },
    Entry {
        id: "server-port",
        title: "Port of the server",
        what: "Warns if another program listens on the port while no server of ours runs: often the old container.",
        cost: "The server does not start (`is in use`, exit code 71).",
        nixos: "services.strixhalo.settings.server.port, or stop the other program",
        other: "`ss -ltnp` names the program; stop it (docker stop), or use --port.",
        source: "this project",
        anywhere: true,
        run: port,
    },
    Entry {
        id: "gpu-offload",
        title: "Whether the running server uses the GPU",
        what: "Fails if the running server has no GPU, or warns if fewer layers than asked are on it. It says so itself, over loopback; without an answer the driver's list of processes tells (ROCm alone).",
        cost: "Many times slower, with HTTP 200 all the same.",
        nixos: "services.strixhalo.settings.model.gpu = \"required\" (the default there)",
        other: "--gpu required, which refuses to start without a GPU; --n-gpu-layers 999.",
        source: "this project; ROCm falls back in silence without the group `render`",
        anywhere: false,
        run: offload,
    },
    Entry {
        id: "gpu-memory-seen",
        title: "Memory that ROCm sees",
        what: "Warns if the server's ROCm saw less than nine tenths of what the GPU may map when it started.",
        cost: "A model that would fit does not load.",
        nixos: "",
        other: "See the checks `kernel-version` and `gtt-limit`.",
        source: "ROCm/ROCm#5444, where ROCm sees about 15.5 GB",
        anywhere: false,
        run: memory_seen,
    },
    Entry {
        id: "mmap-on-apu",
        title: "Mapping the model's file",
        what: "Warns if `model.mmap` is on, and fails on Linux 7.0.12.",
        cost: "Loads of more than 20 to 64 GB take hours or hang (42 times slower on 7.0.12), and wrong output was seen.",
        nixos: "services.strixhalo.settings.model.mmap = false (the default)",
        other: "LLAMA_ARG_MMAP=false, or --no-mmap (the default).",
        source: "ggml-org/llama.cpp#15018, ROCm/ROCm#6182, ROCm/ROCm#6358",
        anywhere: false,
        run: mmap,
    },
    Entry {
        id: "ubatch-size",
        title: "Tokens that the GPU computes at once",
        what: "Shows `context.ubatch`: 2048 is best for mixtures of experts on ROCm, 512 to 1024 for dense models. Never complains.",
        cost: "Prompts of mixtures of experts are read more slowly with 512.",
        nixos: "services.strixhalo.settings.context.ubatch = 2048",
        other: "--ubatch-size 2048; `strixhalo bench` measures what your model gains.",
        source: "kyuz0/amd-strix-halo-toolboxes",
        anywhere: false,
        run: ubatch,
    },
    Entry {
        id: "model-load-speed",
        title: "Speed of the last load",
        what: "Warns below 0.5 GB/s, by the size and the time that the service logged when it was last ready. The disk is not read. Models below 2 GB are not judged.",
        cost: "A start takes minutes: 90 GB are 50 s from a fast NVMe disk and 15 minutes from a USB disk.",
        nixos: "services.strixhalo.models on an NVMe disk; services.strixhalo.settings.model.mmap = false",
        other: "Move the models to an NVMe disk; LLAMA_ARG_MMAP=false.",
        source: "the replaced set-up; ggml-org/llama.cpp#15018",
        anywhere: true,
        run: load_speed,
    },
];

fn settings(machine: &Machine) -> Finding {
    let service = &machine.service;
    let file = service.settings_file.as_deref().unwrap_or(&service.environment_file);
    match &service.settings {
        Ok(_) if service.settings_file.is_none() => {
            Finding::pass("There is no settings file; the defaults and variables are in effect.")
        }
        Ok(loaded) => Finding::pass("They are accepted.")
            .with(file, format!("{} changed", loaded.changed().len())),
        Err(error) if is_forbidden(error) => no_settings(machine),
        Err(error) => Finding::fail("They are refused.").with(file, error.replace('\n', "; ")),
    }
}

fn is_forbidden(error: &str) -> bool {
    error.contains("ermission denied")
}

/// Of a check that rests on settings which cannot be read.
fn no_settings(machine: &Machine) -> Finding {
    let service = &machine.service;
    let file = service.settings_file.as_deref().unwrap_or(&service.environment_file);
    match &service.settings {
        Err(error) if is_forbidden(error) => Finding::unknown(
            "Only the service may read its settings.",
            format!("sudo strixhalo config check {file}"),
        ),
        _ => Finding::unknown(
            "The server's settings are refused, so their values are not known: see the check `settings`.",
            format!("strixhalo config check {file}"),
        ),
    }
}

/// Whether something listens on a port, by the kernel's tables: state 0A.
fn is_taken(machine: &Machine, port: u16) -> Option<bool> {
    let tables = ["proc/net/tcp", "proc/net/tcp6"].map(|table| machine.tree.text(table));
    if tables.iter().all(Option::is_none) {
        return None;
    }
    let end = format!(":{port:04X}");
    Some(tables.iter().flatten().flat_map(|table| table.lines().skip(1)).any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(1).is_some_and(|address| address.ends_with(&end)) && fields.get(3) == Some(&"0A")
    }))
}

fn port(machine: &Machine) -> Finding {
    let service = &machine.service;
    let Some(server) = service.settings().map(|settings| &settings.server) else {
        return no_settings(machine);
    };
    if server.host.iter().all(|host| host.starts_with("unix:")) && !server.host.is_empty() {
        return Finding::skip("The server listens on a socket in the file system.");
    }
    let port = server.port;
    let Some(is_taken) = is_taken(machine, port) else {
        return Finding::unknown("The kernel's table of sockets cannot be read.", "ss -ltnp");
    };
    let is_ours = !service.pids.is_empty() || service.has_socket;
    let found = match (is_taken, is_ours) {
        (false, _) => Finding::pass(format!("Nobody else listens on port {port}.")),
        (true, true) => Finding::pass(format!("The server or its socket has port {port}.")),
        (true, false) => Finding::warn(format!(
            "A program listens on port {port}, and no server of ours runs here."
        )),
    };
    found
        .with("/proc/net/tcp", format!("port {port}: {}", if is_taken { "LISTEN" } else { "free" }))
}

fn offload(machine: &Machine) -> Finding {
    let service = &machine.service;
    if service.pids.is_empty() && !matches!(service.answer, Answer::Json(_)) {
        return Finding::skip("No server runs here.");
    }
    if service.settings().is_some_and(|settings| settings.model.gpu == Gpu::Off) {
        return Finding::skip("The settings say that the GPU is not used (`model.gpu`).");
    }
    let answer = match &service.answer {
        Answer::Json(answer) => answer.clone(),
        Answer::None | Answer::Other => Value::Null,
    };
    let number = |name: &str| answer.get(name).and_then(Value::as_u64);
    let backend = answer.get("backend").and_then(Value::as_str);
    let layers = number("gpu_layers").zip(number("layers"));
    let file = "/health of the server";
    if let Some(backend) = backend {
        let is_cpu = backend.eq_ignore_ascii_case("cpu");
        let all = layers.map(|(some, all)| format!("{some} of {all} layers"));
        let on = all.clone().unwrap_or_else(|| "an untold number of layers".to_owned());
        let found = match layers {
            _ if is_cpu => Finding::fail("The server computes on the CPU."),
            Some((0, _)) => Finding::fail("No layer is on the GPU."),
            Some((some, all)) if some < all => {
                Finding::warn(format!("{on} are on {backend}, the rest on the CPU."))
            }
            _ => Finding::pass(format!("{on} are on {backend}.")),
        };
        return found.with(file, all.map_or(backend.to_owned(), |all| format!("{backend}, {all}")));
    }
    let directory = "sys/class/kfd/kfd/proc";
    let holders = machine.tree.names(directory);
    match service.pids.iter().find(|pid| holders.contains(pid)) {
        Some(pid) => Finding::pass("The server has the GPU open; it does not tell its layers.")
            .with(format!("/{directory}"), pid),
        None => Finding::unknown(
            "The server does not tell what it computes on.",
            "journalctl -b -u strixhalo -g 'device|layers'",
        ),
    }
}

/// Total memory in GiB of the line in which the server names a device of ROCm, such as
/// `device ROCm0: AMD Radeon 8060S (116.7 of 117.2 GiB free)`.
fn device_memory(line: &str) -> Option<f64> {
    let (_, device) = line.split_once("device ROCm")?;
    let (before, _) = device.split_once(" GiB free)")?;
    before.rsplit_once(" of ")?.1.parse().ok()
}

fn memory_seen(machine: &Machine) -> Finding {
    let seen =
        machine.service_log().as_ref().ok().and_then(|lines| {
            lines.iter().rev().find_map(|line| Some((line, device_memory(line)?)))
        });
    let mapped = machine.gpu().and_then(|gpu| gpu.gtt_total).map(|n| n as f64 / GIB);
    let (Some((line, seen)), Some(mapped)) = (seen, mapped) else {
        return Finding::skip("The service has named no device of ROCm in this boot's journal.");
    };
    let says = format!("ROCm sees {seen:.1} GiB, and the GPU may map {mapped:.1} GiB.");
    let found = if seen < mapped * 0.9 { Finding::warn(says) } else { Finding::pass(says) };
    found.with(SERVICE_COMMAND, line)
}

fn mmap(machine: &Machine) -> Finding {
    let service = &machine.service;
    let Some(is_on) = service.settings().map(|settings| settings.model.mmap) else {
        return no_settings(machine);
    };
    let found = if !is_on {
        Finding::pass("The model is read, not mapped.")
    } else if machine.kernel.version == Some(Version(7, 0, 12)) {
        Finding::fail("model.mmap is on, and Linux 7.0.12 loads so 42 times slower.")
    } else {
        Finding::warn("model.mmap is on.")
    };
    found.with(service.origin("model.mmap"), format!("model.mmap = {is_on}"))
}

fn ubatch(machine: &Machine) -> Finding {
    let service = &machine.service;
    let Some(ubatch) = service.settings().map(|settings| settings.context.ubatch) else {
        return no_settings(machine);
    };
    let says = if ubatch >= 2048 {
        "2048 or more: best for mixtures of experts."
    } else {
        "Below 2048: fine for dense models; try 2048 for a mixture of experts."
    };
    Finding::pass(says).with(service.origin("context.ubatch"), format!("context.ubatch = {ubatch}"))
}

/// Gigabytes and seconds of the line that the server logs when it is ready.
pub(in crate::host::doctor) fn last_load(line: &str) -> Option<(f64, f64)> {
    let (before, after) = line.split_once(" is ready after ")?;
    let gigabytes = before.strip_suffix(" GB)")?.rsplit(' ').next()?.parse().ok()?;
    let seconds = after.split_once(" s:")?.0.parse().ok()?;
    Some((gigabytes, seconds))
}

fn load_speed(machine: &Machine) -> Finding {
    let lines = match machine.service_log() {
        Ok(lines) => lines,
        Err(_) if machine.service.unit.is_none() => {
            return Finding::skip("There is no service, so no load is on record.");
        }
        Err(why) => {
            return Finding::unknown(
                format!("No load is on record: {why}."),
                format!("sudo {SERVICE_COMMAND} -g 'is ready after'"),
            );
        }
    };
    let Some((line, (gigabytes, seconds))) =
        lines.iter().rev().find_map(|line| Some((line, last_load(line)?)))
    else {
        return Finding::skip("The service has not loaded a model since the boot.");
    };
    let speed = gigabytes / seconds.max(0.01);
    let found = if gigabytes < 2.0 {
        Finding::skip("The model is too small to tell the disk's speed.")
    } else if speed < 0.5 {
        Finding::warn(format!("{gigabytes:.1} GB took {seconds:.0} s: {speed:.2} GB/s."))
    } else {
        Finding::pass(format!("{gigabytes:.1} GB took {seconds:.0} s: {speed:.1} GB/s."))
    };
    found.with(SERVICE_COMMAND, line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_load_is_read_for_its_size_and_time() {
        let line =
            "model a (qwen3next, Q8_0, 84.83 GB) is ready after 47.20 s: 2 slots of 262144 tokens";
        assert_eq!(last_load(line), Some((84.83, 47.2)));
        for other in ["", "model a is ready after 1 s:", "x (a, b, c GB) is ready after 1 s: 2"] {
            assert_eq!(last_load(other), None, "{other}");
        }
    }
}
