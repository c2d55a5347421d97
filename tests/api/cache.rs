//! A prompt token is computed once: what a server has read is found again, wherever it lies, and
//! no answer is another for it.

mod disk;

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Server, chunks, send};

/// Two logits closer than this may change places: a kernel's sums depend on how many tokens it
/// computes at once, and those of a GPU multiply with 16 bits here and there.
fn tie() -> f64 {
    if std::env::var_os("STRIXHALO_TEST_GPU").is_some() { 0.01 } else { 1e-3 }
}

const WORDS: [&str; 32] = [
    "time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world",
    "school", "state", "family", "student", "group", "country", "problem", "hand", "part", "place",
    "case", "week", "company", "system", "program", "question", "work", "number", "night", "point",
    "home",
];

/// A message of `words` words; each `number` has a text of its own.
fn message(role: &str, number: u32, words: usize) -> Value {
    let mut seed = number.wrapping_mul(2_654_435_761) | 1;
    let mut word = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        WORDS[(seed >> 24) as usize % WORDS.len()]
    };
    let text: Vec<&str> = (0..words).map(|_| word()).collect();
    json!({"role": role, "content": text.join(" ")})
}

/// A system prompt, a question, an answer and a question.
fn conversation(number: u32, words: usize) -> Vec<Value> {
    let roles = ["system", "user", "assistant", "user"];
    let numbered = (number * 1000..).zip(roles);
    numbered.map(|(number, role)| message(role, number, words / roles.len())).collect()
}

/// Appends an answer that no model has given, and a message.
fn extend(messages: &mut Vec<Value>, number: u32) {
    let count = messages.len() as u32;
    messages.push(message("assistant", number * 1000 + count, 8));
    messages.push(message("user", number * 1000 + count + 1, 12));
}

/// A greedy answer.
struct Answer {
    prompt_tokens: usize,
    cached_tokens: usize,
    /// Ids, with the log-probabilities of the best two at that place.
    tokens: Vec<(u64, [f64; 2])>,
}

fn ask_with(server: &Server, messages: &[Value], fields: Value) -> Answer {
    let mut body = json!({
        "messages": messages, "temperature": 0, "max_tokens": 12, "logprobs": true,
        "top_logprobs": 2, "ignore_eos": true,
    });
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    let reply = server.post("/v1/chat/completions", body);
    assert_eq!(reply.status, 200, "{}", reply.json);
    let usage = &reply.json["usage"];
    let count = |value: &Value| value.as_u64().unwrap() as usize;
    let best = |token: &Value, rank: usize| token["top_logprobs"][rank]["logprob"].as_f64();
    let tokens = reply.json["choices"][0]["logprobs"]["content"].as_array().unwrap();
    Answer {
        prompt_tokens: count(&usage["prompt_tokens"]),
        cached_tokens: count(&usage["prompt_tokens_details"]["cached_tokens"]),
        tokens: tokens
            .iter()
            .map(|token| {
                (token["id"].as_u64().unwrap(), [0, 1].map(|rank| best(token, rank).unwrap()))
            })
            .collect(),
    }
}

fn ask(server: &Server, messages: &[Value]) -> Answer {
    ask_with(server, messages, json!({}))
}

/// A server that keeps nothing.
fn cold(flags: &[&str]) -> Server {
    Server::start(&[flags, &["--no-cache-prompt"]].concat())
}

/// Fails unless `answer` is what a cold server says to the same messages, or the two part where
/// the best two tokens are all but equal.
fn assert_as_cold(cold: &Server, messages: &[Value], answer: &Answer, what: &str) {
    let expected = ask(cold, messages);
    assert_eq!(expected.cached_tokens, 0, "the cold server is cold");
    assert_eq!(answer.prompt_tokens, expected.prompt_tokens, "{what}");
    let same = answer.tokens.iter().zip(&expected.tokens).take_while(|(a, b)| a.0 == b.0).count();
    match (answer.tokens.get(same), expected.tokens.get(same)) {
        (None, None) => {}
        (_, Some((_, [best, next]))) if best - next < tie() => {
            eprintln!("{what}: a tie at token {same}, {:e} apart", best - next);
        }
        _ => panic!("{what}: {:?} instead of {:?}", answer.tokens, expected.tokens),
    }
}

/// Where each message of a chat begins in its prompt, and last where the answer does, in tokens.
/// The templates of all models here begin each with the same special token.
fn borders(server: &Server, messages: &[Value]) -> Vec<usize> {
    let prompt = server.post("/apply-template", json!({"messages": messages})).json;
    let body = json!({"content": prompt["prompt"], "parse_special": true});
    let tokens = server.post("/tokenize", body).json["tokens"].as_array().unwrap().clone();
    let start = server.post("/tokenize", json!({"content": "<|im_start|>"})).json;
    let start = &start["tokens"].as_array().unwrap()[0];
    let borders: Vec<usize> = (0..tokens.len()).filter(|&at| tokens[at] == *start).collect();
    assert_eq!(borders.len(), messages.len() + 1, "{prompt}");
    borders
}

/// Fails unless all messages before `changed` were cached; the answer counts as the last message.
fn assert_cached(server: &Server, messages: &[Value], changed: usize, answer: &Answer, what: &str) {
    let least = borders(server, messages)[changed];
    let Answer { prompt_tokens, cached_tokens, .. } = answer;
    assert!(
        *cached_tokens >= least,
        "{what}: {cached_tokens} of {prompt_tokens} tokens were cached, {least} did not change"
    );
}

/// The same for a change before the last message: of a hybrid's borders only those are kept that
/// lie so far apart.
fn assert_nearly_cached(
    server: &Server,
    messages: &[Value],
    changed: usize,
    answer: &Answer,
    what: &str,
) {
    const SPACING: usize = 256;
    if !what.starts_with("hybrid") {
        return assert_cached(server, messages, changed, answer, what);
    }
    let least = borders(server, messages)[changed].saturating_sub(SPACING);
    let Answer { prompt_tokens, cached_tokens, .. } = answer;
    assert!(
        *cached_tokens >= least,
        "{what}: {cached_tokens} of {prompt_tokens} tokens were cached, not {least}"
    );
}

/// The tiny hybrid model of tests/models.
fn hybrid() -> String {
    format!("{}/tests/models/tiny-qwen3next.gguf", env!("CARGO_MANIFEST_DIR"))
}

/// Flags for a dense model and a hybrid one.
fn kinds() -> [(&'static str, Vec<String>); 2] {
    [("dense", vec![]), ("hybrid", vec!["--model".to_owned(), hybrid()])]
}

/// Both kinds of models with the same further flags: name, warm server, cold server.
fn pairs(flags: &[&str]) -> impl Iterator<Item = (&'static str, Server, Server)> {
    kinds().into_iter().map(move |(kind, model)| {
        let all: Vec<&str> =
            model.iter().map(String::as_str).chain(flags.iter().copied()).collect();
        (kind, Server::start(&all), cold(&all))
    })
}

const ONE_SLOT: [&str; 4] = ["--ctx-size", "2048", "--parallel", "1"];
const TWO_SLOTS: [&str; 4] = ["--ctx-size", "4096", "--parallel", "2"];

#[test]
fn a_repeated_chat_is_cached_up_to_its_answer() {
    for (kind, server, cold) in pairs(&ONE_SLOT) {
        let messages = conversation(1, 80);
        ask(&server, &messages);
        let again = ask(&server, &messages);
        assert_cached(&server, &messages, messages.len(), &again, kind);
        assert!(again.cached_tokens < again.prompt_tokens, "the last token gives the first logits");
        assert_as_cold(&cold, &messages, &again, kind);
    }
}

#[test]
fn a_chat_with_another_last_message_goes_on_from_the_one_before() {
    for (kind, server, cold) in pairs(&ONE_SLOT) {
        let first = conversation(1, 80);
        ask(&server, &first);
        for number in 2..5 {
            let mut other = first.clone();
            other[3] = message("user", number, 20);
            let answer = ask(&server, &other);
            assert_cached(&server, &other, 3, &answer, kind);
            assert_as_cold(&cold, &other, &answer, kind);
        }
        let again = ask(&server, &first);
        assert_cached(&server, &first, 3, &again, kind);
        assert_as_cold(&cold, &first, &again, kind);
    }
}

#[test]
fn an_agents_loop_whose_answers_are_not_what_was_generated_reads_only_its_new_tail() {
    for (kind, server, cold) in pairs(&ONE_SLOT) {
        let mut messages = conversation(1, 80);
        ask(&server, &messages);
        for step in 0..6 {
            let unchanged = messages.len();
            extend(&mut messages, 1);
            let answer = ask(&server, &messages);
            assert_cached(&server, &messages, unchanged, &answer, &format!("{kind}, step {step}"));
            assert_as_cold(&cold, &messages, &answer, &format!("{kind}, step {step}"));
        }
    }
}

#[test]
fn an_answer_that_comes_back_as_it_was_generated_is_cached_too() {
    for (kind, server, cold) in pairs(&ONE_SLOT) {
        let mut messages = conversation(1, 80);
        let body = json!({"messages": messages, "temperature": 0, "max_tokens": 12});
        let reply = server.post("/v1/chat/completions", body).json;
        messages.push(reply["choices"][0]["message"].clone());
        messages.push(message("user", 7, 12));
        let answer = ask(&server, &messages);
        assert_cached(&server, &messages, 4, &answer, kind);
        assert_as_cold(&cold, &messages, &answer, kind);
    }
}

#[test]
fn an_edited_message_and_a_cleared_tool_result_leave_what_lies_before_them_cached() {
    for (kind, server, cold) in pairs(&ONE_SLOT) {
        let mut messages = conversation(1, 200);
        for _ in 0..3 {
            extend(&mut messages, 1);
        }
        messages[7] =
            json!({"role": "tool", "tool_call_id": "1", "content": messages[7]["content"]});
        ask(&server, &messages);
        let mut cleared = messages.clone();
        cleared[7]["content"] = "[cleared]".into();
        let answer = ask(&server, &cleared);
        assert_nearly_cached(&server, &cleared, 7, &answer, kind);
        assert_as_cold(&cold, &cleared, &answer, kind);
        for changed in [5, 3, 1] {
            let mut edited = cleared.clone();
            edited[changed] = message("user", 100 + changed as u32, 10);
            let answer = ask(&server, &edited);
            let what = format!("{kind}, message {changed} edited");
            assert_nearly_cached(&server, &edited, changed, &answer, &what);
            assert_as_cold(&cold, &edited, &answer, &what);
        }
    }
}

#[test]
fn three_conversations_in_turn_over_two_slots_are_all_remembered() {
    for (kind, server, cold) in pairs(&TWO_SLOTS) {
        let mut all: Vec<Vec<Value>> = (1..4).map(|number| conversation(number, 100)).collect();
        for round in 0..3 {
            for (number, messages) in (1..).zip(&mut all) {
                let what = format!("{kind}, round {round}, conversation {number}");
                let unchanged = messages.len();
                if round > 0 {
                    extend(messages, number);
                }
                let answer = ask(&server, messages);
                if round > 0 {
                    assert_cached(&server, messages, unchanged, &answer, &what);
                }
                assert_as_cold(&cold, messages, &answer, &what);
            }
        }
    }
}

#[test]
fn a_system_prompt_is_read_once_for_two_conversations() {
    for (kind, server, cold) in pairs(&TWO_SLOTS) {
        let system = message("system", 1, 60);
        let mut first = vec![system.clone(), message("user", 2, 12)];
        ask(&server, &first);
        extend(&mut first, 3);
        ask(&server, &first);
        let second = vec![system, message("user", 4, 12)];
        let answer = ask(&server, &second);
        assert_cached(&server, &second, 1, &answer, kind);
        assert_as_cold(&cold, &second, &answer, kind);
        // And it took nothing from the first.
        let unchanged = first.len();
        extend(&mut first, 5);
        let answer = ask(&server, &first);
        assert_cached(&server, &first, unchanged, &answer, kind);
        assert_as_cold(&cold, &first, &answer, kind);
    }
}

#[test]
fn a_parent_goes_on_after_its_sub_agents() {
    for (kind, server, cold) in pairs(&TWO_SLOTS) {
        let mut parent = conversation(1, 360);
        ask(&server, &parent);
        for number in 10..13 {
            let mut agent = vec![parent[0].clone(), message("user", number, 20)];
            let first = ask(&server, &agent);
            assert_nearly_cached(&server, &agent, 1, &first, kind);
            extend(&mut agent, number);
            let second = ask(&server, &agent);
            assert_cached(&server, &agent, 2, &second, kind);
            assert_as_cold(&cold, &agent, &second, kind);
        }
        let unchanged = parent.len();
        extend(&mut parent, 1);
        let answer = ask(&server, &parent);
        assert_cached(&server, &parent, unchanged, &answer, kind);
        assert_as_cold(&cold, &parent, &answer, kind);
    }
}

#[test]
fn a_request_that_refuses_the_cache_is_computed_whole() {
    for (kind, server, cold) in pairs(&TWO_SLOTS) {
        let messages = conversation(1, 80);
        ask(&server, &messages);
        let answer = ask_with(&server, &messages, json!({"cache_prompt": false}));
        assert_eq!(answer.cached_tokens, 0, "{kind}");
        assert_as_cold(&cold, &messages, &answer, kind);
    }
}

/// Prompt tokens that a server has computed.
fn computed(server: &Server) -> usize {
    server.metric("llamacpp:prompt_tokens_total") as usize
}

#[test]
fn requests_at_once_compute_their_common_system_prompt_once() {
    for (kind, server, cold) in pairs(&["--ctx-size", "8192", "--parallel", "8"]) {
        let system = message("system", 1, 100);
        let all: Vec<Vec<Value>> =
            (2..10).map(|number| vec![system.clone(), message("user", number, 10)]).collect();
        let shared = borders(&server, &all[0])[1];
        let before = computed(&server);
        let answers: Vec<Answer> = thread::scope(|scope| {
            let server = &server;
            let asked: Vec<_> =
                all.iter().map(|messages| scope.spawn(move || ask(server, messages))).collect();
            asked.into_iter().map(|answer| answer.join().unwrap()).collect()
        });
        let tails: usize = answers.iter().map(|answer| answer.prompt_tokens - shared).sum();
        let computed = computed(&server) - before;
        assert!(
            computed * 4 <= (shared + tails) * 5,
            "{kind}: {computed} tokens were computed for {shared} and tails of {tails}"
        );
        for (messages, answer) in all.iter().zip(&answers) {
            assert_as_cold(&cold, messages, answer, kind);
        }
    }
}

#[test]
fn a_request_shares_the_system_prompt_of_running_streams() {
    for (kind, server, cold) in pairs(&["--ctx-size", "32768", "--parallel", "4"]) {
        let system = message("system", 1, 100);
        let streams: Vec<_> = (2..5)
            .map(|number| {
                let messages = [system.clone(), message("user", number, 10)];
                let body = json!({
                    "messages": messages, "stream": true, "max_tokens": -1, "ignore_eos": true,
                });
                let stream = send(&server, body);
                server.wait_for_busy_slots(number as usize - 1);
                stream
            })
            .collect();
        // All have read their prompts.
        while computed(&server) < borders(&server, std::slice::from_ref(&system))[1] {
            thread::sleep(Duration::from_millis(10));
        }
        let messages = vec![system, message("user", 9, 10)];
        let answer = ask(&server, &messages);
        assert_cached(&server, &messages, 1, &answer, kind);
        drop(streams);
        assert_as_cold(&cold, &messages, &answer, kind);
    }
}

#[test]
fn more_conversations_than_slots_are_answered_as_when_cold() {
    for (kind, server, cold) in pairs(&TWO_SLOTS) {
        let answered: Vec<(String, Vec<Value>, Answer)> = thread::scope(|scope| {
            let server = &server;
            let clients: Vec<_> =
                (1..7).map(|number| scope.spawn(move || client(server, kind, number))).collect();
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
        });
        assert_eq!(answered.len(), 6 * 5);
        for (what, messages, answer) in &answered {
            assert_as_cold(&cold, messages, answer, what);
        }
        assert_eq!(server.busy_slots(), 0, "{kind}");
    }
}

/// A conversation of some turns, with edits and another end now and then.
fn client(server: &Server, kind: &str, number: u32) -> Vec<(String, Vec<Value>, Answer)> {
    let mut messages = conversation(number, 40 + 10 * number as usize);
    let mut answered = Vec::new();
    for turn in 0..5 {
        let answer = ask(server, &messages);
        let what = format!("{kind}, conversation {number}, turn {turn}");
        answered.push((what, messages.clone(), answer));
        match (number + turn) % 3 {
            0 => messages[1] = message("user", number * 77 + turn, 15),
            1 => *messages.last_mut().unwrap() = message("user", number * 78 + turn, 15),
            _ => {}
        }
        extend(&mut messages, number);
    }
    answered
}

#[test]
fn a_stream_that_was_left_changes_no_later_answer() {
    for (kind, server, cold) in pairs(&TWO_SLOTS) {
        let mut messages = conversation(1, 80);
        let body = json!({"messages": messages, "stream": true, "max_tokens": -1});
        drop(send(&server, body));
        server.wait_for_busy_slots(0);
        let body = json!({"messages": messages, "stream": true, "max_tokens": 8});
        chunks(server.stream("/v1/chat/completions", body));
        let unchanged = messages.len();
        extend(&mut messages, 1);
        let answer = ask(&server, &messages);
        assert_cached(&server, &messages, unchanged, &answer, kind);
        assert_as_cold(&cold, &messages, &answer, kind);
    }
}
