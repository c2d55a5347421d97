//! The memory plan beside what llama.cpp lays out, as its log tells.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use headers::{Header, SHAPES};
use strixhalo::engine::{LoadError, rehearse, rehearse_embedding};
use strixhalo::model::{
    CacheShape, EmbeddingShape, FAMILIES, Family, GgufFacts, ModelFile, Purpose, WeightType,
    embedding_need, memory_need,
};

use super::*;

const MIB: f64 = (1 << 20) as f64;
/// llama.cpp's log has two digits behind the point.
const ROUNDED: f64 = 0.0051;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What a load takes, in MiB.
#[derive(Debug)]
struct Laid {
    weights: f64,
    kv: f64,
    recurrent: f64,
    /// Compute buffers of all devices and the buffer for logits.
    compute: f64,
}

impl Laid {
    fn total(&self) -> f64 {
        self.weights + self.kv + self.recurrent + self.compute
    }
}

fn laid_out(rehearse: impl FnOnce() -> Result<u64, LoadError>, no_alloc: bool) -> Laid {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let done = tracing::subscriber::with_default(subscriber, rehearse);
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let in_file = done.unwrap_or_else(|error| panic!("{error}\n{log}"));
    let sum = |line_has: &str, marker: &str| -> f64 {
        let lines = log.lines().filter(|line| line.contains(line_has));
        lines
            .filter_map(|line| line.split_once(marker))
            .map(|(_, rest)| rest.trim_start().split(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    };
    Laid {
        // Without memory llama.cpp counts the file only.
        weights: if no_alloc {
            in_file as f64 / MIB
        } else {
            sum("model buffer size", "model buffer size =")
        },
        kv: sum("llama_kv_cache", ": size ="),
        recurrent: sum("RS buffer", "RS buffer size =").max(0.0),
        compute: sum("compute buffer", "compute buffer size =")
            + sum("output buffer", "output buffer size ="),
    }
}

/// Slots, tokens of one, tokens computed at once, flash attention.
type Setting = (u32, u32, u32, bool);

/// Compares plan and layout. The weights' copy of a GPU is in no file.
fn compare(path: &Path, setting: Setting, no_alloc: bool) {
    let facts = ModelFile::open(path).unwrap().facts;
    compare_with(path, &facts, setting, no_alloc, 0);
    // With the states that speculation keeps, where llama.cpp can.
    let rollback_tokens = facts.rollback_tokens(true, true, 64);
    if rollback_tokens > 0 {
        compare_with(path, &facts, setting, no_alloc, rollback_tokens);
    }
}

fn compare_with(
    path: &Path,
    facts: &GgufFacts,
    (slots, per_slot, ubatch, flash_attn): Setting,
    no_alloc: bool,
    rollback_tokens: u32,
) {
    let params = LoadParams {
        path: path.to_owned(),
        n_ctx: slots * per_slot,
        slots,
        batch: 2048,
        ubatch,
        flash_attn,
        rollback_tokens,
        ..params(1, 1)
    };
    let laid = laid_out(|| rehearse(&params, no_alloc), no_alloc);
    let shape = CacheShape {
        parallel: slots,
        cache_type_k: CacheType::F16,
        cache_type_v: CacheType::F16,
        ubatch,
        flash_attn,
        on_gpu: params.n_gpu_layers.is_some(),
        rollback_tokens,
        host_cache: 0,
        checkpoints: 0,
    };
    let need = memory_need(facts, &shape, per_slot.into());
    let mib = |bytes: u64| bytes as f64 / MIB;
    let name = path.file_stem().unwrap().display();
    // The file's size counts copies and what is left out as well.
    let weights = if no_alloc { mib(facts.tensor_bytes) } else { mib(need.weights) };
    // All but the compute buffers is compared below, up to the rounding of llama.cpp's log.
    let same = weights + mib(need.kv) + mib(need.recurrent);
    let off = (same + mib(need.compute)) / (same + laid.compute) - 1.0;
    println!(
        "{name:22} {slots} x {per_slot:7}, {ubatch:4} at once, flash attention {flash_attn:5}, {rollback_tokens} states kept: {:10.2} MiB, compute {:8.2} (plan {:8.2}), off by {:+.2} %",
        laid.total(),
        laid.compute,
        mib(need.compute),
        100.0 * off
    );
    for (part, planned, is) in [
        ("weights", weights, laid.weights),
        ("KV cache", mib(need.kv), laid.kv),
        ("recurrent states", mib(need.recurrent), laid.recurrent),
    ] {
        // Windows have a cache of their own, and so do buffers of a GPU.
        assert!((planned - is).abs() < 3.0 * ROUNDED, "{name}, {part}: {planned} of {is} MiB");
    }
    assert!(off.abs() < 0.05, "{name}: {need:?} for {laid:?}");
}

/// All attention, all numbers of slots, and contexts below and above a ubatch.
const TINY: &[Setting] = &[
    (1, 512, 64, true),
    (1, 512, 64, false),
    (4, 1024, 64, true),
    (4, 1024, 64, false),
    (2, 2048, 512, true),
    (2, 2048, 512, false),
    (1, 2048, 2048, true),
    (1, 2048, 2048, false),
    (3, 256, 512, true),
];

const LARGE: &[Setting] = &[
    (1, 8192, 512, true),
    (2, 262_144, 512, true),
    (1, 1_048_576, 512, true),
    (1, 32_768, 2048, true),
    (4, 8192, 64, true),
    (1, 8192, 512, false),
    (2, 40_960, 512, false),
    (4, 8192, 2048, false),
];

#[test]
fn the_test_models_take_what_the_plan_says() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    for name in [
        "assets/tiny-chat-q8_0.gguf",
        "tests/models/tiny-qwen3moe.gguf",
        "tests/models/tiny-qwen3next.gguf",
        "tests/models/tiny-qwen35.gguf",
        "tests/models/tiny-lfm2.gguf",
        "tests/models/tiny-gemma3.gguf",
        "tests/models/split/tiny-qwen3moe-00001-of-00003.gguf",
    ] {
        TINY.iter().for_each(|setting| compare(&root.join(name), *setting, false));
    }
}

fn write_family(family: &Family, weights: WeightType, directory: &Path) -> PathBuf {
    let path = directory.join(format!("{}-{}.gguf", family.name, weights.name()));
    Header::family(family, weights).write(&path);
    path
}

#[test]
fn models_of_real_sizes_take_what_the_plan_says() {
    let directory = tempfile::tempdir().unwrap();
    for (name, weights, settings) in [
        ("qwen3-0.6b", WeightType::Q4_0, &LARGE[..1]),
        ("qwen3-32b", WeightType::Q8_0, &LARGE[5..6]),
        ("qwen3-coder-next", WeightType::Q8_0, &LARGE[1..2]),
    ] {
        let path = write_family(Family::find(name).unwrap(), weights, directory.path());
        settings.iter().for_each(|setting| compare(&path, *setting, true));
    }
    for name in ["gemma-3-12b", "gpt-oss-120b"] {
        let shape = SHAPES.iter().find(|shape| shape.name == name).unwrap();
        let path = directory.path().join(format!("{name}.gguf"));
        shape.header().write(&path);
        compare(&path, LARGE[0], true);
    }
}

/// Some minutes, most of it for vocabularies. Further models of random weights can be named in
/// `STRIXHALO_TEST_MODELS`, separated by blanks.
#[test]
#[ignore = "takes minutes; --ignored --nocapture prints the table"]
fn all_models_of_real_sizes_take_what_the_plan_says() {
    let directory = tempfile::tempdir().unwrap();
    // Lavapipe has no buffers for longer contexts, and llama.cpp ends the process over one.
    let on_gpu = std::env::var_os("STRIXHALO_TEST_GPU").is_some();
    let fits = |(slots, per_slot, ..): &&Setting| !on_gpu || slots * per_slot <= 32_768;
    for path in std::env::var("STRIXHALO_TEST_MODELS").iter().flat_map(|paths| paths.split(' ')) {
        TINY.iter().for_each(|setting| compare(Path::new(path), *setting, false));
    }
    let mut seen = Vec::new();
    for family in FAMILIES {
        let sizes = (family.n_layer, family.n_embd, family.n_ff, family.experts);
        if !seen.contains(&sizes) {
            seen.push(sizes);
            let path = write_family(family, WeightType::Q4_K_M, directory.path());
            LARGE.iter().filter(fits).for_each(|setting| compare(&path, *setting, true));
        }
    }
    for shape in SHAPES {
        let path = directory.path().join(format!("{}.gguf", shape.name));
        shape.header().write(&path);
        LARGE.iter().filter(fits).for_each(|setting| compare(&path, *setting, true));
    }
    assert!(seen.len() + SHAPES.len() >= 20);
}

/// Compares plan and layout of a model that makes vectors, for a context, with flash attention and
/// without.
fn compare_embedding(path: &Path, context: u32, no_alloc: bool) {
    let facts = ModelFile::open_for(path, Purpose::Embed).unwrap().facts;
    for flash_attn in [true, false] {
        let mut params = embed::params_of(path, context);
        params.shape.flash_attn = flash_attn;
        params.shape.on_gpu &= !no_alloc;
        let laid = laid_out(|| rehearse_embedding(&params, no_alloc), no_alloc);
        let need = embedding_need(&facts, &params.shape);
        let mib = |bytes: u64| bytes as f64 / MIB;
        let off = mib(need.total()) / laid.total() - 1.0;
        let EmbeddingShape { context, ubatch, .. } = params.shape;
        println!(
            "{:22} {context:6} tokens, {ubatch:5} at once, flash attention {flash_attn:5}: {:9.2} MiB, compute {:8.2} (plan {:8.2}), off by {:+.2} %",
            path.file_stem().unwrap().display(),
            laid.total(),
            laid.compute,
            mib(need.compute),
            100.0 * off
        );
        assert!((mib(need.kv) - laid.kv).abs() < 3.0 * ROUNDED, "{need:?} for {laid:?}");
        assert!(off.abs() < 0.05, "{need:?} for {laid:?}");
    }
}

#[test]
fn models_that_embed_take_what_the_plan_says() {
    for (name, contexts) in [
        ("tiny-bert", &[64, 512][..]),
        ("tiny-reranker", &[512]),
        ("tiny-qwen3-embedding", &[256, 2048]),
    ] {
        contexts.iter().for_each(|&context| compare_embedding(&embed::path(name), context, false));
    }
    let directory = tempfile::tempdir().unwrap();
    // BGE's small and large models, and its multilingual one.
    for (name, n_vocab, n_embd, n_layer, n_head, context) in [
        ("bge-small", 30_522, 384, 12, 12, 512),
        ("bge-large", 30_522, 1024, 24, 16, 512),
        ("bge-m3", 250_002, 1024, 24, 16, 8192),
    ] {
        let path = directory.path().join(format!("{name}.gguf"));
        Header::bert(n_vocab, n_embd, n_layer, n_head, context).write(&path);
        compare_embedding(&path, context as u32, true);
        compare_embedding(&path, 256, true);
    }
    let path = directory.path().join("qwen3-embedding-0.6b.gguf");
    let mut header = Header::family(Family::find("qwen3-0.6b").unwrap(), WeightType::Q8_0);
    header.u32("qwen3.pooling_type", 3);
    header.write(&path);
    compare_embedding(&path, 512, true);
    compare_embedding(&path, 8192, true);
    header.u32("qwen3.pooling_type", 1);
    header.write(&path);
    compare_embedding(&path, 2048, true);
}
