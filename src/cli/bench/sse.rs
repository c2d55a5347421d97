//! Server-sent events of a streamed completion: what a benchmark needs to know of them.

use serde::{Deserialize, Serialize};

/// Tokens as the server counted them.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    pub completion_tokens: u64,
    prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(default)]
struct PromptDetails {
    cached_tokens: Option<u64>,
}

impl Usage {
    /// Prompt tokens that the server had in its cache, when it tells.
    pub fn cached_tokens(&self) -> Option<u64> {
        self.prompt_tokens_details.and_then(|details| details.cached_tokens)
    }
}

/// The server's own measurement (llama-server's `timings`), tokens per second.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Timings {
    /// Prompt tokens read per second.
    pub prompt_per_second: Option<f64>,
    /// Tokens generated per second.
    pub predicted_per_second: Option<f64>,
    /// Tokens drafted by speculation.
    pub draft_n: Option<u64>,
    /// Drafted tokens that came.
    pub draft_n_accepted: Option<u64>,
}

/// One `data:` line, or the body of an answer that was not streamed.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct Event {
    choices: Vec<Choice>,
    /// Token counts, in one event of a stream.
    pub usage: Option<Usage>,
    /// The server's own measurement, if it has one.
    pub timings: Option<Timings>,
    error: Option<serde_json::Value>,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
struct Choice {
    text: Option<String>,
    delta: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
struct Delta {
    content: Option<String>,
    /// llama-server's and vLLM's older name.
    reasoning_content: Option<String>,
    /// vLLM's newer name.
    reasoning: Option<String>,
}

impl Event {
    /// Whether the client sees new text, reasoning included.
    pub fn has_text(&self) -> bool {
        let some = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        self.choices.iter().any(|choice| {
            some(&choice.text)
                || choice.delta.as_ref().is_some_and(|delta| {
                    some(&delta.content) || some(&delta.reasoning_content) || some(&delta.reasoning)
                })
        })
    }

    /// Why generation ended, in the event that says so.
    pub fn finish_reason(&self) -> Option<&str> {
        self.choices.iter().find_map(|choice| choice.finish_reason.as_deref())
    }

    /// The message of an error that came in mid-stream.
    pub fn error(&self) -> Option<String> {
        self.error.as_ref().map(error_message)
    }
}

/// What a line of the stream is.
#[derive(Debug, PartialEq)]
pub enum Line<'a> {
    /// The value of a `data:` field.
    Data(&'a str),
    /// `data: [DONE]`
    Done,
    /// Blank, a comment (keep-alive) or another field.
    Other,
}

/// Reads one line, with or without its line end.
pub fn parse_line(line: &str) -> Line<'_> {
    let line = line.trim_end_matches(['\r', '\n']);
    match line.strip_prefix("data:").map(|value| value.strip_prefix(' ').unwrap_or(value)) {
        Some("[DONE]") => Line::Done,
        Some(value) => Line::Data(value),
        None => Line::Other,
    }
}

/// The readable part of an `error` value: its `message`, a plain string, or all of it.
pub fn error_message(error: &serde_json::Value) -> String {
    match error.get("message").unwrap_or(error) {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn event(json: &str) -> Event {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn data_lines_are_told_from_comments_and_line_ends() {
        assert_eq!(parse_line("data: {\"a\":1}\r\n"), Line::Data("{\"a\":1}"));
        assert_eq!(parse_line("data:{}\n"), Line::Data("{}"));
        assert_eq!(parse_line("data: [DONE]\n"), Line::Done);
        for other in ["", "\n", ": keep-alive\n", "event: message_start\n", "id: 4", "database: 1"]
        {
            assert_eq!(parse_line(other), Line::Other, "{other:?}");
        }
    }

    #[test]
    fn text_is_found_in_completions_chat_and_reasoning() {
        assert!(event(r#"{"choices":[{"text":"a","finish_reason":null}]}"#).has_text());
        assert!(event(r#"{"choices":[{"delta":{"content":"a"}}]}"#).has_text());
        assert!(event(r#"{"choices":[{"delta":{"reasoning_content":"a"}}]}"#).has_text());
        assert!(event(r#"{"choices":[{"delta":{"reasoning":"a"}}]}"#).has_text());
    }

    #[test]
    fn role_empty_and_usage_chunks_have_no_text() {
        assert!(
            !event(r#"{"choices":[{"delta":{"role":"assistant","content":null}}]}"#).has_text()
        );
        assert!(!event(r#"{"choices":[{"text":"","finish_reason":"length"}]}"#).has_text());
        assert!(!event(r#"{"choices":[],"usage":{"prompt_tokens":3}}"#).has_text());
    }

    #[test]
    fn the_end_usage_and_timings_are_read() {
        let last = event(
            r#"{"choices":[{"delta":{},"finish_reason":"stop"}],
                "usage":{"prompt_tokens":5,"completion_tokens":7,
                         "prompt_tokens_details":{"cached_tokens":2}},
                "timings":{"prompt_per_second":10.5,"predicted_per_second":null,
                           "draft_n":9,"draft_n_accepted":4}}"#,
        );
        assert_eq!(last.finish_reason(), Some("stop"));
        let usage = last.usage.unwrap();
        assert_eq!((usage.prompt_tokens, usage.completion_tokens), (5, 7));
        assert_eq!(usage.cached_tokens(), Some(2));
        let timings = last.timings.unwrap();
        assert_eq!(timings.prompt_per_second, Some(10.5));
        assert_eq!((timings.draft_n, timings.draft_n_accepted), (Some(9), Some(4)));
    }

    #[test]
    fn an_error_in_mid_stream_gives_its_message() {
        let failed = event(r#"{"error":{"message":"out of memory","code":500}}"#);
        assert_eq!(failed.error().as_deref(), Some("out of memory"));
        assert_eq!(event(r#"{"error":"no"}"#).error().as_deref(), Some("no"));
        assert_eq!(event(r#"{"choices":[]}"#).error(), None);
    }
}
