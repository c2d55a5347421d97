//! Arithmetic on a row of logits: the best, the k best, log probabilities.

use crate::engine::{Token, TokenLogprobs};

/// Rows are scanned in blocks whose maximum the compiler computes in vector registers; a block
/// that holds nothing of interest costs no more.
const BLOCK: usize = 64;

fn block_max(block: &[f32]) -> f32 {
    // `max` on floats does not vectorise because of NaN; this does, and lets a NaN lose.
    block.iter().fold(f32::NEG_INFINITY, |m, &x| if x > m { x } else { m })
}

/// The index of the largest logit, the first one of equals.
pub(crate) fn argmax(row: &[f32]) -> Token {
    let mut best = (f32::NEG_INFINITY, 0);
    for (i, block) in row.chunks(BLOCK).enumerate() {
        let max = block_max(block);
        if max > best.0 {
            best = (max, i);
        }
    }
    let start = best.1 * BLOCK;
    let within = row.iter().skip(start).take(BLOCK).position(|&x| x == best.0).unwrap_or(0);
    (start + within) as Token
}

/// The `k` largest logits with their tokens, best first.
pub(crate) fn top_k(row: &[f32], k: usize, out: &mut Vec<(Token, f32)>) {
    out.clear();
    let k = k.min(row.len());
    if k == 0 {
        return;
    }
    // Candidates above the k-th best so far gather until there are 2k, then the worse half goes.
    let mut floor = f32::NEG_INFINITY;
    let by_logit = |a: &(Token, f32), b: &(Token, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    for (i, block) in row.chunks(BLOCK).enumerate() {
        if out.len() >= k && block_max(block) <= floor {
            continue;
        }
        for (j, &x) in block.iter().enumerate() {
            if (out.len() < k && !x.is_nan()) || x > floor {
                out.push(((i * BLOCK + j) as Token, x));
            }
        }
        if out.len() >= 2 * k || (floor == f32::NEG_INFINITY && out.len() >= k) {
            if out.len() > k {
                out.select_nth_unstable_by(k - 1, by_logit);
                out.truncate(k);
            }
            floor = out.iter().fold(f32::INFINITY, |m, c| if c.1 < m { c.1 } else { m });
        }
    }
    out.sort_unstable_by(by_logit);
    out.truncate(k);
}

/// ln(sum(exp(row))).
pub(crate) fn log_sum_exp(row: &[f32]) -> f32 {
    let max = row.chunks(BLOCK).map(block_max).fold(f32::NEG_INFINITY, f32::max);
    if max == f32::NEG_INFINITY {
        return max;
    }
    // Sums of 150,000 terms lose digits in f32.
    let sum: f64 = row.iter().map(|&x| f64::from((x - max).exp())).sum();
    max + sum.ln() as f32
}

/// The log probability of `token` and of the `n` most likely tokens.
pub(crate) fn logprobs(row: &[f32], token: Token, n: usize) -> TokenLogprobs {
    let norm = log_sum_exp(row);
    let mut top = Vec::new();
    top_k(row, n, &mut top);
    for candidate in &mut top {
        candidate.1 -= norm;
    }
    let logit = row.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY);
    TokenLogprobs { logprob: logit - norm, top }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn probabilities_add_up_to_one() {
        let row: Vec<f32> = (0..1000).map(|i| ((i * 37) % 101) as f32 / 10.0).collect();
        let all = logprobs(&row, 3, 1000);
        let sum: f32 = all.top.iter().map(|t| t.1.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-3, "{sum}");
        assert_eq!(all.logprob, row[3] - log_sum_exp(&row));
    }

    #[test]
    fn forbidden_tokens_and_nan_are_never_the_best() {
        let row = [f32::NEG_INFINITY, f32::NAN, -3.0, f32::NEG_INFINITY];
        assert_eq!(argmax(&row), 2);
        assert_eq!(argmax(&[f32::NEG_INFINITY; 3]), 0);
    }

    proptest! {
        #[test]
        fn the_k_best_are_those_of_a_full_sort(
            row in proptest::collection::vec(-50i32..50, 1..500),
            k in 0usize..80,
        ) {
            let row: Vec<f32> = row.into_iter().map(|x| x as f32).collect();
            let mut want: Vec<_> = row.iter().copied().enumerate().collect();
            want.sort_by(|a, b| b.1.total_cmp(&a.1));
            want.truncate(k);
            let mut got = Vec::new();
            top_k(&row, k, &mut got);
            // Which of several equal logits are kept is open.
            let logits = |c: &[(Token, f32)]| c.iter().map(|c| c.1).collect::<Vec<_>>();
            prop_assert_eq!(logits(&got), want.iter().map(|c| c.1).collect::<Vec<_>>());
            prop_assert!(got.iter().all(|&(t, x)| row[t as usize] == x));
            let best = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            prop_assert_eq!(row[argmax(&row) as usize], best);
        }
    }
}
