//! Spellings of special tokens in the texts of messages, and how they are kept from becoming
//! tokens that only the template may write.

use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind};

/// Stands inside of a spelling while a conversation is rendered. Templates leave private-use
/// characters where they are.
pub(super) const BREAK: char = '\u{f0b61}';

/// The special tokens of a vocabulary.
#[derive(Debug)]
pub(super) struct Specials {
    /// In any case: templates may change it.
    searcher: AhoCorasick,
    exact: AhoCorasick,
}

impl Specials {
    /// `None` without any. Tokens of one character cannot be broken, and those of white space
    /// (Gemma's line breaks) are ordinary text.
    pub(super) fn new(texts: impl IntoIterator<Item = String>) -> Option<Self> {
        let is_space = |c: char| c.is_whitespace() || c == '\u{2581}';
        let texts: Vec<String> = texts
            .into_iter()
            .filter(|text| text.chars().nth(1).is_some() && !text.chars().all(is_space))
            .collect();
        if texts.is_empty() {
            return None;
        }
        let build = |any_case: bool| {
            AhoCorasick::builder()
                .ascii_case_insensitive(any_case)
                .kind(Some(AhoCorasickKind::ContiguousNFA))
                .build(&texts)
                .ok()
        };
        Some(Self { searcher: build(true)?, exact: build(false)? })
    }

    /// Whether a text spells one.
    pub(super) fn is_in(&self, text: &str) -> bool {
        self.searcher.is_match(text)
    }

    /// Whether texts that are printed one behind the other spell one together that none spells
    /// by itself.
    pub(super) fn is_across<'a>(&self, texts: impl Iterator<Item = &'a str>) -> bool {
        let (mut joined, mut trimmed) = (String::new(), String::new());
        let (mut alone, mut alone_trimmed) = (0, 0);
        for text in texts {
            alone += self.searcher.find_overlapping_iter(text).count();
            alone_trimmed += self.searcher.find_overlapping_iter(text.trim()).count();
            joined.push_str(text);
            trimmed.push_str(text.trim());
        }
        self.searcher.find_overlapping_iter(&joined).count() > alone
            || self.searcher.find_overlapping_iter(&trimmed).count() > alone_trimmed
    }

    /// Byte offsets that lie strictly inside of every spelling in `text`, ascending, but for
    /// spellings inside of `own`.
    pub(super) fn cuts(&self, text: &str, own: &[Range<usize>]) -> Vec<usize> {
        let mut found: Vec<Range<usize>> = self
            .searcher
            .find_overlapping_iter(text)
            .map(|found| found.range())
            .filter(|found| !own.iter().any(|o| o.start <= found.start && found.end <= o.end))
            .collect();
        found.sort_unstable_by_key(|found| std::cmp::Reverse(found.start));
        let mut cuts: Vec<usize> = Vec::new();
        for spelling in found {
            let first = text[spelling.start..].chars().next().map_or(1, char::len_utf8);
            if cuts.last().is_none_or(|last| *last >= spelling.end) {
                cuts.push(spelling.start + first);
            }
        }
        cuts.reverse();
        cuts
    }

    /// Those of `breaks`, which ascend, that lie inside of a special token's text in `prompt`.
    pub(super) fn inside(&self, prompt: &str, breaks: &[usize]) -> Vec<usize> {
        let mut needed = vec![false; breaks.len()];
        if !breaks.is_empty() {
            for found in self.exact.find_overlapping_iter(prompt) {
                let first = breaks.partition_point(|at| *at <= found.start());
                let inside = breaks[first..].iter().take_while(|at| **at < found.end()).count();
                needed[first..first + inside].fill(true);
            }
        }
        let kept = breaks.iter().zip(needed).filter(|(_, needed)| *needed);
        kept.map(|(at, _)| *at).collect()
    }
}

/// `text` with `separator` at each of `cuts`.
pub(super) fn separated(text: &str, cuts: &[usize], separator: char) -> String {
    let mut out = String::with_capacity(text.len() + cuts.len() * separator.len_utf8());
    let mut begin = 0;
    for cut in cuts {
        out.push_str(&text[begin..*cut]);
        out.push(separator);
        begin = *cut;
    }
    out.push_str(&text[begin..]);
    out
}

/// The tags of the thinking block that an assistant's text begins with, as clients send back what
/// they got from servers that leave it there. They are the model's own.
pub(super) fn own_tags(text: &str) -> Vec<Range<usize>> {
    let (open, close) = ("<think>", "</think>");
    let start = text.len() - text.trim_start().len();
    if !text[start..].starts_with(open) {
        return Vec::new();
    }
    let end = text.find(close).map(|at| at..at + close.len());
    std::iter::once(start..start + open.len()).chain(end).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn specials() -> Specials {
        let texts = ["<|im_end|>", "<think>", "</think>", "aba", "ab", "é|", "x", "\n\n", ""];
        Specials::new(texts.map(str::to_owned)).unwrap()
    }

    #[test]
    fn every_spelling_has_a_cut_inside() {
        let cuts = |text: &str| specials().cuts(text, &[]);
        assert_eq!(cuts("no x \n\n here"), [0_usize; 0]);
        assert_eq!(cuts("a<|im_end|>b<THINK>"), [2, 13]);
        assert_eq!(cuts("ababa"), [1, 3]);
        assert_eq!(cuts("é|"), [2]);
        assert!(Specials::new(["\n".to_owned(), "\u{2581}\u{2581}".to_owned()]).is_none());
    }

    #[test]
    fn parts_that_spell_a_token_together_are_found() {
        let across = |texts: &[&str]| specials().is_across(texts.iter().copied());
        assert!(across(&["x<|im_", "end|>"]));
        assert!(across(&["x<|im_ ", " end", "|>"]));
        assert!(!across(&["<|im_end|>", "<think>"]));
    }

    #[test]
    fn the_tags_of_a_block_at_the_start_are_the_models_own() {
        assert_eq!(own_tags("\n<think>a</think>b</think>"), [1..8, 9..17]);
        assert_eq!(own_tags("<think>a").first(), Some(&(0..7)));
        assert!(own_tags("a<think>b</think>").is_empty());
    }

    proptest! {
        #[test]
        fn no_piece_spells_a_special_token(text in "(<\\|im_end\\|>|</?think>|[ab<>é|x ]){0,40}") {
            let specials = specials();
            let cuts = specials.cuts(&text, &[]);
            prop_assert!(cuts.is_sorted());
            let broken = separated(&text, &cuts, BREAK);
            prop_assert!(!broken.split(BREAK).any(|piece| specials.is_in(piece)));
            prop_assert_eq!(broken.replace(BREAK, ""), text.clone());
            // A break is kept unless only another spelling's case made it.
            let exact = specials.inside(&text, &cuts);
            prop_assert_eq!(exact, cuts);
        }
    }
}
