//! `strixhalo plan`: numbers, exit codes, and how little it takes itself.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use strixhalo::model::{Family, WeightType};

use crate::binary::{refused, run};
use crate::headers::Header;

/// The plan as JSON, with its exit code.
fn plan(arguments: &[&str], variables: &[(&str, &str)]) -> (Value, i32) {
    let run = run(&[&["plan", "--json", "--gpu", "off"], arguments].concat(), variables);
    assert_eq!(run.stderr, "", "{run:?}");
    (serde_json::from_str(&run.stdout).unwrap(), run.code)
}

fn write(family: &str, weights: &str, directory: &Path) -> PathBuf {
    let path = directory.join(format!("{family}.gguf"));
    let weights = WeightType::find(weights).unwrap();
    Header::family(Family::find(family).unwrap(), weights).write(&path);
    path
}

#[test]
fn a_family_needs_what_its_file_does() {
    let directory = tempfile::tempdir().unwrap();
    let path = write("qwen3-8b", "Q4_K_M", directory.path());
    let same = ["-fa", "on", "-np", "2", "-c", "65536", "--memory", "64"];
    let (of_file, code) = plan(&[&[path.to_str().unwrap()], &same[..]].concat(), &[]);
    assert_eq!(code, 0);
    assert_eq!(of_file["model"], "qwen3-8b");
    let named = ["--family", "qwen3-8b", "--weights", "q4_k_m"];
    let (of_family, _) = plan(&[&named, &same[..]].concat(), &[]);
    assert_eq!(of_file, of_family);
    assert_eq!(of_file["need"]["kv"], 73_728_u64 / 32 * 34 * 65_536);
    assert_eq!(of_file["context_per_slot"], 32_768);
}

#[test]
fn settings_come_from_all_layers() {
    let family = ["--family", "qwen3-8b", "--memory", "64", "-np", "1"];
    let variables = [
        ("LLAMA_ARG_CACHE_TYPE_K", "q4_0"),
        ("LLAMA_ARG_ROPE_SCALING_TYPE", "yarn"),
        ("LLAMA_ARG_ROPE_SCALE", "4"),
        ("LLAMA_ARG_YARN_ORIG_CTX", "32768"),
    ];
    let (shown, code) = plan(&family, &variables);
    assert_eq!(
        (code, &shown["cache_type_k"], &shown["trained_context"]),
        (0, &json!("q4_0"), &json!(131_072))
    );
    assert_eq!(shown["context_per_slot"], 131_072);
    assert_eq!(shown["yarn"], json!([]));
}

#[test]
fn what_serve_would_do_about_the_gpu_is_said() {
    let family = ["plan", "--family", "qwen3-8b", "--memory", "64", "--gpu"];
    let note = |end: &[&str]| run(&[&family[..], end].concat(), &[]).stdout;
    let required = note(&["required"]);
    let refuses = "serve would refuse to start: model.gpu is required";
    let is_cpu_build = !cfg!(any(feature = "hip", feature = "vulkan", feature = "cuda"));
    assert_eq!(required.contains(refuses), is_cpu_build, "{required}");
    let none = note(&["auto", "--device", "none"]);
    assert!(none.contains("planned for the CPU: model.device is none"), "{none}");
    assert!(!none.contains("serve would refuse"), "{none}");
    let named = note(&["auto", "--device", "ROCm9"]);
    let refuses = "serve would refuse to start: model.device is ROCm9";
    assert_eq!(named.contains(refuses), is_cpu_build, "{named}");
    let off = note(&["off", "--device", "ROCm9"]);
    assert!(!off.contains("serve would refuse"), "{off}");
}

#[test]
fn rope_settings_that_change_nothing_are_told() {
    let (shown, _) = plan(&["--family", "qwen3-8b", "--rope-scaling", "yarn"], &[]);
    let notices = shown["notices"].to_string();
    assert!(notices.contains("context.rope_scaling has no effect"), "{notices}");
}

#[test]
fn a_split_model_of_90_gb_that_does_not_fit_ends_with_70_and_numbers_that_add_up() {
    let directory = tempfile::tempdir().unwrap();
    let header = Header::family(Family::find("qwen3-coder-next").unwrap(), WeightType::Q8_0);
    let path = header.write_split(directory.path(), "coder-next", 3);
    let fits = ["--memory", "120", "-fa", "on"];
    let (shown, code) = plan(&[&[path.to_str().unwrap()], &fits[..]].concat(), &[]);
    assert_eq!((code, &shown["fits"]), (0, &json!(true)));
    assert_eq!(shown["need"]["recurrent"], 2 * (75 * (1 << 20) + 3 * (1 << 17)));
    let parts = ["weights", "kv", "recurrent", "compute", "checkpoints", "host_cache"];
    let sum: u64 = parts.iter().map(|part| shown["need"][part].as_u64().unwrap()).sum();
    assert_eq!(shown["total"], sum);
    let (shown, code) = plan(&[path.to_str().unwrap(), "--memory", "60"], &[]);
    assert_eq!((code, &shown["fits"]), (70, &json!(false)));
    let text = run(&["plan", path.to_str().unwrap(), "--memory", "60"], &[]).stdout;
    for part in ["weights", "79.0 GiB", "60.0 GiB are free", "smaller quantization", "none fits"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn what_cannot_be_planned_is_told_in_one_line() {
    let line = refused(64, &["plan", "--family", "qwen4-9b"], &[]);
    assert!(line.contains("qwen3-32b"), "{line}");
    refused(64, &["plan", "--family", "qwen3-8b", "--weights", "q9"], &[]);
    refused(64, &["plan", "--memory", "-1"], &[]);
    refused(64, &["plan", "a.gguf", "--family", "qwen3-8b"], &[]);
    refused(66, &["plan", "/nowhere.gguf"], &[]);
    refused(78, &["plan"], &[("LLAMA_ARG_CTX_SIZE", "1")]);
}

/// The table of the set-up that is replaced, whose q4_0 had half a byte for a value.
#[test]
fn the_table_for_a_million_tokens_is_what_the_command_says() {
    let page = include_str!("../../docs/memory.md");
    for (family, old) in
        [("qwen3-8b", 38.6), ("qwen3-14b", 42.9), ("qwen3-30b-a3b", 25.7), ("qwen3-32b", 68.7)]
    {
        let of = |kind: &str| {
            let arguments = [
                "--family",
                family,
                "--weights",
                "Q4_K_M",
                "-c",
                "1048576",
                "-np",
                "1",
                "-ctk",
                kind,
                "-ctv",
                kind,
                "-fa",
                "on",
                "--memory",
                "1000",
            ];
            plan(&arguments, &[]).0
        };
        let gb = |bytes: &Value| bytes.as_u64().unwrap() as f64 / 1e9;
        let [q4_0, q8_0, f16] = ["q4_0", "q8_0", "f16"].map(of);
        let row = format!(
            "| {family} | {old:.1} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} |",
            gb(&q4_0["need"]["kv"]),
            gb(&q8_0["need"]["kv"]),
            gb(&f16["need"]["kv"]),
            gb(&q4_0["need"]["weights"]),
            gb(&q4_0["total"]) - gb(&q4_0["need"]["host_cache"]),
        );
        assert!(page.contains(&row), "docs/memory.md has to have\n{row}");
        // Half a byte instead of 18/32.
        assert!((gb(&q4_0["need"]["kv"]) / old - 18.0 / 16.0).abs() < 0.01);
    }
}

#[test]
fn another_program_that_reads_the_same_headers_computes_the_same() {
    let python = std::env::var("STRIXHALO_GGUF_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let has_gguf = Command::new(&python).args(["-c", "import gguf"]).output();
    if !has_gguf.is_ok_and(|output| output.status.success()) {
        println!("skipped: {python} has no package gguf (tools/memory/requirements.txt)");
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = tempfile::tempdir().unwrap();
    let write = |family: &str, weights: WeightType| {
        let path = directory.path().join(format!("{family}.gguf"));
        let mut header = Header::family(Family::find(family).unwrap(), weights);
        header.vocabulary(1000);
        header.write(&path);
        path
    };
    for path in [
        write("qwen3-0.6b", WeightType::Q5_K_M),
        write("qwen3-coder-next", WeightType::Q8_0),
        write("qwen3.6-27b", WeightType::Q4_K_M),
        root.join("tests/models/tiny-qwen3moe.gguf"),
    ] {
        let path = path.to_str().unwrap();
        let output = Command::new(&python)
            .arg(root.join("tools/memory/plan.py"))
            .args([
                path, "--slots", "3", "--tokens", "5000", "--type-k", "q8_0", "--type-v", "q4_0",
            ])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let theirs: Value = serde_json::from_slice(&output.stdout).unwrap();
        let same = ["-np", "3", "-c", "15000", "-ctk", "q8_0", "-ctv", "q4_0", "-fa", "on"];
        let (ours, _) = plan(&[&[path, "--memory", "1000"], &same[..]].concat(), &[]);
        for part in ["weights", "kv", "recurrent"] {
            assert_eq!(ours["need"][part], theirs[part], "{path}: {part}");
        }
    }
}

/// A file that claims what `keys` and `tensors` say, with `body` behind it and a hole up to `len`.
fn malformed(path: &Path, tensors: u64, keys: u64, body: &[u8], len: u64) {
    let mut file = File::create(path).unwrap();
    file.write_all(b"GGUF\x03\0\0\0").unwrap();
    file.write_all(&tensors.to_le_bytes()).unwrap();
    file.write_all(&keys.to_le_bytes()).unwrap();
    file.write_all(body).unwrap();
    let written = file.stream_position().unwrap();
    file.set_len(len.max(written)).unwrap();
}

fn text(value: &[u8]) -> Vec<u8> {
    [&(value.len() as u64).to_le_bytes()[..], value].concat()
}

fn key(name: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [&text(name.as_bytes())[..], &kind.to_le_bytes(), value].concat()
}

#[test]
fn a_malformed_header_takes_less_than_64_mb() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("malformed.gguf");
    const TERABYTE: u64 = 1 << 40;
    let long = |bytes: u64| [&bytes.to_le_bytes()[..], b"x"].concat();
    let list = |kind: u32, len: u64, values: &[u8]| {
        [&kind.to_le_bytes()[..], &len.to_le_bytes(), values].concat()
    };
    let tokens: Vec<u8> = (0..899_999).flat_map(|id| text(format!("{id}").as_bytes())).collect();
    let tokens = key("tokenizer.ggml.tokens", 9, &list(8, 899_999, &tokens));
    let texts: Vec<u8> =
        (0..2).flat_map(|id| key(&format!("t{id}"), 8, &text(&[0xff; 3 << 20]))).collect();
    let keys: Vec<u8> = (0..16_000).flat_map(|id| key(&format!("k{id}"), 7, &[1])).collect();
    let lists: Vec<u8> =
        (0..120).flat_map(|id| key(&format!("l{id}"), 9, &list(0, 4096, &[7; 4096]))).collect();
    let tensors: Vec<u8> = (0..65_000_u64)
        .flat_map(|id| {
            let head = [&text(format!("{id:060}").as_bytes())[..], &1_u32.to_le_bytes()].concat();
            [&head[..], &8_u64.to_le_bytes(), &0_u32.to_le_bytes(), &(32 * id).to_le_bytes()]
                .concat()
        })
        .collect();
    let all = [&tokens[..], &texts, &keys].concat();
    for (name, n_tensors, n_keys, body) in [
        ("counts", u64::MAX, u64::MAX, Vec::new()),
        ("as many tensors as the file could hold", TERABYTE / 24, 0, Vec::new()),
        ("as many keys", 0, TERABYTE / 13, Vec::new()),
        ("a key of a terabyte", 0, 1, long(TERABYTE - 64)),
        ("a text of half", 0, 1, key("general.name", 8, &long(TERABYTE / 2))),
        ("a list of half", 0, 1, key("general.name", 9, &list(5, TERABYTE / 8, b""))),
        ("texts of nothing", 0, 1, key("general.tags", 9, &list(8, 1 << 20, b""))),
        (
            "a vocabulary of half",
            0,
            1,
            key("tokenizer.ggml.tokens", 9, &list(8, TERABYTE / 16, b"")),
        ),
        ("as many tokens as are read", 0, 1, tokens.clone()),
        ("texts that are no UTF-8", 0, 2, texts.clone()),
        ("all keys", 0, 16_000, keys.clone()),
        ("lists", 0, 120, lists),
        ("tensors", 65_000, 0, tensors.clone()),
        ("all of it", 65_000, 16_003, [&all[..], &tensors].concat()),
    ] {
        malformed(&path, n_tensors, n_keys, &body, TERABYTE);
        // Data of the whole process: heap, stacks, the libraries' variables.
        let output = Command::new("sh")
            .args(["-c", "ulimit -d 62500 && exec \"$0\" plan \"$1\""])
            .args([Path::new(env!("CARGO_BIN_EXE_strixhalo")), &path])
            .env_clear()
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(65), "{name}: {said}");
        assert!(said.len() < 8192, "{name}: {said}");
    }
}
