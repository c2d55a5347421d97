//! llguidance over a small vocabulary made here: every byte, words of the formats, control tokens.

use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};

use crate::chat::output::{Call, FORMATS};

pub(super) struct Engine {
    factory: ParserFactory,
    pub(super) env: TokEnv,
    pub(super) words: Vec<Vec<u8>>,
    pub(super) end: u32,
}

/// How the vocabulary has the formats' tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tags {
    /// As pieces of other tokens only.
    Spelled,
    /// As tokens of ordinary text, as Qwen's are.
    Text,
    /// As control tokens, as Kimi's are.
    Control,
}

fn tags() -> Vec<&'static str> {
    let mut tags = Vec::new();
    for format in FORMATS {
        tags.extend([format.think.0, format.think.1, format.open, format.close]);
        tags.extend(format.section.into_iter().flat_map(|(a, b)| [a, b]));
        match &format.call {
            Call::Json { until, .. } => tags.push(until),
            Call::Harmony => tags.extend(format.tags()),
            _ => {}
        }
    }
    tags.retain(|tag| tag.ends_with('>'));
    tags.sort_unstable();
    tags.dedup();
    tags
}

impl Engine {
    pub(super) fn new(tags: Tags) -> Self {
        let mut words: Vec<Vec<u8>> = (0..=255u8).filter(|&b| b != 0xff).map(|b| vec![b]).collect();
        let pieces = [
            "\n</",
            "</",
            "parameter",
            "function",
            ">\n",
            ">\n<",
            "tool",
            "_call",
            "\": ",
            ", \"",
            "{\"",
            "\"}",
            "name",
            "arguments",
            "=\"",
            "\",",
            "true",
            "false",
            "null",
            "é",
            "🦀",
            "the ",
            "a",
            "city",
            "path",
            "think",
            "arg_",
            "value",
            "key",
            "invoke",
            "</parameter>",
            "\n</parameter>\n",
            "<parameter=",
            "</function>",
            " x",
            "\n\n",
            "get",
            "_weather",
            "edit",
            "_file",
            "plan",
            "00",
            "12",
            "3.5",
            "open",
            "done",
            "celsius",
        ];
        words.extend(pieces.iter().map(|p| p.as_bytes().to_vec()));
        match tags {
            Tags::Spelled => {}
            Tags::Text => words.extend(self::tags().iter().map(|t| t.as_bytes().to_vec())),
            Tags::Control => {
                words.extend(self::tags().iter().map(|t| [b"\xff", t.as_bytes()].concat()))
            }
        }
        // Tags that are pieces as well come once.
        let mut seen = std::collections::HashSet::new();
        words.retain(|word| seen.insert(word.clone()));
        words.extend(
            ["analysis", "commentary", "final", "assistant", " to=", "functions."]
                .map(|word| word.as_bytes().to_vec()),
        );
        words.push(b"\xff<|im_end|>".to_vec());
        let end = words.len() as u32 - 1;
        let trie =
            TokTrie::from(&TokRxInfo::new(words.len() as u32, end), &words).with_eos_tokens(&[end]);
        let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let slices = SlicedBiasComputer::general_slices();
        let mut factory =
            ParserFactory::new(&env, InferenceCapabilities::default(), &slices).unwrap();
        factory.quiet();
        factory.limits_mut().verbose_errors = false;
        Self { factory, env, words, end }
    }

    pub(super) fn special(&self, tag: &str) -> Option<u32> {
        let control = [b"\xff", tag.as_bytes()].concat();
        self.words.iter().position(|w| *w == control).map(|i| i as u32)
    }

    /// Compiles, and computes a mask: some errors come only then.
    pub(super) fn matcher(&self, grammar: &str) -> Result<Matcher, String> {
        let parser = self
            .factory
            .create_parser(TopLevelGrammar::from_lark(grammar.to_owned()))
            .map_err(|e| e.to_string())?;
        let mut matcher = Matcher::new(Ok(parser));
        matcher.compute_mask_or_eos().map_err(|e| e.to_string())?;
        Ok(matcher)
    }

    /// Whether the grammar takes the whole text and may end there.
    pub(super) fn takes(&self, grammar: &str, text: &str) -> Result<(), String> {
        let mut matcher = self.matcher(grammar)?;
        let tokens = self.env.tok_trie().greedy_tokenize(text.as_bytes());
        for (i, token) in tokens.iter().enumerate() {
            let ok = matcher.validate_tokens(&[*token]).map_err(|e| e.to_string())?;
            if ok != 1 || matcher.consume_token(*token).is_err() {
                let before: Vec<u8> =
                    tokens[..i].iter().flat_map(|t| self.words[*t as usize].clone()).collect();
                let word = String::from_utf8_lossy(&self.words[*token as usize]).into_owned();
                return Err(format!(
                    "{word:?} refused after {:?}",
                    String::from_utf8_lossy(&before)
                ));
            }
        }
        match matcher.is_accepting() {
            Ok(true) => Ok(()),
            _ => Err("cannot end here".into()),
        }
    }
}
