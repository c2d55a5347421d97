//! The GPU's devices and who may open them.

use crate::host::doctor::entry::{Entry, Finding};
use crate::host::doctor::machine::{Credentials, Machine, STRIX_HALO_GPU};
use crate::host::doctor::tree::Node;

const IN_CONTAINER: &str = "Start the container with --device /dev/kfd --device /dev/dri and --group-add with the number of the host's group render.";

pub(super) const ENTRIES: [Entry; 6] = [
    Entry {
        id: "gpu-present",
        title: "The GPU and its driver",
        what: "Fails if amdgpu drives no GPU. A tool that shows 512 MB of VRAM is right: the rest is GTT.",
        cost: "The server computes on the CPU, or does not start.",
        nixos: "hardware.strixhalo.enable = true, with hardware.strixhalo.earlyAmdgpu",
        other: "modprobe amdgpu; remove nomodeset and a blacklist of amdgpu; install linux-firmware.",
        source: "the replaced set-up's troubleshooting",
        anywhere: false,
        run: present,
    },
    Entry {
        id: "several-gpus",
        title: "More than one GPU",
        what: "Warns if amdgpu drives a second GPU.",
        cost: "llama.cpp spreads a model's layers over all GPUs that it sees, and the slowest link decides.",
        nixos: "hardware.strixhalo.rocm.environment.HIP_VISIBLE_DEVICES = \"0\", with the number of the GPU that is meant",
        other: "HIP_VISIBLE_DEVICES=0 (ROCm) or GGML_VK_VISIBLE_DEVICES=0 (Vulkan) in the server's environment; `strixhalo version` lists the devices.",
        source: "llama.cpp's own way to split a model",
        anywhere: false,
        run: several,
    },
    Entry {
        id: "device-kfd",
        title: "/dev/kfd, the device of ROCm",
        what: "Fails if it is missing or if its group may not write. Skipped without ROCm.",
        cost: "`Unable to open /dev/kfd read-write`, HSA_STATUS_ERROR_OUT_OF_RESOURCES: ROCm finds no GPU.",
        nixos: "hardware.strixhalo.enable = true (udev rules for the group render)",
        other: "A udev rule: SUBSYSTEM==\"kfd\", KERNEL==\"kfd\", GROUP=\"render\", MODE=\"0660\".",
        source: "ROCm/rocminfo#34",
        anywhere: false,
        run: kfd,
    },
    Entry {
        id: "device-render",
        title: "/dev/dri/renderD*, the devices of the GPU",
        what: "Fails if there is none or if its group may not write.",
        cost: "Neither ROCm nor Vulkan finds the GPU.",
        nixos: "hardware.strixhalo.enable = true (udev rules for the group render)",
        other: "A udev rule: SUBSYSTEM==\"drm\", KERNEL==\"renderD*\", GROUP=\"render\", MODE=\"0660\".",
        source: "ROCm/rocminfo#34",
        anywhere: false,
        run: render,
    },
    Entry {
        id: "gpu-groups",
        title: "Groups of who uses the GPU",
        what: "Fails if the running service, or without one this user, may not open the devices. Their group is resolved by name: its number differs between distributions.",
        cost: "A process outside `render` falls back to the CPU in silence.",
        nixos: "hardware.strixhalo.users for people; the service has the group already",
        other: "sudo usermod -aG render,video $USER, then log out and back in; for a unit SupplementaryGroups=render video.",
        source: "ROCm/rocminfo#34, the replaced set-up",
        anywhere: false,
        run: groups,
    },
    Entry {
        id: "hip-visible-devices",
        title: "Variables that hide the GPU",
        what: "Fails if HIP_VISIBLE_DEVICES, ROCR_VISIBLE_DEVICES, CUDA_VISIBLE_DEVICES or GPU_DEVICE_ORDINAL hides all GPUs, by an empty list, a negative number, or one that no GPU has; only warns if Vulkan is left.",
        cost: "`Could not initialize Tensile host: No devices found`, or the CPU in silence.",
        nixos: "hardware.strixhalo.rocm.environment: set the variable to null",
        other: "Remove the variable from the server's environment.",
        source: "llama.cpp and ROCm's documentation",
        anywhere: false,
        run: visible,
    },
];

fn present(machine: &Machine) -> Finding {
    let is_ours = |id: Option<(u16, u16)>| id.is_none_or(|id| id == STRIX_HALO_GPU);
    if let Some(gpu) = machine.gpu().filter(|gpu| is_ours(gpu.pci_id)) {
        let (vendor, device) = gpu.pci_id.unwrap_or_default();
        return Finding::pass("amdgpu drives the GPU.").with(
            format!("/sys/class/drm/{}/device", gpu.name),
            format!("{vendor:04x}:{device:04x}"),
        );
    }
    let is_loaded = machine.tree.exists("sys/module/amdgpu");
    let found = match (machine.has_gpu, is_loaded) {
        (false, _) => Finding::fail(
            "The GPU is not on the PCI bus: the firmware hides it, or this is a virtual machine that was not given it.",
        ),
        (true, false) => Finding::fail("The GPU is there, and amdgpu is not loaded."),
        (true, true) => Finding::fail(
            "The GPU is there, amdgpu is loaded and does not drive it: the kernel's log says why.",
        ),
    };
    let argument = machine.tree.text("proc/cmdline").filter(|line| line.contains("nomodeset"));
    found
        .with("/sys/module/amdgpu", if is_loaded { "loaded" } else { "not loaded" })
        .with_some("/proc/cmdline", argument)
}

fn several(machine: &Machine) -> Finding {
    let ids = machine.gpus.iter().map(|gpu| {
        let (vendor, device) = gpu.pci_id.unwrap_or_default();
        let ours = if gpu.pci_id == Some(STRIX_HALO_GPU) { " (Strix Halo)" } else { "" };
        (gpu.name.clone(), format!("{vendor:04x}:{device:04x}{ours}"))
    });
    let found = match machine.gpus.len() {
        0 => return Finding::skip("amdgpu drives no GPU here."),
        1 => return Finding::pass("There is one GPU."),
        n => Finding::warn(format!("amdgpu drives {n} GPUs; llama.cpp takes all that it sees.")),
    };
    ids.fold(found, |found, (name, id)| found.with(format!("/sys/class/drm/{name}/device"), id))
}

fn mode(node: Node) -> String {
    format!("mode {:04o}, uid {}, gid {}", node.mode, node.uid, node.gid)
}

/// Whether a group can read and write the device.
fn judge(machine: &Machine, path: &str, node: Node) -> Finding {
    let group = group_name(machine, node.gid);
    let named = group.as_deref().unwrap_or("a group without a name here");
    let found = if node.mode & 0o006 == 0o006 {
        Finding::pass("Everybody may use it.")
    } else if node.mode & 0o060 == 0o060 && node.gid != 0 {
        Finding::pass(format!("Members of {named} may use it."))
    } else {
        Finding::fail("Only root may use it.")
    };
    found.with(format!("/{path}"), mode(node))
}

fn kfd(machine: &Machine) -> Finding {
    if machine.runtime.rocm.is_none() {
        return Finding::skip("No ROCm is in use here.");
    }
    let path = "dev/kfd";
    match machine.tree.node(path) {
        Some(node) => judge(machine, path, node),
        None => missing(machine, "/dev/kfd is not there."),
    }
}

fn render(machine: &Machine) -> Finding {
    match render_node(machine) {
        Some((path, node)) => judge(machine, &path, node),
        None => missing(machine, "There is no /dev/dri/renderD*."),
    }
}

fn missing(machine: &Machine, says: &str) -> Finding {
    let found = Finding::fail(says);
    if machine.container.is_some() { found.fix(IN_CONTAINER, IN_CONTAINER) } else { found }
}

/// The render node of our GPU where that is told, else the first.
fn render_node(machine: &Machine) -> Option<(String, Node)> {
    let tree = &machine.tree;
    let names = tree.names("dev/dri").into_iter().filter(|name| name.starts_with("renderD"));
    let own =
        machine.gpu().map(|gpu| tree.names(&format!("sys/class/drm/{}/device/drm", gpu.name)));
    let own = own.and_then(|names| names.into_iter().find(|name| name.starts_with("renderD")));
    let mut names: Vec<String> = names.collect();
    names.sort_by_key(|name| Some(name) != own.as_ref());
    names.into_iter().find_map(|name| {
        let path = format!("dev/dri/{name}");
        Some((path.clone(), tree.node(&path)?))
    })
}

fn groups(machine: &Machine) -> Finding {
    let tree = &machine.tree;
    let of_service = machine
        .service
        .pids
        .iter()
        .find_map(|pid| Some((format!("proc/{pid}/status"), Credentials::read(tree, pid)?)));
    let is_service = of_service.is_some();
    let own = || Some(("proc/self/status".to_owned(), Credentials::read(tree, "self")?));
    let Some((file, who)) = of_service.or_else(own) else {
        return Finding::unknown("The groups of this process cannot be read.", "id");
    };
    let mut nodes: Vec<(String, Node)> = render_node(machine).into_iter().collect();
    if machine.runtime.rocm.is_some() {
        nodes.extend(tree.node("dev/kfd").map(|node| ("dev/kfd".to_owned(), node)));
    }
    if nodes.is_empty() {
        return Finding::skip("There is no device to be opened.");
    }
    let subject = if is_service { "The service" } else { "This user" };
    let refused = nodes.iter().find(|(_, node)| !who.may_use(*node));
    let gids: Vec<String> = who.gids.iter().map(u32::to_string).collect();
    let found = match refused {
        None => Finding::pass(format!("{subject} may open the devices.")),
        Some((path, node)) => {
            let group = group_name(machine, node.gid).unwrap_or_else(|| node.gid.to_string());
            let is_listed = !is_service && is_member(machine, who.uid, &group);
            let found = Finding::fail(format!(
                "{subject} may not open /{path}: {}.",
                if is_listed {
                    format!("it was added to the group {group} after it logged in")
                } else {
                    format!("it is not in the group {group}")
                }
            ))
            .with(format!("/{path}"), mode(*node));
            match (&machine.container, is_listed) {
                (Some(_), _) => found.fix(IN_CONTAINER, IN_CONTAINER),
                (None, true) => found.fix("Log out and back in.", "Log out and back in."),
                (None, false) => found,
            }
        }
    };
    found.with(format!("/{file}"), format!("Uid: {}, Groups: {}", who.uid, gids.join(" ")))
}

fn group_name(machine: &Machine, gid: u32) -> Option<String> {
    let groups = machine.tree.text("etc/group")?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(gid)).then(|| name.to_owned())
    })
}

/// Whether the list of groups has this user in `group`.
fn is_member(machine: &Machine, uid: u32, group: &str) -> bool {
    let (users, groups) = (machine.tree.text("etc/passwd"), machine.tree.text("etc/group"));
    let (users, groups) = (users.unwrap_or_default(), groups.unwrap_or_default());
    let user = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    });
    let members = groups
        .lines()
        .find(|line| line.split(':').next() == Some(group))
        .and_then(|line| line.rsplit(':').next())
        .unwrap_or_default();
    user.is_some_and(|user| members.split(',').any(|member| member == user))
}

fn visible(machine: &Machine) -> Finding {
    // ROCR_VISIBLE_DEVICES comes first: the others count what it leaves.
    let names = [
        "ROCR_VISIBLE_DEVICES",
        "HIP_VISIBLE_DEVICES",
        "CUDA_VISIBLE_DEVICES",
        "GPU_DEVICE_ORDINAL",
    ];
    if machine.runtime.rocm.is_none() {
        return Finding::skip("No ROCm is in use here.");
    }
    // Without a driver the check `gpu-present` fails.
    let mut left = machine.gpus.len().max(1);
    let mut set = names.into_iter().filter_map(|name| Some((name, machine.variable(name)?)));
    let hidden = set.find(|(name, value)| {
        let is_hidden = hides_all(value, left);
        if *name == names[0] {
            left = left.min(value.split(',').count());
        }
        is_hidden
    });
    let Some((name, value)) = hidden else {
        return Finding::pass("None of them hides the GPU.");
    };
    let found = if machine.runtime.vulkan {
        Finding::warn(format!("{name} hides all GPUs from ROCm; Vulkan is left."))
    } else {
        Finding::fail(format!("{name} hides all GPUs."))
    };
    found
        .with(&machine.service.environment_file, format!("{name}={value}"))
        .with("/sys/class/drm", format!("GPUs of amdgpu: {}", machine.gpus.len()))
}

/// Whether a list of numbers from 0 leaves none of so many GPUs: ROCm reads it up to the first number
/// that no GPU has. A GPU may stand there by its UUID as well.
fn hides_all(list: &str, gpus: usize) -> bool {
    let first = list.split(',').next().unwrap_or_default().trim();
    first.is_empty()
        || first.starts_with('-')
        || first.parse::<usize>().is_ok_and(|number| number >= gpus)
}
