//! The engine itself, on the built-in model: what the HTTP tests cannot time precisely.

#![cfg(feature = "engine")]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // a failed expectation is a failed test

#[path = "engine/cache.rs"]
mod cache;
#[path = "engine/embed.rs"]
mod embed;
#[path = "engine/grammar.rs"]
mod grammar;
#[allow(dead_code)] // the tests of commands use the rest
#[path = "engine/headers.rs"]
mod headers;
#[path = "engine/memory.rs"]
mod memory;
#[path = "engine/placement.rs"]
mod placement;
#[path = "engine/rope.rs"]
mod rope;
#[path = "engine/source.rs"]
mod source;
#[path = "engine/speculation.rs"]
mod speculation;
#[path = "engine/tokens.rs"]
mod tokens;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use strixhalo::config::{CacheType, Rope, SamplerKind, SamplingSettings};
use strixhalo::engine::{
    CacheMiss, CacheParams, CacheSource, ConversationId, DiskParams, Engine, FinishReason,
    GenerationError, GenerationEvent, GenerationRequest, GenerationStream, LoadParams, OutputToken,
    SamplingParams, SubmitError, Summary,
};

fn params(slots: u32, n_ctx: u32) -> LoadParams {
    LoadParams {
        path: PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/tiny-chat-q8_0.gguf")),
        shown_path: None,
        ftype: "Q8_0".to_owned(),
        // `./dev gpu-check` runs some of these tests on a GPU.
        n_gpu_layers: std::env::var_os("STRIXHALO_TEST_GPU").map(|_| 999),
        gpus: None,
        gpu_required: false,
        mmap: false,
        mlock: false,
        n_ctx,
        slots,
        learned_positions: false,
        has_window: false,
        speculation: true,
        batch: 256,
        ubatch: 64,
        flash_attn: true,
        cache_type_k: CacheType::F16,
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
            memory_bytes: 256 << 20,
            checkpoint_bytes: 64 << 20,
            checkpoint_every: 512,
            disk: None,
        },
    }
}

fn load(params: LoadParams) -> Engine {
    strixhalo::engine::load(params, |_| true, || {}).expect("the model loads")
}

/// As a CPU computes larger models.
fn without_flash_attention(params: LoadParams) -> LoadParams {
    LoadParams { flash_attn: false, batch: 2048, ubatch: 512, ..params }
}

/// A tiny random model of one of the architectures that the appliance runs, with flash attention
/// and without.
fn load_random(name: &str) -> [Engine; 2] {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let params = || LoadParams { path: root.join("tests/models").join(name), ..params(4, 4096) };
    [load(params()), load(without_flash_attention(params()))]
}

fn chat(engine: &Engine, text: &str) -> GenerationRequest {
    let prompt = format!("<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n");
    request(engine, &prompt)
}

fn request(engine: &Engine, prompt: &str) -> GenerationRequest {
    let sampling =
        SamplingParams { temperature: 0.0, ..SamplingParams::from(&SamplingSettings::default()) };
    GenerationRequest {
        id: "test".to_owned(),
        prompt: engine.vocabulary().tokenize(prompt, true, true),
        message_starts: vec![0],
        borders: Vec::new(),
        conversation: ConversationId::default(),
        max_tokens: Some(40),
        sampling,
        grammar: None,
        direct_grammar: None,
        thinking: None,
        visible: Arc::default(),
        stop: Vec::new(),
        top_logprobs: None,
        prompt_logprobs: None,
        cache_prompt: true,
        speculation: true,
        progress: false,
        id_slot: None,
        max_predict_ms: None,
        deadline: None,
    }
}

struct Answer {
    text: String,
    tokens: Vec<OutputToken>,
    slot: u32,
    cached: u32,
    source: Option<CacheSource>,
    miss: Option<CacheMiss>,
    prompt_logprobs: usize,
    end: Summary,
}

fn submit(engine: &Engine, request: GenerationRequest) -> GenerationStream {
    engine.submit(vec![request]).expect("taken").pop().expect("one stream")
}

fn collect(mut stream: GenerationStream) -> Answer {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
    runtime.block_on(async move {
        let (mut text, mut tokens, mut prompt_logprobs) = (String::new(), Vec::new(), 0);
        let (mut slot, mut cached) = (0, 0);
        let (mut source, mut miss) = (None, None);
        loop {
            match stream.next().await.expect("an end") {
                GenerationEvent::Started { slot: s, cached_tokens, source: from, miss: why } => {
                    (slot, cached, source, miss) = (s, cached_tokens, from, why);
                }
                GenerationEvent::Output { text: t, tokens: n, .. } => {
                    text += &t;
                    tokens.extend(n);
                }
                GenerationEvent::PromptLogprobs(all) => prompt_logprobs = all.len(),
                GenerationEvent::Done(end) => {
                    return Answer {
                        text,
                        tokens,
                        slot,
                        cached,
                        source,
                        miss,
                        prompt_logprobs,
                        end,
                    };
                }
                GenerationEvent::Failed(error) => panic!("{error}"),
                _ => {}
            }
        }
    })
}

fn ask(engine: &Engine, text: &str) -> Answer {
    collect(submit(engine, chat(engine, text)))
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_freed_slot_takes_the_next_request_at_once() {
    let engine = load(params(1, 1024));
    let requests: Vec<_> = (0..100)
        .map(|_| GenerationRequest { max_tokens: Some(1), ..request(&engine, "a") })
        .collect();
    let start = Instant::now();
    for stream in engine.submit(requests).expect("taken") {
        collect(stream);
    }
    // A hundred steps of a millisecond; a pause of 20 ms after each would take two seconds.
    assert!(start.elapsed() < Duration::from_millis(1500), "{:?}", start.elapsed());
}

#[test]
fn a_question_is_answered_the_same_alone_and_among_others() {
    let engine = load(params(4, 4096));
    let alone = ask(&engine, "Hello!");
    assert!(!alone.text.is_empty());
    assert_eq!(alone.end.finish, FinishReason::EndOfGeneration);
    let others: Vec<_> = ["Count to ten.", "What is 2 + 3?", "Say: cat", "Hi", "Count to 20."]
        .map(|text| submit(&engine, chat(&engine, text)))
        .into_iter()
        .collect();
    let among = ask(&engine, "Hello!");
    assert_eq!(alone.text, among.text);
    others.into_iter().for_each(|s| {
        collect(s);
    });
}

#[test]
fn a_conversation_is_continued_from_its_slot_and_a_new_one_takes_an_empty_slot() {
    let engine = load(params(3, 3072));
    let first = ask(&engine, "Hello!");
    let other = ask(&engine, "Count to five.");
    assert_ne!(first.slot, other.slot);
    let history = format!(
        "<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\n{}<|im_end|>\n<|im_start|>user\nHow are you?<|im_end|>\n<|im_start|>assistant\n",
        first.text
    );
    let second = collect(submit(&engine, request(&engine, &history)));
    assert_eq!(second.slot, first.slot);
    assert!(second.cached > 8, "{} tokens were reused", second.cached);
    let cold = GenerationRequest { cache_prompt: false, ..request(&engine, &history) };
    assert_eq!(collect(submit(&engine, cold)).text, second.text);
}

/// For exactly these tokens.
fn completion(engine: &Engine, prompt: &[i32]) -> GenerationRequest {
    let (prompt, message_starts, max_tokens) = (prompt.to_vec(), Vec::new(), Some(24));
    // As the API has it for prompts that are no conversations.
    let borders = vec![prompt.len().saturating_sub(4)];
    GenerationRequest { prompt, message_starts, borders, max_tokens, ..request(engine, "x") }
}

/// Text generated for exactly these tokens, and how many of them were cached.
fn complete(engine: &Engine, prompt: &[i32], cache_prompt: bool) -> Answer {
    let request = GenerationRequest { cache_prompt, ..completion(engine, prompt) };
    collect(submit(engine, request))
}

#[test]
fn moe_and_hybrid_models_generate_the_same_from_a_cached_history_as_from_a_cold_start() {
    for (name, can_cut) in [
        ("tiny-qwen3moe.gguf", true),
        ("tiny-qwen3next.gguf", false),
        ("tiny-qwen35.gguf", false),
        ("tiny-lfm2.gguf", false),
        ("tiny-mamba.gguf", false),
    ] {
        for engine in load_random(name) {
            assert_eq!(engine.facts().recurrent, !can_cut);
            let prompt = engine.vocabulary().tokenize(&"alpha beta gamma ".repeat(20), true, true);
            let first = complete(&engine, &prompt, true);
            let answer = first.tokens.iter().map(|t| t.id);
            let longer: Vec<i32> =
                prompt.iter().copied().chain(answer).chain([100, 101, 102]).collect();
            let warm = complete(&engine, &longer, true);
            assert_eq!(warm.slot, first.slot, "{name}");
            assert!(warm.cached as usize >= prompt.len(), "{name}: the whole history is reused");
            assert_eq!(warm.text, complete(&engine, &longer, false).text, "{name}: continued");

            let mut edited = longer[..longer.len() - 6].to_vec();
            edited.extend([200, 201, 202]);
            let warm = complete(&engine, &edited, true);
            assert!(warm.cached as usize >= prompt.len() - 4, "{name}: {}", warm.cached);
            assert_eq!(warm.text, complete(&engine, &edited, false).text, "{name}: edited");
        }
    }
}

#[test]
fn moe_and_hybrid_models_generate_the_same_alone_and_among_others() {
    for name in ["tiny-qwen3moe.gguf", "tiny-qwen3next.gguf"] {
        for engine in load_random(name) {
            let prompt = engine.vocabulary().tokenize("Once upon a time", true, true);
            let alone = complete(&engine, &prompt, false).text;
            let others = submit_others(&engine);
            let among = complete(&engine, &prompt, false).text;
            assert_eq!(alone, among, "{name}");
            others.into_iter().for_each(|s| drop(collect(s)));
        }
    }
}

/// Eight requests with prompts of other lengths.
fn submit_others(engine: &Engine) -> Vec<GenerationStream> {
    let text = |i: usize| format!("{i} other words ").repeat(10 * (i + 1));
    (0..8).map(|i| submit(engine, request(engine, &text(i)))).collect()
}

#[test]
fn without_flash_attention_an_answer_does_not_depend_on_how_its_prompt_was_read() {
    let engine = load(without_flash_attention(params(4, 4096)));
    let tokenize = |text: &str| engine.vocabulary().tokenize(text, true, true);
    let mut prompt = tokenize(&format!("<|im_start|>user\n{}", "Say: cat. ".repeat(300)));
    prompt.truncate(690);
    prompt.extend(tokenize("Count to ten.<|im_end|>\n<|im_start|>assistant\n"));
    assert!(prompt.len() > 690, "more than two multiples of 256");
    let cold = complete(&engine, &prompt, false);
    assert!(cold.tokens.len() > 3, "{}", cold.text);
    let other = load(without_flash_attention(params(4, 4096)));
    let mut beginning = prompt[..99].to_vec();
    beginning.push(100);
    complete(&other, &beginning, true);
    let warm = complete(&other, &prompt, true);
    assert!((99..256).contains(&warm.cached), "{} tokens were cached", warm.cached);
    assert_eq!(warm.text, cold.text, "from a cached beginning");
    let others = submit_others(&engine);
    assert_eq!(complete(&engine, &prompt, false).text, cold.text, "among others");
    others.into_iter().for_each(|s| drop(collect(s)));
}

#[test]
fn a_prompt_between_running_streams_is_read_as_it_is_alone() {
    let engine = load(params(3, 6144));
    let mut prompt = engine.vocabulary().tokenize(&"Say: cat. ".repeat(99), true, true);
    prompt.truncate(600);
    let read = || {
        let mut asked = completion(&engine, &prompt);
        (asked.id_slot, asked.top_logprobs, asked.cache_prompt) = (Some(1), Some(5), false);
        let tokens = collect(submit(&engine, asked)).tokens;
        let ids: Vec<_> = tokens.iter().map(|token| token.id).collect();
        // Only the first tells of the prompt alone.
        (ids, tokens[0].logprobs.as_ref().unwrap().logprob)
    };
    let running = || engine.slots().iter().filter(|s| s.processing && s.generating).count();
    let alone = read();
    let streams: Vec<_> = [0, 2]
        .map(|slot| {
            let mut stream = request(&engine, "Count");
            stream.sampling.ignore_eos = true;
            (stream.id_slot, stream.max_tokens) = (Some(slot), Some(1500));
            submit(&engine, stream)
        })
        .into_iter()
        .collect();
    wait_until("two streams run", || running() == 2);
    assert_eq!(read(), alone);
    wait_until("the two go on alone", || running() == 2);
    drop(streams);
    wait_until("their slots are free", || running() == 0);
}

#[test]
fn the_same_seed_gives_the_same_text_and_another_seed_another() {
    let engine = load(params(1, 1024));
    let sample = |seed| {
        let mut request = request(&engine, "Once");
        request.sampling.temperature = 1.5;
        request.sampling.top_k = 0;
        request.sampling.min_p = 0.0;
        request.sampling.top_p = 1.0;
        request.sampling.ignore_eos = true;
        request.sampling.seed = Some(seed);
        collect(submit(&engine, request)).text
    };
    let first = sample(1);
    assert_eq!(first, sample(1));
    assert_ne!(first, sample(2));
}

#[test]
fn every_sampler_of_the_chain_can_be_switched_on() {
    let engine = load(params(1, 1024));
    let base = request(&engine, "Count to five: 1 2 3");
    for change in [
        |s: &mut SamplingParams| s.typical_p = 0.5,
        |s: &mut SamplingParams| s.top_n_sigma = 1.0,
        |s: &mut SamplingParams| (s.xtc_probability, s.xtc_threshold) = (1.0, 0.1),
        |s: &mut SamplingParams| (s.dry_multiplier, s.dry_penalty_last_n) = (0.8, -1),
        |s: &mut SamplingParams| (s.repeat_penalty, s.repeat_last_n) = (1.3, i32::MAX),
        |s: &mut SamplingParams| s.mirostat = 1,
        |s: &mut SamplingParams| s.mirostat = 2,
        |s: &mut SamplingParams| s.dynatemp_range = 0.5,
        |s: &mut SamplingParams| s.samplers.clear(),
        |s: &mut SamplingParams| s.samplers.reverse(),
        |s: &mut SamplingParams| s.logit_bias = [(5, f32::NEG_INFINITY), (6, 100.0)].into(),
    ] {
        let mut request = base.clone();
        request.sampling.temperature = 0.8;
        request.sampling.seed = Some(7);
        change(&mut request.sampling);
        let answer = collect(submit(&engine, request));
        assert!(answer.end.timings.predicted_tokens > 0);
    }
}

#[test]
fn greedy_means_the_best_token_whatever_the_other_samplers_say() {
    let engine = load(params(1, 1024));
    let greedy = ask(&engine, "What is 2 + 3?").text;
    let mut request = chat(&engine, "What is 2 + 3?");
    request.sampling.top_k = 3;
    request.sampling.min_p = 0.2;
    request.sampling.top_p = 0.5;
    assert_eq!(collect(submit(&engine, request)).text, greedy);
    let mut general = chat(&engine, "What is 2 + 3?");
    // Typical sampling takes the general path; at 0.9999 it removes next to nothing.
    general.sampling.typical_p = 0.9999;
    assert_eq!(collect(submit(&engine, general)).text, greedy);
}

#[test]
fn log_probabilities_come_with_every_token_and_sum_to_one() {
    let engine = load(params(1, 1024));
    let mut request = chat(&engine, "Hello!");
    request.top_logprobs = Some(engine.vocabulary().len() as u32);
    request.max_tokens = Some(3);
    let answer = collect(submit(&engine, request));
    for token in &answer.tokens {
        let logprobs = token.logprobs.as_ref().expect("asked for");
        let sum: f32 = logprobs.top.iter().map(|t| t.1.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-3);
        assert_eq!(logprobs.top[0].0, token.id, "greedy takes the best");
    }
    assert_eq!(answer.tokens.len(), 3);
}

#[test]
fn prompt_log_probabilities_cover_the_whole_prompt() {
    let engine = load(params(2, 2048));
    let mut request = chat(&engine, &"word ".repeat(60));
    let n = request.prompt.len();
    request.prompt_logprobs = Some(2);
    request.max_tokens = Some(0);
    let answer = collect(submit(&engine, request));
    assert_eq!(answer.prompt_logprobs, n);
    assert_eq!(answer.end.finish, FinishReason::Length);
    assert!(answer.text.is_empty());
}

#[test]
fn a_stop_string_ends_the_text_before_it() {
    let engine = load(params(1, 1024));
    let whole = ask(&engine, "Count to nine.").text;
    let stop: String = whole.chars().skip(3).take(4).collect();
    let mut request = chat(&engine, "Count to nine.");
    request.stop = vec![stop.clone()];
    let answer = collect(submit(&engine, request));
    assert_eq!(answer.end.finish, FinishReason::StopString(stop.clone()));
    assert_eq!(answer.text, whole.split(&stop).next().expect("before"));
}

#[test]
fn a_full_context_ends_the_text_with_length() {
    let engine = load(params(1, 256));
    let mut request = chat(&engine, "Hello!");
    request.sampling.ignore_eos = true;
    request.max_tokens = None;
    let n = request.prompt.len();
    let answer = collect(submit(&engine, request));
    assert_eq!(answer.end.finish, FinishReason::ContextFull);
    let slot = engine.facts().n_ctx_slot as usize;
    assert_eq!(n + answer.end.timings.predicted_tokens as usize, slot);
}

#[test]
fn one_candidate_is_the_greedy_choice_whatever_comes_after_it() {
    let engine = load(params(1, 1024));
    let greedy = ask(&engine, "Count from 1 to 9").text;
    let mut hot = chat(&engine, "Count from 1 to 9");
    hot.sampling.temperature = 20.0;
    hot.sampling.seed = Some(1);
    hot.sampling.top_k = 1;
    // llama-server's top_k knows no minimum.
    hot.sampling.min_keep = 200;
    assert_eq!(collect(submit(&engine, hot)).text, greedy);
    let mut late = chat(&engine, "Count from 1 to 9");
    late.sampling.top_k = 1;
    late.sampling.repeat_penalty = 3.0;
    late.sampling.samplers =
        vec![SamplerKind::TopK, SamplerKind::Temperature, SamplerKind::Penalties];
    assert_eq!(collect(submit(&engine, late)).text, greedy);
}

#[test]
fn dropping_a_stream_frees_its_slot_also_while_the_prompt_is_read() {
    let engine = load(params(1, 4096));
    let mut long = chat(&engine, &"word ".repeat(900));
    long.sampling.ignore_eos = true;
    long.max_tokens = None;
    let stream = submit(&engine, long.clone());
    wait_until("the slot is taken", || engine.slots()[0].processing);
    drop(stream);
    wait_until("the slot is free", || !engine.slots()[0].processing);
    let mut stream = submit(&engine, GenerationRequest { cache_prompt: false, ..long });
    wait_until("it generates", || engine.slots()[0].decoded > 0);
    while stream.try_next().is_some() {}
    drop(stream);
    wait_until("the slot is free", || !engine.slots()[0].processing);
    assert!(!ask(&engine, "Hello!").text.is_empty());
}

#[test]
fn a_prompt_is_given_up_when_its_client_leaves_or_its_time_is_up() {
    let engine = load(params(1, 8192));
    let prompt = request(&engine, &"word ".repeat(4000));
    let long = GenerationRequest { cache_prompt: false, max_tokens: Some(3), ..prompt };
    let text = collect(submit(&engine, long.clone())).text;
    let start = Instant::now();
    collect(submit(&engine, GenerationRequest { max_tokens: Some(1), ..long.clone() }));
    let whole = start.elapsed();

    // On a busy machine this thread may come too late.
    let one_of_some_tries = |what: &str, gives_up: &dyn Fn() -> bool| {
        assert!((0..20).any(|_| gives_up()), "{what}");
    };
    one_of_some_tries("the client leaves", &|| {
        let stream = submit(&engine, long.clone());
        wait_until("the slot is taken", || engine.slots()[0].processing);
        drop(stream);
        wait_until("the slot is free", || !engine.slots()[0].processing);
        engine.slots()[0].prompt_processed < long.prompt.len() as u32
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    one_of_some_tries("the time is up", &|| {
        let deadline = Some(Instant::now() + whole / 4);
        let mut late = submit(&engine, GenerationRequest { deadline, ..long.clone() });
        let events = std::iter::from_fn(|| runtime.block_on(late.next()));
        let exceeded = GenerationError::DeadlineExceeded;
        matches!(events.last(), Some(GenerationEvent::Failed(error)) if error == exceeded)
    });

    assert_eq!(collect(submit(&engine, long)).text, text, "nothing of them is left");
}

#[test]
fn a_full_queue_refuses_and_says_how_many_wait() {
    let engine = load(LoadParams { queue: 2, ..params(1, 4096) });
    let mut endless = chat(&engine, "Hello!");
    endless.sampling.ignore_eos = true;
    endless.max_tokens = None;
    let running = submit(&engine, endless.clone());
    wait_until("the slot is taken", || engine.waiting() == 0);
    let waiting = [submit(&engine, endless.clone()), submit(&engine, endless.clone())];
    let refused = engine.submit(vec![endless]).expect_err("the queue is full");
    assert_eq!(refused, SubmitError::QueueFull { waiting: 2 });
    drop(waiting);
    wait_until("the queue is empty", || engine.waiting() == 0);
    drop(running);
}

#[test]
fn a_slow_reader_pauses_itself_alone_and_is_dropped_in_the_end() {
    let engine = load(LoadParams {
        stream_buffer_bytes: 400,
        stream_stall_timeout: Duration::from_millis(300),
        ..params(2, 4096)
    });
    let mut endless = chat(&engine, "Hello!");
    endless.sampling.ignore_eos = true;
    endless.max_tokens = None;
    let unread = submit(&engine, endless);
    let stalled = |engine: &Engine| {
        let before = engine.slots()[0].decoded;
        before > 0 && before < 50
    };
    wait_until("it runs", || stalled(&engine));
    assert!(!ask(&engine, "Hello!").text.is_empty(), "others go on");
    wait_until("the slow one is dropped", || !engine.slots()[0].processing);
    assert!(engine.slots()[0].decoded < 50, "it was paused, not computed to its end");
    drop(unread);
}

#[test]
fn a_drain_ends_running_streams_properly_and_refuses_new_ones() {
    let engine = load(params(1, 4096));
    let mut endless = chat(&engine, "Hello!");
    endless.sampling.ignore_eos = true;
    endless.max_tokens = None;
    let running = submit(&engine, endless.clone());
    wait_until("it generates", || engine.slots()[0].decoded > 0);
    engine.drain(Instant::now());
    assert_eq!(collect(running).end.finish, FinishReason::Shutdown);
    wait_until("the engine is gone", || {
        matches!(engine.submit(vec![endless.clone()]), Err(SubmitError::Stopped))
    });
}

#[test]
fn each_choice_gets_a_dry_sampler_that_has_seen_no_other_text() {
    let engine = load(params(1, 512));
    let mut plain = request(&engine, "one two one two one two one");
    plain.max_tokens = Some(60);
    let mut dry = plain.clone();
    dry.sampling.dry_multiplier = 4.0;
    dry.sampling.dry_sequence_breakers = ["zz", "", "\n", "zz", "a\0"].map(str::to_owned).to_vec();
    assert!(dry.sampling.uses_dry() && !plain.sampling.uses_dry());
    let texts = |requests: Vec<GenerationRequest>| -> Vec<String> {
        let streams = engine.submit(requests).unwrap();
        streams.into_iter().map(|stream| collect(stream).text).collect()
    };
    let expected = texts(vec![dry.clone()]).remove(0);
    let plain_text = texts(vec![plain.clone()]).remove(0);
    assert_ne!(expected, plain_text, "DRY changes this text");
    let all = texts(vec![dry.clone(), dry.clone(), plain, dry]);
    assert_eq!(all, [expected.clone(), expected.clone(), plain_text, expected]);
}
