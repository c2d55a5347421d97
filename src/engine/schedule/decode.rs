//! What decode steps of several tokens cost, as measured: by the number of streams and of tokens of
//! each.

use std::time::Duration;

/// Tokens of a stream whose cost is kept; between them it is interpolated.
const WIDTHS: [usize; 13] = [1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32, 48];

/// Steps of more streams are not told apart: nothing is drafted there.
const MAX_STREAMS: usize = 32;

/// Before a step of several tokens was measured, each further one is taken to cost this share of the
/// first: too little, so that it is tried.
const USUAL: f64 = 0.05;

/// A step counts for so much at least.
const WEIGHT: f64 = 0.25;

/// As costs drift with the depth of sequences and with what else runs, those of other widths are
/// taken to drift with one that is measured, to this power.
const DRIFT: f64 = 0.15;

/// What was not worth it is forgotten by this share of its cost each time it is not done.
const DOUBT: f64 = 0.002;

/// The measured cost of steps that compute tokens of running streams.
#[derive(Debug, Clone, Default)]
pub(crate) struct DecodeCost {
    /// By the number of streams, from one on.
    curves: Vec<Curve>,
}

/// Of so many streams.
#[derive(Debug, Clone, Default)]
struct Curve {
    /// Seconds by width; 0: never measured.
    seconds: [f64; WIDTHS.len()],
    steps: [u32; WIDTHS.len()],
}

impl DecodeCost {
    /// Learns from a step that computed so many tokens of each of `streams` streams.
    pub(crate) fn observe(&mut self, streams: usize, tokens: usize, took: Duration) {
        if streams == 0 || streams > MAX_STREAMS {
            return;
        }
        if self.curves.len() < streams {
            self.curves.resize_with(streams, Curve::default);
        }
        self.curves[streams - 1].observe(tokens, took.as_secs_f64().max(1e-6));
    }

    /// Seconds of a step of so many tokens of each of `streams` streams; `None`: no step of so many
    /// streams was measured.
    pub(crate) fn seconds(&self, streams: usize, tokens: usize) -> Option<f64> {
        self.curve(streams).map(|curve| curve.at(tokens))
    }

    /// Tokens of each stream that may be tried next: twice what was tried.
    pub(crate) fn most(&self, streams: usize) -> usize {
        let tried = |curve: &Curve| curve.seconds.iter().rposition(|&seconds| seconds > 0.0);
        2 * self.curve(streams).and_then(tried).map_or(2, |i| WIDTHS[i].max(2))
    }

    /// Seconds that a further token of one stream takes.
    pub(crate) fn per_token(&self) -> f64 {
        self.curve(1).map_or(0.0, |curve| (curve.at(8) - curve.at(1)).max(0.0) / 7.0)
    }

    /// Drafts of so many streams cost more than they gave: that may change.
    pub(crate) fn doubt(&mut self, streams: usize) {
        if let Some(curve) = self.curves.get_mut(streams.wrapping_sub(1)) {
            let first = curve.seconds[0];
            for seconds in curve.seconds.iter_mut().filter(|seconds| **seconds > first) {
                *seconds -= (*seconds - first) * DOUBT;
            }
        }
    }

    fn curve(&self, streams: usize) -> Option<&Curve> {
        self.curves.get(streams.checked_sub(1)?).filter(|curve| curve.seconds[0] > 0.0)
    }

    #[cfg(test)]
    pub(crate) fn take_from(&mut self, other: &Self) {
        self.curves.resize_with(self.curves.len().max(other.curves.len()), Curve::default);
        for (curve, other) in self.curves.iter_mut().zip(&other.curves) {
            if other.seconds[0] > 0.0 {
                curve.clone_from(other);
            }
        }
    }
}

impl Curve {
    fn observe(&mut self, tokens: usize, took: f64) {
        let near = |i: &usize| WIDTHS[*i].abs_diff(tokens);
        let Some(i) = (0..WIDTHS.len()).min_by_key(near) else { return };
        // What it would have taken with just so many tokens.
        let took = match self.seconds[0] > 0.0 && WIDTHS[i] != tokens {
            true => took * self.at(WIDTHS[i]) / self.at(tokens),
            false => took,
        };
        let before = self.seconds[i];
        self.steps[i] = self.steps[i].saturating_add(1);
        if before == 0.0 {
            self.seconds[i] = took;
            return;
        }
        self.seconds[i] += (took - before) * (1.0 / f64::from(self.steps[i])).max(WEIGHT);
        let drift = (took / before).clamp(0.5, 2.0).powf(DRIFT);
        for (_, other) in self.seconds.iter_mut().enumerate().filter(|(j, _)| *j != i) {
            *other *= drift;
        }
    }

    fn at(&self, tokens: usize) -> f64 {
        let measured = || (0..WIDTHS.len()).filter(|&i| self.seconds[i] > 0.0);
        let below = measured().rfind(|&i| WIDTHS[i] <= tokens);
        let above = measured().find(|&i| WIDTHS[i] >= tokens);
        let point = |i: usize| (WIDTHS[i] as f64, self.seconds[i]);
        let n = tokens as f64;
        match (below, above) {
            (Some(a), Some(b)) if a == b => self.seconds[a],
            (Some(a), Some(b)) => {
                let ((x, y), (x2, y2)) = (point(a), point(b));
                y + (y2 - y) * (n - x) / (x2 - x)
            }
            (Some(last), None) => {
                let (x, y) = point(last);
                let first = self.seconds[0];
                // As much for each further token as for those that were measured, on average.
                let slope =
                    if x > 1.0 { ((y - first) / (x - 1.0)).max(0.0) } else { USUAL * first };
                y + slope * (n - x)
            }
            _ => self.seconds[0],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: f64) -> Duration {
        Duration::from_secs_f64(ms / 1e3)
    }

    fn close(a: Option<f64>, ms: f64) -> bool {
        a.is_some_and(|a| (a * 1e3 / ms - 1.0).abs() < 0.02)
    }

    #[test]
    fn costs_between_measured_widths_are_interpolated() {
        let mut cost = DecodeCost::default();
        assert_eq!(cost.seconds(1, 1), None);
        cost.observe(1, 1, ms(20.0));
        assert!(close(cost.seconds(1, 9), 28.0), "an optimist's guess");
        assert_eq!((cost.most(1), cost.most(2)), (4, 4));
        cost.observe(1, 8, ms(48.0));
        assert!(close(cost.seconds(1, 8), 48.0) && close(cost.seconds(1, 4), 32.0));
        assert!(close(cost.seconds(1, 16), 80.0), "{:?}", cost.seconds(1, 16));
        assert_eq!((cost.seconds(2, 1), cost.most(1)), (None, 16));
        // A width between two counts for the nearer one.
        cost.observe(1, 14, ms(72.0));
        assert!(close(cost.seconds(1, 12), 64.0), "{:?}", cost.seconds(1, 12));
    }

    #[test]
    fn all_costs_drift_with_the_one_that_is_measured() {
        let mut cost = DecodeCost::default();
        cost.observe(1, 1, ms(20.0));
        (0..60).for_each(|_| cost.observe(1, 8, ms(40.0)));
        assert!(close(cost.seconds(1, 1), 20.0));
        for step in 0..200 {
            cost.observe(1, 8, ms(40.0 + 0.2 * f64::from(step)));
        }
        let one = cost.seconds(1, 1).unwrap_or_default() * 1e3;
        assert!((26.0..60.0).contains(&one), "{one}");
    }

    #[test]
    fn what_cost_too_much_is_tried_again_after_a_while() {
        let mut cost = DecodeCost::default();
        cost.observe(1, 1, ms(20.0));
        cost.observe(1, 4, ms(400.0));
        let ratio =
            |cost: &DecodeCost| cost.seconds(1, 4).zip(cost.seconds(1, 1)).map(|(a, b)| a / b);
        (0..1500).for_each(|_| cost.doubt(1));
        assert!(ratio(&cost).is_some_and(|ratio| ratio < 2.0), "{:?}", ratio(&cost));
        assert!(close(cost.seconds(1, 1), 20.0));
    }
}
