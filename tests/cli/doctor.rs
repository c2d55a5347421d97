use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::binary::{refused, run};

/// A recorded machine with 96 GiB of UMA frame buffer.
fn machine() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in [
        ("proc/cpuinfo", "model name\t: AMD RYZEN AI MAX+ 395 w/ Radeon 8060S\n"),
        ("proc/meminfo", "MemTotal: 32505856 kB\nMemAvailable: 24000000 kB\n"),
        ("proc/sys/kernel/hostname", "gibson\n"),
        ("proc/sys/kernel/osrelease", "6.17.0-14-generic\n"),
        ("sys/class/drm/card1/device/mem_info_vram_total", "103079215104\n"),
        ("recorded/kernel.log", "[    1.0] amdgpu on gibson\n"),
    ] {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

#[test]
fn a_report_ends_with_the_code_of_its_worst_finding() {
    let machine = machine();
    let root = machine.path().to_str().unwrap();
    let text = run(&["doctor", "--root", root], &[]);
    assert_eq!(text.code, 2, "{text:?}");
    assert!(text.stdout.starts_with("FAIL\n") && !text.stdout.contains('\x1b'), "{text:?}");
    assert!(text.stdout.contains("uma-carveout: The firmware takes 96.0 GiB"), "{text:?}");

    let json = run(&["doctor", "--json", "--root", root], &[]);
    assert_eq!(json.code, 2, "{json:?}");
    let report: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&report["status"], &report["strix_halo"]), (&"fail".into(), &true.into()));
    let checks = report["checks"].as_array().unwrap();
    let uma = checks.iter().find(|check| check["id"] == "uma-carveout").unwrap();
    assert_eq!(uma["evidence"][0]["value"], "103079215104");

    // An empty tree is no Strix Halo.
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(run(&["doctor", "--root", empty.path().to_str().unwrap()], &[]).code, 0);
}

#[test]
fn this_machine_can_be_looked_at_without_a_variable_set() {
    let live = run(&["doctor", "--json"], &[]);
    assert!([0, 1, 2].contains(&live.code), "{live:?}");
    assert!(serde_json::from_str::<Value>(&live.stdout).is_ok(), "{live:?}");
}

#[test]
fn a_summary_is_short_and_never_fails() {
    let machine = machine();
    let root = machine.path().to_str().unwrap();
    let summary = run(&["doctor", "--summary", "--root", root], &[]);
    assert_eq!((summary.code, &*summary.stderr), (0, ""), "{summary:?}");
    assert!((1..=3).contains(&summary.stdout.lines().count()), "{summary:?}");
    assert!(summary.stdout.contains("run `strixhalo doctor`"), "{summary:?}");
}

#[test]
fn a_check_is_explained_and_an_unknown_one_refused_with_the_nearest() {
    let explained = run(&["doctor", "--explain", "kfd-cwsr"], &[]);
    assert_eq!(explained.code, 0, "{explained:?}");
    assert!(explained.stdout.contains("amdgpu.cwsr_enable=0"), "{explained:?}");
    let line = refused(64, &["doctor", "--explain", "kfd-cswr"], &[]);
    assert!(line.contains("did you mean kfd-cwsr?"), "{line}");
    let line = refused(66, &["doctor", "--root", "/nonexistent"], &[]);
    assert!(line.contains("/nonexistent"), "{line}");
}

#[test]
fn a_bundle_is_the_owners_alone_and_names_nobody() {
    let machine = machine();
    let root = machine.path().to_str().unwrap();
    let file = machine.path().join("bundle.txt");
    let run = run(&["doctor", "--root", root, "--bundle", file.to_str().unwrap()], &[]);
    assert_eq!(run.code, 2, "{run:?}");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("amdgpu on <host>") && !text.contains("gibson"), "{text}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let line = refused(71, &["doctor", "--root", root, "--bundle", "/nonexistent/b"], &[]);
    assert!(line.contains("/nonexistent/b"), "{line}");
}
