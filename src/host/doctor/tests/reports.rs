//! The reports of recorded trees.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::*;
use crate::host::doctor::text;

#[test]
fn the_reports_of_the_recorded_trees_are_current() {
    let mut stale = Vec::new();
    for name in TREES {
        let Recorded { examined, root } = recorded(name);
        let mut texts = vec![("txt", examined.text(false))];
        // A whole report has much that is the same for each tree.
        if WITH_JSON.contains(&name) {
            texts.push(("json", examined.report.to_json()));
        }
        for (kind, text) in texts {
            assert!(!text.contains(&*root.to_string_lossy()), "{name}: {text}");
            let file = folder().join(format!("snapshots/{name}.{kind}"));
            if !is_current(&file, &text) {
                stale.push(format!("{name}.{kind}"));
            }
        }
    }
    assert!(
        stale.is_empty(),
        "stale in tests/doctor/snapshots: {stale:?}; refresh with\n  \
         {REFRESH}=1 cargo test --release --lib host::doctor"
    );
}

#[test]
fn each_tree_has_the_trouble_that_it_was_recorded_for() {
    for (name, code, failing) in [
        ("good", 0, &[][..]),
        ("compat", 1, &[]),
        ("uma-96", 2, &["kfd-cwsr", "uma-carveout", "gtt-over-memory"]),
        ("evo-x2", 2, &["uma-carveout", "gtt-over-memory", "journal-oom-killer"]),
        ("untuned", 1, &[]),
        ("no-gpu", 2, &["gpu-present", "device-kfd", "device-render"]),
        ("kernel-6.18.9", 2, &["kernel-rocm-pair", "journal-page-fault"]),
        ("no-cwsr", 2, &["kfd-cwsr", "journal-mes-hang"]),
        ("amdttm", 1, &[]),
        ("two-gpus", 1, &[]),
        ("container", 2, &["device-kfd", "gpu-groups"]),
        ("vulkan", 1, &[]),
        ("other-machine", 0, &[]),
    ] {
        let report = report(name);
        let fails: Vec<&str> = report.with(Status::Fail).map(|check| check.id).collect();
        assert_eq!(fails, failing, "{name}");
        assert_eq!(report.exit_code(), code, "{name}: {}", text::render(report, false));
    }
    let warnings =
        |name: &str| report(name).with(Status::Warn).map(|check| check.id).collect::<Vec<_>>();
    assert_eq!(warnings("compat"), ["rocm-known-hang"]);
    assert_eq!(warnings("two-gpus"), ["several-gpus"]);
    assert_eq!(warnings("vulkan"), ["amdgpu-lockup-timeout", "vulkan-icd", "journal-device-lost"]);
    assert!(warnings("amdttm").contains(&"gtt-limit"));
    assert_eq!(warnings("untuned"), ["gtt-limit", "iommu", "power-profile", "package-power-limit"]);
}

#[test]
fn a_machine_that_is_no_strix_halo_hears_so_and_no_wall_of_failures() {
    let examined = &recorded("other-machine").examined;
    assert!(!examined.report.is_strix_halo);
    assert_eq!(examined.report.count(Status::Fail) + examined.report.count(Status::Warn), 0);
    assert_eq!(examined.report.count(Status::Unknown), 0, "{}", examined.text(false));
    assert_eq!(examined.summary(), "strixhalo doctor: this machine is no Strix Halo\n");
    // An empty tree is as little of one.
    let empty = tempfile::tempdir().unwrap();
    let report = examine(empty.path(), None).report;
    assert_eq!(report.exit_code(), 0, "{}", text::render(&report, false));
}

#[test]
fn the_summary_for_a_login_has_at_most_three_lines_and_the_worst_finding() {
    for name in TREES {
        let examined = &recorded(name).examined;
        let lines = examined.summary().lines().count();
        assert!((1..=3).contains(&lines), "{name}: {}", examined.summary());
    }
    let examined = &recorded("evo-x2").examined;
    assert!(examined.summary().contains("fail: uma-carveout: "), "{}", examined.summary());
    assert!(examined.summary().contains("run `strixhalo doctor`"), "{}", examined.summary());
}

#[test]
fn the_fix_that_fits_the_machine_comes_first() {
    let examined_nixos = &recorded("no-cwsr").examined;
    let examined_other = &recorded("untuned").examined;
    assert!(examined_nixos.report.is_nixos && !examined_other.report.is_nixos);
    let text = examined_nixos.text(false);
    assert!(text.contains("fix: hardware.strixhalo.cwsr"), "{text}");
    let text = examined_other.text(false);
    assert!(text.contains("fix: Kernel arguments ttm.pages_limit=30720000"), "{text}");
}

#[test]
fn a_report_of_this_machine_is_quick_and_any_machine_is_survived() {
    let start = Instant::now();
    let live = examine(Path::new("/"), None);
    let took = start.elapsed();
    assert!(!live.text(true).is_empty() && !live.report.to_json().is_empty());
    assert!(took < Duration::from_secs(5), "{took:?}");
    // What is not readable as what it should be is no reason to fall over.
    for name in ["good", "container"] {
        let root = unpacked(name);
        let mut files = Vec::new();
        collect(root.path(), &mut files);
        for file in files {
            fs::write(file, b"\xff\xfe: 99999999999999999999 -1 0x \0=\n\n=;").unwrap();
        }
        let broken = examine(root.path(), None);
        assert!(!broken.text(false).is_empty() && !broken.bundle("0").is_empty());
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.is_file() {
            files.push(path);
        }
    }
}
