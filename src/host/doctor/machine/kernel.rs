//! The kernel: its version, its command line, its modules' parameters.

use super::version::Version;
use crate::host::doctor::tree::Tree;

/// What runs, and what it was told at the start.
#[derive(Debug)]
pub(in crate::host::doctor) struct Kernel {
    /// As `uname -r` prints it.
    pub(in crate::host::doctor) release: String,
    pub(in crate::host::doctor) version: Option<Version>,
    arguments: Vec<String>,
}

impl Kernel {
    pub(super) fn read(tree: &Tree) -> Self {
        let release = tree.text("proc/sys/kernel/osrelease").unwrap_or_default();
        let arguments = tree.text("proc/cmdline").unwrap_or_default();
        Self {
            version: Version::parse(&release),
            release,
            arguments: arguments.split_whitespace().map(str::to_owned).collect(),
        }
    }

    /// The last value that the command line gives `name`. The kernel takes a dash for an
    /// underscore.
    pub(in crate::host::doctor) fn argument(&self, name: &str) -> Option<&str> {
        self.arguments.iter().rev().find_map(|argument| {
            let (key, value) = argument.split_once('=')?;
            (key.replace('-', "_") == name).then_some(value)
        })
    }

    pub(in crate::host::doctor) fn is_at_least(&self, version: Version) -> bool {
        self.version.is_some_and(|own| own >= version)
    }
}

/// The module that hands out GPU memory.
#[derive(Debug)]
pub(in crate::host::doctor) struct Ttm {
    /// `ttm`, or `amdttm` of AMD's DKMS driver.
    pub(in crate::host::doctor) module: &'static str,
    /// Pages of 4096 bytes that the GPU may map.
    pub(in crate::host::doctor) pages_limit: Option<u64>,
    /// Pages that are kept for reuse.
    pub(in crate::host::doctor) page_pool_size: Option<u64>,
}

impl Ttm {
    /// With AMD's driver both modules can be loaded; its own then counts.
    pub(super) fn read(tree: &Tree) -> Option<Self> {
        let module = ["amdttm", "ttm"]
            .into_iter()
            .find(|module| tree.exists(&format!("sys/module/{module}/parameters")))?;
        let parameter = |name: &str| {
            let number = tree.number(&format!("sys/module/{module}/parameters/{name}"))?;
            u64::try_from(number).ok()
        };
        Some(Self {
            module,
            pages_limit: parameter("pages_limit"),
            page_pool_size: parameter("page_pool_size"),
        })
    }

    /// The file of a parameter.
    pub(in crate::host::doctor) fn file(&self, parameter: &str) -> String {
        format!("/sys/module/{}/parameters/{parameter}", self.module)
    }
}

/// Vendor and device of everything on the PCI bus.
pub(super) fn pci_ids(tree: &Tree) -> Vec<(u16, u16)> {
    let id = |path: String| u16::from_str_radix(tree.text(&path)?.strip_prefix("0x")?, 16).ok();
    let devices = tree.names("sys/bus/pci/devices").into_iter();
    devices
        .filter_map(|device| {
            let of = |file: &str| id(format!("sys/bus/pci/devices/{device}/{file}"));
            Some((of("vendor")?, of("device")?))
        })
        .collect()
}
