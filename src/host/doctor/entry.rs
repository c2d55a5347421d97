//! A check as it stands in the catalog, and what running it gives.

use super::machine::Machine;
use super::report::{Check, Evidence, Fix, Status};

/// Checks of one subject.
#[derive(Debug)]
pub(super) struct Family {
    /// Its name, such as `kernel`.
    pub(super) name: &'static str,
    pub(super) entries: &'static [Entry],
}

/// One check: all that can be said of it before it runs.
#[derive(Debug)]
pub(super) struct Entry {
    /// Stable name in kebab case.
    pub(super) id: &'static str,
    /// What it is about, in a few words.
    pub(super) title: &'static str,
    /// What it looks at, and when it complains.
    pub(super) what: &'static str,
    /// What it costs to leave it so.
    pub(super) cost: &'static str,
    /// The option to set on NixOS; empty: the same as elsewhere.
    pub(super) nixos: &'static str,
    /// The kernel argument or the command elsewhere.
    pub(super) other: &'static str,
    /// Who reported it.
    pub(super) source: &'static str,
    /// Whether it makes sense on other machines as well.
    pub(super) anywhere: bool,
    pub(super) run: fn(&Machine) -> Finding,
}

impl Entry {
    /// Runs it, if it applies to this machine.
    pub(super) fn check(&self, family: &'static str, machine: &Machine) -> Check {
        let found = if self.anywhere || machine.is_strix_halo {
            (self.run)(machine)
        } else {
            Finding::skip("This is no Strix Halo.")
        };
        Check {
            id: self.id,
            family,
            status: found.status,
            title: self.title,
            finding: found.says,
            evidence: found.evidence,
            cost: self.cost,
            fix: Fix {
                nixos: found.nixos.unwrap_or_else(|| self.nixos.to_owned()),
                other: found.other.unwrap_or_else(|| self.other.to_owned()),
            },
            source: self.source,
        }
    }
}

/// What a check found.
#[derive(Debug)]
pub(super) struct Finding {
    status: Status,
    says: String,
    evidence: Vec<Evidence>,
    nixos: Option<String>,
    other: Option<String>,
}

impl Finding {
    pub(super) fn new(status: Status, says: impl Into<String>) -> Self {
        Self { status, says: says.into(), evidence: Vec::new(), nixos: None, other: None }
    }

    pub(super) fn pass(says: impl Into<String>) -> Self {
        Self::new(Status::Pass, says)
    }

    pub(super) fn warn(says: impl Into<String>) -> Self {
        Self::new(Status::Warn, says)
    }

    pub(super) fn fail(says: impl Into<String>) -> Self {
        Self::new(Status::Fail, says)
    }

    pub(super) fn skip(says: impl Into<String>) -> Self {
        Self::new(Status::Skip, says)
    }

    /// It could not be read; `command` tells.
    pub(super) fn unknown(says: impl Into<String>, command: impl Into<String>) -> Self {
        let command = command.into();
        Self {
            nixos: Some(String::new()),
            other: Some(command),
            ..Self::new(Status::Unknown, says)
        }
    }

    /// Adds what it rests on.
    pub(super) fn with(mut self, file: impl Into<String>, value: impl ToString) -> Self {
        self.evidence.push(Evidence { file: file.into(), value: value.to_string() });
        self
    }

    /// Adds what it rests on, if there is such a thing.
    pub(super) fn with_some(self, file: impl Into<String>, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.with(file, value),
            None => self,
        }
    }

    /// Replaces the catalog's fix by one with the numbers of this machine.
    pub(super) fn fix(mut self, nixos: impl Into<String>, other: impl Into<String>) -> Self {
        self.nixos = Some(nixos.into());
        self.other = Some(other.into());
        self
    }
}
