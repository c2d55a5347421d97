//! Follows a sequence through its block of thoughts, and closes the block when its budget is spent.

use super::{ThinkingBudget, Token};

/// Where one sequence stands.
#[derive(Debug)]
pub(super) struct Thinking {
    budget: ThinkingBudget,
    place: Place,
    /// The last bytes, which a tag may begin with.
    tail: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Before,
    Inside {
        /// Tokens that may come before the block is closed.
        left: u32,
    },
    Closing {
        /// Index of the next token.
        next: usize,
    },
    After,
}

impl Thinking {
    pub(super) fn new(budget: ThinkingBudget) -> Self {
        let place = if budget.open { Place::Inside { left: budget.tokens } } else { Place::Before };
        Self { budget, place, tail: Vec::new() }
    }

    /// The token that must come next; `None`: the model's own choice. To be asked once for each.
    /// `can_close`: whether the block's end may come next; inside a character, for one, it cannot.
    pub(super) fn next_forced(
        &mut self,
        can_close: impl FnOnce(&[Token]) -> bool,
    ) -> Option<Token> {
        let next = match self.place {
            Place::Inside { left: 0 } if !can_close(&self.budget.close) => return None,
            Place::Inside { left: 0 } => 0,
            Place::Closing { next } => next,
            _ => return None,
        };
        let token = self.budget.close.get(next).copied();
        self.place = if token.is_some() { Place::Closing { next: next + 1 } } else { Place::After };
        token
    }

    /// Whether no block is open and none may follow.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.place, Place::After)
    }

    /// The tokens that must come next and are known already.
    pub(super) fn closing(&self) -> &[Token] {
        match self.place {
            Place::Closing { next } => self.budget.close.get(next..).unwrap_or_default(),
            _ => &[],
        }
    }

    /// A token's text as it is emitted.
    pub(super) fn push(&mut self, piece: &[u8]) {
        match self.place {
            Place::Before => {
                self.tail.extend_from_slice(piece);
                self.tail.drain(..self.tail.len() - self.tail.trim_ascii_start().len());
                let begins = self.budget.begins.as_bytes();
                if self.tail.starts_with(begins) {
                    self.tail.drain(..begins.len());
                    self.place = Place::Inside { left: self.budget.tokens };
                    self.look_for_end();
                } else if !begins.starts_with(&self.tail) {
                    self.place = Place::After;
                }
            }
            Place::Inside { left } => {
                self.place = Place::Inside { left: left.saturating_sub(1) };
                self.tail.extend_from_slice(piece);
                self.look_for_end();
            }
            Place::Closing { .. } | Place::After => {}
        }
    }

    fn look_for_end(&mut self) {
        let ends = self.budget.ends.as_bytes();
        // Nothing has windows of 0 bytes.
        if self.tail.windows(ends.len().max(1)).any(|window| window == ends) {
            self.place = Place::After;
        }
        let keep = ends.len().saturating_sub(1).min(self.tail.len());
        self.tail.drain(..self.tail.len() - keep);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thinking(tokens: u32, open: bool) -> Thinking {
        Thinking::new(ThinkingBudget {
            tokens,
            close: [7, 8].into(),
            begins: "<think>".to_owned(),
            ends: "</think>".to_owned(),
            open,
        })
    }

    /// The forced tokens after each of these pieces, and before the first.
    fn forced(mut thinking: Thinking, pieces: &[&str]) -> Vec<Vec<Token>> {
        let forced = |thinking: &mut Thinking| {
            let tokens = std::iter::from_fn(|| {
                let token = thinking.next_forced(|_| true);
                token.inspect(|_| thinking.push(b"a closing token"))
            });
            tokens.collect::<Vec<_>>()
        };
        let mut all = vec![forced(&mut thinking)];
        for piece in pieces {
            thinking.push(piece.as_bytes());
            all.push(forced(&mut thinking));
        }
        all
    }

    const NONE: Vec<Token> = Vec::new();

    #[test]
    fn a_spent_budget_closes_the_block_once() {
        assert_eq!(forced(thinking(0, true), &["a", "b"]), [vec![7, 8], NONE, NONE]);
        assert_eq!(forced(thinking(2, true), &["a", "b", "c"]), [NONE, NONE, vec![7, 8], NONE]);
    }

    #[test]
    fn a_block_is_not_closed_where_its_end_cannot_come() {
        let mut thinking = thinking(1, true);
        thinking.push(b"\xf0");
        assert_eq!(thinking.next_forced(|_| false), None);
        thinking.push(b"\x9f\x98\x80");
        assert_eq!(thinking.next_forced(|close| close == [7, 8]), Some(7));
    }

    #[test]
    fn a_block_that_the_model_closes_is_left_alone() {
        let pieces = ["a</th", "ink>b", "c", "d"];
        assert_eq!(forced(thinking(3, true), &pieces).concat(), NONE);
    }

    #[test]
    fn a_block_that_the_model_opens_counts_from_there() {
        let pieces = ["\n ", "<thi", "nk>", "a", "b"];
        let want = [NONE, NONE, NONE, NONE, NONE, vec![7, 8]];
        assert_eq!(forced(thinking(2, false), &pieces), want);
        assert_eq!(forced(thinking(0, false), &["<think>"]), [NONE, vec![7, 8]]);
    }

    #[test]
    fn text_without_a_block_is_not_thought() {
        assert_eq!(forced(thinking(0, false), &["<th", "e", "<think>", "a"]).concat(), NONE);
        assert_eq!(forced(thinking(0, false), &["<think></think>", "a"]).concat(), NONE);
    }
}
