//! What moving a state costs, as measured.

use std::time::Duration;

/// The measured cost of copying a sequence's state out of the context or into it.
#[derive(Debug, Default)]
pub(crate) struct CopyCost {
    /// Of the part that does not grow with the tokens, such as a recurrent state.
    fixed_bytes: f64,
    bytes_per_token: f64,
    seconds_per_byte: f64,
}

impl CopyCost {
    /// Learns from a state of so many bytes and tokens.
    pub(crate) fn observe(&mut self, bytes: usize, tokens: usize, took: Duration) {
        if bytes == 0 || tokens == 0 {
            return;
        }
        let (bytes, took) = (bytes as f64, took.as_secs_f64());
        let weight = if self.seconds_per_byte == 0.0 { 1.0 } else { 0.3 };
        self.bytes_per_token = (bytes - self.fixed_bytes).max(0.0) / tokens as f64;
        self.seconds_per_byte += (took / bytes - self.seconds_per_byte) * weight;
    }

    /// Learns the part that does not grow with the tokens.
    pub(crate) fn observe_fixed(&mut self, bytes: usize) {
        self.fixed_bytes = bytes as f64;
    }

    /// Seconds that one copy of so many tokens takes; 0 before the first one.
    pub(crate) fn seconds(&self, tokens: usize) -> f64 {
        (self.fixed_bytes + self.bytes_per_token * tokens as f64) * self.seconds_per_byte
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_copy_grows_with_its_tokens() {
        let mut cost = CopyCost::default();
        assert_eq!(cost.seconds(1000), 0.0);
        cost.observe(1_000_000, 1000, Duration::from_millis(10));
        assert!((cost.seconds(500) - 0.005).abs() < 1e-9);
        for _ in 0..20 {
            cost.observe(1_000_000, 1000, Duration::from_millis(20));
        }
        assert!((cost.seconds(500) - 0.01).abs() < 1e-4);
        // A short history with a large recurrent state says nothing else about a long one.
        cost.observe_fixed(10_000_000);
        for _ in 0..20 {
            cost.observe(10_050_000, 50, Duration::from_millis(10));
        }
        assert!((cost.seconds(10_000) - 0.02).abs() < 1e-3, "{}", cost.seconds(10_000));
    }
}
