//! `/metrics` while requests run, and the documents that name what is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::harness::{Server, chat_body};

const DOCS: &str = include_str!("../../docs/metrics.md");
const EMBEDDING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models/tiny-bert.gguf");
const RERANK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models/tiny-reranker.gguf");
const DASHBOARD: &str = include_str!("../../assets/grafana-dashboard.json");

/// Type, labels and help of a family.
type Family = (String, BTreeSet<String>, String);

/// A server that has done something of everything.
fn used() -> Arc<Server> {
    let server = Server::start(&["--embedding-model", EMBEDDING]);
    assert_eq!(server.post("/v1/embeddings", json!({"input": "Hello!"})).status, 200);
    for stream in [false, true] {
        let fields = json!({"max_tokens": 6, "ignore_eos": true, "stream": stream});
        if stream {
            server.stream("/v1/chat/completions", chat_body("Hello!", fields));
        } else {
            assert_eq!(server.chat("Hello!", fields).status, 200);
        }
    }
    assert_eq!(server.chat("Hello!", json!({"max_tokens": -5})).status, 400);
    assert_eq!(server.get("/nowhere/1").status, 404);
    assert_eq!(server.get("/nowhere/2").status, 404);
    Arc::new(server)
}

fn families(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|l| l.split_once(' ')) {
            current = name.to_owned();
            families.entry(current.clone()).or_default().2 = help.to_owned();
        } else if let Some((_, kind)) = line.strip_prefix("# TYPE ").and_then(|l| l.split_once(' '))
        {
            families.entry(current.clone()).or_default().0 = kind.to_owned();
        } else if let Some((labels, _)) = line.split_once('{').and_then(|(_, l)| l.split_once('}'))
        {
            let names =
                labels.split("\",").filter_map(|pair| Some(pair.split_once('=')?.0.to_owned()));
            let family = families.entry(current.clone()).or_default();
            family.1.extend(names.filter(|name| name != "le"));
        }
    }
    families
}

#[test]
fn a_request_is_counted_once_under_its_route_and_status() {
    let server = used();
    let chat = "route=\"/v1/chat/completions\"";
    let metric = |series: &str| server.metric(series);
    let requests = "strixhalo_http_requests_total";
    assert_eq!(
        metric(&format!("{requests}{{dialect=\"openai\",method=\"POST\",{chat},status=\"200\"}}")),
        2.0
    );
    assert_eq!(
        metric(&format!("{requests}{{dialect=\"openai\",method=\"POST\",{chat},status=\"400\"}}")),
        1.0
    );
    assert_eq!(
        metric(&format!(
            "{requests}{{dialect=\"none\",method=\"GET\",route=\"other\",status=\"404\"}}"
        )),
        2.0
    );
    for (histogram, n) in [
        ("strixhalo_time_to_first_token_seconds", 2.0),
        ("strixhalo_queue_time_seconds", 2.0),
        // 6 tokens have 5 gaps.
        ("strixhalo_inter_token_latency_seconds", 10.0),
    ] {
        assert_eq!(metric(&format!("{histogram}_count{{{chat}}}")), n, "{histogram}");
    }
    let of_200 = format!("dialect=\"openai\",{chat},status=\"200\"");
    assert_eq!(metric(&format!("strixhalo_generated_tokens_sum{{{of_200}}}")), 12.0);
    assert_eq!(metric(&format!("strixhalo_http_request_duration_seconds_count{{{of_200}}}")), 2.0);
    assert_eq!(metric("llamacpp:tokens_predicted_total"), 12.0);
    let read = metric(&format!("strixhalo_prompt_tokens_sum{{{of_200}}}"));
    let cached = metric("strixhalo_prefix_cached_tokens_total");
    assert_eq!(metric("llamacpp:prompt_tokens_total") + cached, read);
    assert!(cached > 0.0);
    assert_eq!(metric("llamacpp:prompt_tokens_cached_total"), cached);
    assert_eq!(
        (metric("strixhalo_prefix_hits_total"), metric("strixhalo_prefix_lookups_total")),
        (1.0, 2.0)
    );
    assert!(metric("strixhalo_kv_cells_used") > 0.0);
    assert_eq!(metric("strixhalo_kv_cells"), 2048.0);
    assert_eq!((metric("strixhalo_slots"), metric("strixhalo_slots_busy")), (4.0, 0.0));
    assert!(metric("strixhalo_model_load_seconds") > 0.0);
    assert_eq!(metric("strixhalo_ready"), 1.0);
    // Only the scrape itself.
    assert_eq!(metric("strixhalo_http_requests_in_flight"), 1.0);
}

#[test]
fn three_models_are_counted_each_for_itself() {
    let server = Server::start(&["--embedding-model", EMBEDDING, "--rerank-model", RERANK]);
    let of = |path: &str, body: Value| {
        let answer = server.post(path, body);
        assert_eq!(answer.status, 200, "{path}: {}", answer.json);
        answer.json
    };
    let embedded = of("/v1/embeddings", json!({"input": ["a b", "c"]}));
    of("/embedding", json!({"content": "a b"}));
    of("/api/embed", json!({"input": "a b"}));
    let ranked = of("/v1/rerank", json!({"query": "q", "documents": ["a", "b", "c"]}));
    let tokens = |answer: &Value| answer["usage"]["prompt_tokens"].as_f64().unwrap();
    let metric = |series: &str| server.metric(series);
    for (dialect, route) in [
        ("openai", "/v1/embeddings"),
        ("llama_server", "/embedding"),
        ("ollama", "/api/embed"),
        ("llama_server", "/v1/rerank"),
    ] {
        let labels =
            format!("dialect=\"{dialect}\",method=\"POST\",route=\"{route}\",status=\"200\"");
        assert_eq!(metric(&format!("strixhalo_http_requests_total{{{labels}}}")), 1.0);
    }
    let read = |dialect: &str, route: &str| {
        let labels = format!("dialect=\"{dialect}\",route=\"{route}\",status=\"200\"");
        metric(&format!("strixhalo_prompt_tokens_sum{{{labels}}}"))
    };
    assert_eq!(read("openai", "/v1/embeddings"), tokens(&embedded));
    assert_eq!(read("llama_server", "/v1/rerank"), tokens(&ranked));
    let by_model = |name: &str, model: &str| {
        metric(&format!("strixhalo_embedding_{name}{{model=\"{model}\"}}"))
    };
    assert_eq!(by_model("texts_total", "tiny-bert"), 4.0);
    assert_eq!(by_model("texts_total", "tiny-reranker"), 3.0);
    assert_eq!(by_model("tokens_total", "tiny-reranker"), tokens(&ranked));
    assert!(by_model("tokens_total", "tiny-bert") > tokens(&embedded));
    for model in ["tiny-bert", "tiny-reranker"] {
        assert!(by_model("seconds_total", model) > 0.0);
        assert_eq!(by_model("requests", model), 0.0);
        let part = format!("{{model=\"{model}\",part=\"weights\"}}");
        assert!(metric(&format!("strixhalo_model_memory_planned_bytes{part}")) > 0.0);
    }
    // What the chat model did is its own, and so are joules for its tokens.
    for series in ["llamacpp:prompt_tokens_total", "llamacpp:prompt_seconds_total"] {
        assert_eq!(metric(series), 0.0, "{series}");
    }
    assert_eq!(metric("strixhalo_ready"), 1.0);
    let text = server.metrics();
    let models = text.lines().filter(|line| line.starts_with("strixhalo_model_info{")).count();
    assert_eq!(models, 3);
}

#[test]
fn tokens_that_come_together_at_first_have_their_gaps_counted() {
    let server = Server::start(&[]);
    let ask = |stop: &str| {
        let more = json!({"stop": [stop], "max_tokens": 8, "ignore_eos": true, "temperature": 0});
        server.post("/v1/chat/completions", chat_body("Hello!", more))
    };
    let text = ask("never").json["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    let gaps = "strixhalo_inter_token_latency_seconds_count{route=\"/v1/chat/completions\"}";
    assert_eq!(server.metric(gaps), 7.0);
    // The beginning of the stop string, which is held back until it turns out not to be it.
    ask(&format!("{}\u{1}", &text[..text.len() - 1]));
    assert_eq!(server.metric(gaps), 14.0);
}

#[test]
fn tokens_count_while_their_request_runs() {
    let server = Server::start(&["--ctx-size", "131072"]);
    let body = chat_body("Hello!", json!({"stream": true, "max_tokens": -1, "ignore_eos": true}))
        .to_string();
    let mut client = TcpStream::connect(server.base.trim_start_matches("http://")).unwrap();
    write!(
        client,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    client.read_exact(&mut [0; 4096]).unwrap();
    let gaps = "strixhalo_inter_token_latency_seconds_count{route=\"/v1/chat/completions\"}";
    assert!(server.metric("llamacpp:tokens_predicted_total") > 0.0);
    assert!(server.metric("llamacpp:predicted_tokens_seconds") > 0.0);
    assert!(server.metric(gaps) > 0.0);
    assert_eq!(server.metric("strixhalo_slots_state{state=\"generating\"}"), 1.0);
    assert_eq!(server.metric("llamacpp:requests_processing"), 1.0);
    assert_eq!(server.metric("strixhalo_http_requests_in_flight"), 2.0);
    let slots = server.get("/slots").json;
    let busy = slots.as_array().unwrap().iter().find(|slot| slot["is_processing"] == true).unwrap();
    assert_eq!(busy["state"], "generating");
    drop(client);
    server.wait_for_busy_slots(0);
    assert_eq!(server.metric("strixhalo_client_disconnects_total"), 1.0);
}

#[test]
fn the_table_of_metrics_is_what_the_server_has() {
    let text = used().metrics();
    let (always, _) = DOCS.split_once("## GPU").expect("the GPU's metrics stand last");
    let documented: BTreeSet<&str> = always.lines().filter(|l| l.starts_with("| `")).collect();
    let code = |name: &String| format!("`{name}`");
    let there: BTreeSet<String> = families(&text)
        .iter()
        .filter(|(name, _)| !name.starts_with("strixhalo_gpu_"))
        .map(|(name, (kind, labels, help))| {
            let labels: Vec<String> = labels.iter().map(code).collect();
            format!("| `{name}` | {kind} | {} | {help} |", labels.join(", "))
        })
        .collect();
    let there: BTreeSet<&str> = there.iter().map(String::as_str).collect();
    let list = |rows: Vec<&&str>| rows.iter().map(|row| format!("{row}\n")).collect::<String>();
    let missing = list(there.difference(&documented).collect());
    let stale = list(documented.difference(&there).collect());
    assert!(missing.is_empty(), "docs/metrics.md lacks\n{missing}");
    assert!(stale.is_empty(), "docs/metrics.md has what is not there\n{stale}");
}

/// Names of metrics in a PromQL expression.
fn names(expression: &str) -> Vec<String> {
    expression
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
        .filter(|word| ["strixhalo_", "llamacpp:", "process_"].iter().any(|p| word.starts_with(p)))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_metric_in_the_dashboard_exists() {
    fn expressions(value: &Value, out: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match value.as_str() {
                        Some(text) if name == "expr" || name == "query" => {
                            out.push(text.to_owned())
                        }
                        _ => expressions(value, out),
                    }
                }
            }
            Value::Array(all) => all.iter().for_each(|value| expressions(value, out)),
            _ => {}
        }
    }
    let text = used().metrics();
    let families = families(&text);
    let (_, gpu) = DOCS.split_once("## GPU").expect("the GPU's metrics stand last");
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let mut all = Vec::new();
    expressions(&dashboard, &mut all);
    assert!(all.len() >= 20, "{all:?}");
    for name in all.iter().flat_map(|expression| names(expression)) {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let there = families.contains_key(&name)
            || base.is_some_and(|base| families.get(base).is_some_and(|f| f.0 == "histogram"))
            // This machine may have no GPU; another test checks these names.
            || gpu.contains(&format!("| `{name}` |"));
        assert!(there, "{name} is in the dashboard, but not in /metrics");
    }
    let shown: BTreeSet<String> = all.iter().flat_map(|expression| names(expression)).collect();
    for row in gpu.lines().filter_map(|line| line.strip_prefix("| `")) {
        let name = row.split('`').next().unwrap();
        assert!(shown.contains(name), "{name} is not in the dashboard");
    }
    assert_eq!(dashboard["templating"]["list"][0]["type"], "datasource");
}
