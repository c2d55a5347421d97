//! A request's texts on their way into a template.

use std::ops::Range;

use serde_json::Value as Json;

use super::specials::{self, BREAK, Specials};
use super::values;

/// What is done to spellings of special tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Nothing; whether there are any is noted.
    Plain,
    /// Each gets a [`BREAK`].
    Marked,
    /// Each gets a space behind its first character.
    Spaced,
}

/// Turns a request's JSON into values, with its texts in one style.
#[derive(Debug)]
pub(super) struct Texts<'a> {
    specials: Option<&'a Specials>,
    style: Style,
    /// Whether any text spelled a special token.
    pub(super) spells: bool,
}

impl<'a> Texts<'a> {
    pub(super) fn new(specials: Option<&'a Specials>, style: Style) -> Self {
        Self { specials, style, spells: false }
    }

    /// Any part of a request as a value.
    pub(super) fn value(&mut self, json: &Json) -> minijinja::Value {
        values::value(json, &mut |text| self.changed(text, &[]))
    }

    /// The messages as a value.
    pub(super) fn messages(&mut self, messages: &[Json]) -> minijinja::Value {
        messages.iter().map(|message| self.message(message)).collect()
    }

    fn message(&mut self, message: &Json) -> minijinja::Value {
        let own = match message["content"].as_str() {
            Some(text) if message["role"] == "assistant" => specials::own_tags(text),
            _ => Vec::new(),
        };
        if own.is_empty() {
            return self.value(message);
        }
        let pairs: Vec<(minijinja::Value, minijinja::Value)> = message
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, value)| {
                let value = match value.as_str().filter(|_| key == "content") {
                    Some(text) => self
                        .changed(text, &own)
                        .map_or_else(|| minijinja::Value::from(text), minijinja::Value::from),
                    None => self.value(value),
                };
                (minijinja::Value::from(key.as_str()), value)
            })
            .collect();
        minijinja::Value::from_pairs(pairs)
    }

    /// A text in our style, where that is another.
    fn changed(&mut self, text: &str, own: &[Range<usize>]) -> Option<String> {
        let specials = self.specials?;
        if self.style == Style::Plain && self.spells || !specials.is_in(text) {
            return None;
        }
        let cuts = specials.cuts(text, own);
        self.spells |= !cuts.is_empty();
        match self.style {
            _ if cuts.is_empty() => None,
            Style::Plain => None,
            Style::Marked => Some(specials::separated(text, &cuts, BREAK)),
            Style::Spaced => Some(specials::separated(text, &cuts, ' ')),
        }
    }
}
