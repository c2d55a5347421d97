//! Whether two sides computed the same logits: numbers in, a verdict out.

/// How far apart the logits of two sides may be. They never are the same: sides add in another order
/// and multiply with other precisions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// Largest difference of any two logits.
    pub max_abs: f32,
    /// Largest root of the mean square of the differences of one position.
    pub rms: f32,
    /// Smallest share of positions at which both sides have the same most likely token.
    pub same_top: f32,
}

/// What a comparison found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// Positions that were compared.
    pub rows: usize,
    /// Largest difference of two logits.
    pub max_abs: f32,
    /// Largest root of the mean square of the differences of one position.
    pub rms: f32,
    /// Share of positions at which both sides have the same most likely token.
    pub same_top: f32,
    /// Whether all are within the tolerance.
    pub passed: bool,
}

/// Compares the logits of two sides, a row for each position. Rows that are missing, and logits that
/// are no numbers, are no agreement.
pub fn compare(tested: &[Vec<f32>], reference: &[Vec<f32>], tolerance: &Tolerance) -> Verdict {
    let (mut max_abs, mut rms, mut same) = (0.0_f32, 0.0_f32, 0_usize);
    let is_whole = tested.len() == reference.len()
        && tested.iter().zip(reference).all(|(a, b)| a.len() == b.len() && !a.is_empty());
    for (a, b) in tested.iter().zip(reference).filter(|_| is_whole) {
        let mut squares = 0.0_f64;
        for (x, y) in a.iter().zip(b) {
            let apart = if x.is_finite() && y.is_finite() { (x - y).abs() } else { f32::INFINITY };
            max_abs = max_abs.max(apart);
            squares += f64::from(apart).powi(2);
        }
        rms = rms.max((squares / a.len() as f64).sqrt() as f32);
        same += usize::from(top(a) == top(b));
    }
    let rows = reference.len();
    if !is_whole || rows == 0 {
        return Verdict {
            rows,
            max_abs: f32::INFINITY,
            rms: f32::INFINITY,
            same_top: 0.0,
            passed: false,
        };
    }
    let same_top = same as f32 / rows as f32;
    let passed =
        max_abs <= tolerance.max_abs && rms <= tolerance.rms && same_top >= tolerance.same_top;
    Verdict { rows, max_abs, rms, same_top, passed }
}

fn top(logits: &[f32]) -> Option<usize> {
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLERANCE: Tolerance = Tolerance { max_abs: 0.1, rms: 0.05, same_top: 0.5 };

    fn verdict(tested: &[Vec<f32>]) -> Verdict {
        compare(tested, &[vec![1.0, 2.0, 3.0], vec![3.0, 2.0, 1.0]], &TOLERANCE)
    }

    #[test]
    fn logits_within_the_tolerance_pass_and_others_do_not() {
        let same = verdict(&[vec![1.0, 2.0, 3.0], vec![3.0, 2.0, 1.0]]);
        assert_eq!((same.max_abs, same.rms, same.same_top), (0.0, 0.0, 1.0));
        assert!(same.passed && same.rows == 2);
        let near = verdict(&[vec![1.0, 2.05, 3.0], vec![3.0, 2.0, 1.0]]);
        assert!(near.passed && (near.max_abs - 0.05).abs() < 1e-6, "{near:?}");
        // One logit far off; all a little off; another token on top at both positions.
        for far in [
            [vec![1.0, 2.11, 3.0], vec![3.0, 2.0, 1.0]],
            [vec![1.0, 2.0, 3.0], vec![3.06, 1.94, 1.06]],
        ] {
            assert!(!verdict(&far).passed, "{far:?}");
        }
        let loose = Tolerance { max_abs: 9.0, rms: 9.0, same_top: 0.51 };
        let tops = compare(&[vec![1.0, 0.9], vec![0.9, 1.0]], &vec![vec![0.9, 1.0]; 2], &loose);
        assert_eq!((tops.same_top, tops.passed), (0.5, false));
    }

    #[test]
    fn what_is_missing_or_no_number_does_not_pass() {
        for bad in [
            vec![],
            vec![vec![1.0, 2.0, 3.0]],
            vec![vec![1.0, 2.0, 3.0], vec![3.0, 2.0]],
            vec![vec![1.0, f32::NAN, 3.0], vec![3.0, 2.0, 1.0]],
            vec![vec![1.0, 2.0, f32::INFINITY], vec![3.0, 2.0, 1.0]],
        ] {
            let verdict = verdict(&bad);
            assert!(!verdict.passed && verdict.max_abs.is_infinite(), "{bad:?}");
        }
        assert!(!compare(&[], &[], &TOLERANCE).passed);
    }
}
