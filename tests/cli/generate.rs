use std::collections::BTreeSet;
use std::fs;

use crate::binary::run;

#[test]
fn version_says_what_the_cpu_code_was_compiled_for_and_opens_no_model() {
    let version = run(&["version"], &[]);
    assert_eq!(version.code, 0, "{version:?}");
    let lines: Vec<&str> = version.stdout.lines().collect();
    assert!(lines[0].starts_with(concat!("strixhalo ", env!("CARGO_PKG_VERSION"))), "{lines:?}");
    if cfg!(feature = "engine") {
        assert!(lines[1].starts_with("llama.cpp: "), "{lines:?}");
        // ./dev builds for the CPU it runs on.
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            assert!(lines[1].contains("AVX2 = 1"), "{lines:?}");
        }
        assert!(lines[2..].iter().any(|line| line.starts_with("device CPU: ")), "{lines:?}");
    } else {
        assert_eq!(lines[1], "llama.cpp: not built in");
    }
}

#[test]
fn every_command_that_is_shown_has_a_man_page() {
    let directory = tempfile::tempdir().unwrap();
    // Created when it is not there.
    let pages = directory.path().join("man1");
    let generated = run(&["generate", "man", pages.to_str().unwrap()], &[]);
    assert_eq!(generated.code, 0, "{generated:?}");
    let names: BTreeSet<String> = fs::read_dir(&pages)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let shown = [
        "strixhalo",
        "strixhalo-serve",
        "strixhalo-bench",
        "strixhalo-version",
        "strixhalo-cache",
        "strixhalo-cache-clear",
        "strixhalo-config",
        "strixhalo-config-check",
        "strixhalo-doctor",
    ];
    for name in shown {
        assert!(names.contains(&format!("{name}.1")), "no {name}.1 in {names:?}");
    }
    assert!(!names.iter().any(|name| name.contains("generate")), "{names:?}");
    let serve = fs::read_to_string(pages.join("strixhalo-serve.1")).unwrap();
    assert!(!serve.contains("features:"), "{serve}");
    assert!(serve.contains(".TH") && serve.contains("ctx\\-size"), "{serve}");
}

#[test]
fn man_pages_that_cannot_be_written_end_with_71_and_the_directory() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let inside = file.path().join("man1");
    let line = crate::binary::refused(71, &["generate", "man", inside.to_str().unwrap()], &[]);
    assert!(line.contains(inside.to_str().unwrap()), "{line}");
}

#[test]
fn completions_name_the_commands_in_every_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let completions = run(&["generate", "completions", shell], &[]);
        assert_eq!(completions.code, 0, "{completions:?}");
        assert!(completions.stdout.contains("serve"), "{shell}");
        assert!(completions.stdout.contains("ctx-size"), "{shell}");
    }
    assert_eq!(run(&["generate", "completions", "tcsh"], &[]).code, 64);
}
