//! Speculation: a draft changes when tokens are computed, and never which.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use strixhalo::engine::{ThinkingBudget, TokenLogprobs};

use super::*;

const MODELS: [&str; 7] = [
    "assets/tiny-chat-q8_0.gguf",
    "tests/models/tiny-qwen3moe.gguf",
    "tests/models/tiny-gemma3.gguf",
    "tests/models/tiny-qwen3next.gguf",
    "tests/models/tiny-qwen35.gguf",
    "tests/models/tiny-lfm2.gguf",
    "tests/models/tiny-mamba.gguf",
];

/// Drafts are made whether they pay or not.
fn load_model(name: &str) -> Engine {
    load_keeping(name, 3)
}

/// With so many recurrent states kept to take drafts back, where llama.cpp can.
fn load_keeping(name: &str, rollback_tokens: u32) -> Engine {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name);
    let has_window = name.contains("gemma");
    let engine = load(LoadParams { path, has_window, rollback_tokens, ..params(4, 4 * 2048) });
    engine.always_draft();
    engine
}

/// A random number for each `seed` and `i`.
fn random(seed: u64, i: u64) -> u64 {
    let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ i.wrapping_mul(0xD1B5_4A32_D192_ED03);
    x ^= x >> 29;
    x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x ^ (x >> 32)
}

/// A prompt that repeats some of what it has, with changes.
fn prompt(seed: u64) -> Vec<i32> {
    let length = 20 + random(seed, 0) % 60;
    let word = |i: u64| 50 + (random(seed, i) % 400) as i32;
    let block: Vec<i32> = (1..length).map(word).collect();
    let changed = block.iter().enumerate().map(|(i, &token)| match random(seed, i as u64) % 9 {
        0 => word(1000 + i as u64),
        _ => token,
    });
    block.iter().copied().chain(changed).chain(block[..block.len() / 2].iter().copied()).collect()
}

/// A request whose answer repeats much of what it has said, and is wrong about as often: few tokens
/// are likely.
fn repeating(engine: &Engine, seed: u64) -> GenerationRequest {
    let mut request = completion(engine, &prompt(seed));
    request.max_tokens = Some(60);
    request.sampling.ignore_eos = true;
    request.top_logprobs = Some(500);
    let few = (0..5 + seed % 4).map(|i| (50 + (random(seed, 7 * i) % 400) as i32, 30.0));
    request.sampling.logit_bias = few.collect();
    if seed % 2 == 1 {
        request.sampling.temperature = 0.2 + (seed % 7) as f32 / 10.0;
        request.sampling.seed = Some(seed as u32);
    }
    match seed % 5 {
        1 => request.sampling.repeat_penalty = 1.1,
        2 => request.sampling.dry_multiplier = 0.5,
        3 => request.sampling.logit_bias = Arc::default(),
        4 if seed.is_multiple_of(3) => request.sampling.mirostat = 2,
        _ => {}
    }
    request
}

fn without(request: &GenerationRequest) -> GenerationRequest {
    GenerationRequest { speculation: false, ..request.clone() }
}

fn ids(answer: &Answer) -> Vec<i32> {
    answer.tokens.iter().map(|token| token.id).collect()
}

fn logprobs(token: &OutputToken) -> &TokenLogprobs {
    token.logprobs.as_ref().expect("asked for")
}

/// Two answers to one request, the second without drafts. Kernels round differently for batches of
/// another size: where the answers part, the two best tokens must have been as good as equal.
#[derive(Default)]
struct Compared {
    answers: usize,
    drafted: u32,
    accepted: u32,
    /// Gaps between the two best logits where answers part.
    gaps: Vec<f32>,
    /// Sampled answers that part.
    sampled: usize,
    /// By how much log probabilities of the same tokens differ at most.
    off: f32,
}

impl Compared {
    fn add(&mut self, request: &GenerationRequest, with: &Answer, without: &Answer) {
        let timings = with.end.timings;
        assert_eq!(without.end.timings.drafted_tokens, 0);
        assert!(timings.accepted_tokens <= timings.drafted_tokens);
        self.answers += 1;
        self.drafted += timings.drafted_tokens;
        self.accepted += timings.accepted_tokens;
        let pairs = || with.tokens.iter().zip(&without.tokens);
        for (a, b) in pairs().take_while(|(a, b)| a.id == b.id) {
            self.off = self.off.max((logprobs(a).logprob - logprobs(b).logprob).abs());
        }
        match pairs().find(|(a, b)| a.id != b.id) {
            Some((_, b)) => match gap(request, b) {
                Some(gap) => self.gaps.push(gap),
                None => self.sampled += 1,
            },
            None => {
                assert_eq!(with.text, without.text);
                assert_eq!(with.tokens.len(), without.tokens.len());
                assert_eq!(with.end.finish, without.end.finish);
            }
        }
    }

    /// `tie`: the largest gap at which answers may part.
    fn check(&self, name: &str, tie: f32) {
        let Self { answers, drafted, accepted, gaps, sampled, off } = self;
        eprintln!(
            "{name}: {accepted} of {drafted} tokens came; of {answers} answers {sampled} part, and \
             some at gaps of {gaps:?}; log probabilities are off by {off}"
        );
        assert!(*accepted > 0 && accepted < drafted, "{name}: {accepted} of {drafted}");
        assert!(gaps.iter().all(|&gap| gap < tie), "{name}: {gaps:?}");
        assert!((gaps.len() + sampled) * 16 <= *answers, "{name}");
    }

    /// Also on a GPU, whose kernels for few tokens round so differently that a router now and then
    /// chooses another expert. The state of another position is off by whole units.
    fn check_gaps(&self, name: &str) {
        let on_gpu = params(1, 1).n_gpu_layers.is_some();
        let tie = if on_gpu { 0.2 } else { tie(name).max(0.01) };
        assert!(self.gaps.iter().all(|&gap| gap < tie), "{name}: {:?}", self.gaps);
        assert!(self.drafted > self.accepted, "{name}");
    }
}

/// How far the two best tokens were apart where a greedy answer has `token`.
fn gap(request: &GenerationRequest, token: &OutputToken) -> Option<f32> {
    let sampling = &request.sampling;
    let bias = |id: i32| sampling.logit_bias.iter().find(|b| b.0 == id).map_or(0.0, |b| b.1);
    let plain = sampling.repeat_penalty == 1.0 && !sampling.uses_dry() && sampling.mirostat == 0;
    let mut top: Vec<f32> = logprobs(token).top.iter().map(|t| t.1 + bias(t.0)).collect();
    top.sort_by(|a, b| b.total_cmp(a));
    (sampling.temperature == 0.0 && plain).then(|| top[0] - top[1])
}

/// A batch of another size moves the logits of a random model by so much: none where all sequences
/// are attention, more where a recurrent state is computed in chunks.
fn tie(name: &str) -> f32 {
    if name.contains("next") { 0.2 } else { 1e-3 }
}

fn compare_one_by_one<'a>(models: impl IntoIterator<Item = &'a str>, seeds: Range<u64>) {
    for name in models {
        let engine = load_model(name);
        let mut compared = Compared::default();
        for seed in seeds.clone() {
            let request = GenerationRequest { cache_prompt: false, ..repeating(&engine, seed) };
            let plain = collect(submit(&engine, without(&request)));
            compared.add(&request.clone(), &collect(submit(&engine, request)), &plain);
        }
        compared.check(name, tie(name));
    }
}

#[test]
fn answers_are_the_same_with_drafts_and_without() {
    compare_one_by_one(MODELS, 0..80);
}

/// Further models can be named in `STRIXHALO_TEST_MODELS`, separated by blanks.
#[test]
#[ignore = "a thousand of them take minutes; --ignored --nocapture prints what differs"]
fn a_thousand_answers_are_the_same_with_drafts_and_without() {
    let more = std::env::var("STRIXHALO_TEST_MODELS").unwrap_or_default();
    compare_one_by_one(MODELS.into_iter().chain(more.split_whitespace()), 1000..1150);
}

#[test]
fn answers_are_the_same_among_others() {
    for name in MODELS {
        let engine = load_model(name);
        let mut compared = Compared::default();
        for round in 0..8 {
            let request = |i: u64| GenerationRequest {
                cache_prompt: false,
                ..repeating(&engine, 100 + 4 * round + i)
            };
            let streams: Vec<_> = (0..4).map(|i| submit(&engine, request(i))).collect();
            let answers: Vec<Answer> = streams.into_iter().map(collect).collect();
            for (i, with) in (0..).zip(&answers) {
                compared.add(&request(i), with, &collect(submit(&engine, without(&request(i)))));
            }
        }
        compared.check(name, tie(name));
    }
}

#[test]
fn the_next_turn_goes_on_from_what_came_of_drafts() {
    for name in MODELS {
        let engines = [load_model(name), load_model(name)];
        let mut compared = Compared::default();
        for seed in 200..230 {
            let request = repeating(&engines[0], seed);
            let [with, plain] = [request.clone(), without(&request)];
            // What the next turn finds was computed in one of these ways.
            let answers = [with, plain].map(|first| {
                let engine = &engines[usize::from(!first.speculation)];
                let mut next = without(&first);
                next.prompt.extend(ids(&collect(submit(engine, first.clone()))));
                next.prompt.extend([100, 101, 102]);
                next.borders = vec![next.prompt.len() - 3];
                let answer = collect(submit(engine, next));
                let held = first.prompt.len() - 4;
                assert!(answer.cached as usize >= held, "{name}: {} of {held}", answer.cached);
                answer
            });
            compared.add(&request, &answers[0], &answers[1]);
        }
        assert_eq!(engines[0].counters().cache.rejected.load(Ordering::Relaxed), 0);
        let speculation = &engines[0].counters().speculation;
        compared.drafted = speculation.drafted_tokens.load(Ordering::Relaxed) as u32;
        compared.accepted = speculation.accepted_tokens.load(Ordering::Relaxed) as u32;
        compared.check(name, tie(name));
    }
}

/// Few tokens: lavapipe computes them, too. Drafts have up to seven tokens here.
#[test]
fn a_draft_is_taken_back_by_a_kept_state_or_else_by_a_copy() {
    for name in ["tests/models/tiny-qwen35.gguf", "tests/models/tiny-lfm2.gguf"] {
        let restored = [0, 3, 7].map(|rollback_tokens| {
            let engine = load_keeping(name, rollback_tokens);
            let mut compared = Compared::default();
            for seed in 400..410 {
                let request = GenerationRequest { cache_prompt: false, ..repeating(&engine, seed) };
                let plain = collect(submit(&engine, without(&request)));
                compared.add(&request.clone(), &collect(submit(&engine, request)), &plain);
            }
            compared.check_gaps(name);
            engine.counters().speculation.restored.load(Ordering::Relaxed)
        });
        let [none_kept, some_kept, all_kept] = restored;
        assert!(all_kept == 0 && 0 < some_kept && some_kept < none_kept, "{name}: {restored:?}");
    }
}

/// Few tokens: lavapipe computes them, too.
#[test]
fn a_checkpoint_outlives_the_drafts_behind_it() {
    for name in ["tests/models/tiny-qwen3moe.gguf", "tests/models/tiny-qwen3next.gguf"] {
        let engine = load_model(name);
        let mut compared = Compared::default();
        for seed in [900, 905, 910] {
            let mut request = repeating(&engine, seed);
            request.max_tokens = Some(20);
            // Without drafts nothing is left in the slot that the next one goes on from.
            let cold = GenerationRequest { cache_prompt: false, ..without(&request) };
            let plain = collect(submit(&engine, cold));
            compared.add(&request, &collect(submit(&engine, request.clone())), &plain);
            let opening = request.prompt.len() - 4;
            request.prompt[opening..].copy_from_slice(&[200, 201, 202, 203]);
            let warm = collect(submit(&engine, request.clone()));
            assert_eq!(warm.cached as usize, opening, "{name}");
            let cold = GenerationRequest { cache_prompt: false, ..without(&request) };
            compared.add(&request, &warm, &collect(submit(&engine, cold)));
        }
        compared.check_gaps(name);
    }
}

#[test]
fn an_answer_ends_inside_of_a_draft_where_it_would_without() {
    for name in MODELS {
        let engine = load_model(name);
        for seed in [300, 302, 305] {
            let request = repeating(&engine, seed);
            let whole = collect(submit(&engine, without(&request)));
            for n in 1..40 {
                let short = GenerationRequest { max_tokens: Some(n), ..request.clone() };
                let answer = collect(submit(&engine, short));
                let same = ids(&answer) == ids(&whole)[..n as usize];
                assert!(same || name.contains("next"), "{name} {n}");
                assert_eq!(answer.tokens.len(), n as usize);
                assert_eq!(answer.end.timings.predicted_tokens, n);
            }
            // Each piece of the text that is not there before ends it.
            let chars: Vec<char> = whole.text.chars().collect();
            for from in (3..chars.len().saturating_sub(6)).step_by(5) {
                let stop: String = chars[from..from + 4].iter().collect();
                let stopped = GenerationRequest { stop: vec![stop], ..request.clone() };
                let plain = collect(submit(&engine, without(&stopped)));
                let with = collect(submit(&engine, stopped));
                assert!(with.text == plain.text || name.contains("next"), "{name} {from}");
                assert_eq!(with.end.finish, plain.end.finish);
            }
        }
    }
}

#[test]
fn a_full_context_ends_an_answer_at_the_same_token() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/models/tiny-qwen3moe.gguf");
    let engine = load(LoadParams { path, ..params(1, 256) });
    engine.always_draft();
    for seed in 400..410 {
        let mut request = repeating(&engine, seed);
        request.max_tokens = None;
        let with = collect(submit(&engine, request.clone()));
        let plain = collect(submit(&engine, without(&request)));
        assert_eq!(with.end.finish, FinishReason::ContextFull);
        assert_eq!(with.tokens.len(), plain.tokens.len());
        assert_eq!(with.tokens.len() + request.prompt.len(), 256);
    }
}

#[test]
fn thoughts_are_closed_in_one_step() {
    let engine = load_model("assets/tiny-chat-q8_0.gguf");
    let close: Arc<[i32]> =
        engine.vocabulary().tokenize("That is all.\n</think>\n", true, true).into();
    let mut request = repeating(&engine, 500);
    request.thinking = Some(ThinkingBudget {
        tokens: 5,
        close: close.clone(),
        begins: "<think>".to_owned(),
        ends: "</think>".to_owned(),
        open: true,
    });
    let decodes = || engine.counters().decodes.load(Ordering::Relaxed);
    let with = collect(submit(&engine, request.clone()));
    assert_eq!(ids(&with)[5..5 + close.len()], *close);
    request.max_tokens = Some(5 + close.len() as u32);
    let before = decodes();
    let with = collect(submit(&engine, request.clone()));
    let plain = collect(submit(&engine, without(&request)));
    assert_eq!(ids(&with), ids(&plain));
    assert!(decodes() - before < 2 * with.tokens.len() as u64 + 3);
}

#[test]
fn streams_that_are_given_up_inside_of_drafts_leave_nothing_behind() {
    for name in MODELS {
        let engine = load_model(name);
        let request = |seed| repeating(&engine, seed);
        let expected: Vec<_> =
            (600..604).map(|seed| collect(submit(&engine, without(&request(seed))))).collect();
        for round in 0..20 {
            let mut endless = request(610 + round);
            endless.max_tokens = None;
            let stream = submit(&engine, endless);
            wait_until("it generates", || {
                engine.slots().iter().any(|s| s.decoded > 3 && s.processing)
            });
            drop(stream);
            wait_until("all slots are free", || engine.slots().iter().all(|s| !s.processing));
        }
        let mut compared = Compared::default();
        for (seed, plain) in (600..604).zip(&expected) {
            compared.add(&request(seed), &collect(submit(&engine, request(seed))), plain);
        }
        compared.gaps.retain(|&gap| gap >= tie(name));
        assert!(compared.gaps.is_empty(), "{name}: {:?}", compared.gaps);
    }
}

#[test]
fn a_slow_reader_is_paused_after_a_draft() {
    let engine = load(LoadParams { stream_buffer_bytes: 400, ..params(1, 4096) });
    engine.always_draft();
    let mut request = repeating(&engine, 700);
    request.max_tokens = Some(300);
    let slow = submit(&engine, request.clone());
    wait_until("it runs", || engine.slots()[0].decoded > 0);
    std::thread::sleep(Duration::from_millis(100));
    assert!(engine.slots()[0].decoded < 60, "{}", engine.slots()[0].decoded);
    assert_eq!(ids(&collect(slow)), ids(&collect(submit(&engine, without(&request)))));
}

#[test]
fn a_grammar_holds_inside_of_drafts() {
    for name in MODELS {
        let engine = load_model(name);
        let grammar = engine.compile("start: /( [ab][ab][ab],){12}/").unwrap();
        let mut compared = Compared::default();
        for seed in 800..820 {
            let mut request = repeating(&engine, seed);
            request.sampling.logit_bias = Arc::default();
            request.grammar = Some(grammar.clone());
            let with = collect(submit(&engine, request.clone()));
            let plain = collect(submit(&engine, without(&request)));
            assert!(with.text.chars().all(|c| " ab,".contains(c)), "{}", with.text);
            compared.add(&request, &with, &plain);
        }
        // Where a grammar decides, the best logits are others.
        compared.gaps.clear();
        compared.check(name, 0.0);
    }
}
