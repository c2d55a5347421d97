//! What the doctor knows of a machine, read once.

mod journal;
mod kernel;
mod process;
mod rocm;
mod service;
mod version;

use std::path::Path;

pub(super) use journal::{KERNEL_COMMAND, Lines, SERVICE_COMMAND};
pub(super) use kernel::{Kernel, Ttm};
pub(super) use process::Credentials;
pub(super) use rocm::Runtime;
pub(super) use service::{Answer, Service};
pub(super) use version::Version;

use self::journal::Journal;
use super::tree::Tree;
use crate::host::{GpuReading, Meminfo};

/// The PCI id of the GPU of a Strix Halo (Radeon 8060S, 8050S and 8040S).
pub(super) const STRIX_HALO_GPU: (u16, u16) = (0x1002, 0x1586);

/// All that the checks look at.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) tree: Tree,
    pub(super) is_nixos: bool,
    /// What kind of container this is.
    pub(super) container: Option<String>,
    /// The processor's name.
    pub(super) cpu: String,
    pub(super) is_strix_halo: bool,
    /// Whether the GPU is on the PCI bus, with a driver or without.
    pub(super) has_gpu: bool,
    pub(super) kernel: Kernel,
    /// What amdgpu drives.
    pub(super) gpus: Vec<GpuReading>,
    pub(super) memory: Option<Meminfo>,
    /// Module of the driver that hands out GPU memory.
    pub(super) ttm: Option<Ttm>,
    pub(super) service: Service,
    pub(super) runtime: Runtime,
    /// GPUs that this binary was compiled for, such as `gfx1100;gfx1151`.
    pub(super) targets: Option<String>,
    journal: Journal,
}

impl Machine {
    /// Reads the machine below `root`. `config` is the settings file to go by; none: the one of
    /// the service.
    pub(super) fn read(root: &Path, config: Option<&Path>) -> Self {
        let tree = Tree::new(root);
        let unit = service::Unit::read(&tree);
        // They take longest, so the rest is read meanwhile.
        let journal = journal::begin(&tree, unit.log_namespace());
        let service = Service::read(&tree, unit, config);
        let cpuinfo = tree.text("proc/cpuinfo").unwrap_or_default();
        let cpu = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
            .map_or_else(String::new, |(_, name)| name.trim().to_owned());
        let gpus = GpuReading::read_all(tree.root());
        let has_gpu = gpus.iter().any(|gpu| gpu.pci_id == Some(STRIX_HALO_GPU))
            || kernel::pci_ids(&tree).contains(&STRIX_HALO_GPU);
        Self {
            is_nixos: tree.exists("etc/NIXOS"),
            container: container(&tree),
            is_strix_halo: has_gpu || cpu.to_uppercase().contains("RYZEN AI MAX"),
            has_gpu,
            kernel: Kernel::read(&tree),
            memory: Meminfo::read(tree.root()),
            ttm: Ttm::read(&tree),
            runtime: Runtime::read(&tree, &service),
            targets: targets(&tree),
            journal: journal.finish(),
            cpu,
            gpus,
            service,
            tree,
        }
    }

    /// The GPU of the Strix Halo; where its id is not told, the first that amdgpu drives.
    pub(super) fn gpu(&self) -> Option<&GpuReading> {
        let ours = self.gpus.iter().find(|gpu| gpu.pci_id == Some(STRIX_HALO_GPU));
        ours.or(self.gpus.first())
    }

    /// The kernel's log of this boot.
    pub(super) fn kernel_log(&self) -> &Lines {
        &self.journal.kernel
    }

    /// The service's log of this boot.
    pub(super) fn service_log(&self) -> &Lines {
        &self.journal.service
    }

    /// The last line of the kernel's log with this text.
    pub(super) fn kernel_line(&self, text: &str) -> Option<&str> {
        let lines = self.journal.kernel.as_ref().ok()?;
        lines.iter().rev().find(|line| line.contains(text)).map(String::as_str)
    }

    /// A variable as the service has it, or without a service this process.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.service.environment.get(name).map(String::as_str)
    }
}

fn container(tree: &Tree) -> Option<String> {
    if tree.exists("run/.containerenv") {
        return Some("podman".to_owned());
    }
    if tree.exists(".dockerenv") {
        return Some("docker".to_owned());
    }
    tree.text("run/systemd/container").filter(|name| !name.is_empty())
}

/// A recorded tree says what its binary was compiled for.
fn targets(tree: &Tree) -> Option<String> {
    let targets = if tree.is_live() {
        option_env!("CMAKE_HIP_ARCHITECTURES").map(str::to_owned)
    } else {
        tree.text("recorded/targets")
    };
    targets.filter(|targets| !targets.is_empty())
}
