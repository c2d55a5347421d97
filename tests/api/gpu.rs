//! What needs a GPU: `./dev gpu-check` runs these, and the tests that it names beside them, with
//! `STRIXHALO_TEST_GPU` set to the device that must do the work, such as `Vulkan0`.

use std::io::Read;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::full_precision::full_precision;
use crate::harness::{Server, chat_body, chunks, device_environment, send};

/// Two logits closer than this may change places: a GPU multiplies with 16 bits here and there, which
/// moves log-probabilities of the random models by 0.002 on average and 0.013 at most.
const TIE: f64 = 0.01;

fn device() -> String {
    std::env::var("STRIXHALO_TEST_GPU").expect("STRIXHALO_TEST_GPU names the GPU")
}

/// The tokens of a greedy answer: id, and log-probabilities of the best two.
fn greedy(server: &Server, question: &str) -> Vec<(u64, [f64; 2])> {
    let fields = json!({"logprobs": true, "top_logprobs": 2, "max_tokens": 32});
    let reply = server.chat(question, fields);
    assert_eq!(reply.status, 200, "{}", reply.json);
    let tokens = reply.json["choices"][0]["logprobs"]["content"].as_array().unwrap().clone();
    let best = |token: &Value, rank: usize| token["top_logprobs"][rank]["logprob"].as_f64();
    tokens
        .iter()
        .map(|token| (token["id"].as_u64().unwrap(), [0, 1].map(|rank| best(token, rank).unwrap())))
        .collect()
}

/// The same model on the GPU and on the CPU, with the same kind of cache and of attention.
fn gpu_and_cpu(flags: &[&str]) -> [Server; 2] {
    let same = ["--flash-attn", "on", "--cache-type-k", "f16", "--cache-type-v", "f16"];
    [["--gpu", "required"], ["--gpu", "off"]]
        .map(|gpu| Server::start(&[flags, &same, &gpu].concat()))
}

fn assert_same_texts([gpu, cpu]: [Server; 2]) {
    for question in ["Hello!", "Count to ten.", "What is 9 - 4?", "Say: banana", "Tell me a joke"] {
        let (ours, expected) = (greedy(&gpu, question), greedy(&cpu, question));
        let same = ours.iter().zip(&expected).take_while(|(a, b)| a.0 == b.0).count();
        match (ours.get(same), expected.get(same)) {
            (None, None) => {}
            (_, Some((_, [best, next]))) if best - next < TIE => {}
            _ => panic!("{question}: {ours:?} instead of {expected:?}"),
        }
    }
}

/// A random model: with 32-bit weights the GPU writes what the CPU does. With the 8-bit weights that
/// models have, which of a few tokens is best is open; log-probabilities are close on average.
fn assert_same_model(name: &str) {
    let path = format!("{}/tests/models/{name}", env!("CARGO_MANIFEST_DIR"));
    let file = full_precision(&path);
    assert_same_texts(gpu_and_cpu(&["--model", file.path().to_str().unwrap()]));

    let prompt = "The quick brown fox jumps over the lazy dog. 0123456789";
    let body = json!({"prompt": prompt, "max_tokens": 0, "echo": true, "logprobs": 1});
    let [ours, expected] = gpu_and_cpu(&["--model", &path]).map(|server| {
        let answer = server.post("/v1/completions", body.clone()).json;
        let logprobs = answer["choices"][0]["logprobs"]["token_logprobs"].as_array().cloned();
        logprobs.unwrap().iter().filter_map(Value::as_f64).collect::<Vec<_>>()
    });
    assert!(ours.len() == expected.len() && ours.len() > 20, "{ours:?}, not {expected:?}");
    let apart: f64 = ours.iter().zip(&expected).map(|(a, b)| (a - b).abs()).sum();
    assert!(apart / (ours.len() as f64) < 0.2, "{ours:?}, not {expected:?}");
}

#[test]
#[ignore = "needs a GPU: ./dev gpu-check"]
fn the_log_names_the_device_and_every_layer_is_offloaded_to_it() {
    let server = Server::start(&["--log-level", "debug"]);
    let device = device();
    server.logged(|line| line.contains(&format!("using device {device} ")));
    // The built-in model has five layers, and its output counts as one.
    server.logged(|line| line.contains("offloaded 6/6 layers to GPU"));
    server.logged(|line| line.contains(&format!("{device} KV buffer size")));
}

#[test]
#[ignore = "needs a GPU: ./dev gpu-check"]
fn the_built_in_model_writes_what_it_writes_on_the_cpu() {
    assert_same_texts(gpu_and_cpu(&[]));
}

#[test]
#[ignore = "needs a GPU: ./dev gpu-check"]
fn a_mixture_of_experts_computes_what_it_computes_on_the_cpu() {
    assert_same_model("tiny-qwen3moe.gguf");
}

#[test]
#[ignore = "needs a GPU: ./dev gpu-check"]
fn a_hybrid_model_computes_what_it_computes_on_the_cpu() {
    assert_same_model("tiny-qwen3next.gguf");
}

#[test]
#[ignore = "needs a GPU: ./dev gpu-check"]
fn two_slots_at_once_stream_what_each_writes_alone_and_one_can_be_cancelled() {
    let server = Server::start(&["--ctx-size", "8192", "--parallel", "2"]);
    let texts = |question: &str| -> String {
        let body = chat_body(question, json!({"stream": true}));
        let chunks = chunks(server.stream("/v1/chat/completions", body));
        let content =
            |chunk: &Value| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned);
        chunks.iter().filter_map(content).collect()
    };
    let questions = ["Hello!", "Count to five."];
    let alone = questions.map(texts);
    assert!(alone.iter().all(|text| !text.is_empty()), "{alone:?}");
    let together = std::thread::scope(|scope| {
        questions.map(|q| scope.spawn(|| texts(q))).map(|thread| thread.join().unwrap())
    });
    assert_eq!(together, alone);

    let endless = json!({"stream": true, "max_tokens": -1, "ignore_eos": true});
    let mut leaving = send(&server, chat_body("Hello!", endless));
    server.wait_for_busy_slots(1);
    leaving.read_exact(&mut [0; 64]).unwrap();
    drop(leaving);
    server.wait_for_busy_slots(0);
    assert_eq!(texts(questions[1]), alone[1]);
}

#[test]
#[ignore = "needs a GPU: ./dev gpu-check"]
fn a_required_gpu_is_named_with_its_layers_by_health_props_and_log() {
    let server = Server::start(&["--gpu", "required"]);
    let device = device();
    let backend = device.trim_end_matches(|c: char| c.is_ascii_digit());
    let health = server.get("/health").json;
    let expected = json!({
        "status": "ok", "backend": backend, "device": device, "gpu_layers": 6, "layers": 6,
    });
    assert_eq!(health, expected);
    let props = server.get("/props").json;
    assert_eq!(props["compute"]["devices"][0]["name"], json!(device));
    server.logged(|line| line.contains(&format!("6 of 6 layers on {device}")));
    assert_eq!(
        server.metric("strixhalo_model_layers{model=\"strixhalo-demo\",place=\"gpu\"}"),
        6.0
    );

    let memory = &props["memory"];
    let buffers = memory["allocated"]["buffers"].as_array().unwrap();
    let on_gpu = |part: &str| -> f64 {
        let of = |buffer: &&Value| buffer["memory"] == json!(device) && buffer["part"] == part;
        buffers.iter().filter(of).filter_map(|buffer| buffer["bytes"].as_f64()).sum()
    };
    let planned = |part: &str| memory["planned"][part].as_f64().unwrap();
    assert!((on_gpu("kv") - planned("kv")).abs() < 11_000.0, "{memory}");
    assert!(on_gpu("weights") > 0.5 * planned("weights"), "{memory}");
    // A driver on a CPU passes for a GPU with a memory of its own.
    let account = &memory["budget"]["account"];
    assert!(*account == json!("shared") || *account == json!("gpu"), "{memory}");
}

#[test]
#[ignore = "needs a GPU: ./dev gpu-check"]
fn a_device_is_chosen_by_name_and_none_is_the_cpu() {
    let device = device();
    let chosen = Server::start(&["--device", &device]);
    assert_eq!(chosen.get("/health").json["device"], json!(device));
    drop(chosen);
    let cpu = Server::start(&["--gpu", "auto", "--device", "none"]);
    let health = cpu.get("/health").json;
    assert_eq!((&health["backend"], &health["gpu_layers"]), (&json!("CPU"), &json!(0)), "{health}");
    drop(cpu);
    let (code, log) = serve(&["--device", "Nonesuch0"], &[]);
    assert_eq!(code, Some(69), "{log}");
    assert!(log.contains(&format!("there are: {device}")), "{log}");
}

#[test]
#[ignore = "needs a GPU: ./dev gpu-check"]
fn a_context_that_cannot_fit_the_gpu_is_refused_before_the_load() {
    let (code, log) = serve(&["--gpu", "required", "--ctx-size", "2000000000"], &[]);
    assert_eq!(code, Some(70), "{log}");
    for part in ["tokens of context need", "are free (", "set context.ctx_size to at most"] {
        assert!(log.contains(part), "{part}: {log}");
    }
}

#[test]
#[ignore = "needs a GPU: ./dev gpu-check"]
fn a_required_gpu_that_is_not_there_ends_the_server_with_69() {
    for more in [&["--gpu", "required"][..], &["--device", &device()]] {
        let (code, log) = serve(more, &HIDDEN);
        assert_eq!(code, Some(69), "{log}");
        let cause = if more[0] == "--gpu" { "no GPU can be used" } else { "there is no GPU" };
        assert!(log.contains(cause), "{log}");
    }
}

/// Variables that hide all GPUs.
const HIDDEN: [(&str, &str); 4] = [
    ("VK_ICD_FILENAMES", "/nonexistent"),
    ("VK_DRIVER_FILES", "/nonexistent"),
    ("CUDA_VISIBLE_DEVICES", "-1"),
    ("HIP_VISIBLE_DEVICES", "-1"),
];

/// Exit code and log of a server that does not start.
fn serve(arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_strixhalo"))
        .args(["serve", "--port", "0"])
        .args(arguments)
        .env_clear()
        .envs(device_environment())
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}
