//! Models that embed texts or rank them, beside llama-server's values for the same files.

use std::path::Path;

use futures_util::future::{join_all, poll_immediate};
use serde_json::Value;
use strixhalo::engine::{EmbeddingEngine, EmbeddingError, EmbeddingParams, Pooling};
use strixhalo::model::{EmbeddingShape, ModelFile, ModelFileError, Purpose, embedding_need};

use super::*;

/// llama-server's values (`tools/models/embedding_reference.py`).
const REFERENCE: &str = include_str!("embeddings.json");

/// Most difference of two normalized values.
const TOLERANCE: f32 = 1e-4;

pub(super) fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/models/{name}.gguf"))
}

fn params(name: &str, context: u32) -> EmbeddingParams {
    params_of(&path(name), context)
}

pub(super) fn params_of(path: &Path, context: u32) -> EmbeddingParams {
    let path = path.to_owned();
    let facts = ModelFile::open_for(&path, Purpose::Embed).unwrap().facts;
    let n_gpu_layers = super::params(1, 1).n_gpu_layers;
    let pooling = facts.pooling.expect("a model that embeds");
    let shape = EmbeddingShape::new(&facts, pooling, context, n_gpu_layers.is_some());
    EmbeddingParams {
        shown_path: Some(path.clone()),
        path,
        ftype: "F32".to_owned(),
        n_gpu_layers,
        gpus: None,
        gpu_required: false,
        mmap: false,
        mlock: false,
        shape,
        threads: 1,
        warmup: true,
        queue: 16,
        planned: embedding_need(&facts, &shape),
    }
}

fn load_embedding(params: EmbeddingParams) -> EmbeddingEngine {
    EmbeddingEngine::load(params, |_| true, || {}).expect("the model loads")
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

fn normalized(vector: &[f32]) -> Vec<f32> {
    let length = vector.iter().map(|v| v * v).sum::<f32>().sqrt();
    vector.iter().map(|v| v / length).collect()
}

fn assert_close(ours: &[f32], theirs: &[f32], what: &str) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let off = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(off < TOLERANCE, "{what}: off by {off}");
}

fn reference(name: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(REFERENCE).unwrap();
    all[name].as_array().expect("entries").clone()
}

/// Texts of the reference, their tokens and llama-server's normalized vectors.
fn expected(engine: &EmbeddingEngine, name: &str) -> Vec<(Vec<i32>, Vec<f32>)> {
    let entries = reference(name);
    let of = |entry: &Value| {
        let text =
            entry["text"].as_str().unwrap().repeat(entry["times"].as_u64().unwrap() as usize);
        let tokens = engine.vocabulary().tokenize(&text, true, true);
        assert_eq!(tokens.len() as u64, entry["tokens"].as_u64().unwrap(), "{text}");
        let values = entry["vector"].as_array().unwrap().iter();
        let vector: Vec<f32> = values.map(|value| value.as_f64().unwrap() as f32).collect();
        (tokens, normalized(&vector))
    };
    entries.iter().map(of).collect()
}

/// All texts at once, which takes several batches, and each alone.
fn equals_llama_server(name: &str, context: u32, pooling: Pooling) {
    let engine = load_embedding(params(name, context));
    assert_eq!((engine.pooling(), engine.dimensions()), (pooling, 32));
    let expected = expected(&engine, name);
    assert!(expected.len() >= 10);
    let texts: Vec<_> = expected.iter().map(|(tokens, _)| tokens.clone()).collect();
    let together = run(engine.embed(texts.clone())).unwrap();
    let alone = join_all(texts.into_iter().map(|text| engine.embed(vec![text])));
    let alone = run(alone).into_iter().map(|vectors| vectors.unwrap().remove(0));
    for (index, (vector, alone)) in together.iter().zip(alone).enumerate() {
        let what = format!("{name}, text {index}");
        assert_close(&normalized(vector), &expected[index].1, &what);
        assert_close(&normalized(&alone), &expected[index].1, &format!("{what}, alone"));
    }
    assert_eq!(engine.pending(), 0);
}

#[test]
fn means_of_a_bert_are_llama_servers() {
    equals_llama_server("tiny-bert", 512, Pooling::Mean);
}

#[test]
fn last_vectors_of_a_qwen3_are_llama_servers_also_of_texts_computed_in_parts() {
    equals_llama_server("tiny-qwen3-embedding", 2048, Pooling::Last);
}

#[test]
fn scores_of_a_reranker_are_llama_servers() {
    let engine = load_embedding(params("tiny-reranker", 512));
    assert_eq!((engine.pooling(), engine.dimensions()), (Pooling::Rank, 1));
    let entries = reference("tiny-reranker");
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap().to_owned();
    let pair = |entry: &Value| {
        engine.vocabulary().tokenize_pair(&text(entry, "query"), &text(entry, "document"))
    };
    let scores = run(engine.embed(entries.iter().map(pair).collect())).unwrap();
    assert_eq!(scores.len(), 6);
    for (entry, scores) in entries.iter().zip(scores) {
        let theirs = entry["score"].as_f64().unwrap() as f32;
        assert_close(&scores, &[theirs], &text(entry, "document"));
    }
}

#[test]
fn more_texts_than_a_batch_holds_are_split_and_stay_in_order() {
    let engine = load_embedding(params("tiny-bert", 64));
    let lengths = [3, 64, 1, 30, 40, 2, 64, 63];
    let text = |index: usize| -> Vec<i32> {
        let length = lengths[index % lengths.len()];
        (0..length).map(|i| 5 + ((index * 7 + i * 13) % 300) as i32).collect()
    };
    let texts: Vec<_> = (0..100).map(text).collect();
    let vectors = run(engine.embed(texts.clone())).unwrap();
    assert_eq!(vectors.len(), texts.len());
    for (text, vector) in texts.into_iter().zip(vectors).step_by(9) {
        let alone = run(engine.embed(vec![text])).unwrap().remove(0);
        assert_close(&normalized(&vector), &normalized(&alone), "in a batch");
    }
    assert_eq!(run(engine.embed(Vec::new())), Ok(Vec::new()));
}

#[test]
fn texts_that_cannot_be_computed_are_refused_with_their_numbers() {
    let engine = load_embedding(params("tiny-bert", 512));
    let embed = |texts: Vec<Vec<i32>>| run(engine.embed(texts));
    let too_long = EmbeddingError::TooLong { index: 1, tokens: 513, context: 512 };
    assert_eq!(embed(vec![vec![7; 512], vec![7; 513]]), Err(too_long));
    let text = too_long.to_string();
    assert!(text.contains("513") && text.contains("512"), "{text}");
    assert_eq!(embed(vec![vec![7], vec![]]), Err(EmbeddingError::Empty { index: 1 }));
    for token in [-1, 100_000] {
        let unknown = EmbeddingError::UnknownToken { index: 0, token };
        assert_eq!(embed(vec![vec![7, token]]), Err(unknown));
    }
    assert_eq!(embed(vec![vec![7; 512]]).unwrap().len(), 1);
    // The trained context is the most there is, whatever was asked for.
    assert_eq!(load_embedding(params("tiny-bert", 4096)).context(), 512);
}

#[test]
fn dropped_futures_free_the_engine_and_a_full_queue_refuses() {
    let engine =
        load_embedding(EmbeddingParams { queue: 1, ..params("tiny-qwen3-embedding", 2048) });
    let long = || vec![vec![7; 2048]; 200];
    run(async {
        let (mut first, mut second) =
            (Box::pin(engine.embed(long())), Box::pin(engine.embed(long())));
        assert!(poll_immediate(&mut first).await.is_none());
        assert!(poll_immediate(&mut second).await.is_none());
        assert_eq!(engine.embed(vec![vec![7]]).await, Err(EmbeddingError::Busy));
        drop((first, second));
        let started = Instant::now();
        while engine.pending() > 0 {
            assert!(started.elapsed() < Duration::from_secs(20), "the requests were not dropped");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!(engine.embed(vec![vec![7]]).await.unwrap().len(), 1);
    });
}

#[test]
fn a_short_request_does_not_wait_for_a_long_one() {
    let engine = load_embedding(params("tiny-qwen3-embedding", 2048));
    run(async {
        let mut long = Box::pin(engine.embed(vec![vec![7; 2048]; 60]));
        assert!(poll_immediate(&mut long).await.is_none());
        engine.embed(vec![vec![7]]).await.unwrap();
        assert_eq!(poll_immediate(&mut long).await, None, "the long one was first");
    });
}

#[test]
fn a_drain_lets_requests_finish_until_its_deadline() {
    let engine = load_embedding(params("tiny-bert", 512));
    run(async {
        // Long enough not to be over before the drain begins, on a machine with other work.
        let mut running = Box::pin(engine.embed(vec![vec![7; 512]; 200]));
        assert!(poll_immediate(&mut running).await.is_none());
        engine.drain(Instant::now() + Duration::from_secs(60));
        assert_eq!(engine.embed(vec![vec![7]]).await, Err(EmbeddingError::ShuttingDown));
        assert_eq!(running.await.unwrap().len(), 200);
    });
    engine.join();

    let engine = load_embedding(params("tiny-bert", 512));
    run(async {
        let mut long = Box::pin(engine.embed(vec![vec![7; 512]; 2000]));
        assert!(poll_immediate(&mut long).await.is_none());
        engine.drain(Instant::now());
        assert_eq!(long.await, Err(EmbeddingError::ShuttingDown));
    });
    engine.join();
    assert_eq!(engine.busy_for(), None);
}

#[test]
fn a_chat_model_an_embedding_model_and_a_reranker_serve_in_one_process() {
    let embedding = std::thread::spawn(|| load_embedding(params("tiny-qwen3-embedding", 2048)));
    let reranker = std::thread::spawn(|| load_embedding(params("tiny-reranker", 512)));
    let chat_engine = load(super::params(2, 1024));
    let (embedding, reranker) = (embedding.join().unwrap(), reranker.join().unwrap());
    let before = collect(submit(&chat_engine, chat(&chat_engine, "Count to five"))).text;
    let expected = expected(&embedding, "tiny-qwen3-embedding");
    let stream = submit(&chat_engine, chat(&chat_engine, "Count to five"));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for (tokens, theirs) in &expected {
                    let ours = run(embedding.embed(vec![tokens.clone()])).unwrap().remove(0);
                    assert_close(&normalized(&ours), theirs, "beside a chat");
                    let scores = run(reranker.embed(vec![vec![2, 9, 3, 11, 3]])).unwrap();
                    assert_eq!(scores[0].len(), 1);
                }
            });
        }
        assert_eq!(collect(stream).text, before);
    });
}

#[test]
fn a_model_is_opened_for_what_it_can_do() {
    let error = ModelFile::open(&path("tiny-bert")).unwrap_err();
    assert!(matches!(error, ModelFileError::Bad { .. }), "{error}");
    assert!(error.to_string().contains("`bert`"), "{error}");
    // A decoder that embeds can generate, too.
    assert_eq!(
        ModelFile::open(&path("tiny-qwen3-embedding")).unwrap().facts.pooling,
        Some(Pooling::Last)
    );
    let facts = |name| ModelFile::open_for(&path(name), Purpose::Embed).unwrap().facts;
    let bert = facts("tiny-bert");
    assert!(!bert.is_causal && !bert.has_kv() && !bert.has_classifier);
    let reranker = facts("tiny-reranker");
    assert_eq!((reranker.pooling, reranker.has_classifier), (Some(Pooling::Rank), true));
    assert_eq!(facts("tiny-gemma3").pooling, None);
}
