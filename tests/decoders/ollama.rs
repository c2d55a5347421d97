//! Reads Ollama's answers as strictly as any client would: for the tests and a fuzz target.

use serde_json::{Map, Value};

/// What an answer comes to, whichever way it came.
#[derive(Debug, Default, PartialEq)]
pub struct Answer {
    pub thinking: String,
    pub text: String,
    /// Each with `name` and `arguments`.
    pub calls: Vec<Value>,
    pub logprobs: Vec<Value>,
    pub done_reason: String,
}

/// Counts and times, which are in the last line.
const MEASURES: [&str; 6] = [
    "total_duration",
    "load_duration",
    "prompt_eval_count",
    "prompt_eval_duration",
    "eval_count",
    "eval_duration",
];

/// Reads a stream: lines of which the last one alone is done.
pub fn stream(text: &str) -> Result<Answer, String> {
    let lines = text.strip_suffix('\n').ok_or("the last line does not end")?;
    let mut answer = Answer::default();
    let mut is_done = false;
    for line in lines.split('\n') {
        if is_done {
            return Err(format!("a line behind the last one: {line}"));
        }
        is_done = add(&mut answer, &read(line)?)?;
    }
    if is_done { Ok(answer) } else { Err("no line is done".to_owned()) }
}

/// Reads a whole answer.
pub fn whole(body: &str) -> Result<Answer, String> {
    let mut answer = Answer::default();
    match add(&mut answer, &read(body.trim_end())?)? {
        true => Ok(answer),
        false => Err("it is not done".to_owned()),
    }
}

fn read(line: &str) -> Result<Map<String, Value>, String> {
    // What a number beyond f64 is differs from client to client; here it only has to be one.
    match serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))? {
        Value::Object(fields) => Ok(fields),
        _ => Err(format!("no object: {line}")),
    }
}

/// Adds a line, and tells whether it is the last one.
fn add(answer: &mut Answer, line: &Map<String, Value>) -> Result<bool, String> {
    let wrong = |what: &str| format!("{what}: {}", Value::Object(line.clone()));
    let text = |fields: &Map<String, Value>, key: &str| match fields.get(key) {
        Some(Value::String(text)) => Ok(text.clone()),
        None => Ok(String::new()),
        Some(_) => Err(wrong(key)),
    };
    for key in ["model", "created_at"] {
        if text(line, key)?.is_empty() {
            return Err(wrong(key));
        }
    }
    let Some(Value::Bool(is_done)) = line.get("done") else { return Err(wrong("done")) };
    let (fields, content) = match (line.get("message"), line.get("response")) {
        (Some(Value::Object(message)), None) => {
            if message.get("role") != Some(&Value::from("assistant")) {
                return Err(wrong("role"));
            }
            (message, "content")
        }
        (None, Some(Value::String(_))) => (line, "response"),
        _ => return Err(wrong("message or response")),
    };
    if !fields.contains_key(content) {
        return Err(wrong(content));
    }
    let known = ["model", "created_at", "done", "message", "response", "thinking", "logprobs"];
    let known = |key: &str| {
        known.contains(&key) || *is_done && (key == "done_reason" || MEASURES.contains(&key))
    };
    if let Some(key) = line.keys().find(|key| !known(key)) {
        return Err(wrong(key));
    }
    answer.thinking.push_str(&text(fields, "thinking")?);
    answer.text.push_str(&text(fields, content)?);
    for call in fields.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
        let function = call.get("function").and_then(Value::as_object).ok_or(wrong("function"))?;
        if function.get("index") != Some(&Value::from(answer.calls.len())) {
            return Err(wrong("index"));
        }
        let has_id = call["id"].as_str().is_some_and(|id| !id.is_empty());
        let has_name = function.get("name").is_some_and(Value::is_string);
        let has_arguments = function.get("arguments").is_some_and(Value::is_object);
        if !(has_id && has_name && has_arguments) {
            return Err(wrong("a call"));
        }
        let mut function = function.clone();
        function.remove("index");
        answer.calls.push(Value::Object(function));
    }
    answer
        .logprobs
        .extend(line.get("logprobs").and_then(Value::as_array).into_iter().flatten().cloned());
    if *is_done {
        answer.done_reason = text(line, "done_reason")?;
        let has_measures = MEASURES.iter().all(|key| line.get(*key).is_some_and(Value::is_u64));
        if answer.done_reason.is_empty() || !has_measures && answer.done_reason != "load" {
            return Err(wrong("the end"));
        }
    }
    Ok(*is_done)
}
