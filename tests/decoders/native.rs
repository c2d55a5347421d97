//! Reads llama-server's native answers strictly: for the tests and a fuzz target.

use serde_json::{Map, Value};

/// What an answer comes to, whichever way it came.
#[derive(Debug, Default, PartialEq)]
pub struct Answer {
    pub content: String,
    pub tokens: Vec<i64>,
    pub probabilities: Vec<Value>,
    /// The last chunk or the whole answer without those.
    pub end: Map<String, Value>,
}

/// Reads the chunks of a stream with one answer: the last one alone is the end.
pub fn stream(chunks: &[Value]) -> Result<Answer, String> {
    let mut answer = Answer::default();
    let (last, others) = chunks.split_last().ok_or("there are no chunks")?;
    for chunk in others {
        let wrong = |what: &str| format!("{what}: {chunk}");
        let fields = chunk.as_object().ok_or(wrong("no object"))?;
        let known = [
            "index",
            "content",
            "tokens",
            "stop",
            "tokens_predicted",
            "tokens_evaluated",
            "timings",
            "prompt_progress",
            "completion_probabilities",
        ];
        if let Some(key) = fields.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(wrong(key));
        }
        if fields.get("stop") != Some(&Value::Bool(false)) {
            return Err(wrong("stop"));
        }
        add(&mut answer, fields)?;
    }
    let end = whole(last)?;
    if !(end.content.is_empty() && end.tokens.is_empty() && end.probabilities.is_empty()) {
        return Err(format!("the end repeats text: {last}"));
    }
    answer.end = end.end;
    Ok(answer)
}

/// Reads a whole answer.
pub fn whole(answer: &Value) -> Result<Answer, String> {
    let wrong = |what: &str| format!("{what}: {answer}");
    let mut fields = answer.as_object().ok_or(wrong("no object"))?.clone();
    let numbers = ["index", "id_slot", "tokens_predicted", "tokens_evaluated", "tokens_cached"];
    let texts = ["content", "model", "prompt", "stop_type", "stopping_word"];
    let right = fields.get("stop") == Some(&Value::Bool(true))
        && numbers.iter().all(|key| fields.get(*key).is_some_and(Value::is_u64))
        && texts.iter().all(|key| fields.get(*key).is_some_and(Value::is_string))
        && ["truncated", "has_new_line"]
            .iter()
            .all(|key| fields.get(*key).is_some_and(Value::is_boolean))
        && ["generation_settings", "timings"]
            .iter()
            .all(|key| fields.get(*key).is_some_and(Value::is_object));
    if !right {
        return Err(wrong("a field"));
    }
    let mut read = Answer::default();
    add(&mut read, &fields)?;
    for key in ["content", "tokens", "completion_probabilities"] {
        fields.remove(key);
    }
    read.end = fields;
    Ok(read)
}

fn add(answer: &mut Answer, fields: &Map<String, Value>) -> Result<(), String> {
    let wrong = |what: &str| format!("{what}: {}", Value::Object(fields.clone()));
    answer.content.push_str(fields.get("content").and_then(Value::as_str).ok_or(wrong("content"))?);
    let tokens = fields.get("tokens").and_then(Value::as_array).ok_or(wrong("tokens"))?;
    for token in tokens {
        answer.tokens.push(token.as_i64().ok_or(wrong("tokens"))?);
    }
    let probabilities = fields.get("completion_probabilities").and_then(Value::as_array);
    answer.probabilities.extend(probabilities.into_iter().flatten().cloned());
    Ok(())
}
