//! What the doctor says: checks with a status each, and the order and the sum of them.

use serde::Serialize;

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Something does not work, or will fail under load.
    Fail,
    /// Something costs speed or memory, or fails at times; it may be wanted.
    Warn,
    /// It could not be found out; the fix is the command that tells.
    Unknown,
    /// All is well.
    Pass,
    /// The check is about something that this machine or this server does not have.
    Skip,
}

impl Status {
    /// All of them, the worst first.
    pub const ALL: [Self; 5] = [Self::Fail, Self::Warn, Self::Unknown, Self::Pass, Self::Skip];

    /// The word for it, as JSON has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Warn => "warn",
            Self::Unknown => "unknown",
            Self::Pass => "pass",
            Self::Skip => "skip",
        }
    }
}

/// What a finding rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// A file, or where there is none what was asked (`journalctl -b -k`).
    pub file: String,
    /// What it says.
    pub value: String,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fix {
    /// On NixOS with this project's modules: the option. Empty: the same as elsewhere.
    pub nixos: String,
    /// Elsewhere: the kernel argument or the command.
    pub other: String,
}

/// One check with its finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Stable name in kebab case.
    pub id: &'static str,
    /// What the check belongs to, such as `kernel`.
    pub family: &'static str,
    /// What was found.
    pub status: Status,
    /// What the check is about, in a few words.
    pub title: &'static str,
    /// What was found, in a sentence.
    pub finding: String,
    /// What that rests on.
    pub evidence: Vec<Evidence>,
    /// What it costs to leave it so.
    pub cost: &'static str,
    /// What to do.
    pub fix: Fix,
    /// Who reported it.
    pub source: &'static str,
}

/// All checks of one run, in the order of the families.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The checks.
    pub checks: Vec<Check>,
    /// Whether this is a NixOS, whose fix is then shown first.
    pub is_nixos: bool,
    /// Whether this is a machine that the checks are made for.
    pub is_strix_halo: bool,
}

impl Report {
    /// The checks with this status, in their order.
    pub fn with(&self, status: Status) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(move |check| check.status == status)
    }

    /// How many checks have this status.
    pub fn count(&self, status: Status) -> usize {
        self.with(status).count()
    }

    /// The worst of fail, warn and pass. What is unknown or skipped makes it no worse.
    pub fn status(&self) -> Status {
        let worst = [Status::Fail, Status::Warn].into_iter().find(|s| self.count(*s) > 0);
        worst.unwrap_or(Status::Pass)
    }

    /// The exit code: 0, 1 with warnings, 2 with failures.
    pub fn exit_code(&self) -> u8 {
        match self.status() {
            Status::Fail => 2,
            Status::Warn => 1,
            Status::Unknown | Status::Pass | Status::Skip => 0,
        }
    }

    /// The report as indented JSON with a final newline; docs/doctor.md says what it means.
    pub fn to_json(&self) -> String {
        let counts: serde_json::Map<String, serde_json::Value> = Status::ALL
            .into_iter()
            .map(|status| (status.name().to_owned(), self.count(status).into()))
            .collect();
        let report = serde_json::json!({
            "status": self.status(),
            "counts": counts,
            "nixos": self.is_nixos,
            "strix_halo": self.is_strix_halo,
            "checks": self.checks,
        });
        format!("{report:#}\n")
    }
}
