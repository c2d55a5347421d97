#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::Cursor;

use proptest::prelude::*;

use super::*;
use crate::model::writer::Writer;

fn facts_of(writer: &Writer) -> Result<GgufFacts, String> {
    ModelFile::parse(Cursor::new(writer.bytes())).map_err(|error| error.to_string())
}

fn refused(writer: &Writer) -> String {
    let text = facts_of(writer).expect_err("a refusal");
    assert!(!text.contains('\n'), "{text}");
    text
}

#[test]
fn a_small_model_gives_its_facts() {
    let facts = facts_of(&Writer::model("qwen3")).unwrap();
    assert_eq!(facts.architecture, "qwen3");
    assert_eq!(facts.name.as_deref(), Some("A Test"));
    assert_eq!(facts.quantization, Some("Q8_0"));
    assert_eq!((facts.n_ctx_train, facts.n_embd, facts.n_vocab, facts.n_layer()), (4096, 64, 4, 2));
    assert_eq!(facts.tensor_bytes, 64 * 4 / 32 * 34 + 64 * 4);
    assert_eq!(facts.n_params, 64 * 5);
    assert_eq!(facts.chat_template.as_deref(), Some("{{ messages }}"));
    assert_eq!(facts.layers[0].kv_heads, 2);
    assert!(!facts.needs_checkpoints());
}

#[test]
fn a_model_whose_layers_see_a_window_needs_checkpoints() {
    for key in ["gemma3.attention.sliding_window", "gemma3.attention.chunk_size"] {
        let facts = facts_of(&Writer::model("gemma3").u32(key, 1024)).unwrap();
        assert!(facts.has_window && facts.needs_checkpoints(), "{key}");
        assert!(!facts_of(&Writer::model("gemma3").u32(key, 0)).unwrap().has_window);
    }
}

#[test]
fn a_hybrid_has_kv_only_where_it_attends() {
    let writer = Writer::model("qwen3next")
        .u32("qwen3next.block_count", 9)
        .u32("qwen3next.nextn_predict_layers", 1)
        .u32("qwen3next.ssm.conv_kernel", 4)
        .u32("qwen3next.ssm.inner_size", 4096)
        .u32("qwen3next.ssm.state_size", 128)
        .u32("qwen3next.ssm.group_count", 16)
        .u32("qwen3next.ssm.time_step_rank", 32);
    let facts = facts_of(&writer).unwrap();
    let kv: Vec<u32> = facts.layers.iter().map(|layer| layer.kv_heads).collect();
    assert_eq!(kv, [0, 0, 0, 2, 0, 0, 0, 2]);
    assert_eq!(facts.recurrent_layers(), 6);
    assert_eq!(facts.state_values * 4 * 36, 75 * (1 << 20) + 3 * (1 << 17));
    let zero = writer.u32("qwen3next.full_attention_interval", 0);
    assert!(refused(&zero).contains("full_attention_interval is 0"));
}

#[test]
fn zeros_in_the_per_layer_array_mark_the_layers_without_kv() {
    let writer = Writer::model("granitehybrid")
        .i32s("granitehybrid.attention.head_count_kv", &[0, 2])
        .u32("granitehybrid.ssm.state_size", 16);
    let facts = facts_of(&writer).unwrap();
    assert!(facts.layers[0].recurrent && !facts.layers[1].recurrent);
    assert_eq!(facts.layers[1].kv_heads, 2);
    let short = writer.i32s("granitehybrid.attention.head_count_kv", &[2]);
    assert!(refused(&short).contains("1 values, but the model has 2 layers"));
}

#[test]
fn other_files_are_recognized_by_name() {
    for (bytes, word) in [
        (&b""[..], "empty"),
        (b"GGUF", "incomplete"),
        (b"GGUF\0\0\0\x03aaaaaaaaaaaaaaaaaaaa", "big-endian"),
        (b"GGUF\x01\0\0\0aaaaaaaaaaaaaaaaaaaa", "version 1"),
        (b"GGUF\x63\0\0\0aaaaaaaaaaaaaaaaaaaa", "version 99"),
        (b"GGMLxxxxxxxx", "before GGUF"),
        (b"tjggxxxxxxxx", "before GGUF"),
        (b"version https://git-lfs.github.com/spec/v1", "LFS"),
        (b"PK\x03\x04xxxx", "zip"),
        (b"\x10\x20\0\0\0\0\0\0{\"a\":{}}", "safetensors"),
        (b"\x1f\x8bxxxx", "compressed"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "zeros"),
        (b"This is a text file", "not a GGUF file"),
    ] {
        let error = ModelFile::parse(Cursor::new(bytes)).expect_err("a refusal");
        assert!(error.to_string().contains(word), "{error}");
        assert!(matches!(error, ModelFileError::Bad { .. }), "{error:?}");
    }
}

#[test]
fn absurd_counts_are_refused_before_memory_is_taken() {
    let good = Writer::model("qwen3").bytes();
    for (at, word) in [(8, "tensors"), (16, "metadata keys"), (24, "ends within")] {
        let mut bytes = good.clone();
        bytes[at..at + 8].copy_from_slice(&(1_u64 << 62).to_le_bytes());
        let error = ModelFile::parse(Cursor::new(bytes)).expect_err("a refusal").to_string();
        assert!(error.contains(word), "{error}");
    }
    let list = Writer::model("qwen3").array("x", 8, 1 << 60, b"");
    assert!(refused(&list).contains("claims 1152921504606846976 values"));
    let nested = Writer::model("qwen3").array("x", 9, 1, &[0; 32]);
    assert!(refused(&nested).contains("list of lists"));
}

#[test]
fn a_damaged_name_of_many_kilobytes_does_not_fill_the_log() {
    let writer = Writer::model("qwen3").raw(&"k".repeat(60_000), 99, &[]);
    let text = refused(&writer);
    assert!(text.contains("the metadata key kkk") && text.len() < 2100, "{}", text.len());
}

#[test]
fn a_file_cut_short_anywhere_is_refused() {
    let writer = Writer::model("qwen3");
    let bytes = writer.bytes();
    for length in 0..bytes.len() {
        let result = ModelFile::parse(Cursor::new(&bytes[..length]));
        assert!(result.is_err(), "{length} of {} bytes", bytes.len());
    }
    let error = ModelFile::parse(Cursor::new(&bytes[..bytes.len() - 1])).expect_err("truncated");
    assert!(error.to_string().contains("truncated"), "{error}");
}

#[test]
fn models_that_do_not_generate_text_are_refused() {
    for name in ["bert", "t5", "t5encoder", "gemma-embedding", "llada", "eagle3"] {
        assert!(refused(&Writer::model(name)).contains("does not generate text"), "{name}");
    }
    let encoder = Writer::model("qwen2").bool("qwen2.attention.causal", false);
    assert!(refused(&encoder).contains("does not generate text"));
    facts_of(&Writer::model("qwen2").bool("qwen2.attention.causal", true)).unwrap();
}

#[test]
fn what_llama_cpp_would_abort_on_is_refused() {
    let model = || Writer::model("qwen3");
    let tokens = "tokenizer.ggml.tokens";
    for (writer, word) in [
        (model().without("general.architecture"), "general.architecture is missing"),
        (model().text("general.architecture", "nosucharch"), "does not know the architecture"),
        (model().text("general.type", "mmproj"), "projector"),
        (model().text("general.type", "adapter"), "LoRA"),
        (model().without("tokenizer.ggml.model"), "no tokenizer"),
        (model().without(tokens), "no vocabulary"),
        (model().i32s(tokens, &[1, 2]), "list of str"),
        (model().texts(tokens, &["a", "b", "a", "c"]), "\"a\" twice"),
        (model().texts(tokens, &[]), "empty"),
        (model().text("tokenizer.ggml.model", "llama"), "0 of 256 bytes"),
        (model().i32s("tokenizer.ggml.token_type", &[1]), "1 values for 4 tokens"),
        (model().text("tokenizer.ggml.scores", "x"), "type str"),
        (model().without("tokenizer.ggml.merges"), "no merges"),
        (
            model()
                .bool("tokenizer.ggml.add_bos_token", true)
                .u32("tokenizer.ggml.bos_token_id", 9),
            "only 4 tokens",
        ),
        (model().text("tokenizer.ggml.model", "gemma4"), "bos_token_id is missing"),
        (model().without("qwen3.block_count"), "block_count is missing"),
        (model().u32("qwen3.block_count", 0), "block_count is 0"),
        (model().u32("qwen3.block_count", 4000), "1 to 512"),
        (model().text("qwen3.block_count", "2"), "expects u32"),
        (model().u32("qwen3.nextn_predict_layers", 2), "only 2 layers"),
        (model().u32("qwen3.attention.head_count_kv", 3), "not a multiple"),
        (model().u32("qwen3.attention.value_length", 16), "do not go together"),
        (model().u32("qwen3.rope.dimension_count", 16), "do not go together"),
        (model().text("qwen3.rope.scaling.type", "magic"), "`magic`"),
        (model().u32("qwen3.expert_used_count", 4), "0 experts"),
        (model().u32("general.alignment", 24), "power of two"),
        (model().tensor("output_norm.weight", &[4], 0), "twice"),
        (model().tensor("odd", &[33], 8), "multiple of the 32"),
        (model().tensor("t", &[32], 4), "type 4"),
        (model().tensor("t", &[1, 1, 1, 1, 1], 0), "5 dimensions"),
        (model().tensor(&"n".repeat(64), &[32], 0), "64 bytes"),
        (model().tensor("t", &[32], 0).shifted(32), "expected"),
        (model().tensor("t", &[32], 0).shifted(1), "expected"),
    ] {
        let text = refused(&writer);
        assert!(text.contains(word), "{word}: {text}");
    }
    let huge = model().bytes();
    let name = b"output_norm.weight";
    let at = huge.windows(name.len()).position(|window| window == name).unwrap() + name.len() + 4;
    let mut huge = huge;
    huge[at..at + 8].copy_from_slice(&(1_u64 << 62).to_le_bytes());
    let error = ModelFile::parse(Cursor::new(huge)).expect_err("a refusal").to_string();
    assert!(error.contains("truncated") || error.contains("larger"), "{error}");
}

#[test]
fn a_vocabulary_of_152_000_tokens_is_read_in_a_moment() {
    let tokens: Vec<String> = (0..152_000).map(|n| format!("token{n}")).collect();
    let names: Vec<&str> = tokens.iter().map(String::as_str).collect();
    let writer = Writer::model("qwen3")
        .texts("tokenizer.ggml.tokens", &names)
        .texts("tokenizer.ggml.merges", &names)
        .i32s("tokenizer.ggml.token_type", &vec![1; 152_000]);
    let facts = facts_of(&writer).unwrap();
    assert_eq!(facts.n_vocab, 152_000);
}

fn split(directory: &Path, part: u16, count: u16, writer: Writer) -> PathBuf {
    let path = directory.join(format!("m-{:05}-of-{count:05}.gguf", part + 1));
    let writer = writer.u16("split.no", part).u16("split.count", count);
    fs::write(&path, writer.i32("split.tensors.count", 4).bytes()).unwrap();
    path
}

fn split_model(directory: &Path) -> [PathBuf; 3] {
    [
        split(directory, 0, 3, Writer::model("qwen2")),
        split(directory, 1, 3, Writer::empty().tensor("b", &[32], 0)),
        split(directory, 2, 3, Writer::empty().tensor("c", &[32], 0)),
    ]
}

#[test]
fn any_part_of_a_split_model_opens_it_all() {
    let directory = tempfile::tempdir().unwrap();
    let parts = split_model(directory.path());
    for part in &parts {
        let model = ModelFile::open(part).unwrap();
        assert_eq!(model.path, parts[0]);
        assert_eq!(model.parts, parts);
        assert_eq!(model.facts.n_params, 64 * 5 + 64);
    }
}

/// Bytes that this thread has read from files so far.
fn bytes_read() -> u64 {
    let counts = fs::read_to_string("/proc/thread-self/io").unwrap();
    counts.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

/// The vocabulary and its merges are megabytes in the first part, and most of what a plan costs.
#[test]
fn the_vocabulary_of_a_split_model_is_read_once() {
    let directory = tempfile::tempdir().unwrap();
    let merges: Vec<String> = (0..150_000).map(|n| format!("some merge {n}")).collect();
    let merges: Vec<&str> = merges.iter().map(String::as_str).collect();
    let parts = split_model(directory.path());
    split(directory.path(), 0, 3, Writer::model("qwen2").texts("tokenizer.ggml.merges", &merges));
    let header = fs::metadata(&parts[0]).unwrap().len();
    for part in &parts {
        let before = bytes_read();
        ModelFile::open(part).unwrap();
        let read = bytes_read() - before;
        assert!(read < header + header / 4, "{read} bytes were read of a header of {header}");
    }
}

#[test]
fn a_missing_tensor_is_bad_data() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.gguf");
    fs::write(&path, Writer::model("qwen3").bytes()).unwrap();
    let error = ModelFile::open(&path).expect_err("a refusal");
    assert!(matches!(error, ModelFileError::Bad { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("blk.0.attn_norm.weight and 21 more of a qwen3 model"), "{text}");
}

#[test]
fn a_missing_part_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let parts = split_model(directory.path());
    fs::remove_file(&parts[1]).unwrap();
    let error = ModelFile::open(&parts[0]).expect_err("a refusal");
    assert!(
        matches!(error, ModelFileError::MissingParts { missing: 1, parts: 3, .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("m-00002-of-00003.gguf is missing"), "{error}");
}

#[test]
fn parts_that_do_not_belong_together_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let parts = split_model(directory.path());
    fs::copy(&parts[2], &parts[1]).unwrap();
    let error = ModelFile::open(&parts[0]).expect_err("mixed").to_string();
    assert!(error.contains("part 3 of 3, its name says 2 of 3"), "{error}");
    split(directory.path(), 1, 3, Writer::empty().tensor("c", &[32], 0));
    let error = ModelFile::open(&parts[0]).expect_err("twice").to_string();
    assert!(error.contains("tensor c is in another part"), "{error}");
    split(directory.path(), 1, 3, Writer::empty().tensor("b", &[32], 0).tensor("d", &[32], 0));
    let error = ModelFile::open(&parts[0]).expect_err("too many").to_string();
    assert!(error.contains("5 tensors, 4 are expected"), "{error}");
    let renamed = directory.path().join("model.gguf");
    fs::rename(&parts[0], &renamed).unwrap();
    let error = ModelFile::open(&renamed).expect_err("renamed").to_string();
    assert!(error.contains("name the parts"), "{error}");
}

#[test]
fn paths_that_are_no_model_say_what_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let refused = |path: &Path, word: &str| {
        let error = ModelFile::open(path).expect_err("a refusal");
        assert!(error.to_string().contains(word), "{error}");
        error
    };
    assert!(matches!(
        refused(&root.join("no.gguf"), "does not exist"),
        ModelFileError::NotFound { link: None, .. }
    ));
    assert!(matches!(refused(root, "without GGUF files"), ModelFileError::Directory { .. }));
    fs::write(root.join("b.gguf"), b"x").unwrap();
    fs::write(root.join("a.gguf"), b"x").unwrap();
    assert!(matches!(refused(root, "a.gguf, b.gguf"), ModelFileError::Directory { .. }));
    let models = (0..12).map(|n| format!("{n}.gguf")).collect();
    let text = ModelFileError::Directory { path: root.to_owned(), models }.to_string();
    assert!(text.ends_with("8.gguf, 9.gguf and 2 more"), "{text}");
    assert!(matches!(
        refused(&root.join("a.gguf/c.gguf"), "a part of its path is a file"),
        ModelFileError::NotADirectory { .. }
    ));
    std::os::unix::fs::symlink("gone.gguf", root.join("link.gguf")).unwrap();
    assert!(matches!(
        refused(&root.join("link.gguf"), "links to gone.gguf"),
        ModelFileError::NotFound { link: Some(_), .. }
    ));
    assert!(matches!(
        refused(Path::new("/dev/null"), "not a regular file"),
        ModelFileError::NotAFile { .. }
    ));
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = ModelFile::parse(Cursor::new(&bytes));
        let framed = [b"GGUF\x03\0\0\0", &bytes[..]].concat();
        let _ = ModelFile::parse(Cursor::new(framed));
    }

    #[test]
    fn damaged_models_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        value in any::<u64>(),
        at in any::<prop::sample::Index>(),
    ) {
        let mut bytes = Writer::model("qwen3next").bytes();
        let length = bytes.len();
        for (index, byte) in changes {
            bytes[index.index(length)] = byte;
        }
        let start = at.index(length - 8);
        bytes[start..start + 8].copy_from_slice(&value.to_le_bytes());
        let _ = ModelFile::parse(Cursor::new(bytes));
    }
}
