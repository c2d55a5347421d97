//! A model that cannot fit is refused from its header alone.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::binary::{refused, run};

const F32: u32 = 0;
const Q8_0: u32 = 8;

fn text(value: &str) -> Vec<u8> {
    [&(value.len() as u64).to_le_bytes()[..], value.as_bytes()].concat()
}

fn key(name: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [&text(name), &kind.to_le_bytes()[..], value].concat()
}

fn number(name: &str, value: u32) -> Vec<u8> {
    key(name, 4, &value.to_le_bytes())
}

fn array(name: &str, kind: u32, len: usize, values: &[u8]) -> Vec<u8> {
    key(name, 9, &[&kind.to_le_bytes()[..], &(len as u64).to_le_bytes(), values].concat())
}

/// A file with the header of a mixture of experts in Q8_0 and holes for its weights: layers with 512
/// experts, as Qwen3-Coder-Next has 48 of them. Gives its size in bytes.
fn sparse_model(path: &Path, layers: u32) -> u64 {
    const VOCABULARY: usize = 151_936;
    let tokens: Vec<u8> = (0..VOCABULARY).flat_map(|n| text(&format!("t{n}"))).collect();
    let types: Vec<u8> = (0..VOCABULARY).flat_map(|_| 1_i32.to_le_bytes()).collect();
    let keys = [
        key("general.architecture", 8, &text("qwen3moe")),
        number("qwen3moe.block_count", layers),
        number("qwen3moe.context_length", 262_144),
        number("qwen3moe.embedding_length", 2048),
        number("qwen3moe.attention.head_count", 16),
        number("qwen3moe.attention.head_count_kv", 2),
        number("qwen3moe.attention.key_length", 256),
        number("qwen3moe.attention.value_length", 256),
        number("qwen3moe.expert_count", 512),
        number("qwen3moe.expert_used_count", 10),
        key("tokenizer.ggml.model", 8, &text("gpt2")),
        key("tokenizer.ggml.pre", 8, &text("qwen2")),
        array("tokenizer.ggml.tokens", 8, VOCABULARY, &tokens),
        array("tokenizer.ggml.token_type", 5, VOCABULARY, &types),
        array("tokenizer.ggml.merges", 8, 1, &text("t0 t1")),
    ];
    let mut tensors = vec![
        ("token_embd.weight".to_owned(), vec![2048, VOCABULARY as u64], Q8_0),
        ("output.weight".to_owned(), vec![2048, VOCABULARY as u64], Q8_0),
        ("output_norm.weight".to_owned(), vec![2048], F32),
    ];
    for layer in 0..layers {
        for (name, dims) in [
            ("attn_q", vec![2048, 4096]),
            ("attn_k", vec![2048, 512]),
            ("attn_v", vec![2048, 512]),
            ("attn_output", vec![4096, 2048]),
            ("ffn_gate_exps", vec![2048, 512, 512]),
            ("ffn_up_exps", vec![2048, 512, 512]),
            ("ffn_down_exps", vec![512, 2048, 512]),
        ] {
            tensors.push((format!("blk.{layer}.{name}.weight"), dims, Q8_0));
        }
        for (name, dims) in [
            ("attn_norm", vec![2048]),
            ("attn_q_norm", vec![256]),
            ("attn_k_norm", vec![256]),
            ("ffn_norm", vec![2048]),
            ("ffn_gate_inp", vec![2048, 512]),
        ] {
            tensors.push((format!("blk.{layer}.{name}.weight"), dims, F32));
        }
    }
    let mut header = b"GGUF\x03\0\0\0".to_vec();
    header.extend((tensors.len() as u64).to_le_bytes());
    header.extend((keys.len() as u64).to_le_bytes());
    header.extend(keys.concat());
    let mut data: u64 = 0;
    for (name, dims, kind) in &tensors {
        header.extend(text(name));
        header.extend((dims.len() as u32).to_le_bytes());
        header.extend(dims.iter().flat_map(|dim| dim.to_le_bytes()));
        header.extend(kind.to_le_bytes());
        header.extend(data.to_le_bytes());
        let values: u64 = dims.iter().product();
        let bytes = if *kind == Q8_0 { values / 32 * 34 } else { values * 4 };
        data += bytes.next_multiple_of(32);
    }
    header.resize(header.len().next_multiple_of(32), 0);
    let mut file = File::create(path).unwrap();
    file.write_all(&header).unwrap();
    file.set_len(header.len() as u64 + data).unwrap();
    header.len() as u64 + data
}

/// The numbers of a text in front of ` GiB`, in tenths.
fn numbers(text: &str) -> Vec<u64> {
    let parts = text.split(" GiB").filter_map(|part| part.split([' ', '(']).next_back());
    parts.filter_map(|number| number.replace('.', "").parse().ok()).collect()
}

/// Whether the machine that tests run on could hold the model after all.
fn has_room_for(bytes: u64) -> bool {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap();
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024 > bytes
}

#[test]
fn a_model_of_90_gb_is_refused_from_its_header_with_numbers_that_add_up() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("big.gguf");
    // A terabyte where 90 GB might fit.
    let layers = if has_room_for(90_000_000_000) { 600 } else { 52 };
    let bytes = sparse_model(&path, layers);
    assert!(bytes > 89_000_000_000, "{bytes}");
    let model = path.to_str().unwrap();
    let started = Instant::now();
    let serve = ["serve", "--model", model, "--port", "0", "--gpu", "off", "--log-level", "off"];
    let line = refused(70, &serve, &[]);
    let took = started.elapsed();
    // It takes a fifth of a second of processor time; to read the file takes a minute.
    assert!(took < Duration::from_secs(10), "{took:?}");

    let (need, rest) = line.split_once(" (").unwrap();
    let (parts, rest) = rest.split_once("), but ").unwrap();
    let sum = numbers(need)[0];
    assert_eq!(numbers(parts).iter().sum::<u64>(), sum, "{line}");
    assert!(parts.starts_with("weights ") && numbers(parts)[0] > 820, "{line}");

    let (free, ways) = rest.split_once("): ").unwrap();
    let free = numbers(free);
    assert_eq!(free[0], free[1] - free[2..].iter().sum::<u64>(), "{line}");
    assert!(free[0] < sum, "{line}");
    assert_eq!(ways.split(", or ").count(), 3, "{line}");
}

#[test]
fn three_models_that_fit_alone_and_not_together_are_refused_with_numbers_that_add_up() {
    let plan = run(&["plan", "--json", "--gpu", "off"], &[]).stdout;
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    let free = plan["free"].as_u64().unwrap();
    // Of a machine with less than 4 GiB free, one layer is more than two thirds.
    let layers = (free * 65 / 100).saturating_sub(660_000_000) / 1_730_000_000;
    let directory = tempfile::tempdir().unwrap();
    let [chat, embedding] = ["chat.gguf", "embedding.gguf"].map(|name| directory.path().join(name));
    for path in [&chat, &embedding] {
        sparse_model(path, u32::try_from(layers.max(1)).unwrap());
    }
    let rerank = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models/tiny-reranker.gguf");
    let chat = ["--model", chat.to_str().unwrap(), "--gpu", "off", "--rerank-model", rerank];
    let beside = ["--embedding-ctx-size", "64", "--pooling", "mean"];
    let beside = [&["--embedding-model", embedding.to_str().unwrap()], &beside[..]].concat();

    let memory = format!("{}", free as f64 / f64::from(1 << 30));
    let planned =
        |more: &[&str]| run(&[&["plan", "--memory", &memory], &chat[..], more].concat(), &[]);
    if layers > 0 {
        assert_eq!(planned(&[]).code, 0);
    }
    let both = planned(&beside);
    assert_eq!(both.code, 70, "{both:?}");

    let serve = [&["serve", "--port", "0", "--log-level", "off"], &chat[..], &beside].concat();
    let line = refused(70, &serve, &[]);
    let (need, rest) = line.split_once(" (").unwrap();
    let (parts, rest) = rest.split_once("), but ").unwrap();
    assert_eq!(numbers(parts).iter().sum::<u64>(), numbers(need)[0], "{line}");
    let (free, _) = rest.split_once("): ").unwrap();
    let free = numbers(free);
    assert_eq!(free[0], free[1] - free[2..].iter().sum::<u64>(), "{line}");
    assert!(free[0] < numbers(need)[0], "{line}");
    let taken = format!("{}.{} GiB", free[free.len() - 1] / 10, free[free.len() - 1] % 10);
    let taken = format!("less {taken} for the models of embedding_model and rerank_model)");
    assert!(line.contains(&taken), "{line}");
}

#[test]
fn a_device_that_is_not_there_is_69_and_what_is_there_is_listed() {
    let serve = ["serve", "--port", "0", "--device", "Vulkan7", "--log-level", "off"];
    let line = refused(69, &serve, &[]);
    assert!(line.contains("there is no GPU \"Vulkan7\""), "{line}");
    let line = refused(78, &["serve"], &[("LLAMA_ARG_DEVICE", "none,Vulkan0")]);
    assert!(line.contains("none stands for the CPU alone"), "{line}");
    let line = refused(64, &["serve", "--gpu", "required", "--device", "none"], &[]);
    assert!(line.contains("model.gpu is \"required\""), "{line}");
}

#[test]
fn the_version_lists_backends_and_devices() {
    let version = run(&["version"], &[]).stdout;
    let backends = version.lines().find_map(|line| line.strip_prefix("backends: ")).unwrap();
    assert!(backends.split(", ").any(|name| name == "CPU"), "{version}");
    assert!(version.lines().any(|l| l.starts_with("device CPU: ") && l.ends_with(" (CPU)")));
}
