//! Runs the measurements and comparisons and prints them: as they come for people, or as one JSON
//! object.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use super::select::Selected;
use crate::cli::print;
use crate::engine::verify::{
    self, Allocation, Bandwidth, Comparison, MatMul, Subject, VerifyError, table,
};
use crate::engine::{Device, system_info};
use crate::host::{driver_libraries, kernel_drivers, kernel_release};
use crate::server::{Exit, Failure, VERSION};

/// What was found.
struct Report {
    allocation: Allocation,
    bandwidth: Option<Bandwidth>,
    matmul: Vec<MatMul>,
    comparisons: Vec<Comparison>,
}

impl Report {
    fn passed(&self) -> bool {
        self.allocation.passed() && self.comparisons.iter().all(Comparison::passed)
    }
}

/// `long_prompt` is the time for each long prompt.
pub(super) fn run(selected: &Selected, long_prompt: Duration, as_json: bool) -> ExitCode {
    let tell = |text: &str| {
        if !as_json {
            // A reader that has gone ends nothing: the exit code is the result.
            let _ = print(text);
        }
    };
    let report = match measure(selected, long_prompt, &tell) {
        Ok(report) => report,
        Err(error) => return Failure::new(Exit::Internal, error.to_string()).report(),
    };
    let exit = if report.passed() { Exit::Success } else { Exit::Internal };
    if as_json {
        let written = print(&format!("{:#}\n", object(selected, &report)));
        return if exit == Exit::Success { written } else { exit.into() };
    }
    tell(&verdict(&selected.device, &report));
    exit.into()
}

fn measure(
    selected: &Selected,
    long_prompt: Duration,
    tell: &dyn Fn(&str),
) -> Result<Report, VerifyError> {
    let Selected { device, threads, .. } = selected;
    tell(&heading(selected));
    let allocation = verify::allocate(device, selected.bytes)?;
    tell(&allocation_text(&allocation, selected.free));
    let bandwidth = verify::bandwidth(device, *threads)?;
    tell(&bandwidth_text(bandwidth));
    let matmul = verify::matmul(device, *threads)?;
    tell(&matmul_text(&matmul));
    let against = if device.is_gpu { "the CPU" } else { "itself, with other threads and batches" };
    tell(&format!("\nlogits of {} against {against}\n", device.name));
    let subject = Subject { device, threads: *threads, long_prompt, go_on: &|| true };
    let mut is_first = true;
    let comparisons = verify::compare_logits(subject, &mut |comparison| {
        let text = table(std::slice::from_ref(comparison));
        let rows = text.split_once('\n').map_or("", |(_, rows)| rows);
        tell(if std::mem::take(&mut is_first) { &text } else { rows });
    })?;
    Ok(Report { allocation, bandwidth, matmul, comparisons })
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / (1_u64 << 30) as f64
}

/// Versions, drivers and devices.
fn heading(selected: &Selected) -> String {
    let root = Path::new("/");
    let (version, commit) = verify::ggml_version();
    let mut out = format!("strixhalo {}, ggml {version} ({commit})\n{}\n", *VERSION, system_info());
    out += &format!("kernel {}\n", kernel_release(root).as_deref().unwrap_or("unknown"));
    for driver in kernel_drivers(root) {
        let version = driver.version.as_deref().unwrap_or("as it comes with the kernel");
        let address = driver.address.as_deref().unwrap_or("no PCI device");
        out +=
            &format!("{}: driver {}, version {version}, {address}\n", driver.card, driver.driver);
    }
    for library in driver_libraries(root) {
        out += &format!("loaded {library}\n");
    }
    out += "\ndevices\n";
    for device in &selected.devices {
        let mark = if device.name == selected.device.name { '*' } else { ' ' };
        let id = verify::device_id(device).map_or_else(String::new, |id| format!(", {id}"));
        out += &format!(
            "{mark} {}: {}, backend {}, {:.1} of {:.1} GiB free{id}\n",
            device.name,
            device.description,
            device.backend,
            gib(device.memory_free),
            gib(device.memory_total)
        );
    }
    out
}

fn allocation_text(allocation: &Allocation, free: u64) -> String {
    let (taken, wanted) = (gib(allocation.taken), gib(allocation.wanted));
    let verdict = match (allocation.passed(), allocation.intact) {
        (true, _) => "all of it holds what was written",
        (false, true) => "FAILED: there was no more",
        (false, false) => "FAILED: it does not hold what was written",
    };
    format!(
        "\nmemory: {taken:.2} of {wanted:.2} GiB taken, {:.1} were free: {verdict}\n",
        gib(free)
    )
}

fn bandwidth_text(bandwidth: Option<Bandwidth>) -> String {
    let Some(found) = bandwidth else { return "copies: cannot be measured\n".to_owned() };
    let [to, from, on] =
        [found.to_device, found.from_device, found.on_device].map(|speed| speed / 1e9);
    format!("copies: {to:.1} GB/s to the device, {from:.1} GB/s back, {on:.1} GB/s on it\n")
}

fn matmul_text(all: &[MatMul]) -> String {
    let line = |found: &MatMul| {
        let MatMul { kind, size, vectors, gflops } = found;
        format!("matrix product: {kind:<4} {size} x {size} x {vectors:<3} {gflops:>9.1} GFLOPS\n")
    };
    if all.is_empty() {
        return "matrix products: cannot be measured\n".to_owned();
    }
    all.iter().map(line).collect()
}

fn verdict(device: &Device, report: &Report) -> String {
    let wrong = report.comparisons.iter().filter(|comparison| !comparison.passed()).count();
    let all = report.comparisons.len();
    let shortened = report.comparisons.iter().any(|c| c.shortened_from.is_some());
    let note = if shortened { " (with shortened prompts)" } else { "" };
    if report.passed() {
        format!("\n{}: all {all} comparisons agree{note}\n", device.name)
    } else if wrong > 0 {
        format!(
            "\n{}: {wrong} of {all} comparisons DO NOT AGREE: do not trust its answers; docs/verify-gpu.md says what to try\n",
            device.name
        )
    } else {
        format!("\n{}: its memory FAILED\n", device.name)
    }
}

fn object(selected: &Selected, report: &Report) -> Value {
    let root = Path::new("/");
    let (version, commit) = verify::ggml_version();
    let drivers: Vec<Value> = kernel_drivers(root)
        .into_iter()
        .map(|d| {
            json!({"card": d.card, "driver": d.driver, "version": d.version, "address": d.address})
        })
        .collect();
    let devices: Vec<Value> = selected
        .devices
        .iter()
        .map(|device| {
            json!({
                "name": device.name, "description": device.description, "backend": device.backend,
                "is_gpu": device.is_gpu, "is_integrated": device.is_integrated,
                "memory_free": device.memory_free, "memory_total": device.memory_total,
                "id": verify::device_id(device),
            })
        })
        .collect();
    let allocation = &report.allocation;
    json!({
        "version": *VERSION,
        "ggml": {"version": version, "commit": commit, "compiled_for": system_info()},
        "kernel": kernel_release(root),
        "drivers": drivers,
        "libraries": driver_libraries(root),
        "devices": devices,
        "device": selected.device.name,
        "passed": report.passed(),
        "allocation": {
            "wanted_bytes": allocation.wanted, "taken_bytes": allocation.taken,
            "free_bytes": selected.free, "intact": allocation.intact, "passed": allocation.passed(),
        },
        "bandwidth": report.bandwidth.map(|found| json!({
            "to_device_bytes_per_second": found.to_device,
            "from_device_bytes_per_second": found.from_device,
            "on_device_bytes_per_second": found.on_device,
        })),
        "matmul": report.matmul.iter().map(|found| json!({
            "type": found.kind, "size": found.size, "vectors": found.vectors, "gflops": found.gflops,
        })).collect::<Vec<_>>(),
        "comparisons": report.comparisons.iter().map(comparison).collect::<Vec<_>>(),
    })
}

fn comparison(found: &Comparison) -> Value {
    let limits = &found.tolerance;
    let verdict = found.outcome.as_ref().ok();
    json!({
        "model": found.model, "cache_type": found.cache_type, "case": found.case,
        "tokens": found.tokens, "shortened_from": found.shortened_from, "seconds": found.seconds,
        "passed": found.passed(), "error": found.outcome.as_ref().err().map(ToString::to_string),
        "rows": verdict.map(|v| v.rows), "max_abs": verdict.map(|v| v.max_abs),
        "rms": verdict.map(|v| v.rms), "same_top": verdict.map(|v| v.same_top),
        "tolerance": {"max_abs": limits.max_abs, "rms": limits.rms, "same_top": limits.same_top},
    })
}
