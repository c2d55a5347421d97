//! Output that is kept to a grammar, on models whose own choice is noise.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use strixhalo::engine::GrammarError;

use super::*;

/// Everything in it is bounded, so that noise comes to its end.
const SCHEMA: &str = r#"{"type": "object", "properties": {
    "name": {"type": "string", "minLength": 1, "maxLength": 12},
    "count": {"type": "integer", "minimum": 0, "maximum": 99},
    "kind": {"enum": ["one", "two"]},
    "flags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3}
}, "required": ["name", "count", "kind"], "additionalProperties": false}"#;

/// Lark of JSON that follows a schema, with little white space.
fn json(schema: &str) -> String {
    let rest = schema.strip_prefix('{').expect("an object");
    let guidance = r#""x-guidance": {"whitespace_pattern": "[ \\n]{1,2}"}"#;
    format!("%llguidance {{}}\nstart: %json {{{guidance}, {rest}\n")
}

/// A model whose every choice is noise.
fn random() -> LoadParams {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/models");
    LoadParams { path: root.join("tiny-qwen3moe.gguf"), ..params(8, 4096) }
}

fn constrained(engine: &Engine, lark: &str) -> GenerationRequest {
    let grammar = engine.compile(lark).expect("it compiles");
    GenerationRequest { grammar: Some(grammar), max_tokens: Some(200), ..chat(engine, "Hello!") }
}

fn assert_valid(schema: &Value, answer: &Answer) {
    assert_eq!(answer.end.finish, FinishReason::EndOfGeneration, "{}", answer.text);
    let value: Value = serde_json::from_str(&answer.text).expect(&answer.text);
    assert!(jsonschema::is_valid(schema, &value), "{value}");
}

#[test]
fn output_follows_a_schema_however_it_is_sampled() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    for engine in [load(random()), load(params(8, 4096))] {
        let base = constrained(&engine, &json(SCHEMA));
        let mut requests = Vec::new();
        for seed in 0..3 {
            for change in [
                |_: &mut SamplingParams| (),
                |s: &mut SamplingParams| s.temperature = 0.0,
                |s: &mut SamplingParams| s.mirostat = 1,
                |s: &mut SamplingParams| s.mirostat = 2,
                |s: &mut SamplingParams| (s.repeat_penalty, s.repeat_last_n) = (1.5, -1),
                |s: &mut SamplingParams| (s.dry_multiplier, s.dry_penalty_last_n) = (2.0, -1),
                |s: &mut SamplingParams| (s.repeat_penalty, s.temperature) = (1.5, 0.0),
                |s: &mut SamplingParams| s.top_k = 1,
                |s: &mut SamplingParams| (s.typical_p, s.top_n_sigma) = (0.5, 1.0),
                |s: &mut SamplingParams| (s.xtc_probability, s.xtc_threshold) = (1.0, 0.01),
                |s: &mut SamplingParams| (s.top_k, s.min_p) = (40, 0.2),
                |s: &mut SamplingParams| s.ignore_eos = true,
                |s: &mut SamplingParams| s.logit_bias = [(5, f32::NEG_INFINITY), (6, 9.0)].into(),
            ] {
                let mut request = base.clone();
                let s = &mut request.sampling;
                (s.temperature, s.top_k, s.top_p, s.min_p) = (1.0, 0, 1.0, 0.0);
                s.seed = Some(seed);
                change(s);
                requests.push(request);
            }
        }
        let texts = |requests: &[GenerationRequest]| -> Vec<String> {
            let streams = requests.chunks(8).flat_map(|r| engine.submit(r.to_vec()).unwrap());
            let answers: Vec<_> = streams.map(collect).collect();
            answers.iter().for_each(|answer| assert_valid(&schema, answer));
            answers.into_iter().map(|answer| answer.text).collect()
        };
        let among = texts(&requests);
        // Of the same seed the same text, alone as among others.
        let alone: Vec<_> = requests[..13].iter().map(|r| texts(std::slice::from_ref(r))).collect();
        assert_eq!(alone.concat(), among[..13]);
    }
}

#[test]
fn tokens_are_as_likely_as_if_all_others_had_been_forbidden() {
    const N: usize = 800;
    const TEMPERATURE: f32 = 8.0;
    let engine = load(random());
    let mut request = constrained(&engine, "start: /[a-z ]{1,40}/");
    request.max_tokens = Some(1);
    request.sampling = SamplingParams {
        temperature: TEMPERATURE,
        samplers: vec![SamplerKind::Temperature],
        ..request.sampling
    };
    let n_vocab = engine.vocabulary().len() as u32;
    let ask = GenerationRequest { top_logprobs: Some(n_vocab), ..request.clone() };
    let answer = collect(submit(&engine, ask));
    let row = &answer.tokens[0].logprobs.as_ref().expect("asked for").top;
    let weight = |t: &(i32, f32)| (t.1 / TEMPERATURE).exp();
    let allowed = |t: &&(i32, f32)| {
        let piece = engine.vocabulary().piece(t.0, false);
        !piece.is_empty() && piece.iter().all(|&b| b == b' ' || b.is_ascii_lowercase())
    };
    // Best first.
    let likely: Vec<_> = row.iter().filter(allowed).copied().collect();
    let sum: f32 = likely.iter().map(weight).sum();
    let share = sum / row.iter().map(weight).sum::<f32>();
    assert!((0.1..0.9).contains(&share), "some are refused and some are not: {share}");

    let requests: Vec<_> = (0..N as u32)
        .map(|seed| {
            let mut request = request.clone();
            request.sampling.seed = Some(seed);
            request
        })
        .collect();
    let streams = requests.chunks(8).flat_map(|r| engine.submit(r.to_vec()).unwrap());
    let tokens: Vec<i32> = streams.map(|stream| collect(stream).tokens[0].id).collect();
    let is_of = |group: &[(i32, f32)], token: i32| group.iter().any(|t| t.0 == token);
    assert!(tokens.iter().all(|&t| is_of(&likely, t)));
    for group in likely.chunks(likely.len().div_ceil(6)) {
        let p = group.iter().map(weight).sum::<f32>() / sum;
        let mean = N as f32 * p;
        let got = tokens.iter().filter(|&&t| is_of(group, t)).count() as f32;
        assert!((got - mean).abs() < 4.0 * (mean * (1.0 - p)).sqrt() + 2.0, "{got} of {mean}");
    }
}

#[test]
fn a_sequence_ends_where_nothing_can_follow_and_not_before_it_may() {
    let engine = load(params(1, 1024));
    let answer = collect(submit(&engine, constrained(&engine, r#"start: "yes""#)));
    assert_eq!((answer.text.as_str(), &answer.end.finish), ("yes", &FinishReason::EndOfGeneration));
    assert_eq!(answer.end.timings.predicted_tokens as usize, answer.tokens.len());

    let mut eager = constrained(&engine, "start: /[a-z]{20,}/");
    let ends = engine.vocabulary().end_tokens();
    eager.sampling.logit_bias = ends.iter().map(|&t| (t, 100.0)).collect();
    let answer = collect(submit(&engine, eager.clone()));
    assert!(answer.text.len() >= 20, "{}", answer.text);
    assert_eq!(answer.end.finish, FinishReason::EndOfGeneration);

    eager.sampling.ignore_eos = true;
    eager.max_tokens = Some(30);
    let answer = collect(submit(&engine, eager));
    assert_eq!(answer.end.finish, FinishReason::Length, "{}", answer.text);
    assert_eq!(answer.tokens.len(), 30);
}

#[test]
fn logprobs_are_those_of_the_model() {
    let engine = load(params(1, 1024));
    let free = GenerationRequest { top_logprobs: Some(3), ..chat(&engine, "Hello!") };
    let grammar = engine.compile(r#"start: "q" /.*/"#).expect("it compiles");
    let kept = GenerationRequest { grammar: Some(grammar), ..free.clone() };
    let [free, kept] =
        [free, kept].map(|request| collect(submit(&engine, request)).tokens[0].clone());
    let [free_log, kept_log] = [&free, &kept].map(|t| t.logprobs.as_ref().expect("asked for"));
    assert_ne!(free.id, kept.id);
    assert_eq!(free_log.top, kept_log.top);
    assert!(kept_log.logprob < free_log.logprob);
}

#[test]
fn a_sequence_that_cannot_go_on_fails_alone() {
    let engine = load(params(8, 8192));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
    let good = constrained(&engine, &json(SCHEMA));
    let mut broken = constrained(&engine, r#"start: /[0-9]{10}/"#);
    let number = |t: &i32| engine.vocabulary().piece(*t, false).iter().any(u8::is_ascii_digit);
    let numbers = (0..engine.vocabulary().len() as i32).filter(number);
    broken.sampling.logit_bias = numbers.map(|t| (t, f32::NEG_INFINITY)).collect();
    let mut requests = vec![good; 8];
    requests[3] = broken;
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    for (i, mut stream) in engine.submit(requests).unwrap().into_iter().enumerate() {
        if i == 3 {
            let last = std::iter::from_fn(|| runtime.block_on(stream.next())).last();
            assert!(matches!(last, Some(GenerationEvent::Failed(GenerationError::Forbidden))));
        } else {
            assert_valid(&schema, &collect(stream));
        }
    }
}

#[test]
fn a_grammar_with_a_mistake_is_refused_in_one_line() {
    let engine = load(params(1, 1024));
    let huge = format!("start: {}", "a".repeat(3 << 20));
    for lark in [
        "",
        "start: nothing",
        "start: <|no_such_token|>",
        "start: <[1000000]>",
        "start: /(?=a)b/",
        r#"start: %json {"not": {"type": "string"}}"#,
        r#"start: %json {"minimum": "ééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééé"}"#,
        &huge,
    ] {
        let error = engine.compile(lark).map(drop).expect_err("refused");
        assert!(matches!(error, GrammarError::Invalid(_)), "{error:?}");
        let message = error.to_string();
        assert!(!message.is_empty() && message.lines().count() == 1, "{message}");
        assert!(!message.contains("panic") && message.len() < 1000, "{message}");
    }
    let look_around = engine.compile("start: /(?=a)b/").map(drop).expect_err("refused");
    assert!(look_around.to_string().contains("look-around"), "{look_around}");
}

#[test]
fn a_bomb_takes_nobodys_time() {
    let engine = load(params(1, 1024));
    engine.compile(r#"start: "a""#).expect("the vocabulary is read");
    let long = format!("start: {}", "\"a\" ".repeat(400_000));
    let json = |schema: &str| format!("start: %json {schema}");
    for lark in [
        "start: /(a{1000}){1000}/",
        "start: /(.*a.{20}){4}/",
        "start: /(((a|b)*c){0,500}d){0,500}/",
        "start: /[a-z]{1,1000000}/",
        "start: a~1000000\na: \"x\"",
        "start: a\na: a a | \"x\" |",
        &json(r#"{"type": "integer", "multipleOf": 7919, "minimum": 3, "maximum": 99999999}"#),
        &json(r#"{"type": "array", "items": {"type": "integer"}, "minItems": 1000000}"#),
        &json(r#"{"type": "string", "minLength": 1000000}"#),
        &long,
    ] {
        let start = Instant::now();
        let compiled = engine.compile(lark);
        let compiling = start.elapsed();
        let outcome = compiled.map(|grammar| {
            let request = GenerationRequest { grammar: Some(grammar), ..chat(&engine, "Hello!") };
            let mut stream = submit(&engine, request);
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            std::iter::from_fn(|| runtime.block_on(stream.next())).last()
        });
        println!("{lark:.60}: {compiling:?}, then {:?}: {outcome:?}", start.elapsed() - compiling);
        // A busy machine has its time too.
        assert!(start.elapsed() < Duration::from_secs(8), "{lark:.60}: {:?}", start.elapsed());
    }
}

#[test]
fn deep_schemas_overflow_no_stack() {
    let engine = load(params(1, 1024));
    let n = 2000;
    let arrays = (0..n).map(|i| {
        format!(r##""d{i}": {{"type": "array", "items": {{"$ref": "#/$defs/d{}"}}}}, "##, i + 1)
    });
    let definitions: String = arrays.collect();
    let schema = format!(
        r##"{{"$ref": "#/$defs/d0", "$defs": {{{definitions} "d{n}": {{"type": "string"}}}}}}"##
    );
    // Refused or not, the process lives, and so does the engine thread.
    if let Ok(grammar) = engine.compile(&json(&schema)) {
        let request = chat(&engine, "Hello!");
        collect(submit(&engine, GenerationRequest { grammar: Some(grammar), ..request }));
    }
}

#[test]
fn many_grammars_at_once_wait_or_are_told_to_come_again() {
    let engine = load(params(1, 1024));
    let compiled = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for i in 0..40 {
            let (engine, compiled) = (&engine, &compiled);
            scope.spawn(move || match engine.compile(&format!("start: /[a-z]{{{}}}/", i + 1)) {
                Ok(_) => drop(compiled.fetch_add(1, Ordering::Relaxed)),
                Err(error) => assert_eq!(error, GrammarError::Busy),
            });
        }
    });
    assert!(compiled.into_inner() >= 18);
}

/// Random models of all kinds of memory.
fn forwarding() -> Vec<Engine> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/models");
    let of = |name: &str| LoadParams {
        path: root.join(name),
        has_window: name.contains("gemma"),
        ..params(4, 8192)
    };
    ["tiny-qwen3moe.gguf", "tiny-qwen3next.gguf", "tiny-gemma3.gguf"].map(|n| load(of(n))).into()
}

const FORCED: &str =
    "<call>{\"name\": \"get_weather\", \"arguments\": {\"größe\": \"東京 🗼\"}}</call>";

fn ids(answer: &Answer) -> Vec<i32> {
    answer.tokens.iter().map(|token| token.id).collect()
}

#[test]
fn what_a_grammar_forces_comes_in_the_tokenizers_tokens_unless_the_model_minds() {
    let mut expected = 0;
    let mut all = 0;
    for engine in forwarding() {
        let own = engine.vocabulary().tokenize(&format!("\n{FORCED}"), false, false);
        let lark = format!("start: {}", serde_json::to_string(FORCED).unwrap());
        let requests = [(1, 0.0), (2, 1.0)].map(|(seed, temperature)| {
            let mut request = constrained(&engine, &lark);
            (request.sampling.temperature, request.sampling.seed) = (temperature, Some(seed));
            request
        });
        let ask = |request: &GenerationRequest| collect(submit(&engine, request.clone()));
        let in_turn = requests.each_ref().map(ask);
        engine.always_draft();
        for (request, in_turn) in requests.iter().zip(in_turn) {
            let drafted = ask(request);
            assert_eq!((drafted.text.as_str(), in_turn.text.as_str()), (FORCED, FORCED));
            assert_eq!(ids(&drafted), ids(&in_turn), "drafts change no token");
            let timings = drafted.end.timings;
            assert!(timings.accepted_tokens as usize > own.len() / 3, "{timings:?}");
            expected += ids(&drafted).iter().filter(|token| own.contains(token)).count();
            all += drafted.tokens.len();
            let plain = ask(&GenerationRequest { speculation: false, ..request.clone() });
            assert_eq!((plain.text.as_str(), plain.end.timings.drafted_tokens), (FORCED, 0));
        }
    }
    assert!(expected * 10 > all * 8, "{expected} of {all}");
}

#[test]
fn drafting_what_is_forced_changes_no_token_of_a_trained_model() {
    let engine = load(params(1, 1024));
    let text = r#"{"name": "get_weather", "arguments": {}}"#;
    let mut request =
        constrained(&engine, &format!("start: {}", serde_json::to_string(text).unwrap()));
    let answer = collect(submit(&engine, request.clone()));
    engine.always_draft();
    let drafted = collect(submit(&engine, request.clone()));
    request.speculation = false;
    let plain = collect(submit(&engine, request));
    for answer in [&answer, &drafted, &plain] {
        assert_eq!(answer.text, text);
    }
    assert_eq!(ids(&drafted), ids(&answer));
}

#[test]
fn free_text_between_what_is_forced_stays_free_and_ends_with_the_request() {
    let lark = r#"start: "{\"name\": \"" /[a-z]{2,8}/ "\", \"size of it\": " /[0-9]{1,4}/ "}""#;
    for engine in forwarding() {
        engine.always_draft();
        let base = constrained(&engine, lark);
        let ask = |change: &dyn Fn(&mut GenerationRequest)| {
            let mut request = base.clone();
            request.sampling.temperature = 1.0;
            request.sampling.seed = Some(7);
            change(&mut request);
            collect(submit(&engine, request))
        };
        let whole = ask(&|_| ());
        let value: Value = serde_json::from_str(&whole.text).expect(&whole.text);
        assert!(value["name"].as_str().is_some_and(|name| (2..=8).contains(&name.len())));
        assert!(value["size of it"].is_u64(), "{value}");
        assert!(whole.end.timings.accepted_tokens >= 4, "{:?}", whole.end.timings);
        // Inside of what is forced.
        for tokens in 1..whole.tokens.len() as u32 {
            let part = ask(&|request| request.max_tokens = Some(tokens));
            assert_eq!((part.tokens.len() as u32, part.end.finish), (tokens, FinishReason::Length));
            assert!(whole.text.starts_with(&part.text), "{} of {}", part.text, whole.text);
        }
        let stopped = ask(&|request| request.stop = vec!["size".to_owned()]);
        assert_eq!(stopped.end.finish, FinishReason::StopString("size".to_owned()));
        assert_eq!(Some(stopped.text.as_str()), whole.text.split("size").next());
        // What was computed behind the end does not stay.
        assert_eq!(ask(&|_| ()).text, whole.text);
    }
}

#[test]
fn nothing_is_forced_where_a_request_would_see_that_no_choice_was_made() {
    let forced = r#"{"name": "get_weather", "arguments": {}}"#;
    let engine = load(params(1, 1024));
    let base = constrained(&engine, &format!("start: {}", serde_json::to_string(forced).unwrap()));
    let own = collect(submit(&engine, base.clone())).tokens;
    let ask = |change: &dyn Fn(&mut GenerationRequest)| {
        let mut request = base.clone();
        change(&mut request);
        let answer = collect(submit(&engine, request));
        assert_eq!(answer.text, forced);
        answer
    };
    let biased = ask(&|request| {
        request.sampling.logit_bias = own.iter().map(|token| (token.id, -100.0)).collect();
    });
    assert_ne!(biased.tokens.len(), own.len(), "the text has other tokens");
    let seen = ask(&|request| request.top_logprobs = Some(0));
    assert!(seen.tokens.iter().all(|token| token.logprobs.is_some()));
    for answer in [
        biased,
        seen,
        ask(&|request| request.sampling.mirostat = 2),
        ask(&|request| request.sampling.repeat_penalty = 1.5),
    ] {
        // Some of the text repeats itself, which is drafted and not forced.
        let timings = answer.end.timings;
        assert!(timings.accepted_tokens < own.len() as u32 / 2, "{timings:?}");
    }
}
