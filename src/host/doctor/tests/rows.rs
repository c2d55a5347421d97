//! What each check says to the values that it looks at.

use super::*;

#[test]
fn what_only_root_can_read_is_unknown_with_the_command_to_run() {
    let mes = report("good").checks.iter().find(|check| check.id == "mes-firmware").unwrap();
    assert_eq!(mes.status, Status::Unknown);
    assert!(mes.fix.other.starts_with("sudo "), "{mes:?}");
    for check in report("good").with(Status::Unknown) {
        assert!(!check.fix.other.is_empty(), "{check:?}");
    }
    let root = unpacked("good");
    let info = "sys/kernel/debug/dri/0/amdgpu_firmware_info";
    let text = |version: &str| {
        format!(
            "ME feature version: 35, firmware version: 0x0000001c\nMES feature version: 1, firmware version: 0x000000{version}\n"
        )
    };
    for (version, expected) in
        [("80", Status::Pass), ("83", Status::Fail), ("82", Status::Fail), ("7f", Status::Unknown)]
    {
        let report = examined_with(root.path(), &[(info, &text(version))]);
        assert_eq!(status(&report, "mes-firmware"), expected, "{version}");
    }
}

#[test]
fn every_row_judges_by_the_values_that_it_names() {
    let root = unpacked("compat");
    let rocm = "opt/rocm/.info/version";
    let release = "proc/sys/kernel/osrelease";
    let environment = "etc/systemd/system/strixhalo.service";
    for (id, expected, files) in [
        ("kernel-version", Status::Fail, &[(release, "6.16.8")][..]),
        ("kernel-version", Status::Pass, &[(release, "6.16.9")]),
        ("kernel-rocm-pair", Status::Warn, &[(release, "6.17.10")]),
        ("kernel-rocm-pair", Status::Pass, &[(release, "6.18.3")]),
        ("kernel-rocm-pair", Status::Fail, &[(release, "6.18.4")]),
        ("kernel-rocm-pair", Status::Fail, &[("proc/self/maps", ""), (rocm, "7.2.0")]),
        (
            "kernel-rocm-pair",
            Status::Pass,
            &[("proc/self/maps", ""), (rocm, "7.2.0"), (release, "6.18.4")],
        ),
        (
            "kfd-cwsr",
            Status::Pass,
            &[
                ("proc/self/maps", ""),
                (rocm, "7.2.0"),
                ("sys/module/amdgpu/parameters/cwsr_enable", "1"),
            ],
        ),
        ("rocm-known-hang", Status::Pass, &[("proc/self/maps", ""), (rocm, "7.0.2")]),
        ("hsa-override", Status::Fail, &[(environment, "[Service]\nEnvironment=A=b")]),
        ("hsa-override", Status::Fail, &[("recorded/targets", "gfx1151")]),
        ("hsa-override", Status::Warn, &[("proc/self/maps", ""), (rocm, "7.2.0")]),
        (
            "unified-memory",
            Status::Warn,
            &[(environment, "[Service]\nEnvironment=GGML_CUDA_ENABLE_UNIFIED_MEMORY=0")],
        ),
        (
            "hip-visible-devices",
            Status::Fail,
            &[(environment, "[Service]\nEnvironment=HIP_VISIBLE_DEVICES=-1")],
        ),
        (
            "hip-visible-devices",
            Status::Fail,
            &[(environment, "[Service]\nEnvironment=HIP_VISIBLE_DEVICES=1,0")],
        ),
        (
            "hip-visible-devices",
            Status::Fail,
            &[(environment, "[Service]\nEnvironment=GPU_DEVICE_ORDINAL=2")],
        ),
        (
            "hip-visible-devices",
            Status::Pass,
            &[(environment, "[Service]\nEnvironment=HIP_VISIBLE_DEVICES=0,1")],
        ),
        (
            "hip-visible-devices",
            Status::Pass,
            &[(environment, "[Service]\nEnvironment=ROCR_VISIBLE_DEVICES=GPU-1a2b")],
        ),
        ("wifi-mt7925", Status::Warn, &[(release, "7.1.3"), ("sys/module/mt7925e/refcnt", "0")]),
        ("wifi-mt7925", Status::Pass, &[(release, "7.2.0"), ("sys/module/mt7925e/refcnt", "0")]),
        (
            "firmware-override",
            Status::Warn,
            &[("lib/firmware/updates/amdgpu/gc_11_5_1_mes_2.bin", "x")],
        ),
        (
            "ttm-page-pool",
            Status::Warn,
            &[("sys/module/ttm/parameters/page_pool_size", "30720001")],
        ),
        ("gtt-over-memory", Status::Warn, &[("sys/module/ttm/parameters/pages_limit", "32000000")]),
        ("gttsize-deprecated", Status::Warn, &[("sys/module/amdgpu/parameters/gttsize", "120000")]),
        (
            "memory-headroom",
            Status::Warn,
            &[(
                "proc/meminfo",
                "MemTotal: 131164584 kB\nMemAvailable: 6000000 kB\nCmaFree: 4000000 kB",
            )],
        ),
        ("mmap-on-apu", Status::Warn, &[("etc/strixhalo/settings.toml", "[model]\nmmap = true\n")]),
        (
            "mmap-on-apu",
            Status::Fail,
            &[("etc/strixhalo/settings.toml", "[model]\nmmap = true\n"), (release, "7.0.12")],
        ),
        ("settings", Status::Fail, &[("etc/strixhalo/settings.toml", "[modell]\n")]),
        ("power-profile", Status::Warn, &[("etc/tuned/active_profile", "balanced")]),
        ("fan-control", Status::Warn, &[("sys/class/ec_su_axb35/apu/power_mode", "quiet")]),
        ("iommu", Status::Warn, &[("sys/class/iommu/ivhd0/uevent", ""), ("proc/cmdline", "quiet")]),
        ("npu", Status::Pass, &[("sys/module/amdxdna/refcnt", "0")]),
        (
            "gpu-offload",
            Status::Fail,
            &[("recorded/health.json", r#"{"status": "ok", "backend": "CPU"}"#)],
        ),
        (
            "gpu-offload",
            Status::Warn,
            &[("recorded/health.json", r#"{"backend": "ROCm", "gpu_layers": 40, "layers": 49}"#)],
        ),
        (
            "unified-memory",
            Status::Fail,
            &[(
                environment,
                "[Service]\nEnvironment=GGML_CUDA_ENABLE_UNIFIED_MEMORY=1\nMemoryMax=24G",
            )],
        ),
        (
            "gpu-memory-seen",
            Status::Warn,
            &[("recorded/service.log", "device ROCm0: AMD Radeon 8060S (14.9 of 15.5 GiB free)")],
        ),
        (
            "model-load-speed",
            Status::Warn,
            &[(
                "recorded/service.log",
                "model m (qwen3next, Q8_0, 84.83 GB) is ready after 902.10 s: 2 slots of 262144 tokens",
            )],
        ),
        (
            "journal-hipblaslt",
            Status::Pass,
            &[(
                "recorded/service.log",
                "rocBLAS warning: hipBlasLT failed, falling back to tensile.",
            )],
        ),
        (
            "journal-no-device",
            Status::Fail,
            &[(
                "recorded/service.log",
                "rocBLAS error: Could not initialize Tensile host: No devices found",
            )],
        ),
        (
            "journal-memory-critical",
            Status::Fail,
            &[(
                "recorded/service.log",
                "HSA: Memory critical error by agent node-0: Memory in use.",
            )],
        ),
        ("device-kfd", Status::Fail, &[("dev/kfd", "600 0 0")]),
        (
            "gpu-groups",
            Status::Fail,
            &[("proc/4242/status", "Uid:\t993 993 993 993\nGroups:\t990")],
        ),
        (
            "gpu-present",
            Status::Fail,
            &[
                ("sys/class/drm/card1/device/device", "0x744c"),
                ("sys/bus/pci/devices/0000:c5:00.0/device", "0x744c"),
            ],
        ),
        ("server-port", Status::Pass, &[("proc/net/tcp", "")]),
    ] {
        let report = examined_with(root.path(), files);
        assert_eq!(status(&report, id), expected, "{id} with {files:?}");
    }
}

#[test]
fn refused_settings_are_not_told_as_defaults() {
    let root = unpacked("good");
    let settings = "etc/strixhalo/settings.toml";
    let refused = examined_with(root.path(), &[(settings, "[server]\nport = 1\nprot = 2\n")]);
    assert_eq!(status(&refused, "settings"), Status::Fail);
    for id in ["server-port", "mmap-on-apu", "ubatch-size"] {
        let check = refused.checks.iter().find(|check| check.id == id).unwrap();
        assert_eq!((check.status, &check.evidence[..]), (Status::Unknown, &[][..]), "{check:?}");
        assert!(check.finding.contains("refused"), "{check:?}");
        assert_eq!(check.fix.other, "strixhalo config check /etc/strixhalo/settings.toml");
    }
}

#[test]
fn a_settings_evidence_is_the_layer_that_set_it() {
    let root = unpacked("good");
    let settings = ("etc/strixhalo/settings.toml", "[context]\nubatch = 1024\n");
    let unit = "[Service]\nEnvironment=LLAMA_ARG_UBATCH=2048";
    let unit = ("etc/systemd/system/strixhalo.service", unit);
    for (files, file, value) in [
        (&[(settings.0, "")][..], "by default", "context.ubatch = 512"),
        (&[settings], "/etc/strixhalo/settings.toml", "context.ubatch = 1024"),
        (&[settings, unit], "/etc/systemd/system/strixhalo.service", "context.ubatch = 2048"),
    ] {
        let report = examined_with(root.path(), files);
        let check = report.checks.iter().find(|check| check.id == "ubatch-size").unwrap();
        let evidence = &check.evidence[0];
        assert_eq!((&*evidence.file, &*evidence.value), (file, value), "{files:?}");
    }
}

#[test]
fn a_user_who_was_added_to_the_group_is_told_to_log_in_again() {
    let groups = report("container").checks.iter().find(|check| check.id == "gpu-groups").unwrap();
    assert!(groups.fix.other.contains("--group-add"), "{groups:?}");
    let root = unpacked("untuned");
    let report = examined_with(
        root.path(),
        &[
            (
                "proc/self/status",
                "Uid:\t1000 1000 1000 1000\nGid:\t1000 1000 1000 1000\nGroups:\t1000",
            ),
            ("etc/passwd", "alice:x:1000:1000::/home/alice:/bin/sh"),
            ("etc/group", "render:x:992:alice\nvideo:x:44:alice"),
        ],
    );
    let groups = report.checks.iter().find(|check| check.id == "gpu-groups").unwrap();
    assert_eq!((groups.status, &*groups.fix.other), (Status::Fail, "Log out and back in."));
}
