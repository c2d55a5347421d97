//! Random choices under the grammars, read by the parser: what is read as a call must be a valid
//! one.

use std::collections::BTreeSet;
use std::sync::Arc;

use llguidance::Matcher;
use serde_json::{Value, json};

use super::compile::tools;
use super::engine::{Engine, Tags};
use crate::chat::constraint::calls::is_known;
use crate::chat::constraint::plan;
use crate::chat::output::{End, Event, FORMATS, Format, Opening, Parser};
use crate::chat::tools::{ResponseFormat, Tool, ToolChoice, Tools};

/// What an output was read as.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) text: String,
    pub(super) thought: String,
    pub(super) calls: Vec<(String, String)>,
    pub(super) cut: bool,
}

pub(super) fn read(
    format: &'static Format,
    tools: &[Tool],
    opening: Opening,
    text: &str,
    ended: bool,
) -> Read {
    read_as(format, tools, opening, false, text, ended)
}

/// `has_form`: whatever is text is JSON, in which a call is a quotation.
fn read_as(
    format: &'static Format,
    tools: &[Tool],
    opening: Opening,
    has_form: bool,
    text: &str,
    ended: bool,
) -> Read {
    let mut parser = Parser::new(format, Arc::from(tools), opening);
    if has_form {
        parser = parser.with_text_or_calls();
    }
    let mut events = parser.push(text);
    events.extend(parser.finish(if ended { End::Model } else { End::Cut }));
    let mut read = Read::default();
    let mut open = (String::new(), String::new());
    for event in events {
        match event {
            Event::Text(text) => read.text += &text,
            Event::Reasoning(text) => read.thought += &text,
            Event::Call { name, .. } => open = (name, String::new()),
            Event::Arguments { fragment, .. } => open.1 += &fragment,
            Event::CallEnd { .. } => read.calls.push(std::mem::take(&mut open)),
            Event::CallCut { .. } => read.cut = true,
        }
    }
    read
}

/// Beginnings of what noise alone seldom says, and look-alikes.
const SCRIPTS: &[&str] = &[
    "\n</parameter>\n<parameter=",
    "\n</parameter>\n</function>",
    "</parameter> x",
    "</parameter>\n</tool_call>",
    "<tool_call>",
    "</think>\n",
    "</arg_value>\n</tool_call>",
    "\n<tool_call>\n{\"name\": \"",
    "<tool_call>\n<function=",
    "<function=ping>",
    "<function=edit_file>\n<parameter=path>\n",
    "</function>\n</tool_call>",
    "<think>",
    "\n<minimax:tool_call>\n<invoke name=\"",
    "<invoke name=\"ping\">",
    "</invoke>",
    "</parameter>\n<parameter name=\"",
    "<|tool_calls_section_begin|><|tool_call_begin|>functions.ping:0<|tool_call_argument_begin|>{}",
    "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>ping<｜tool▁sep｜>{",
    "<tool_call>ping\n",
    "<arg_key>",
    "</arg_key>\n<arg_value>",
    "\n<function=get_weather>",
    "<tool_call>{\"name\": \"ping\"}</tool_call>",
    "`<tool_call>` x",
    "[\"</parameter>\n<parameter=",
    "\u{a0}",
    "<|channel|>analysis<|message|>",
    "<|channel|>commentary to=functions.",
    "<|channel|>commentary to=functions.ping <|constrain|>json<|message|>{}",
    " to=functions.get_weather<|channel|>commentary json<|message|>{\"",
    " to=functions.",
    "<|channel|>final<|message|>",
    "<|channel|>commentary<|message|>",
    "<|end|><|start|>assistant",
    "<|start|>assistant<|channel|>commentary to=functions.edit_file<|message|>",
    "<|return|>",
    "<|call|>",
    "<|start|>",
    "<|message|>{}",
    "assistant to=functions.other<|message|>{}",
    "to=functions.other",
    "[/THINK]",
    "[TOOL_CALLS]ping[ARGS]{}",
    "[TOOL_CALLS]",
    "[TOOL_CALLS] [{\"name\": \"",
    "[TOOL_CALLS][{\"name\": \"ping\"}",
    "<|tool_call|>[{\"name\": \"",
    "<|tool_call_start|>[ping(",
    "<|tool_call_start|>[",
    "\n[ping()",
    "\n{\"name\": \"get_weather\"",
    "{\"type\": \"function\", \"name\": \"ping\"",
    "\n[get_weather(city='",
    "\n[x",
    ", {\"name\": \"",
    ", ping(",
    ", \"id\": \"a1\"}",
    "]",
    "True",
];

/// One output; and whether it ended by itself.
pub(super) fn noise(
    engine: &Engine,
    matcher: &mut Matcher,
    most: usize,
    random: &mut fastrand::Rng,
) -> Result<(String, bool), String> {
    let mut text = Vec::new();
    let mut script: &[u8] = &[];
    let trie = engine.env.tok_trie();
    let mut ended = false;
    for step in 0..most {
        if matcher.is_stopped() {
            ended = true;
            break;
        }
        let mask = matcher.compute_mask_or_eos().map_err(|e| e.to_string())?;
        if script.is_empty() && random.u32(..100) < 8 {
            script = SCRIPTS[random.usize(..SCRIPTS.len())].as_bytes();
        }
        let scripted = (1..=script.len().min(30)).rev().find_map(|n| {
            let token = trie
                .token_id(&script[..n])
                .or_else(|| trie.token_id(&[b"\xff", &script[..n]].concat()))?;
            mask.is_allowed(token).then_some((token, n))
        });
        script = scripted.map_or(&[], |(_, n)| &script[n..]);
        let closes =
            |word: &[u8]| !word.is_empty() && word.iter().all(|b| b"\"}]),:</>\n=|".contains(b));
        let allowed: Vec<u32> =
            (0..engine.words.len() as u32).filter(|&t| mask.is_allowed(t)).collect();
        let closing: Vec<u32> =
            allowed.iter().copied().filter(|&t| closes(&engine.words[t as usize])).collect();
        let token = if let Some((token, _)) = scripted {
            token
        } else if mask.is_allowed(engine.end) && random.usize(..40) < 1 + step / 20 {
            engine.end
        } else if !closing.is_empty() && random.usize(..100) < 25 + step / 4 {
            closing[random.usize(..closing.len())]
        } else if let [_, ..] = allowed[..] {
            allowed[random.usize(..allowed.len())]
        } else {
            return Err(format!("nothing allowed after {:?}", String::from_utf8_lossy(&text)));
        };
        if token == engine.end {
            ended = true;
            break;
        }
        matcher.consume_token(token).map_err(|e| e.to_string())?;
        let word = &engine.words[token as usize];
        text.extend_from_slice(word.strip_prefix(b"\xff").unwrap_or(word));
    }
    Ok((String::from_utf8_lossy(&text).into_owned(), ended))
}

#[derive(Debug, Default)]
struct Counts {
    runs: usize,
    ended: usize,
    calls: usize,
    bad: Vec<String>,
    calls_of: std::collections::BTreeMap<&'static str, usize>,
}

fn runs(tags: Tags, n: usize, most: usize, seed: u64) -> Counts {
    let engine = Engine::new(tags);
    let tools = tools();
    let validators: Vec<_> =
        tools.iter().map(|t| jsonschema::validator_for(&t.parameters).unwrap()).collect();
    let schema = json!({"type": "object", "properties": {"zeta": {"type": "string"}, "alpha": {"type": "integer"}},
        "required": ["alpha", "zeta"], "additionalProperties": false});
    let answer = jsonschema::validator_for(&schema).unwrap();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut counts = Counts::default();
    for format in FORMATS.iter().filter(|format| is_known(format)) {
        for (choice, single, opening, allowed, response) in [
            (ToolChoice::Auto, false, Opening::Text, None, None),
            (ToolChoice::Auto, true, Opening::Thinking, None, None),
            (ToolChoice::Auto, false, Opening::Thinking, Some(vec![1, 3]), None),
            (ToolChoice::Required, false, Opening::Text, None, None),
            (ToolChoice::Required, true, Opening::Thinking, None, None),
            (ToolChoice::Required, true, Opening::Text, Some(vec![2]), None),
            (ToolChoice::Auto, false, Opening::Text, None, Some(&schema)),
            (ToolChoice::None, false, Opening::Thinking, None, Some(&schema)),
        ] {
            let asked = Tools { offered: tools.clone(), choice, allowed: allowed.clone(), single };
            let form = response.map_or(ResponseFormat::Text, |s| ResponseFormat::JsonSchema {
                schema: s.clone(),
                path: "response_format.json_schema.schema",
            });
            let special = |tag: &str| engine.special(tag);
            let plan = plan(Some(format), &asked, &form, opening, &special).unwrap().unwrap();
            assert_eq!(plan.notes, []);
            let first = engine.matcher(&plan.grammar(&BTreeSet::new())).unwrap();
            let callable: Vec<Tool> = asked.callable().cloned().collect();
            for _ in 0..n {
                let (text, ended) =
                    noise(&engine, &mut first.deep_clone(), most, &mut random).unwrap();
                let read = read_as(format, &callable, opening, response.is_some(), &text, ended);
                counts.runs += 1;
                counts.ended += usize::from(ended);
                counts.calls += read.calls.len();
                *counts.calls_of.entry(format.id).or_default() += read.calls.len();
                let fits = |(name, arguments): &(String, String)| {
                    let tool = tools.iter().position(|t| t.name == *name);
                    tool.is_some_and(|i| {
                        allowed.as_ref().is_none_or(|a| a.contains(&i)) && {
                            serde_json::from_str::<Value>(arguments)
                                .is_ok_and(|value| validators[i].is_valid(&value))
                        }
                    })
                };
                let said = read.text.trim();
                let is_answer =
                    || serde_json::from_str(said).is_ok_and(|value| answer.is_valid(&value));
                let good = read.calls.iter().all(fits)
                    && !(ended && read.cut)
                    && !(single && read.calls.len() > 1)
                    && !(ended
                        && choice == ToolChoice::Required
                        && (read.calls.is_empty() || !said.is_empty()))
                    && !(ended && response.is_some() && read.calls.is_empty() && !is_answer())
                    && (!ended || response.is_none() || read.calls.is_empty() || said.is_empty());
                if !good {
                    counts.bad.push(format!(
                        "{tags:?} {} {choice:?} single {single} {opening:?} {text:?}\n{read:?}",
                        format.id
                    ));
                }
            }
        }
    }
    counts
}

#[test]
fn random_outputs_are_valid() {
    for tags in [Tags::Text, Tags::Control] {
        let counts = runs(tags, 10, 300, 7);
        assert!(
            counts.bad.is_empty(),
            "{} bad, of which:\n{}",
            counts.bad.len(),
            counts.bad[..counts.bad.len().min(8)].join("\n")
        );
        assert!(counts.calls > counts.runs / 10, "{counts:?}");
        for format in FORMATS.iter().filter(|format| is_known(format)) {
            assert!(counts.calls_of[format.id] > 0, "{}: {counts:?}", format.id);
        }
    }
}

#[test]
#[ignore = "minutes: thousands of outputs"]
fn many_random_outputs_are_valid() {
    let runs_of_each = std::env::var("NOISE_RUNS").ok().and_then(|n| n.parse().ok()).unwrap_or(100);
    for (i, tags) in [Tags::Spelled, Tags::Text, Tags::Control].into_iter().enumerate() {
        let counts = runs(tags, runs_of_each, 400, 100 + i as u64);
        println!(
            "{tags:?}: {} runs, {} ended, {} calls, {} bad",
            counts.runs,
            counts.ended,
            counts.calls,
            counts.bad.len()
        );
        assert!(counts.bad.is_empty(), "{}", counts.bad[..counts.bad.len().min(8)].join("\n"));
    }
}
