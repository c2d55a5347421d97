//! A report as text.

use std::fmt::Write;

use super::entry::Entry;
use super::report::{Check, Report, Status};

/// Most checks that a line names.
const MAX_NAMED: usize = 4;

/// Colors of the statuses on a terminal.
fn color(status: Status) -> &'static str {
    match status {
        Status::Fail => "\x1b[1;31m",
        Status::Warn => "\x1b[1;33m",
        Status::Unknown => "\x1b[1;36m",
        Status::Pass => "\x1b[1;32m",
        Status::Skip => "\x1b[2m",
    }
}

/// The whole report: the worst first, what is well in a line each.
pub(super) fn render(report: &Report, colors: bool) -> String {
    let mut out = String::new();
    for status in Status::ALL {
        if report.count(status) == 0 {
            continue;
        }
        let name = status.name().to_uppercase();
        if colors {
            line(&mut out, &format!("{}{name}\x1b[0m", color(status)));
        } else {
            line(&mut out, &name);
        }
        match status {
            Status::Fail | Status::Warn => {
                report.with(status).for_each(|check| whole(&mut out, check, report.is_nixos));
            }
            Status::Unknown => {
                for check in report.with(status) {
                    line(&mut out, &format!("  {}: {}", check.id, check.finding));
                    line(&mut out, &format!("      run: {}", check.fix.other));
                }
            }
            Status::Pass | Status::Skip => {
                together(report.with(status)).iter().for_each(|text| line(&mut out, text));
            }
        }
        out.push('\n');
    }
    line(&mut out, &counts(report));
    if report.is_strix_halo {
        line(
            &mut out,
            "`strixhalo doctor --explain ID` says more; whether the GPU computes right, `strixhalo verify-gpu` tells.",
        );
    } else {
        line(&mut out, "This machine is no Strix Halo: most checks do not apply to it.");
    }
    out
}

/// Writing to a string does not fail.
fn line(out: &mut String, text: &str) {
    let _ = writeln!(out, "{text}");
}

/// Checks with one finding share a line; where they are many, their number stands for them.
fn together<'a>(checks: impl Iterator<Item = &'a Check>) -> Vec<String> {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for check in checks {
        match groups.iter_mut().find(|(finding, _)| *finding == check.finding) {
            Some((_, ids)) => ids.push(check.id),
            None => groups.push((&check.finding, vec![check.id])),
        }
    }
    let line = |(finding, ids): (&str, Vec<&str>)| {
        let named =
            if ids.len() > MAX_NAMED { format!("{} checks", ids.len()) } else { ids.join(", ") };
        format!("  {named}: {finding}")
    };
    groups.into_iter().map(line).collect()
}

fn whole(out: &mut String, check: &Check, is_nixos: bool) {
    line(out, &format!("  {}: {}", check.id, check.finding));
    for evidence in &check.evidence {
        line(out, &format!("      {}: {}", evidence.file, evidence.value));
    }
    line(out, &format!("      cost: {}", check.cost));
    for (name, fix) in fixes(&check.fix.nixos, &check.fix.other, is_nixos) {
        line(out, &format!("      {name}: {fix}"));
    }
    line(out, &format!("      source: {}", check.source));
}

/// The fixes in the order in which this machine wants them.
fn fixes<'a>(nixos: &'a str, other: &'a str, is_nixos: bool) -> Vec<(&'static str, &'a str)> {
    if nixos.is_empty() || nixos == other {
        return vec![("fix", other)];
    }
    if is_nixos {
        vec![("fix", nixos), ("fix elsewhere", other)]
    } else {
        vec![("fix", other), ("fix on NixOS", nixos)]
    }
}

fn counts(report: &Report) -> String {
    let counts = Status::ALL.map(|status| format!("{} {}", report.count(status), status.name()));
    format!("strixhalo doctor: {}", counts.join(", "))
}

/// One to three lines for a login: what is worst, and how to see the rest.
pub(super) fn summary(report: &Report) -> String {
    if !report.is_strix_halo {
        return "strixhalo doctor: this machine is no Strix Halo\n".to_owned();
    }
    let (fails, warns) = (report.count(Status::Fail), report.count(Status::Warn));
    let Some(worst) = report.with(Status::Fail).chain(report.with(Status::Warn)).next() else {
        return format!(
            "strixhalo doctor: nothing to mend ({} checks pass, {} need root or more)\n",
            report.count(Status::Pass),
            report.count(Status::Unknown)
        );
    };
    format!(
        "strixhalo doctor: {fails} fail, {warns} warn; run `strixhalo doctor` for evidence and fixes\n  {}: {}: {}\n",
        worst.status.name(),
        worst.id,
        worst.finding
    )
}

/// What the catalog has about one check.
pub(super) fn explain(entry: &Entry) -> String {
    let mut out = format!("{}: {}\n\n{}\n", entry.id, entry.title, entry.what);
    line(&mut out, &format!("\ncost: {}", entry.cost));
    if entry.nixos.is_empty() {
        line(&mut out, &format!("fix: {}", entry.other));
    } else {
        line(&mut out, &format!("fix on NixOS: {}", entry.nixos));
        line(&mut out, &format!("fix elsewhere: {}", entry.other));
    }
    line(&mut out, &format!("source: {}", entry.source));
    out
}

/// The table of all checks for docs/doctor.md.
pub(super) fn reference<'a>(entries: impl Iterator<Item = (&'static str, &'a Entry)>) -> String {
    let mut out = String::new();
    let mut last = "";
    for (family, entry) in entries {
        if family != last {
            last = family;
            let _ = write!(
                out,
                "\n### {family}\n\n| Check | What | Cost | Fix | Source |\n|---|---|---|---|---|\n"
            );
        }
        let fix = if entry.nixos.is_empty() {
            entry.other.to_owned()
        } else {
            format!("NixOS: {}. Elsewhere: {}", entry.nixos, entry.other)
        };
        let cells = [entry.what, entry.cost, &fix, entry.source].map(|c| c.replace('|', "\\|"));
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} | {} |",
            entry.id, cells[0], cells[1], cells[2], cells[3]
        );
    }
    out
}
