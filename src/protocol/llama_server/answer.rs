//! Answers of `/completion` and `/infill`.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value};

use super::timings::{Progress, Timings};
use crate::protocol::Token;
use crate::protocol::openai::ChatTokenLogprob;

/// A part of a stream.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct NativeChunk<'a> {
    pub index: u32,
    pub content: &'a str,
    pub tokens: Vec<Token>,
    /// Always false.
    pub stop: bool,
    pub tokens_predicted: u32,
    pub tokens_evaluated: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timings: Option<Timings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_progress: Option<Progress>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_probabilities: Option<Vec<ChatTokenLogprob>>,
}

/// A whole answer to one prompt, or the end of its stream, which repeats no text.
#[derive(Debug, Serialize)]
struct NativeAnswer<'a> {
    index: u32,
    content: &'a str,
    tokens: Vec<Token>,
    id_slot: u32,
    /// Always true.
    stop: bool,
    model: &'a str,
    tokens_predicted: u32,
    tokens_evaluated: usize,
    generation_settings: &'a Value,
    prompt: &'a str,
    /// The text has a line break.
    has_new_line: bool,
    /// The context was full.
    truncated: bool,
    /// `eos`, `word` or `limit`.
    stop_type: &'static str,
    /// The stop string that ended it; empty if none did.
    stopping_word: &'a str,
    /// Tokens of the prompt and the answer that the slot holds.
    tokens_cached: usize,
    timings: Timings,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_probabilities: Option<Vec<ChatTokenLogprob>>,
}

/// One of the answers of a request, before it begins.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Its number in the request.
    pub index: u32,
    /// The text of its prompt.
    pub prompt: &'a str,
    /// Tokens of its prompt.
    pub prompt_tokens: usize,
}

/// How an answer ended.
#[derive(Debug, Clone)]
pub struct End {
    /// The slot that computed it.
    pub slot: u32,
    /// The seed that was used.
    pub seed: u32,
    /// `eos`, `word` or `limit`.
    pub stop_type: &'static str,
    /// The stop string that ended it; empty if none did.
    pub stopping_word: String,
    /// The context was full.
    pub truncated: bool,
    /// Counts and times.
    pub timings: Timings,
}

/// What an answer says, or a part of it.
#[derive(Debug, Default)]
pub struct Said<'a> {
    /// The text.
    pub text: &'a str,
    /// The tokens that it came from.
    pub tokens: Vec<Token>,
    /// Their probabilities, if they were asked for.
    pub probabilities: Option<Vec<ChatTokenLogprob>>,
}

/// Writes the answers of one request.
#[derive(Debug)]
pub struct NativeWriter {
    /// The model's name.
    pub model: String,
    /// What the answers are made with, without the seed.
    pub settings: Value,
    /// Fields of the answer that are wanted, as `a/b` where one is inside another; empty: all.
    pub response_fields: Vec<String>,
    /// Whole answers have their tokens; streams always have them.
    pub return_tokens: bool,
    /// Every chunk has its timings.
    pub timings_per_token: bool,
    /// Answers of a stream that had a line break.
    line_breaks: BTreeSet<u32>,
}

impl NativeWriter {
    /// A writer that has written nothing.
    pub fn new(model: &str, settings: Value) -> Self {
        Self {
            model: model.to_owned(),
            settings,
            response_fields: Vec::new(),
            return_tokens: false,
            timings_per_token: false,
            line_breaks: BTreeSet::new(),
        }
    }

    /// A chunk that tells how far a prompt has been read.
    pub fn progress(&self, place: Place<'_>, progress: Progress) -> NativeChunk<'static> {
        NativeChunk { prompt_progress: Some(progress), ..NativeChunk::empty(place) }
    }

    /// A chunk of text; `None` where there is nothing to say. `timings`: those so far.
    pub fn output<'a>(
        &mut self,
        place: Place<'_>,
        said: Said<'a>,
        timings: Timings,
    ) -> Option<NativeChunk<'a>> {
        if said.text.is_empty() && said.tokens.is_empty() {
            return None;
        }
        if said.text.contains('\n') {
            self.line_breaks.insert(place.index);
        }
        Some(NativeChunk {
            content: said.text,
            tokens: said.tokens,
            tokens_predicted: timings.predicted_n,
            timings: self.timings_per_token.then_some(timings),
            completion_probabilities: said.probabilities.filter(|all| !all.is_empty()),
            ..NativeChunk::empty(place)
        })
    }

    /// The last chunk of an answer, which repeats no text.
    pub fn last(&self, place: Place<'_>, end: &End) -> Value {
        let has_new_line = self.line_breaks.contains(&place.index);
        self.answer(place, Said::default(), end, has_new_line)
    }

    /// A whole answer.
    pub fn whole(&self, place: Place<'_>, mut said: Said<'_>, end: &End) -> Value {
        if !self.return_tokens {
            said.tokens.clear();
        }
        let has_new_line = said.text.contains('\n');
        self.answer(place, said, end, has_new_line)
    }

    fn answer(&self, place: Place<'_>, said: Said<'_>, end: &End, has_new_line: bool) -> Value {
        let mut settings = self.settings.clone();
        if let Value::Object(settings) = &mut settings {
            settings.insert("seed".to_owned(), end.seed.into());
        }
        let predicted = end.timings.predicted_n;
        let answer = NativeAnswer {
            index: place.index,
            content: said.text,
            tokens: said.tokens,
            id_slot: end.slot,
            stop: true,
            model: &self.model,
            tokens_predicted: predicted,
            tokens_evaluated: place.prompt_tokens,
            generation_settings: &settings,
            prompt: place.prompt,
            has_new_line,
            truncated: end.truncated,
            stop_type: end.stop_type,
            stopping_word: &end.stopping_word,
            // The last one was not computed any more.
            tokens_cached: place.prompt_tokens + predicted.saturating_sub(1) as usize,
            timings: end.timings,
            completion_probabilities: said.probabilities,
        };
        select(&answer, &self.response_fields)
    }
}

impl NativeChunk<'_> {
    fn empty(place: Place<'_>) -> Self {
        Self {
            index: place.index,
            content: "",
            tokens: Vec::new(),
            stop: false,
            tokens_predicted: 0,
            tokens_evaluated: place.prompt_tokens,
            timings: None,
            prompt_progress: None,
            completion_probabilities: None,
        }
    }
}

/// The answer as JSON, with the fields of these names alone if there are any: those in another
/// (`generation_settings/seed`) stand at the top under their whole name, as in llama-server.
fn select(answer: &NativeAnswer<'_>, fields: &[String]) -> Value {
    // Its keys are strings: there is no way to fail.
    let all = serde_json::to_value(answer).unwrap_or_default();
    if fields.is_empty() {
        return all;
    }
    let find = |path: &String| {
        let value = path.split('/').try_fold(&all, |inside, key| inside.get(key))?;
        Some((path.clone(), value.clone()))
    };
    Value::Object(fields.iter().filter_map(find).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PLACE: Place<'static> = Place { index: 1, prompt: "p", prompt_tokens: 3 };

    fn end() -> End {
        let timings = Timings { predicted_n: 2, ..Timings::default() };
        let stopping_word = String::new();
        End { slot: 2, seed: 5, stop_type: "eos", stopping_word, truncated: false, timings }
    }

    #[test]
    fn fields_are_chosen_by_their_paths_and_those_that_are_not_there_are_left_out() {
        let mut writer = NativeWriter::new("m", json!({"seed": -1, "top_k": 4}));
        let said = || Said { text: "a", tokens: vec![1], probabilities: None };
        let all = writer.whole(PLACE, said(), &end());
        assert_eq!(
            (&all["stop"], &all["id_slot"], &all["index"]),
            (&json!(true), &json!(2), &json!(1))
        );
        assert_eq!((&all["tokens"], &all["tokens_cached"]), (&json!([]), &json!(4)));
        assert_eq!(all["generation_settings"], json!({"seed": 5, "top_k": 4}));
        assert!(all.get("completion_probabilities").is_none());
        let names = ["content", "generation_settings/seed", "nothing", "content/x", "timings/x"];
        writer.response_fields = names.map(str::to_owned).to_vec();
        assert_eq!(
            writer.whole(PLACE, said(), &end()),
            json!({"content": "a", "generation_settings/seed": 5})
        );
    }

    #[test]
    fn a_stream_remembers_its_line_breaks_and_says_nothing_for_nothing() {
        let mut writer = NativeWriter::new("m", json!({}));
        assert!(writer.output(PLACE, Said::default(), Timings::default()).is_none());
        assert_eq!(writer.last(PLACE, &end())["has_new_line"], false);
        let said = Said { text: "a\nb", ..Said::default() };
        let chunk = serde_json::to_value(writer.output(PLACE, said, Timings::default()));
        assert_eq!(
            chunk.unwrap_or_default(),
            json!({"index": 1, "content": "a\nb", "tokens": [], "stop": false,
                "tokens_predicted": 0, "tokens_evaluated": 3})
        );
        assert_eq!(writer.last(PLACE, &end())["has_new_line"], true);
        assert_eq!(writer.last(Place { index: 0, ..PLACE }, &end())["has_new_line"], false);
    }
}
