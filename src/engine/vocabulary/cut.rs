//! Where a text is cut before llama.cpp tokenizes it, so that no text takes its time or its stack.
//!
//! Two parts of its tokenizer are at a sender's mercy. It keeps the special tokens that it finds in
//! a linked list which it walks from the start for each of them: a megabyte of `<|im_end|>` takes
//! minutes. And it splits words with `std::regex` for vocabularies that have no splitter of their
//! own (gpt-oss, DeepSeek, Mistral), which recurses for every character of a match: 16,000 spaces
//! end a thread of 2 MiB, and the process.

use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

/// Special tokens that llama.cpp gets to see at once; real conversations have fewer.
const MAX_SPECIALS: usize = 1024;

/// Texts up to this many bytes cannot hold enough special tokens to matter.
const SHORT_TEXT: usize = 8 << 10;

/// Longest run of characters without a place to cut that `std::regex` gets to see. A character
/// takes up to 256 bytes of stack.
const MAX_RUN: usize = 64 << 10;

/// A run that any thread's stack has room for.
const SHALLOW_RUN: usize = 2 << 10;

/// The stack of the thread that takes longer runs: 1 KiB for each character.
pub(super) const DEEP_STACK: usize = MAX_RUN << 10;

/// Pre-tokenizers that llama.cpp has code of its own for (`unicode_regex_split_custom`).
const SPLIT_WITHOUT_REGEX: &[&str] = &[
    "chatglm-bpe",
    "dbrx",
    "deepseek-r1-qwen",
    "exaone4",
    "falcon-h1",
    "falcon3",
    "glm4",
    "glm5",
    "gpt-2",
    "grok-2",
    "hunyuan",
    "kimi-k2",
    "lfm2",
    "llama-bpe",
    "llama-v3",
    "llama3",
    "megrez",
    "mpt",
    "olmo",
    "phi-2",
    "pixtral",
    "qwen2",
    "qwen35",
    "smaug-bpe",
    "solar-open",
    "stablelm2",
    "trillion",
];

/// Whether words of a vocabulary are found with `std::regex`. `model` and `pre` are the file's
/// `tokenizer.ggml.model` and `.pre`.
pub(super) fn uses_regex(model: &str, pre: &str) -> bool {
    matches!(model, "gpt2" | "hybriddna" | "whitespace")
        && SPLIT_WITHOUT_REGEX.binary_search(&pre).is_err()
}

/// Finds the cuts for one vocabulary.
#[derive(Debug)]
pub(super) struct Cutter {
    /// All special tokens, and those that are found even in plain text.
    all: Option<AhoCorasick>,
    plain: Option<AhoCorasick>,
    regex: bool,
}

/// How a text is to be tokenized.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cuts {
    /// Byte offsets inside the text, ascending.
    pub(super) at: Vec<usize>,
    /// Some part needs [`DEEP_STACK`].
    pub(super) deep: bool,
}

impl Cutter {
    /// `specials` are the texts of special tokens, and whether a token is found in plain text too.
    pub(super) fn new(specials: &[(Vec<u8>, bool)], regex: bool) -> Self {
        let searcher = |plain_only: bool| {
            let texts: Vec<&[u8]> = specials
                .iter()
                .filter(|(text, plain)| !text.is_empty() && (*plain || !plain_only))
                .map(|(text, _)| text.as_slice())
                .collect();
            // It fails on automata of gigabytes; such a vocabulary goes without.
            (!texts.is_empty())
                .then(|| {
                    AhoCorasick::builder()
                        .match_kind(MatchKind::LeftmostLongest)
                        .kind(Some(AhoCorasickKind::ContiguousNFA))
                        .build(texts)
                        .ok()
                })
                .flatten()
        };
        Self { all: searcher(false), plain: searcher(true), regex }
    }

    /// The special tokens in a text.
    fn specials(&self, text: &str, parse_special: bool) -> impl Iterator<Item = Range<usize>> {
        let searcher = if parse_special { &self.all } else { &self.plain };
        let found = searcher.iter().flat_map(move |searcher| searcher.find_iter(text));
        found.map(|found| found.range())
    }

    pub(super) fn cuts(&self, text: &str, parse_special: bool) -> Cuts {
        let mut cuts = Cuts { at: Vec::new(), deep: false };
        if text.len() > SHORT_TEXT {
            // In front of a special token llama.cpp cuts as well, so the tokens stay the same.
            let starts = self.specials(text, parse_special).map(|found| found.start);
            cuts.at
                .extend(starts.filter(|&at| at > 0).skip(MAX_SPECIALS - 1).step_by(MAX_SPECIALS));
        }
        if self.regex && text.len() > SHALLOW_RUN {
            cut_runs(text, MAX_RUN, &mut cuts);
            cuts.at.sort_unstable();
            cuts.at.dedup();
        }
        cuts
    }
}

/// Cuts runs of text that one match of a word may cover: those with white space throughout, and
/// those without any. Where there is one, the cut is behind a letter that no letter follows, as
/// words end there in all these vocabularies.
fn cut_runs(text: &str, longest: usize, cuts: &mut Cuts) {
    let (mut length, mut since_word_end) = (0, 0);
    let mut word_end = None;
    let mut before: Option<char> = None;
    for (at, c) in text.char_indices() {
        if before.is_none_or(|b| b.is_whitespace() != c.is_whitespace()) {
            (length, word_end) = (0, None);
        } else if before.is_some_and(char::is_alphabetic) && !c.is_alphanumeric() {
            (since_word_end, word_end) = (0, Some(at));
        }
        if length == longest {
            cuts.at.push(word_end.unwrap_or(at));
            length = if word_end.is_some() { since_word_end } else { 0 };
            word_end = None;
        }
        length += 1;
        since_word_end += 1;
        cuts.deep |= length > SHALLOW_RUN;
        before = Some(c);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cutter(regex: bool) -> Cutter {
        let specials = [(b"<|im_end|>".to_vec(), false), (b"<tool>".to_vec(), true)];
        Cutter::new(&specials, regex)
    }

    fn parts<'a>(text: &'a str, cuts: &Cuts) -> Vec<&'a str> {
        let ends = cuts.at.iter().copied().chain([text.len()]);
        ends.scan(0, |begin, end| Some(&text[std::mem::replace(begin, end)..end])).collect()
    }

    #[test]
    fn the_list_is_sorted_so_that_the_search_finds_every_name() {
        assert!(SPLIT_WITHOUT_REGEX.is_sorted());
        assert!(uses_regex("gpt2", "gpt-4o") && uses_regex("gpt2", "tekken"));
        assert!(uses_regex("hybriddna", "whitespace"));
        assert!(!uses_regex("gpt2", "qwen2") && !uses_regex("llama", "default"));
    }

    #[test]
    fn ordinary_texts_are_not_cut() {
        let text = "user: Hello, world!<|im_end|>\n".repeat(1000);
        for regex in [false, true] {
            let cuts = cutter(regex).cuts(&text, true);
            assert_eq!(cuts, Cuts { at: Vec::new(), deep: false });
        }
    }

    #[test]
    fn a_flood_of_special_tokens_is_cut_in_front_of_some() {
        let text = "a<|im_end|>".repeat(10_000);
        let cuts = cutter(false).cuts(&text, true);
        let parts = parts(&text, &cuts);
        assert_eq!(parts.len(), 10_000_usize.div_ceil(MAX_SPECIALS));
        assert!(parts.iter().skip(1).all(|part| part.starts_with("<|im_end|>")));
        // In plain text it is no token.
        assert_eq!(cutter(false).cuts(&text, false).at, Vec::<usize>::new());
        assert!(!cutter(false).cuts(&"<tool>".repeat(5000), false).at.is_empty());
    }

    #[test]
    fn long_runs_are_cut_only_where_regular_expressions_meet_them() {
        let text = "=".repeat(200_000);
        assert_eq!(cutter(false).cuts(&text, true), Cuts { at: Vec::new(), deep: false });
        let cuts = cutter(true).cuts(&text, true);
        assert_eq!(cuts, Cuts { at: vec![65_536, 131_072, 196_608], deep: true });
        // The last end of a word is the better place.
        let text = format!("{}word=={}", "=".repeat(60_000), "=".repeat(10_000));
        assert_eq!(cutter(true).cuts(&text, true).at, [60_004]);
        let short = "x".repeat(SHALLOW_RUN);
        assert!(!cutter(true).cuts(&format!("{short} {short}"), true).deep);
    }

    proptest! {
        #[test]
        fn no_part_has_a_longer_run_and_cuts_lie_between_characters(
            text in "[a é=1\n漢]{0,300}",
            longest in 1usize..40,
        ) {
            let mut cuts = Cuts { at: Vec::new(), deep: false };
            cut_runs(&text, longest, &mut cuts);
            prop_assert!(cuts.at.is_sorted_by(|a, b| a < b));
            for part in parts(&text, &cuts) {
                let words = part.split(char::is_whitespace);
                let spaces = part.split(|c: char| !c.is_whitespace());
                prop_assert!(words.chain(spaces).all(|run| run.chars().count() <= longest));
            }
        }
    }
}
