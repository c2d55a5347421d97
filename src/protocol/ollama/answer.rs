//! The lines of an answer: JSON objects, each followed by a line break.

use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::chat::output::Event;
use crate::protocol::openai::ChatTokenLogprob;

/// Whose answers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Those of `/api/chat`, whose text is in a message.
    Chat,
    /// Those of `/api/generate`.
    Generate,
}

/// A time as Ollama counts it.
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Counts, and times in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Measures {
    /// From the request's headers to the end of its answer.
    pub total_duration: u64,
    /// Time that the request waited for the model to be loaded.
    pub load_duration: u64,
    /// Tokens of the prompt, cached ones included.
    pub prompt_eval_count: u64,
    /// Time in which the rest of the prompt was read.
    pub prompt_eval_duration: u64,
    /// Tokens of the answer.
    pub eval_count: u64,
    /// Time in which they were generated.
    pub eval_duration: u64,
}

/// All that a whole answer says.
#[derive(Debug, Clone, Default)]
pub struct Said<'a> {
    /// Its thoughts.
    pub thinking: &'a str,
    /// Its text.
    pub text: &'a str,
    /// Its calls: names, and arguments that are a JSON object where the call is whole.
    pub calls: Vec<(&'a str, &'a str)>,
}

/// Writes one answer.
#[derive(Debug)]
pub struct Writer {
    form: Form,
    model: String,
    /// The call that is being written: its name and its arguments so far.
    open: Option<(String, String)>,
    calls: usize,
    /// Calls that were cut, as text: their arguments are no object.
    cut: String,
}

/// A line, or a whole answer.
#[derive(Serialize)]
struct Line<'a> {
    model: &'a str,
    /// RFC 3339.
    created_at: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<MessageOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    thinking: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<Vec<ChatTokenLogprob>>,
    done: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    done_reason: Option<&'a str>,
    #[serde(flatten)]
    measures: Option<Measures>,
}

#[derive(Serialize)]
struct MessageOut<'a> {
    role: &'static str,
    content: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    thinking: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<CallOut>,
}

#[derive(Serialize)]
struct CallOut {
    /// What the tool's result may name.
    id: String,
    function: FunctionOut,
}

#[derive(Serialize)]
struct FunctionOut {
    index: usize,
    name: String,
    arguments: Box<RawValue>,
}

/// What a line says.
#[derive(Default)]
struct Piece<'a> {
    thinking: &'a str,
    text: &'a str,
    calls: Vec<CallOut>,
    logprobs: Option<Vec<ChatTokenLogprob>>,
    end: Option<(&'a str, Option<Measures>)>,
}

impl Writer {
    /// `model`: the name that each line carries.
    pub fn new(form: Form, model: &str) -> Self {
        Self { form, model: model.to_owned(), open: None, calls: 0, cut: String::new() }
    }

    /// Appends the lines of an output's parts at `now`. `logprobs` are those of its tokens, which
    /// come with the first line, if they were asked for.
    pub fn output(
        &mut self,
        now: &str,
        parts: &[Event],
        logprobs: Option<Vec<ChatTokenLogprob>>,
        out: &mut Vec<u8>,
    ) {
        let mut logprobs = logprobs.filter(|all| !all.is_empty());
        for part in parts {
            let piece = match part {
                Event::Reasoning(text) => Piece { thinking: text, ..Piece::default() },
                Event::Text(text) => Piece { text, ..Piece::default() },
                Event::Call { name, .. } => {
                    self.close(false);
                    self.open = Some((name.clone(), String::new()));
                    continue;
                }
                Event::Arguments { fragment, .. } => {
                    if let Some((_, arguments)) = &mut self.open {
                        arguments.push_str(fragment);
                    }
                    continue;
                }
                Event::CallEnd { .. } => match self.close(true) {
                    Some(call) => Piece { calls: vec![call], ..Piece::default() },
                    None => continue,
                },
                Event::CallCut { .. } => {
                    self.close(false);
                    continue;
                }
            };
            self.line(now, Piece { logprobs: logprobs.take(), ..piece }, out);
        }
        if logprobs.is_some() {
            self.line(now, Piece { logprobs, ..Piece::default() }, out);
        }
    }

    /// Appends a line that says nothing but that the stream lives: comments and empty lines break
    /// Ollama's clients.
    pub fn keep_alive(&self, now: &str, out: &mut Vec<u8>) {
        self.line(now, Piece::default(), out);
    }

    /// Appends the last lines. `reason`: `stop`, `length` or `load`.
    pub fn done(&mut self, now: &str, reason: &str, measures: Measures, out: &mut Vec<u8>) {
        self.close(false);
        let cut = std::mem::take(&mut self.cut);
        if !cut.is_empty() {
            self.line(now, Piece { text: &cut, ..Piece::default() }, out);
        }
        self.line(now, Piece { end: Some((reason, Some(measures))), ..Piece::default() }, out);
    }

    /// The answer to a request that only wants the model to be there: whole, or a stream of one line.
    pub fn loaded(&self, now: &str, out: &mut Vec<u8>) {
        self.line(now, Piece { end: Some(("load", None)), ..Piece::default() }, out);
    }

    /// A whole answer.
    pub fn whole(
        &self,
        now: &str,
        said: &Said<'_>,
        logprobs: Option<Vec<ChatTokenLogprob>>,
        reason: &str,
        measures: Measures,
    ) -> Vec<u8> {
        let mut text = said.text.to_owned();
        let mut calls = Vec::new();
        for &(name, arguments) in &said.calls {
            match call(calls.len(), name, arguments) {
                Some(call) => calls.push(call),
                None => text.push_str(&cut(name, arguments)),
            }
        }
        let mut out = Vec::new();
        let piece = Piece {
            thinking: said.thinking,
            text: &text,
            calls,
            logprobs,
            end: Some((reason, Some(measures))),
        };
        self.line(now, piece, &mut out);
        out
    }

    /// Ends the open call: it is returned where it is whole, and kept as text else.
    fn close(&mut self, is_whole: bool) -> Option<CallOut> {
        let (name, arguments) = self.open.take()?;
        let whole = is_whole.then(|| call(self.calls, &name, &arguments)).flatten();
        match whole {
            Some(_) => self.calls += 1,
            None => self.cut.push_str(&cut(&name, &arguments)),
        }
        whole
    }

    fn line(&self, now: &str, piece: Piece<'_>, out: &mut Vec<u8>) {
        let Piece { thinking, text, calls, logprobs, end } = piece;
        let is_chat = self.form == Form::Chat;
        let message = is_chat.then_some(MessageOut {
            role: "assistant",
            content: text,
            thinking,
            tool_calls: calls,
        });
        let line = Line {
            model: &self.model,
            created_at: now,
            message,
            response: (!is_chat).then_some(text),
            thinking: if is_chat { "" } else { thinking },
            logprobs,
            done: end.is_some(),
            done_reason: end.map(|(reason, _)| reason),
            measures: end.and_then(|(_, measures)| measures),
        };
        let start = out.len();
        // Our types have string keys and a Vec takes every write: there is no way to fail.
        match serde_json::to_writer(&mut *out, &line) {
            Ok(()) => out.push(b'\n'),
            Err(_) => out.truncate(start),
        }
    }
}

/// A call, if its arguments are an object.
fn call(index: usize, name: &str, arguments: &str) -> Option<CallOut> {
    // Line breaks are white space there; in a line there must be none.
    let arguments = RawValue::from_string(arguments.replace(['\n', '\r'], " ")).ok()?;
    let is_object = arguments.get().starts_with('{');
    is_object.then(|| CallOut {
        id: format!("call_{}", (0..8).map(|_| fastrand::alphanumeric()).collect::<String>()),
        function: FunctionOut { index, name: name.to_owned(), arguments },
    })
}

/// A call that was cut, as text.
fn cut(name: &str, arguments: &str) -> String {
    let name = serde_json::to_string(name).unwrap_or_default();
    format!("{{\"name\": {name}, \"arguments\": {arguments}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: &str = "2026-01-02T03:04:05Z";

    fn lines(out: &[u8]) -> Vec<Value> {
        let text = std::str::from_utf8(out).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_chat_comes_in_lines_and_a_call_when_it_is_whole() {
        let mut writer = Writer::new(Form::Chat, "m");
        let mut out = Vec::new();
        let arguments =
            |fragment: &str| Event::Arguments { index: 0, fragment: fragment.to_owned() };
        let parts = [
            Event::Reasoning("T".to_owned()),
            Event::Text("a\n".to_owned()),
            Event::Call { index: 0, name: "f".to_owned() },
            arguments("{\"n\":\n"),
        ];
        writer.output(NOW, &parts, None, &mut out);
        writer.output(NOW, &[arguments(" 1e400}"), Event::CallEnd { index: 0 }], None, &mut out);
        writer.keep_alive(NOW, &mut out);
        let measures = Measures { eval_count: 5, ..Measures::default() };
        writer.done(NOW, "stop", measures, &mut out);
        assert!(String::from_utf8_lossy(&out).contains(r#""arguments":{"n":  1e400}"#));
        let out = String::from_utf8(out).unwrap().replace("1e400", "1");
        let lines = lines(out.as_bytes());
        let message = |i: usize| lines[i]["message"].clone();
        assert_eq!(
            lines[0],
            json!({"model": "m", "created_at": NOW, "done": false,
                "message": {"role": "assistant", "content": "", "thinking": "T"}})
        );
        assert_eq!(message(1), json!({"role": "assistant", "content": "a\n"}));
        assert_eq!(
            message(2)["tool_calls"][0]["function"],
            json!({"index": 0, "name": "f", "arguments": {"n": 1}})
        );
        assert_eq!(message(3), json!({"role": "assistant", "content": ""}));
        assert_eq!((&lines[4]["done"], &lines[4]["done_reason"]), (&json!(true), &json!("stop")));
        assert_eq!((&lines[4]["eval_count"], &lines[4]["total_duration"]), (&json!(5), &json!(0)));
        assert_eq!(lines.len(), 5);
    }

    #[test]
    fn a_call_that_is_cut_is_text_at_the_end() {
        let mut writer = Writer::new(Form::Chat, "m");
        let mut out = Vec::new();
        let parts = [
            Event::Call { index: 0, name: "f".to_owned() },
            Event::Arguments { index: 0, fragment: "{\"a\": \"Pa".to_owned() },
            Event::CallCut { index: 0 },
            Event::Text("x".to_owned()),
        ];
        writer.output(NOW, &parts, None, &mut out);
        writer.done(NOW, "length", Measures::default(), &mut out);
        let said: String = lines(&out)
            .iter()
            .map(|l| l["message"]["content"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(said, r#"x{"name": "f", "arguments": {"a": "Pa"#);
        let whole = Said { text: "x", calls: vec![("f", "{\"a\": \"Pa")], ..Said::default() };
        let whole = writer.whole(NOW, &whole, None, "length", Measures::default());
        assert_eq!(lines(&whole)[0]["message"]["content"], said);
    }

    #[test]
    fn a_generation_has_its_text_at_the_top() {
        let mut writer = Writer::new(Form::Generate, "m");
        let mut out = Vec::new();
        writer.output(
            NOW,
            &[Event::Reasoning("T".into()), Event::Text("a".into())],
            None,
            &mut out,
        );
        writer.loaded(NOW, &mut out);
        let lines = lines(&out);
        let base = |fields: Value| {
            let mut all = json!({"model": "m", "created_at": NOW});
            all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            all
        };
        assert_eq!(lines[0], base(json!({"response": "", "thinking": "T", "done": false})));
        assert_eq!(lines[1], base(json!({"response": "a", "done": false})));
        assert_eq!(lines[2], base(json!({"response": "", "done": true, "done_reason": "load"})));
    }
}
