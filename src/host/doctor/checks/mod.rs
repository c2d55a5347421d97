//! The catalog: a file for each family of checks.

mod devices;
mod firmware;
mod journal;
mod kernel;
mod machine;
mod memory;
mod power;
mod rocm;
mod service;
mod vulkan;

pub(super) use self::service::last_load;
use super::entry::{Entry, Family};

/// All families, in the order of the report.
pub(super) const FAMILIES: [Family; 10] = [
    Family { name: "machine", entries: &machine::ENTRIES },
    Family { name: "kernel", entries: &kernel::ENTRIES },
    Family { name: "firmware", entries: &firmware::ENTRIES },
    Family { name: "memory", entries: &memory::ENTRIES },
    Family { name: "devices", entries: &devices::ENTRIES },
    Family { name: "rocm", entries: &rocm::ENTRIES },
    Family { name: "vulkan", entries: &vulkan::ENTRIES },
    Family { name: "power", entries: &power::ENTRIES },
    Family { name: "service", entries: &service::ENTRIES },
    Family { name: "journal", entries: &journal::ENTRIES },
];

/// The entry with this id.
pub(super) fn entry(id: &str) -> Option<&'static Entry> {
    entries().map(|(_, entry)| entry).find(|entry| entry.id == id)
}

/// All entries with the names of their families.
pub(super) fn entries() -> impl Iterator<Item = (&'static str, &'static Entry)> {
    const ALL: &[Family] = &FAMILIES;
    ALL.iter().flat_map(|family| family.entries.iter().map(|entry| (family.name, entry)))
}
