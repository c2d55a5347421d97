//! The grammars used last.

use std::collections::VecDeque;

use crate::engine::Grammar;

/// Most grammars that are kept. One takes a megabyte or so.
const MOST: usize = 32;

/// Most bytes of their texts. At worst, references in a row, a byte makes 250 of a grammar.
const MOST_TEXT: usize = 1 << 20;

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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use llguidance::api::TopLevelGrammar;
    use llguidance::toktrie::ApproximateTokEnv;
    use llguidance::{Matcher, ParserFactory};

    use super::*;
    use crate::engine::sample::Constraint;

    #[test]
    fn the_grammars_used_last_are_kept_within_bounds() {
        let factory = ParserFactory::new_simple(&ApproximateTokEnv::single_byte_env()).unwrap();
        let parser = factory.create_parser(TopLevelGrammar::from_lark("start: \"a\"".to_owned()));
        let grammar = Grammar { start: Arc::new(Constraint::new(Matcher::new(parser))) };
        let mut cache = Cache::default();
        for i in 0..MOST {
            cache.put(i.to_string(), grammar.clone());
        }
        assert!(cache.get("0").is_some(), "all are kept");
        cache.put("new".to_owned(), grammar.clone());
        assert!(cache.get("1").is_none(), "the one not used for longest goes");
        assert!(cache.get("0").is_some() && cache.get("new").is_some());
        cache.put("x".repeat(MOST_TEXT), grammar.clone());
        assert_eq!(cache.entries.len(), 1);
        cache.put("x".repeat(MOST_TEXT + 1), grammar);
        assert_eq!(cache.entries.len(), 0);
    }
}
