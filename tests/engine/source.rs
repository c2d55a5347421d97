//! What is taken for granted about llama.cpp's own source. A new version may change it.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use strixhalo::model::{GgufFacts, ModelFile};

const PATCH: &str = include_str!("../../nix/packages/qwen3next-rollback.patch");

/// The file that knows the architectures, of the version that is built.
fn architectures() -> String {
    let metadata = Command::new(env!("CARGO"))
        // Without what other systems need, which is not there.
        .args(["metadata", "--filter-platform", "x86_64-unknown-linux-gnu"])
        .args(["--format-version", "1", "--locked", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let mut packages = metadata["packages"].as_array().unwrap().iter();
    let package = packages.find(|package| package["name"] == "llama-cpp-sys-2").unwrap();
    let manifest = PathBuf::from(package["manifest_path"].as_str().unwrap());
    let path = manifest.with_file_name("llama.cpp/src/llama-arch.cpp");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The body of the function that says which architectures can take tokens back.
fn rolls_back(source: &str) -> &str {
    let (_, body) = source.split_once("bool llm_arch_supports_rs_rollback").unwrap();
    body.split_once("\n}").unwrap().0
}

#[test]
fn the_patch_of_the_nix_packages_fits_the_source() {
    let source = architectures();
    let lines = |sign: char| {
        let hunk = PATCH.split_once("@@\n").unwrap().1;
        let lines = hunk.lines().filter(|line| line.starts_with([' ', sign]));
        lines.map(|line| &line[1..]).collect::<Vec<_>>().join("\n")
    };
    let [before, after] = ['-', '+'].map(lines);
    assert_eq!(
        source.matches(&before).count(),
        1,
        "the patch does not fit, or is not needed:\n{before}"
    );
    let patched = source.replace(&before, &after);
    assert_eq!(patched.lines().count(), source.lines().count() + 1);
    assert!(rolls_back(&patched).contains("case LLM_ARCH_QWEN3NEXT:"));
}

#[test]
fn the_plan_knows_which_models_take_tokens_back() {
    let source = architectures();
    // { LLM_ARCH_QWEN35,           "qwen35"           },
    let name = |constant: &str| {
        let row = source.lines().find(|line| line.contains(&format!("{{ {constant},")));
        row.and_then(|row| row.split('"').nth(1)).unwrap_or_else(|| panic!("{constant}")).to_owned()
    };
    let cases = rolls_back(&source).lines().filter_map(|line| line.trim().strip_prefix("case "));
    let listed: Vec<String> = cases.map(|case| name(case.trim_end_matches(':'))).collect();
    assert!(listed.iter().any(|name| name == "qwen35moe"), "{listed:?}");
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/models/tiny-qwen35.gguf");
    let facts = ModelFile::open(&path).unwrap().facts;
    let keeps = |architecture: &str| {
        let facts = GgufFacts { architecture: architecture.to_owned(), ..facts.clone() };
        assert_eq!(facts.rollback_tokens(false, true, 512), 0);
        assert_eq!(facts.rollback_tokens(true, false, 512), 0);
        assert_eq!(facts.rollback_tokens(true, true, 4), 0);
        facts.rollback_tokens(true, true, 512) > 0
    };
    for name in &listed {
        // It has other states than recurrent ones.
        assert!(keeps(name) || name == "deepseek4", "{name}");
    }
    for constant in
        ["LLM_ARCH_QWEN3NEXT", "LLM_ARCH_MAMBA2", "LLM_ARCH_JAMBA", "LLM_ARCH_GRANITE_HYBRID"]
    {
        assert!(!keeps(&name(constant)), "{constant}");
    }
}
