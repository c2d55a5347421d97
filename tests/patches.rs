//! The patches that the Nix packages apply to llama.cpp fit the source that is pinned.

#![allow(clippy::expect_used, clippy::unwrap_used)] // a failed expectation is a failed test

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const PATCH: &str = include_str!("../nix/packages/patches/qwen3next-rollback.patch");

/// The folder of the crate that Cargo.lock pins, and its version.
fn crate_source() -> (PathBuf, String) {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo's JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let found = packages.iter().find(|package| package["name"] == "llama-cpp-sys-2");
    let package = found.expect("the crate is among them");
    let manifest = Path::new(package["manifest_path"].as_str().unwrap());
    (manifest.parent().unwrap().to_owned(), package["version"].as_str().unwrap().to_owned())
}

/// The lines of the patch's one hunk that begin with one of these, without it.
fn lines(kinds: [char; 2]) -> String {
    let hunk = PATCH.lines().skip_while(|line| !line.starts_with("@@")).skip(1);
    let kept = hunk.filter(|line| line.starts_with(kinds));
    kept.map(|line| format!("{}\n", &line[1..])).collect()
}

#[test]
fn the_patch_for_qwen3next_fits_the_pinned_source() {
    let (folder, version) = crate_source();
    // A new version is looked through for whether it still needs the patch.
    assert!(PATCH.starts_with(&format!("llama-cpp-sys-2 {version}:")), "written for {version}?");
    let file = PATCH.lines().find_map(|line| line.strip_prefix("--- a/")).expect("a file");
    let source = std::fs::read_to_string(folder.join(file)).expect("it is there");
    assert_eq!(source.matches(&lines([' ', '-'])).count(), 1, "the place in {file}");
    let begin = source.find("bool llm_arch_supports_rs_rollback(").expect("the function");
    let body = source[begin..].split("\n}").next().expect("its body");
    assert!(!body.contains("LLM_ARCH_QWEN3NEXT"), "it is in {version} already");
    assert!(body.contains(&lines([' ', '-'])), "the place is in another function");
    assert!(lines([' ', '+']).contains("case LLM_ARCH_QWEN3NEXT:"));
}
