//! What is computed once: histories in seats and in memory, shared beginnings, checkpoints.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use super::*;

fn load_file(name: &str, slots: u32) -> Engine {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name);
    let has_window = name.contains("gemma");
    load(LoadParams { path, has_window, ..params(slots, slots * 2048) })
}

fn dense(slots: u32) -> Engine {
    load_file("tests/models/tiny-qwen3moe.gguf", slots)
}

fn hybrid(slots: u32) -> Engine {
    load_file("tests/models/tiny-qwen3next.gguf", slots)
}

/// Tokens that look like text of their own.
fn words(seed: i32, n: usize) -> Vec<i32> {
    (0..n as i32).map(|i| 50 + (i * 7919 + seed * 104_729).rem_euclid(400)).collect()
}

fn after(beginning: &[i32], more: &[i32]) -> Vec<i32> {
    [beginning, more].concat()
}

/// A request of `messages`, each of which begins at a border, with an opening of four tokens.
fn conversation(engine: &Engine, messages: &[Vec<i32>]) -> GenerationRequest {
    let mut borders = Vec::new();
    let mut prompt = Vec::new();
    for message in messages {
        borders.push(prompt.len());
        prompt.extend(message);
    }
    borders.push(prompt.len());
    prompt.extend([60, 61, 62, 63]);
    let mut request = completion(engine, &prompt);
    request.max_tokens = Some(12);
    request.sampling.ignore_eos = true;
    request.top_logprobs = Some(2);
    GenerationRequest { borders, ..request }
}

fn answered(engine: &Engine, request: &GenerationRequest) -> Answer {
    collect(submit(engine, request.clone()))
}

/// Checks that an answer is what a cold start gives. Where they part, the two best tokens must
/// have been as good as equal: an answer's tokens are computed one by one, a prompt's together, and
/// their kernels round differently.
fn assert_cold(engine: &Engine, warm: &Answer, request: &GenerationRequest) {
    const TIE: f32 = 0.01;
    let cold =
        collect(submit(engine, GenerationRequest { cache_prompt: false, ..request.clone() }));
    let parts = |(warm, cold): (&OutputToken, &OutputToken)| warm.id != cold.id;
    if let Some(at) = warm.tokens.iter().zip(&cold.tokens).position(parts) {
        let top = &cold.tokens[at].logprobs.as_ref().expect("asked for").top;
        let gap = top[0].1 - top[1].1;
        assert!(gap < TIE, "token {at}: {} and {}, gap {gap}", warm.text, cold.text);
    }
}

fn computed(engine: &Engine) -> u64 {
    engine.counters().prompt_tokens.load(Ordering::Relaxed)
}

#[test]
fn a_recurrent_state_goes_on_from_the_border_before_the_change() {
    let models = ["tiny-qwen3next.gguf", "tiny-qwen35.gguf", "tiny-lfm2.gguf", "tiny-mamba.gguf"];
    for engine in models.into_iter().flat_map(load_random) {
        let (system, user) = (words(1, 100), words(2, 300));
        let first = conversation(&engine, &[system.clone(), user.clone()]);
        answered(&engine, &first);
        let again = answered(&engine, &first);
        assert_eq!(again.cached, 400, "all but the opening of the answer");
        assert_eq!(again.miss, None);
        let edited = conversation(&engine, &[system.clone(), words(3, 300)]);
        let other = answered(&engine, &edited);
        assert_eq!((other.cached, other.miss), (100, Some(CacheMiss::Changed)));
        assert_cold(&engine, &other, &edited);
        // An agent loop whose assistant turns are not what was generated.
        let mut messages = vec![system, user];
        for turn in 0..6 {
            let request = conversation(&engine, &messages);
            let answer = answered(&engine, &request);
            assert_cold(&engine, &answer, &request);
            if turn > 0 {
                // What was held up to the opening of the answer before.
                let held = request.prompt.len() - 4 - 90;
                assert!(answer.cached as usize >= held, "turn {turn}: {}", answer.cached);
            }
            messages.extend([words(10 + turn, 40), words(20 + turn, 50)]);
        }
    }
}

#[test]
fn more_conversations_than_seats_lose_nothing() {
    for engine in [dense(2), hybrid(2)] {
        let mut all: Vec<Vec<Vec<i32>>> = (0..5).map(|i| vec![words(i, 300)]).collect();
        for round in 0..3 {
            for (i, messages) in all.iter_mut().enumerate() {
                let request = conversation(&engine, messages);
                let answer = answered(&engine, &request);
                if round > 0 {
                    // The last token of an answer is not computed.
                    let held = request.prompt.len() - 25;
                    assert!(answer.cached as usize >= held, "{round} {i}: {}", answer.cached);
                    assert_eq!(answer.source, Some(CacheSource::Memory), "{round} {i}");
                }
                let ids: Vec<i32> = answer.tokens.iter().map(|t| t.id).collect();
                let last = messages.last_mut().unwrap();
                last.extend([60, 61, 62, 63]);
                messages.push(after(&ids, &words(40 + round, 20)));
            }
        }
        // Each answer is what a cold start gives.
        for messages in &all {
            let request = conversation(&engine, messages);
            assert_cold(&engine, &answered(&engine, &request), &request);
        }
        assert_eq!(engine.counters().cache.rejected.load(Ordering::Relaxed), 0);
    }
}

#[test]
fn a_beginning_is_shared_with_idle_and_running_sequences() {
    for engine in [dense(3), hybrid(3)] {
        let system = words(1, 300);
        let request = |seed| conversation(&engine, &[system.clone(), words(seed, 40)]);
        answered(&engine, &request(2));
        let second = answered(&engine, &request(3));
        assert_eq!((second.cached, second.source), (300, Some(CacheSource::Sequence)));
        let mut endless = request(4);
        endless.max_tokens = Some(1500);
        let stream = submit(&engine, endless);
        wait_until("it runs", || engine.slots().iter().any(|s| s.generating && s.processing));
        let beside = answered(&engine, &request(5));
        assert_eq!(beside.cached, 300);
        drop(stream);
        wait_until("all are idle", || engine.slots().iter().all(|s| !s.processing));
        assert_cold(&engine, &answered(&engine, &request(5)), &request(5));
    }
}

#[test]
fn requests_that_arrive_together_compute_their_common_beginning_once() {
    for engine in [dense(8), hybrid(8)] {
        let system = words(1, 1000);
        let requests: Vec<_> =
            (0..8).map(|i| conversation(&engine, &[system.clone(), words(10 + i, 30)])).collect();
        let streams: Vec<_> = engine.submit(requests.clone()).expect("taken");
        let answers: Vec<_> = streams.into_iter().map(collect).collect();
        let once = 1000 + 8 * 34;
        assert!(computed(&engine) < once + 8 * 64, "{} tokens", computed(&engine));
        for (answer, request) in answers.iter().zip(&requests) {
            assert_cold(&engine, answer, request);
        }
    }
}

#[test]
fn a_stream_moves_up_when_the_one_beside_it_ends() {
    let engine = dense(4);
    let endless = |seed| {
        let mut request = conversation(&engine, &[words(seed, 30)]);
        request.max_tokens = Some(1800);
        submit(&engine, request)
    };
    let running = || -> Vec<u32> {
        engine.slots().iter().filter(|s| s.processing && s.generating).map(|s| s.id).collect()
    };
    let mut streams: Vec<_> = (0..3)
        .map(|seed| {
            let stream = endless(seed);
            wait_until("it runs", || running().len() == seed as usize + 1);
            stream
        })
        .collect();
    let middle = streams.remove(1);
    drop(middle);
    wait_until("two sit side by side", || matches!(running()[..], [a, b] if a + 1 == b));
    let answers: Vec<Answer> = streams.into_iter().map(collect).collect();
    for (seed, warm) in [0, 2].into_iter().zip(answers) {
        let mut request = conversation(&engine, &[words(seed, 30)]);
        request.max_tokens = Some(1800);
        assert_cold(&engine, &warm, &request);
    }
}

#[test]
fn keys_that_are_kept_apart_share_nothing() {
    let engine = dense(2);
    let mut request = conversation(&engine, &[words(1, 200)]);
    request.conversation.owner = 1;
    answered(&engine, &request);
    request.conversation.owner = 2;
    let other = answered(&engine, &request);
    assert_eq!((other.cached, other.miss), (0, Some(CacheMiss::New)));
    assert!(answered(&engine, &request).cached > 0);
}

#[test]
fn a_sub_agent_leaves_its_parent_what_it_has() {
    for engine in [dense(2), hybrid(2)] {
        let named = |messages: &[Vec<i32>], id, parent| {
            let mut request = conversation(&engine, messages);
            request.conversation = ConversationId { id, named: true, parent, owner: 0 };
            request
        };
        let system = words(1, 300);
        let parent = vec![system.clone(), words(2, 800)];
        answered(&engine, &named(&parent, 7, 0));
        for agent in 0..3 {
            let task = [system.clone(), words(30 + agent, 100)];
            assert!(answered(&engine, &named(&task, 100 + agent as u64, 7)).cached >= 300);
        }
        let more = after(&parent[1], &words(5, 20));
        let next = named(&[system, more], 7, 0);
        let before = computed(&engine);
        answered(&engine, &next);
        let tail = computed(&engine) - before;
        assert!(tail <= 20 + 4 + 4, "{tail} tokens were computed");
    }
}

/// The same engine with a directory to keep histories in.
fn with_disk(name: &str, directory: &std::path::Path) -> Engine {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name);
    let disk = DiskParams {
        directory: directory.to_owned(),
        key: [7; 32],
        max_bytes: 1 << 30,
        write_bytes_per_hour: 1 << 30,
        min_free_bytes: 0,
    };
    let params = LoadParams { path, ..params(2, 4096) };
    load(LoadParams { cache: CacheParams { disk: Some(disk), ..params.cache.clone() }, ..params })
}

fn stop(engine: Engine) {
    engine.drain(Instant::now() + Duration::from_secs(20));
    engine.join();
}

#[test]
fn a_conversation_goes_on_after_a_restart() {
    for (name, is_recurrent) in [
        ("tests/models/tiny-qwen3moe.gguf", false),
        ("tests/models/tiny-qwen3next.gguf", true),
        ("tests/models/tiny-mamba.gguf", true),
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        let engine = with_disk(name, directory.path());
        // So long that reading a file is quicker than computing on a busy machine, too.
        let length = 1500;
        let all: Vec<Vec<Vec<i32>>> = (0..4).map(|i| vec![words(i, length)]).collect();
        for messages in &all {
            answered(&engine, &conversation(&engine, messages));
        }
        stop(engine);
        let engine = with_disk(name, directory.path());
        for messages in &all {
            let more = after(&messages[0], &words(9, 20));
            let request = conversation(&engine, &[more]);
            let answer = answered(&engine, &request);
            let borders_at = length as u32 - u32::from(is_recurrent);
            assert_eq!(answer.source, Some(CacheSource::Disk), "{name}");
            assert!(answer.cached >= borders_at, "{name}: {}", answer.cached);
            assert_cold(&engine, &answer, &request);
        }
        let counters = &engine.counters().cache;
        assert_eq!(counters.hits_disk.load(Ordering::Relaxed), 4);
        assert_eq!(counters.rejected.load(Ordering::Relaxed), 0);
        stop(engine);
    }
}

#[test]
fn an_idle_engine_writes_what_a_crash_would_lose() {
    let directory = tempfile::tempdir().expect("a directory");
    let engine = with_disk("tests/models/tiny-qwen3next.gguf", directory.path());
    answered(&engine, &conversation(&engine, &[words(1, 200)]));
    let written = || engine.counters().cache.files_written.load(Ordering::Relaxed);
    wait_until("it is on disk", || written() == 1);
    stop(engine);
}

#[test]
fn layers_that_see_a_window_are_gone_back_on_exactly() {
    let engine = load_file("tests/models/tiny-gemma3.gguf", 2);
    let all: Vec<Vec<i32>> = (0..4).map(|i| words(i, 500)).collect();
    for user in &all {
        answered(&engine, &conversation(&engine, &[words(9, 300), user.clone()]));
    }
    // Retried, edited, and shared, from seats and from memory.
    for user in &all {
        let request = conversation(&engine, &[words(9, 300), user.clone()]);
        let again = answered(&engine, &request);
        assert!(again.cached >= 800, "{}", again.cached);
        assert_cold(&engine, &again, &request);
        let edited = conversation(&engine, &[words(9, 300), words(20, 90)]);
        let other = answered(&engine, &edited);
        assert!(other.cached >= 300, "{}", other.cached);
        assert_cold(&engine, &other, &edited);
    }
}
