//! Models that embed and rank beside the one that chats: what is refused, and what a plan says.

use serde_json::{Value, json};

use crate::binary::{refused, run};

fn file(name: &str) -> String {
    format!("{}/tests/models/{name}.gguf", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_missing_or_wrong_file_ends_the_start_with_the_code_of_its_kind_and_names_the_setting() {
    let directory = tempfile::tempdir().unwrap();
    let broken = directory.path().join("broken.gguf");
    std::fs::write(&broken, "no model").unwrap();
    let broken = broken.to_str().unwrap();
    let [chat, bert, qwen, reranker] =
        ["tiny-qwen3moe", "tiny-bert", "tiny-qwen3-embedding", "tiny-reranker"].map(file);
    for (code, flag, model, words) in [
        (66, "--embedding-model", "/nowhere/bge.gguf", ["embedding_model.path", "/nowhere/bge"]),
        (66, "--rerank-model", "/nowhere/bge.gguf", ["rerank_model.path", "/nowhere/bge"]),
        (65, "--embedding-model", broken, ["embedding_model.path", "broken.gguf"]),
        (65, "--rerank-model", broken, ["rerank_model.path", "broken.gguf"]),
        (65, "--embedding-model", &chat, ["embedding_model.path", "embedding_model.pooling"]),
        (65, "--embedding-model", &reranker, ["is a reranker", "--rerank-model"]),
        (65, "--rerank-model", &chat, ["rerank_model.path", "no classifier"]),
        (65, "--rerank-model", &bert, ["no classifier", "--embedding-model"]),
        (65, "--model", &bert, ["model.path", "--embedding-model"]),
        (65, "--model", &qwen, ["model.path", "--embedding-model"]),
        (65, "--model", &reranker, ["model.path", "--rerank-model"]),
    ] {
        let serve = ["serve", flag, model, "--port", "0", "--log-level", "off"];
        for command in [&serve[..], &["plan", flag, model]] {
            let line = refused(code, command, &[]);
            assert!(words.iter().all(|word| line.contains(word)), "{command:?}: {line}");
        }
    }
    let twice = ["--embedding-model", &bert, "--rerank-model", &reranker];
    let same =
        [&["serve", "--rerank-alias", "tiny-bert", "--log-level", "off"], &twice[..]].concat();
    let line = refused(78, &same, &[]);
    assert!(line.contains("rerank_model.alias"), "{line}");
}

#[test]
fn a_plan_has_all_three_models_and_what_they_leave() {
    let (bert, reranker) = (file("tiny-bert"), file("tiny-reranker"));
    let alone = ["plan", "--gpu", "off", "--memory", "1"];
    let three = [&alone[..], &["--embedding-model", &bert, "--rerank-model", &reranker]].concat();
    let as_json = |arguments: &[&str]| -> Value {
        let run = run(&[arguments, &["--json"]].concat(), &[]);
        assert_eq!(run.code, 0, "{run:?}");
        serde_json::from_str(&run.stdout).unwrap()
    };
    let (without, shown) = (as_json(&alone), as_json(&three));
    assert_eq!(without["embedding_model"], Value::Null);
    let mut taken = 0;
    for (section, name, pooling) in
        [("embedding_model", "tiny-bert", "mean"), ("rerank_model", "tiny-reranker", "rank")]
    {
        let model = &shown[section];
        assert_eq!((&model["model"], &model["pooling"]), (&json!(name), &json!(pooling)));
        let parts = model["need"].as_object().unwrap().values();
        let sum: u64 = parts.filter_map(Value::as_u64).sum();
        assert_eq!(model["total"], sum);
        taken += sum;
    }
    assert_eq!(without["free"], 1 << 30);
    assert_eq!(shown["free"], (1 << 30) - taken);
    assert_eq!(shown["fits"], true);
    let text = run(&three, &[]).stdout;
    for part in ["embedding_model tiny-bert: bert", "rerank_model tiny-reranker: ", "without them"]
    {
        assert!(text.contains(part), "{text}");
    }
}
