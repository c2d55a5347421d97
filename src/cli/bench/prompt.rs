//! Prompts of about N tokens, the same for the same seed.

use std::sync::Arc;

use fastrand::Rng;

/// Short common words, which most vocabularies hold as one token each.
const WORDS: &str = "time year people way day man thing woman life child world school state family \
    student group country problem hand part place case week company system program question work \
    number night point home water room mother area money story fact month lot right study book eye \
    job word business issue side kind head house service friend father power hour game line end \
    member law car city name team minute idea body back parent face level office door health person \
    art war history party result change morning reason research girl guy moment air teacher force \
    education foot boy age policy music market sense nation plan college interest death course \
    someone experience behind north voice figure street image phone data cover picture practice \
    piece land product doctor wall patient worker news test movie love support technology step baby \
    computer type attention film tree source hair look window culture chance brother energy period \
    summer language sign letter choice garden river bridge stone paper glass field winter color";

/// Index of the prompt that measures how many tokens a word has. No request has it.
const CALIBRATION: u64 = u64::MAX;

/// Makes prompts that share no prefix unless asked to.
#[derive(Debug, Clone)]
pub(super) struct PromptMaker {
    seed: u64,
    tokens_per_word: f64,
    /// Tokens at the start of every prompt that are the same in all prompts of a seed.
    shared_tokens: u32,
    task: Task,
}

/// What a prompt asks for.
#[derive(Debug, Clone, Default)]
enum Task {
    /// Nothing: it is words.
    #[default]
    Continue,
    /// This text, or its own words, with a small edit.
    Edit(Option<Arc<str>>),
}

impl PromptMaker {
    /// `tokens_per_word` is what the server's tokenizer makes of this list's words.
    pub(super) fn new(seed: u64, shared_tokens: u32, tokens_per_word: f64) -> PromptMaker {
        let tokens_per_word =
            if tokens_per_word.is_finite() { tokens_per_word.clamp(0.1, 16.0) } else { 1.0 };
        PromptMaker { seed, tokens_per_word, shared_tokens, task: Task::Continue }
    }

    /// Prompts that ask for a text again with a small edit: for `text`, or for words.
    pub(super) fn editing(&self, text: Option<Arc<str>>) -> PromptMaker {
        PromptMaker { task: Task::Edit(text), ..self.clone() }
    }

    /// A prompt of about `tokens` tokens. The same seed, index and size give the same text.
    pub(super) fn make(&self, tokens: u32, index: u64) -> String {
        let shared = self.shared_tokens.min(tokens);
        let mut text = words(&mut Rng::with_seed(self.seed), self.count(shared));
        let mut own = Rng::with_seed(mix(self.seed, index));
        let rest = words(&mut own, self.count(tokens - shared).max(usize::from(shared == 0)));
        if !text.is_empty() && !rest.is_empty() {
            text.push(' ');
        }
        let text = text + &rest;
        match &self.task {
            Task::Continue => text,
            Task::Edit(given) => {
                let [old, new] = [(); 2].map(|()| words(&mut own, 1));
                let text = given.as_deref().unwrap_or(&text);
                format!(
                    "Write the text below again, with {new} in place of {old} and all else as it \
                     is.\n\n{text}\n\nThe text with {new} in place of {old}\n"
                )
            }
        }
    }

    /// About how many tokens so many words have.
    pub(super) fn tokens(&self, words: usize) -> f64 {
        (words as f64 * self.tokens_per_word).round()
    }

    fn count(&self, tokens: u32) -> usize {
        (f64::from(tokens) / self.tokens_per_word).round() as usize
    }
}

/// The first `count` words of one fixed text: two lengths of it tell the tokens per word, free of
/// what a template or a start token adds. Fixed, so that every seed and server gets equal sizes.
pub(super) fn calibration_text(count: usize) -> String {
    words(&mut Rng::with_seed(CALIBRATION), count)
}

fn words(rng: &mut Rng, count: usize) -> String {
    let list: Vec<&str> = WORDS.split_whitespace().collect();
    let chosen: Vec<&str> = (0..count).filter_map(|_| rng.choice(&list).copied()).collect();
    chosen.join(" ")
}

/// One well-spread number of two (the finaliser of SplitMix64).
fn mix(seed: u64, index: u64) -> u64 {
    let mut z = seed ^ index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word_count(text: &str) -> usize {
        text.split_whitespace().count()
    }

    #[test]
    fn the_same_seed_and_index_give_the_same_prompt() {
        let maker = PromptMaker::new(1, 0, 1.0);
        assert_eq!(maker.make(64, 5), PromptMaker::new(1, 0, 1.0).make(64, 5));
        assert_ne!(maker.make(64, 5), PromptMaker::new(2, 0, 1.0).make(64, 5));
    }

    #[test]
    fn prompts_of_one_run_start_differently() {
        let maker = PromptMaker::new(1, 0, 1.0);
        let mut starts: Vec<String> = (0..500)
            .map(|i| maker.make(64, i).split(' ').take(4).collect::<Vec<_>>().join(" "))
            .collect();
        starts.sort();
        starts.dedup();
        assert_eq!(starts.len(), 500);
    }

    #[test]
    fn a_prompt_has_as_many_words_as_its_tokens_ask_for() {
        assert_eq!(word_count(&PromptMaker::new(1, 0, 1.0).make(512, 0)), 512);
        assert_eq!(word_count(&PromptMaker::new(1, 0, 2.0).make(512, 0)), 256);
        assert_eq!(word_count(&PromptMaker::new(1, 0, f64::NAN).make(8, 0)), 8);
        assert_eq!(word_count(&PromptMaker::new(1, 0, 4.0).make(1, 0)), 1, "never empty");
    }

    #[test]
    fn a_shared_prefix_is_shared_and_the_rest_is_not() {
        let maker = PromptMaker::new(1, 100, 1.0);
        let (a, b) = (maker.make(128, 0), maker.make(128, 1));
        let common = a.split(' ').zip(b.split(' ')).take_while(|(x, y)| x == y).count();
        assert!((100..110).contains(&common), "{common}");
        assert_eq!((word_count(&a), word_count(&b)), (128, 128));
        assert_eq!(maker.make(50, 0), maker.make(50, 1), "a prompt shorter than the prefix");
    }

    #[test]
    fn an_edit_is_asked_for_with_the_text_it_is_about() {
        let words = PromptMaker::new(1, 0, 1.0);
        let text = words.make(100, 3);
        assert!(words.editing(None).make(100, 3).contains(&format!("\n\n{text}\n\n")));
        let given = words.editing(Some("a\nb".into()));
        assert!(given.make(100, 3).contains("\n\na\nb\n\n"));
        assert_ne!(given.make(100, 3), given.make(100, 4), "no prompt is used twice");
    }

    #[test]
    fn the_calibration_text_grows_at_its_end_only() {
        assert!(calibration_text(200).starts_with(&calibration_text(40)));
        assert_eq!(word_count(&calibration_text(200)), 200);
    }
}
