//! Saved states that are not what they say they are: each must cost time, and no text.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use crate::config::{CacheType, Rope, SamplingSettings};
use crate::engine::cache::{Disk, DiskEvent, Snapshot};
use crate::engine::{
    CacheMiss, CacheParams, CacheSource, ConversationId, DiskParams, Engine, GenerationEvent,
    GenerationRequest, LoadParams, SamplingParams, Token, load,
};

fn disk(directory: &Path) -> DiskParams {
    DiskParams {
        directory: directory.to_owned(),
        key: [3; 32],
        max_bytes: 1 << 30,
        write_bytes_per_hour: 1 << 30,
        min_free_bytes: 0,
    }
}

fn engine(model: &str, cache_type_k: CacheType, directory: &Path) -> Engine {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let params = LoadParams {
        path: root.join("tests/models").join(model),
        shown_path: None,
        ftype: "Q8_0".to_owned(),
        n_gpu_layers: None,
        gpus: None,
        gpu_required: false,
        mmap: false,
        mlock: false,
        n_ctx: 2048,
        slots: 1,
        learned_positions: false,
        has_window: false,
        speculation: true,
        batch: 256,
        ubatch: 64,
        flash_attn: true,
        cache_type_k,
        cache_type_v: CacheType::F16,
        rope: Rope::default(),
        threads: 1,
        threads_batch: 1,
        warmup: true,
        chat_template: None,
        rollback_tokens: 3,
        step_target: Duration::from_millis(100),
        queue: 16,
        stream_buffer_bytes: 1 << 20,
        stream_stall_timeout: Duration::from_secs(30),
        cache: CacheParams {
            memory_bytes: 64 << 20,
            checkpoint_bytes: 64 << 20,
            checkpoint_every: 512,
            disk: Some(disk(directory)),
        },
    };
    load(params, |_| true, || {}).unwrap()
}

fn stop(engine: Engine) {
    engine.drain(Instant::now() + Duration::from_secs(20));
    engine.join();
}

fn words(seed: i32) -> Vec<Token> {
    (0..200).map(|i| 50 + (i * 7919 + seed * 104_729).rem_euclid(400)).collect()
}

struct Answer {
    tokens: Vec<Token>,
    source: Option<CacheSource>,
    miss: Option<CacheMiss>,
}

fn ask(engine: &Engine, prompt: &[Token], cache_prompt: bool) -> Answer {
    let sampling =
        SamplingParams { temperature: 0.0, ..SamplingParams::from(&SamplingSettings::default()) };
    let request = GenerationRequest {
        id: "test".to_owned(),
        prompt: prompt.to_vec(),
        message_starts: Vec::new(),
        borders: vec![prompt.len() - 4],
        conversation: ConversationId::default(),
        max_tokens: Some(8),
        sampling: SamplingParams { ignore_eos: true, ..sampling },
        grammar: None,
        direct_grammar: None,
        thinking: None,
        visible: Arc::default(),
        stop: Vec::new(),
        top_logprobs: None,
        prompt_logprobs: None,
        cache_prompt,
        speculation: true,
        progress: false,
        id_slot: None,
        max_predict_ms: None,
        deadline: None,
    };
    let mut stream = engine.submit(vec![request]).unwrap().pop().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut answer = Answer { tokens: Vec::new(), source: None, miss: None };
        loop {
            match stream.next().await.unwrap() {
                GenerationEvent::Started { source, miss, .. } => {
                    (answer.source, answer.miss) = (source, miss);
                }
                GenerationEvent::Output { tokens, .. } => {
                    answer.tokens.extend(tokens.iter().map(|token| token.id));
                }
                GenerationEvent::Done(_) => return answer,
                GenerationEvent::Failed(error) => panic!("{error}"),
                _ => {}
            }
        }
    })
}

/// What a directory holds.
fn snapshots(directory: &Path) -> Vec<Arc<Snapshot>> {
    let (events, happened) = mpsc::channel();
    let store = Disk::open(&disk(directory), move |event| drop(events.send(event))).unwrap();
    let entries = store.entries();
    entries.iter().for_each(|entry| store.read(entry.id));
    let read = happened.iter().take(entries.len()).map(|event| match event {
        DiskEvent::Read { snapshot, .. } => snapshot.unwrap(),
        other => panic!("{other:?}"),
    });
    read.collect()
}

/// A directory that holds this state, with all checksums right.
fn holding(snapshot: Snapshot) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let store = Disk::open(&disk(directory.path()), |_| ()).unwrap();
    assert!(store.save(Arc::new(snapshot)));
    store.close(Instant::now() + Duration::from_secs(20));
    directory
}

const MODELS: [&str; 2] = ["tiny-qwen3moe.gguf", "tiny-qwen3next.gguf"];

/// The states of two conversations that are as long as each other.
fn two_states(model: &str) -> [Arc<Snapshot>; 2] {
    let directory = tempfile::tempdir().unwrap();
    let writing = engine(model, CacheType::F16, directory.path());
    for seed in [1, 2] {
        ask(&writing, &words(seed), true);
    }
    stop(writing);
    let mut all = snapshots(directory.path());
    assert_eq!(all.len(), 2);
    all.sort_by_key(|snapshot| !snapshot.tokens.starts_with(&words(1)));
    all.try_into().unwrap()
}

/// The next turn of the first conversation computes all of its prompt.
fn is_refused(model: &str, cache_type_k: CacheType, forged: Snapshot) {
    let prompt = [&forged.tokens, &words(5)[..20]].concat();
    let directory = holding(forged);
    let engine = engine(model, cache_type_k, directory.path());
    let answer = ask(&engine, &prompt, true);
    assert_eq!((answer.source, answer.miss), (None, Some(CacheMiss::Rejected)));
    assert_eq!(answer.tokens, ask(&engine, &prompt, false).tokens);
    assert_eq!(engine.counters().cache.rejected.load(Ordering::Relaxed), 1);
    // Its file goes; what the two requests leave takes its place.
    stop(engine);
    for left in snapshots(directory.path()) {
        assert!(left.tokens.starts_with(&prompt));
    }
}

#[test]
fn the_state_of_another_conversation_is_not_gone_on_from() {
    for model in MODELS {
        let [first, second] = two_states(model);
        let genuine = (*first).clone();
        let prompt = [&genuine.tokens, &words(5)[..20]].concat();
        let directory = holding(genuine.clone());
        let reading = engine(model, CacheType::F16, directory.path());
        let answer = ask(&reading, &prompt, true);
        assert_eq!((answer.source, answer.miss), (Some(CacheSource::Disk), None), "{model}");
        stop(reading);

        is_refused(
            model,
            CacheType::F16,
            Snapshot { state: second.state.clone(), ..genuine.clone() },
        );
    }
}

#[test]
fn the_state_of_another_kv_type_or_shape_is_not_gone_on_from() {
    for model in MODELS {
        let [first, _] = two_states(model);
        is_refused(model, CacheType::Q8_0, (*first).clone());
    }
    let [first, _] = two_states(MODELS[0]);
    is_refused(MODELS[1], CacheType::F16, (*first).clone());
}

#[test]
fn a_state_with_a_proof_of_other_logits_is_not_gone_on_from() {
    for model in MODELS {
        let [first, _] = two_states(model);
        let mut forged = (*first).clone();
        forged.proof.top[0].1 += 0.2;
        is_refused(model, CacheType::F16, forged);
        let mut cut = (*first).clone();
        cut.state.truncate(cut.state.len() / 2);
        is_refused(model, CacheType::F16, cut);
    }
}
