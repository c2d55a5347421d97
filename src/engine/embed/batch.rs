//! Which texts are computed together.

/// Most tokens of several texts in one batch. In a larger one the attention of each text over all
/// the others, which is masked out afterwards, costs more than what is gained.
const MAX_PACKED_TOKENS: usize = 1024;

/// Bounds of a batch of several texts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Tokens together.
    pub(super) tokens: usize,
    /// Texts.
    pub(super) texts: usize,
}

impl Limits {
    /// The bounds in a context of so many tokens and sequences.
    pub(super) fn new(context: usize, sequences: usize) -> Self {
        Self { tokens: context.min(MAX_PACKED_TOKENS), texts: sequences }
    }
}

/// The texts of the next batch, as numbers of the requests that they are the next ones of.
/// `waiting` has the lengths of the texts that each request waits for. The requests take turns, so
/// that a long one does not hold up those behind it (in the next batch those come first that had no
/// turn in this one); a text that exceeds the bounds is computed alone.
pub(super) fn pick<L>(waiting: &[L], limits: Limits) -> Vec<usize>
where
    L: AsRef<[usize]>,
{
    let mut picked = Vec::new();
    let mut tokens = 0;
    for turn in 0.. {
        let before = picked.len();
        for (request, texts) in waiting.iter().enumerate() {
            let Some(length) = texts.as_ref().get(turn) else { continue };
            tokens += length;
            let fits = tokens <= limits.tokens && picked.len() < limits.texts;
            if !fits && !picked.is_empty() {
                return picked;
            }
            picked.push(request);
        }
        if picked.len() == before {
            break;
        }
    }
    picked
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { tokens: 10, texts: 4 };

    #[test]
    fn texts_go_together_while_they_fit_and_requests_take_turns() {
        let of = |waiting: &[&[usize]]| pick(waiting, LIMITS);
        assert_eq!(of(&[&[3, 3, 3, 3]]), [0, 0, 0]);
        assert_eq!(of(&[&[1, 1, 1, 1, 1]]), [0, 0, 0, 0]);
        assert_eq!(of(&[&[2, 2, 2], &[3], &[1]]), [0, 1, 2, 0]);
        assert_eq!(of(&[]), [0; 0]);
    }

    #[test]
    fn a_text_beyond_the_bounds_is_computed_alone() {
        assert_eq!(pick(&[&[11, 1][..]], LIMITS), [0]);
        assert_eq!(pick(&[&[1, 11][..]], LIMITS), [0]);
        assert_eq!(pick(&[&[10][..], &[1][..]], LIMITS), [0]);
    }
}
