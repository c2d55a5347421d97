//! Streams read back by a strict decoder equal the whole response of the same parts.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::names::ToolNames;
use super::{Encoder, Failure, Head, Outcome, ResponseUsage, decoder, tools};
use crate::chat::output::Event;

fn names() -> ToolNames {
    let tools = json!([
        {"type": "custom", "name": "patch"},
        {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "f"}]},
    ]);
    tools::check(tools.as_array().map(Vec::as_slice), None, None)
        .map(|t| t.names)
        .unwrap_or_default()
}

fn encoder(summarizes: bool) -> Encoder {
    let echo = json!({"metadata": {}, "tools": []}).as_object().cloned().unwrap_or_default();
    let head = Head { random: "0123456789".to_owned(), created: 5, model: "m".to_owned(), echo };
    Encoder::new(head, names(), summarizes)
}

/// The response that parts make, which is the same whole and streamed.
fn both_ways(parts: &[Event], outcome: Outcome, summarizes: bool) -> Value {
    let mut streaming = encoder(summarizes);
    let mut out = Vec::new();
    streaming.start(&mut out);
    for part in parts {
        streaming.part(part, &mut out);
    }
    let kept = streaming.finish(outcome, &mut out);
    let streamed = decoder::read(&String::from_utf8_lossy(&out));
    let whole = encoder(summarizes).whole(parts, outcome);
    assert_eq!(kept, whole);
    assert_eq!(serde_json::from_slice::<Value>(&whole).unwrap_or_default(), streamed);
    streamed
}

fn outcome(is_cut: bool) -> Outcome {
    Outcome { is_cut, usage: ResponseUsage::new(5, 2, 7, 3) }
}

fn call(index: usize, name: &str) -> Event {
    Event::Call { index, name: name.to_owned() }
}

fn arguments(index: usize, fragment: &str) -> Event {
    Event::Arguments { index, fragment: fragment.to_owned() }
}

#[test]
fn each_kind_of_part_is_an_item() {
    let parts = [
        Event::Reasoning("Hm".to_owned()),
        Event::Reasoning("m.".to_owned()),
        Event::Text("I ".to_owned()),
        Event::Text("act.".to_owned()),
        call(0, "n__f"),
        arguments(0, "{\"a\": "),
        arguments(0, "1}"),
        Event::CallEnd { index: 0 },
        call(1, "patch"),
        arguments(1, "{\"input\": \"a\\n"),
        arguments(1, "b\"}"),
        Event::CallEnd { index: 1 },
    ];
    let response = both_ways(&parts, outcome(false), false);
    assert_eq!(response["status"], "completed");
    assert_eq!(response["id"], "resp_0123456789");
    assert_eq!(
        response["output"],
        json!([
            {"type": "reasoning", "id": "rs_012345678900", "summary": [],
             "content": [{"type": "reasoning_text", "text": "Hmm."}], "status": "completed"},
            {"type": "message", "id": "msg_012345678901", "status": "completed", "role": "assistant",
             "content": [{"type": "output_text", "text": "I act.", "annotations": [], "logprobs": []}]},
            {"type": "function_call", "id": "fc_012345678902", "call_id": "call_012345678902",
             "name": "f", "arguments": "{\"a\": 1}", "status": "completed", "namespace": "n"},
            {"type": "custom_tool_call", "id": "ctc_012345678903", "call_id": "call_012345678903",
             "name": "patch", "input": "a\nb", "status": "completed"},
        ])
    );
    assert_eq!(
        response["usage"],
        json!({"input_tokens": 5, "output_tokens": 7, "total_tokens": 12,
            "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 3}})
    );
    let summary = &both_ways(&parts, outcome(false), true)["output"][0];
    assert_eq!(summary["summary"], json!([{"type": "summary_text", "text": "Hmm."}]));
    assert!(summary.get("content").is_none());
}

#[test]
fn what_is_cut_is_incomplete() {
    let text = [Event::Text("Half".to_owned())];
    let response = both_ways(&text, outcome(true), false);
    assert_eq!(response["status"], "incomplete");
    assert_eq!(response["incomplete_details"], json!({"reason": "max_output_tokens"}));
    assert_eq!(response["output"][0]["status"], "incomplete");
    let cut = [call(0, "f"), arguments(0, "{\"a"), Event::CallCut { index: 0 }];
    assert_eq!(both_ways(&cut, outcome(true), false)["output"][0]["status"], "incomplete");
    assert_eq!(both_ways(&[], outcome(true), false)["output"], json!([]));
}

#[test]
fn a_failure_ends_a_stream_wherever_it_is() {
    let failure = Failure { code: "server_error", message: "No.".to_owned() };
    let mut encoder = encoder(false);
    let mut early = Vec::new();
    encoder.fail(&failure, &mut early);
    let mut late = Vec::new();
    encoder.start(&mut late);
    encoder.part(&Event::Text("Half".to_owned()), &mut late);
    encoder.part(&call(0, "f"), &mut late);
    encoder.fail(&failure, &mut late);
    for (stream, items) in [(early, 0), (late, 1)] {
        let response = decoder::read(&String::from_utf8_lossy(&stream));
        assert_eq!(response["error"], json!({"code": "server_error", "message": "No."}));
        assert_eq!(response["output"].as_array().map(Vec::len), Some(items));
    }
}

proptest! {
    #[test]
    fn streams_of_any_parts_equal_the_whole(
        kinds in prop::collection::vec((0u8..6, ".{1,6}", 0usize..3), 0..30),
        is_cut in any::<bool>(),
        summarizes in any::<bool>(),
    ) {
        let mut parts = Vec::new();
        let (mut calls, mut open) = (0, false);
        for (kind, text, name) in kinds {
            match kind {
                2 => {
                    if open {
                        parts.push(Event::CallCut { index: calls - 1 });
                    }
                    parts.push(call(calls, ["n__f", "patch", "other"][name]));
                    (calls, open) = (calls + 1, true);
                }
                _ if open && kind < 5 => {
                    let text = if kind == 0 { "{\"input\": \"" } else { &text };
                    parts.push(arguments(calls - 1, text));
                }
                _ if open => {
                    parts.push(Event::CallEnd { index: calls - 1 });
                    open = false;
                }
                0 | 3 => parts.push(Event::Reasoning(text)),
                _ => parts.push(Event::Text(text)),
            }
        }
        both_ways(&parts, outcome(is_cut), summarizes);
    }
}
