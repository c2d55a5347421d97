//! What steps cost, as measured, and how much of a prompt the next step may read.

use std::time::Duration;

use super::decode::DecodeCost;

/// Kernels compute the attention of so many tokens of a sequence at once. With fewer they fall
/// back to others, which are slower deep in a sequence and round differently.
pub(crate) const TILE: usize = 64;

/// Seconds that a step may take while no stream waits for it. No step can be ended early, so a
/// cancel or a new request is noticed that late.
const MAX_STEP: f64 = 2.0;

/// Beside running streams a prompt is read at this share of its best speed at least. A mixture of
/// experts reads nearly all weights for a small chunk.
const MIN_SPEED: f64 = 0.7;

/// By what share of itself a cost may change from step to step: a prompt gets deeper, or another
/// program takes a core.
const DRIFT: f64 = 0.1;

/// By what share of itself the time of a step is off what it should be.
const NOISE: f64 = 0.05;

/// The measured cost of steps. Times in seconds.
#[derive(Debug)]
pub(crate) struct StepCost {
    /// What a step may take while streams run, theirs included.
    target: f64,
    /// Tokens that llama.cpp computes at once.
    ubatch: usize,
    /// A step that reads a prompt; `None` before the first one.
    prefill: Option<Prefill>,
    /// A step that computes tokens of each running stream; 0 before the first one.
    decode: f64,
    /// The same by their number.
    by_width: DecodeCost,
}

impl StepCost {
    /// `target`: the time that a step may take while streams run; `ubatch`: the tokens that
    /// llama.cpp computes at once.
    pub(crate) fn new(target: Duration, ubatch: usize) -> Self {
        Self {
            target: target.as_secs_f64(),
            ubatch,
            prefill: None,
            decode: 0.0,
            by_width: DecodeCost::default(),
        }
    }

    /// What steps of several tokens of each running stream cost.
    pub(crate) fn by_width(&self) -> &DecodeCost {
        &self.by_width
    }

    /// The same, to learn.
    pub(crate) fn by_width_mut(&mut self) -> &mut DecodeCost {
        &mut self.by_width
    }

    /// Learns from a step that computed tokens of each running stream.
    pub(crate) fn observe_decode(&mut self, took: Duration) {
        let took = took.as_secs_f64();
        let weight = if self.decode == 0.0 { 1.0 } else { 0.3 };
        self.decode += (took - self.decode) * weight;
    }

    /// Learns from a step that read `tokens` of prompts.
    pub(crate) fn observe_prefill(&mut self, tokens: usize, took: Duration) {
        // Fewer are computed by other kernels.
        if tokens < TILE {
            return;
        }
        // A time of zero would make the speed infinite.
        let (tokens, took) = (tokens as f64, took.as_secs_f64().max(1e-6));
        match &mut self.prefill {
            Some(prefill) => prefill.observe(tokens, took),
            None => self.prefill = Some(Prefill::first(tokens, took)),
        }
    }

    /// Seconds of a step that computes tokens of each running stream; 0 before the first one.
    pub(crate) fn decode_seconds(&self) -> f64 {
        self.decode
    }

    /// Seconds that a prompt of so many tokens takes alone.
    pub(crate) fn prefill_seconds(&self, tokens: usize) -> f64 {
        /// Before the first step.
        const USUAL: f64 = 1e-3;
        let (n, ubatch) = (tokens as f64, self.ubatch.max(TILE) as f64);
        let per_token = self.prefill.as_ref().map_or(USUAL, |p| p.takes(ubatch) / ubatch);
        n * per_token
    }

    /// Prompt tokens that the next step may read: whole tiles, at most a ubatch.
    ///
    /// Alone, as many as take [`MAX_STEP`]. Beside streams, as many as leave the target to both
    /// steps, since streams and prompts take turns; but no fewer than keep [`MIN_SPEED`].
    pub(crate) fn prefill_tokens(&self, has_streams: bool) -> usize {
        let Some(prefill) = &self.prefill else { return TILE };
        let Prefill { fixed, per_token, .. } = *prefill;
        let ubatch = self.ubatch.max(TILE) as f64;
        let within = |seconds: f64| (seconds - fixed) / per_token;
        let longest = within(MAX_STEP);
        let tokens = if has_streams {
            let speed = MIN_SPEED * ubatch / prefill.takes(ubatch);
            let keeps_speed = fixed * speed / (1.0 - per_token * speed);
            let tiles = (keeps_speed / TILE as f64).ceil() * TILE as f64;
            within(self.target - self.decode).max(tiles.min(longest))
        } else {
            longest
        };
        // A number below zero becomes zero.
        let tokens = tokens.min(ubatch) as usize;
        (tokens - tokens % TILE).max(TILE)
    }
}

/// The seconds of a step that reads `n` tokens are `fixed + per_token * n`.
///
/// Both numbers drift, so they are tracked by a Kalman filter: the error of each prediction is put
/// down to either as far as it is uncertain. Steps of one size say nothing about the ratio of the
/// two, which then stays; the first of another size says much about it.
#[derive(Debug)]
struct Prefill {
    /// Seconds.
    fixed: f64,
    /// Seconds.
    per_token: f64,
    /// Variances of `fixed` and `per_token`, and their covariance.
    variance: (f64, f64),
    covariance: f64,
}

impl Prefill {
    /// From the first step: a quarter of it is taken for fixed, and may be anything.
    fn first(tokens: f64, took: f64) -> Self {
        let deviation = took / 2.0;
        Self {
            fixed: took / 4.0,
            per_token: took * 0.75 / tokens,
            variance: (deviation.powi(2), (deviation / tokens).powi(2)),
            covariance: -deviation.powi(2) / tokens,
        }
    }

    /// Seconds that a step of so many tokens takes.
    fn takes(&self, tokens: f64) -> f64 {
        self.fixed + self.per_token * tokens
    }

    fn observe(&mut self, tokens: f64, took: f64) {
        let (mut fixed, mut per_token) = self.variance;
        fixed += (DRIFT * self.fixed).powi(2);
        per_token += (DRIFT * self.per_token).powi(2);
        // How uncertain the prediction is because of either number.
        let of_fixed = fixed + self.covariance * tokens;
        let of_per_token = self.covariance + per_token * tokens;
        let noise = NOISE * took;
        let uncertain = of_fixed + of_per_token * tokens + noise * noise;
        let error = took - self.takes(tokens);
        // Deep in a sequence both may come out as what they cannot be.
        self.fixed = (self.fixed + of_fixed / uncertain * error).clamp(took / 1e3, took);
        self.per_token =
            (self.per_token + of_per_token / uncertain * error).max(took / tokens / 1e3);
        fixed -= of_fixed * of_fixed / uncertain;
        per_token -= of_per_token * of_per_token / uncertain;
        let covariance = self.covariance - of_fixed * of_per_token / uncertain;
        // After many steps of one size the ratio is no more uncertain than after the first.
        let bound = ((took / 2.0).powi(2) / fixed).min(1.0);
        self.variance = (fixed * bound, per_token * bound);
        self.covariance = covariance * bound;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine whose steps take `fixed` seconds and one second for every `speed` tokens.
    #[derive(Clone, Copy)]
    struct Machine {
        fixed: f64,
        speed: f64,
    }

    fn machine(fixed: f64, speed: f64) -> Machine {
        Machine { fixed, speed }
    }

    impl Machine {
        fn takes(self, tokens: usize) -> f64 {
            self.fixed + tokens as f64 / self.speed
        }

        /// The cost of a server on it, with ubatches of 512 and a target of 250 ms, that has read
        /// a prompt of 4,096 tokens, or as many as 20 steps read.
        fn known(self, decode: f64) -> StepCost {
            let mut cost = StepCost::new(Duration::from_millis(250), 512);
            cost.observe_decode(Duration::from_secs_f64(decode));
            self.read_steps(&mut cost, 20, false);
            cost
        }

        /// Reads as much as a step may and says how many tokens that were.
        fn read(self, cost: &mut StepCost, has_streams: bool) -> usize {
            let tokens = cost.prefill_tokens(has_streams);
            cost.observe_prefill(tokens, Duration::from_secs_f64(self.takes(tokens)));
            tokens
        }

        /// The numbers of tokens that `steps` steps read.
        fn read_steps(self, cost: &mut StepCost, steps: usize, has_streams: bool) -> Vec<usize> {
            (0..steps).map(|_| self.read(cost, has_streams)).collect()
        }

        /// The same 20 times, beside streams; the last number of tokens.
        fn beside_streams(self, decode: f64) -> usize {
            let mut cost = self.known(decode);
            self.read_steps(&mut cost, 20, true)[19]
        }
    }

    #[test]
    fn the_first_prompt_step_is_a_tile() {
        let cost = StepCost::new(Duration::from_millis(250), 512);
        assert_eq!([true, false].map(|streams| cost.prefill_tokens(streams)), [64, 64]);
    }

    #[test]
    fn alone_a_step_is_a_ubatch_but_no_longer_than_two_seconds() {
        let alone = |fixed, speed| machine(fixed, speed).known(0.04).prefill_tokens(false);
        assert_eq!(alone(0.0, 10_000.0), 512);
        assert_eq!(alone(0.01, 300.0), 512);
        assert_eq!(alone(0.02, 180.0), 320);
        assert_eq!(alone(0.5, 180.0), 256);
        assert_eq!(alone(0.02, 20.0), 64, "a tile at least");
    }

    #[test]
    fn a_ubatch_that_is_no_multiple_of_a_tile_holds_whole_tiles() {
        for (ubatch, expected) in [(32, 64), (100, 64), (200, 192)] {
            let mut cost = StepCost::new(Duration::from_millis(250), ubatch);
            machine(0.01, 5000.0).read_steps(&mut cost, 20, false);
            assert_eq!(cost.prefill_tokens(false), expected);
        }
    }

    #[test]
    fn beside_streams_both_steps_together_stay_within_the_target() {
        assert_eq!(machine(0.0, 1000.0).beside_streams(0.04), 192);
        assert_eq!(machine(0.01, 5000.0).beside_streams(0.04), 512);
        assert_eq!(machine(0.02, 180.0).beside_streams(0.03), 64, "a tile at least");
        assert_eq!(machine(0.0, 1000.0).beside_streams(0.5), 64, "decoding alone takes longer");
    }

    #[test]
    fn where_small_chunks_are_slow_a_prompt_keeps_most_of_its_speed() {
        for (fixed, speed) in [(0.3, 1000.0), (0.22, 2000.0), (0.1, 300.0), (0.6, 600.0)] {
            let machine = machine(fixed, speed);
            let tokens = machine.beside_streams(0.04);
            let best = 512.0 / machine.takes(512);
            let share = tokens as f64 / machine.takes(tokens) / best;
            assert!((0.68..0.85).contains(&share), "{tokens} of {fixed}, {speed}: {share}");
        }
    }

    #[test]
    fn for_the_sake_of_speed_no_step_takes_longer_than_two_seconds() {
        let machine = machine(1.2, 300.0);
        let mut cost = StepCost::new(Duration::from_millis(250), 512);
        for tokens in [64, 128] {
            cost.observe_prefill(tokens, Duration::from_secs_f64(machine.takes(tokens)));
        }
        assert_eq!(cost.prefill_tokens(true), 192, "256 would keep 70 %");
    }

    /// The longest step, in seconds, of a prompt of 8,192 tokens, whose tokens take longer and
    /// longer, read five times.
    fn longest_step(has_streams: bool) -> f64 {
        let mut cost = machine(0.02, 180.0).known(0.04);
        let mut longest = 0.0_f64;
        for _ in 0..5 {
            let mut depth = 0;
            while depth < 8192 {
                let speed =
                    1.0 / (1.0 / 180.0 + depth as f64 / 8192.0 * (1.0 / 30.0 - 1.0 / 180.0));
                let machine = machine(0.02, speed);
                let tokens = machine.read(&mut cost, has_streams);
                longest = longest.max(machine.takes(tokens));
                depth += tokens;
            }
        }
        longest
    }

    #[test]
    fn steps_get_little_longer_while_a_prompt_gets_deeper() {
        let longest = longest_step(false);
        assert!(longest < 2.5, "{longest}");
        let longest = longest_step(true);
        assert!(longest < 64.0 / 30.0 + 0.1, "no more than a tile: {longest}");
    }

    #[test]
    fn in_the_shallows_after_a_deep_prompt_chunks_are_large_again() {
        let mut cost = machine(0.02, 30.0).known(0.04);
        assert_eq!(cost.prefill_tokens(false), 64);
        let tokens = machine(0.02, 300.0).read_steps(&mut cost, 8, false);
        assert_eq!(tokens[7], 512, "{tokens:?}");
    }

    #[test]
    fn a_cold_first_step_is_forgotten() {
        let mut cost = StepCost::new(Duration::from_millis(250), 512);
        cost.observe_prefill(64, Duration::from_millis(1300));
        let machine = machine(0.01, 1000.0);
        machine.read_steps(&mut cost, 10, false);
        assert_eq!(cost.prefill_tokens(false), 512);
        machine.read_steps(&mut cost, 10, true);
        assert!([192, 256].contains(&cost.prefill_tokens(true)), "{cost:?}");
    }

    #[test]
    fn a_step_that_was_held_up_changes_little_for_long() {
        let machine = machine(0.02, 1000.0);
        let mut cost = machine.known(0.04);
        cost.observe_prefill(512, Duration::from_secs(5));
        machine.read_steps(&mut cost, 6, false);
        assert_eq!(cost.prefill_tokens(false), 512);
    }

    #[test]
    fn after_many_noisy_steps_of_nearly_one_size_the_costs_are_still_known() {
        let machine = machine(0.1, 500.0);
        let mut cost = machine.known(0.04);
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..10_000 {
            let tokens = 384 + 64 * random.usize(0..3);
            let took = machine.takes(tokens) * (0.9 + 0.2 * random.f64());
            cost.observe_prefill(tokens, Duration::from_secs_f64(took));
        }
        let error = |tokens: usize| {
            cost.prefill.as_ref().unwrap().takes(tokens as f64) / machine.takes(tokens)
        };
        assert!((0.8..1.25).contains(&error(512)), "{cost:?}");
        assert!((0.4..2.5).contains(&error(64)), "{cost:?}");
    }

    #[test]
    fn any_measurement_leaves_whole_tiles_up_to_a_ubatch() {
        for took in [0, 1, 1_000_000, 3_600_000_000] {
            let took = Duration::from_micros(took);
            let mut cost = StepCost::new(Duration::from_millis(1), 512);
            for tokens in [1, 64, 100, 512, 575, 64, 64] {
                cost.observe_prefill(tokens, took);
                cost.observe_decode(took);
                for has_streams in [true, false] {
                    let tokens = cost.prefill_tokens(has_streams);
                    assert!((64..=512).contains(&tokens) && tokens.is_multiple_of(64), "{cost:?}");
                }
            }
        }
    }
}
