//! A model that chats, one that embeds and one that ranks, in one process.

use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::harness::Server;

const EMBEDDING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models/tiny-bert.gguf");
const RERANK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models/tiny-reranker.gguf");
const QWEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models/tiny-qwen3-embedding.gguf");

/// llama-server's values for these files.
static REFERENCE: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../engine/embeddings.json")).unwrap());

fn all_three() -> Server {
    Server::start(&["--embedding-model", EMBEDDING, "--rerank-model", RERANK])
}

fn values(vector: &Value) -> Vec<f64> {
    vector.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

fn normalized(vector: &Value) -> Vec<f64> {
    let values = values(vector);
    let length = values.iter().map(|value| value * value).sum::<f64>().sqrt();
    values.iter().map(|value| value / length).collect()
}

fn assert_close(ours: &[f64], theirs: &[f64]) {
    assert_eq!(ours.len(), theirs.len());
    for (a, b) in ours.iter().zip(theirs) {
        assert!((a - b).abs() < 1e-4, "{ours:?}\n{theirs:?}");
    }
}

/// The texts of the reference, and its vectors of length 1.
fn reference(model: &str) -> (Vec<String>, Vec<Vec<f64>>) {
    let entries = REFERENCE[model].as_array().unwrap().iter();
    entries
        .map(|entry| {
            let times = entry["times"].as_u64().unwrap() as usize;
            (entry["text"].as_str().unwrap().repeat(times), normalized(&entry["vector"]))
        })
        .unzip()
}

fn assert_is_reference(server: &Server, model: &str) {
    let (texts, vectors) = reference(model);
    let answer = server.post("/v1/embeddings", json!({"model": model, "input": texts}));
    assert_eq!(answer.status, 200, "{}", answer.json);
    let data = answer.json["data"].as_array().unwrap();
    assert_eq!(data.len(), vectors.len());
    for (embedding, vector) in data.iter().zip(vectors) {
        assert_close(&values(&embedding["embedding"]), &vector);
    }
}

#[test]
fn three_models_answer_side_by_side() {
    let server = all_three();
    std::thread::scope(|scope| {
        let work = [
            scope.spawn(|| (0..3).for_each(|_| assert_is_reference(&server, "tiny-bert"))),
            scope.spawn(|| {
                for _ in 0..3 {
                    let answer = server.chat("Hello", json!({"max_tokens": 16}));
                    assert_eq!(answer.status, 200, "{}", answer.json);
                }
            }),
            scope.spawn(|| {
                for _ in 0..3 {
                    let body = json!({"query": "cat", "documents": ["a cat", "a dog", "rain"]});
                    let answer = server.post("/v1/rerank", body);
                    assert_eq!(answer.status, 200, "{}", answer.json);
                    assert_eq!(answer.json["results"].as_array().unwrap().len(), 3);
                }
            }),
        ];
        for thread in work {
            thread.join().unwrap();
        }
    });
    let models = server.get("/v1/models").json;
    let ids: Vec<&str> =
        models["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert_eq!(&ids[1..], ["tiny-bert", "tiny-reranker"]);
    assert_eq!(server.get("/v1/models/tiny-bert").status, 200);
    assert_eq!(server.get("/api/ps").json["models"].as_array().unwrap().len(), 3);
    assert_eq!(server.get("/api/tags").json["models"].as_array().unwrap().len(), 3);
    assert!(server.terminate().success());
}

#[test]
fn each_form_gives_the_vectors_in_its_own_words() {
    let server = all_three();
    let (texts, vectors) = reference("tiny-bert");
    let (text, vector) = (&texts[0], &vectors[0]);
    let of = |path: &str, body: Value| {
        let answer = server.post(path, body);
        assert_eq!(answer.status, 200, "{path}: {}", answer.json);
        answer.json
    };
    let native = of("/embedding", json!({"content": text}));
    assert_close(&values(&native[0]["embedding"][0]), vector);
    let ollama = of("/api/embed", json!({"model": "tiny-bert:latest", "input": text}));
    assert_close(&values(&ollama["embeddings"][0]), vector);
    assert_eq!(ollama["model"], "tiny-bert:latest");
    assert!(ollama["total_duration"].as_u64().unwrap() > 0);
    let old = of("/api/embeddings", json!({"prompt": text}));
    assert_close(&normalized(&old["embedding"]), vector);
    let long = "a ".repeat(20_000);
    assert_eq!(of("/api/embed", json!({"input": long}))["embeddings"].as_array().unwrap().len(), 1);
    let cut = of("/v1/embeddings", json!({"input": text, "dimensions": 8}));
    assert_close(&values(&cut["data"][0]["embedding"]), &normalized(&json!(vector[..8])));
    let whole = of("/v1/embeddings", json!({"input": text}));
    assert_eq!(whole["usage"]["prompt_tokens"], REFERENCE["tiny-bert"][0]["tokens"]);
    let tei = of("/rerank", json!({"query": "q", "texts": ["a", "b"], "return_text": true}));
    assert!(tei[0]["score"].as_f64().unwrap() >= tei[1]["score"].as_f64().unwrap());
}

#[test]
fn scores_are_llama_servers() {
    let server = all_three();
    let entries = REFERENCE["tiny-reranker"].as_array().unwrap();
    let query = &entries[0]["query"];
    let documents: Vec<&Value> = entries.iter().map(|entry| &entry["document"]).collect();
    let body = json!({"model": "tiny-reranker", "query": query, "documents": documents});
    let answer = server.post("/v1/rerank", body.clone());
    assert_eq!(answer.status, 200, "{}", answer.json);
    let results = answer.json["results"].as_array().unwrap();
    assert_eq!(results.len(), entries.len());
    for result in results {
        let entry = &entries[result["index"].as_u64().unwrap() as usize];
        assert_eq!(&entry["query"], query);
        let score = |value: &Value| vec![value.as_f64().unwrap()];
        assert_close(&score(&result["relevance_score"]), &score(&entry["score"]));
    }
    let scores: Vec<f64> =
        results.iter().map(|result| result["relevance_score"].as_f64().unwrap()).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    let tei = server.post("/rerank", json!({"query": query, "texts": documents}));
    for (ours, result) in tei.json.as_array().unwrap().iter().zip(results) {
        assert_eq!(
            (&ours["index"], &ours["score"]),
            (&result["index"], &result["relevance_score"])
        );
    }
}

#[test]
fn a_decoder_that_embeds_gives_llama_servers_values() {
    let server = Server::start(&["--embedding-model", QWEN]);
    assert_is_reference(&server, "tiny-qwen3-embedding");
    let answer = server.post("/v1/rerank", json!({"query": "q", "documents": ["a"]}));
    assert_eq!(answer.status, 501);
    assert!(answer.json["error"]["message"].as_str().unwrap().contains("rerank_model.path"));
}

#[test]
fn bad_input_is_a_400_that_names_the_field() {
    let server = all_three();
    let chat = server.get("/v1/models").json["data"][0]["id"].as_str().unwrap().to_owned();
    let long = "a ".repeat(20_000);
    for (path, body, param) in [
        ("/v1/embeddings", json!({}), "input"),
        ("/v1/embeddings", json!({"input": ["a", long]}), "input[1]"),
        ("/v1/embeddings", json!({"input": [[1], [999_999]]}), "input[1]"),
        ("/v1/embeddings", json!({"input": [[]]}), "input[0]"),
        ("/v1/embeddings", json!({"input": "a", "dimensions": 4096}), "dimensions"),
        ("/v1/embeddings", json!({"input": "a", "model": chat}), "model"),
        ("/v1/embeddings", json!({"input": "a", "model": "tiny-reranker"}), "model"),
        ("/v1/rerank", json!({"query": "q", "documents": ["a", long]}), "documents[1]"),
        ("/v1/rerank", json!({"query": "q", "documents": ["a"], "model": "tiny-bert"}), "model"),
        ("/v1/chat/completions", json!({"messages": [], "model": "tiny-bert"}), "messages"),
        (
            "/v1/chat/completions",
            json!({"messages": [{"role": "user", "content": "a"}], "model": "tiny-bert"}),
            "model",
        ),
        ("/v1/completions", json!({"prompt": "a", "model": "tiny-reranker"}), "model"),
    ] {
        let answer = server.post(path, body);
        assert_eq!(
            (answer.status, &answer.json["error"]["param"]),
            (400, &json!(param)),
            "{path}: {}",
            answer.json
        );
    }
}
