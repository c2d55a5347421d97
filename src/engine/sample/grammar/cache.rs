//! The grammars used last.

use std::collections::VecDeque;

use crate::engine::Grammar;

/// Most grammars that are kept. One takes a megabyte or so.
const MOST: usize = 32;

/// Most bytes of their texts.
const MOST_TEXT: usize = 4 << 20;

/// Compiled grammars by their texts, the last used first.
#[derive(Default)]
pub(super) struct Cache {
    entries: VecDeque<(String, Grammar)>,
}

impl Cache {
    pub(super) fn get(&mut self, lark: &str) -> Option<Grammar> {
        let at = self.entries.iter().position(|(text, _)| text == lark)?;
        let entry = self.entries.remove(at)?;
        let grammar = entry.1.clone();
        self.entries.push_front(entry);
        Some(grammar)
    }

    pub(super) fn put(&mut self, lark: String, grammar: Grammar) {
        self.entries.retain(|(text, _)| *text != lark);
        self.entries.push_front((lark, grammar));
        let mut bytes = 0;
        let mut fits = |(text, _): &(String, Grammar)| {
            bytes += text.len();
            bytes <= MOST_TEXT
        };
        let kept = self.entries.iter().take(MOST).take_while(|entry| fits(entry)).count();
        self.entries.truncate(kept);
    }
}
