//! `strixhalo doctor`: what is known to go wrong on a Strix Halo, looked for on this machine.
//!
//! Everything is read below a root directory, without root's rights and without opening the GPU:
//! recorded trees of /sys and /proc test it. A tree keeps under `recorded/` what is no file on a
//! machine: `kernel.log`, `service.log`, `health.json` and `targets`.

mod bundle;
mod checks;
mod entry;
mod machine;
mod mask;
mod report;
#[cfg(test)]
mod tests;
mod text;
mod tree;

use std::path::Path;

pub use report::{Check, Evidence, Fix, Report, Status};

use self::machine::Machine;

/// A machine that was looked at.
#[derive(Debug)]
pub struct Examination {
    /// What was found.
    pub report: Report,
    machine: Machine,
}

/// Looks at the machine below `root` (`/`, or a recorded tree). The server's settings are read
/// from `config`; none: from the file of the service, if there is one. Nothing fails: what cannot
/// be read is `unknown`.
pub fn examine(root: &Path, config: Option<&Path>) -> Examination {
    let machine = Machine::read(root, config);
    let checks = checks::entries().map(|(family, entry)| entry.check(family, &machine)).collect();
    let (is_nixos, is_strix_halo) = (machine.is_nixos, machine.is_strix_halo);
    Examination { report: Report { checks, is_nixos, is_strix_halo }, machine }
}

impl Examination {
    /// The report for people, grouped by status, the worst first.
    pub fn text(&self, colors: bool) -> String {
        text::render(&self.report, colors)
    }

    /// One to three lines, for a login message.
    pub fn summary(&self) -> String {
        text::summary(&self.report)
    }

    /// All that helps somebody else to understand this machine, with names, addresses and keys
    /// masked. `version` is that of this binary.
    pub fn bundle(&self, version: &str) -> String {
        bundle::bundle(&self.machine, &self.report, version)
    }
}

/// What the check `id` is about; `None`: there is no such check.
pub fn explain(id: &str) -> Option<String> {
    checks::entry(id).map(text::explain)
}

/// The ids of all checks, in the order of the report.
pub fn ids() -> impl Iterator<Item = &'static str> {
    checks::entries().map(|(_, entry)| entry.id)
}

/// Gigabytes and seconds of the line that the server logs when it has loaded a model: this is where
/// the speed of the last load is read from.
pub fn last_load(line: &str) -> Option<(f64, f64)> {
    checks::last_load(line)
}

/// The table of all checks in Markdown, as docs/doctor.md has it.
pub fn reference() -> String {
    text::reference(checks::entries())
}
