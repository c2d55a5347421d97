//! What both sides compute: the calls of a server with several conversations, as data.

use super::tiny::VOCABULARY;

/// Sequences of the context.
pub(super) const SEQUENCES: u32 = 4;
/// Tokens of each sequence that a context has room for.
pub(super) const CONTEXT: u32 = 4608;
/// The same of a model that was trained for 4096.
pub(super) const SHORT_CONTEXT: u32 = 4096;
/// Tokens of a call of llama.cpp.
pub(super) const BATCH: u32 = 512;
/// Tokens that it computes at once: fewer, as some faults show only then.
pub(super) const UBATCH: u32 = 128;
/// Tokens that are computed alone at the end of each prompt: other kernels do that.
const DECODED: usize = 16;

/// A token of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) token: i32,
    pub(super) position: i32,
    pub(super) sequence: i32,
    /// Whether its logits are compared.
    pub(super) output: bool,
}

/// What a side does to its context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Removes what a sequence holds from this position on.
    Remove { sequence: u32, from: u32 },
    /// A call of llama.cpp with at most [`BATCH`] tokens.
    Decode(Vec<Entry>),
}

/// Which of a model's comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    /// Four prompts in the same calls, then four tokens in each call.
    Parallel,
    /// Two prompts in turn in one sequence, then one that shares a beginning with the last.
    Alternating,
    /// A prompt of more than 4096 tokens.
    Long,
}

impl Case {
    pub(super) const ALL: [Self; 3] = [Self::Parallel, Self::Alternating, Self::Long];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Parallel => "4 prompts at once",
            Self::Alternating => "2 prompts in turn",
            Self::Long => "a long prompt",
        }
    }
}

/// The tokens of a prompt, always the same for the same number.
pub(super) fn prompt(number: u64, n: usize) -> Vec<i32> {
    let mut random = fastrand::Rng::with_seed(number);
    (0..n).map(|_| random.i32(0..VOCABULARY as i32)).collect()
}

/// The steps of prompts in sequences of their own, which are read and continued together.
fn together(prompts: &[(u32, u32, Vec<i32>)], every: usize) -> Vec<Step> {
    let mut steps: Vec<Step> = prompts
        .iter()
        .map(|(sequence, from, _)| Step::Remove { sequence: *sequence, from: *from })
        .collect();
    let entry = |(sequence, from, tokens): &(u32, u32, Vec<i32>), at: usize| Entry {
        token: tokens[at],
        position: (*from as usize + at) as i32,
        sequence: *sequence as i32,
        output: at % every == every - 1 || at + DECODED + 1 >= tokens.len(),
    };
    // A share of the call for each, until all but the last tokens are read.
    let share = BATCH as usize / prompts.len();
    let longest = prompts.iter().map(|(_, _, tokens)| tokens.len()).max().unwrap_or(0);
    for start in (0..longest).step_by(share) {
        let entries: Vec<Entry> = prompts
            .iter()
            .flat_map(|prompt| {
                let read = prompt.2.len().saturating_sub(DECODED);
                (start.min(read)..(start + share).min(read)).map(move |at| entry(prompt, at))
            })
            .collect();
        if !entries.is_empty() {
            steps.push(Step::Decode(entries));
        }
    }
    for left in (1..=DECODED).rev() {
        let last = |prompt| -> Entry { entry(prompt, prompt.2.len() - left) };
        steps.push(Step::Decode(prompts.iter().map(last).collect()));
    }
    steps
}

/// Prompts of at least [`DECODED`] tokens that are read at once.
pub(super) fn parallel() -> Vec<Step> {
    let lengths = [200, 130, 260, 177];
    let prompts = (0..SEQUENCES).map(|i| (i, 0, prompt(u64::from(i) + 1, lengths[i as usize])));
    together(&prompts.collect::<Vec<_>>(), 16)
}

/// Two prompts in turn in the same sequence, and one that begins as the last does: only its new end is
/// read where a model's state can be cut.
pub(super) fn alternating(can_be_cut: bool) -> Vec<Step> {
    let (first, second) = (prompt(11, 300), prompt(12, 220));
    let third = [&first[..SHARED], &prompt(13, 100)[..]].concat();
    let mut steps = Vec::new();
    for tokens in [&first, &second, &first] {
        steps.extend(together(&[(0, 0, tokens.clone())], 8));
    }
    let shared = if can_be_cut { SHARED } else { 0 };
    steps.extend(together(&[(0, shared as u32, third[shared..].to_vec())], 4));
    steps
}

/// Tokens that the third of the alternating prompts has in common with the first: few, so that one
/// wrong cell among them counts.
const SHARED: usize = 20;

/// One prompt of `tokens` tokens.
pub(super) fn long(tokens: usize) -> Vec<Step> {
    together(&[(0, 0, prompt(31, tokens.max(DECODED + 1)))], 64)
}

/// The tokens of all calls.
pub(super) fn tokens(steps: &[Step]) -> usize {
    let tokens = |step: &Step| match step {
        Step::Remove { .. } => 0,
        Step::Decode(entries) => entries.len(),
    };
    steps.iter().map(tokens).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_fits_and_positions_follow_each_other() {
        let longest = SHORT_CONTEXT as usize - 64;
        for steps in [parallel(), alternating(true), alternating(false), long(4224), long(longest)]
        {
            let mut next = [0; SEQUENCES as usize];
            for step in &steps {
                match step {
                    Step::Remove { sequence, from } => next[*sequence as usize] = *from as i32,
                    Step::Decode(entries) => {
                        assert!(!entries.is_empty() && entries.len() <= BATCH as usize);
                        for entry in entries {
                            let next = &mut next[entry.sequence as usize];
                            assert_eq!(entry.position, *next);
                            *next += 1;
                        }
                    }
                }
            }
        }
        assert_eq!(tokens(&long(4224)), 4224);
        assert_eq!(tokens(&parallel()), 767);
    }

    #[test]
    fn prompts_are_the_same_in_each_run_and_differ_from_each_other() {
        assert_eq!(prompt(1, 50), prompt(1, 50));
        assert_ne!(prompt(1, 50), prompt(2, 50));
    }
}
