//! How fast steps are, measured, and how much of a prompt the next step may take.

use std::time::Duration;

/// Seconds that a step should not exceed: none can be ended early, so a cancel or a new request is
/// noticed that late. Only for the sake of a prompt's speed may a step take longer.
pub(super) const LONGEST_STEP: f64 = 1.0;

/// Seconds that a step may take so that a prompt is not read in chunks below a [`TILE`].
const LONGEST_TILE_STEP: f64 = 3.0;

/// Kernels compute the attention of so many tokens of a sequence at once. With fewer they fall
/// back to others, which take 2.6 times as long for a token at a depth of 2,048 on a CPU.
pub(super) const TILE: usize = 64;

/// Seconds that a step of two tiles may take for a prompt that runs alone: a single one loses
/// 5 to 7 % of its speed.
const LONGEST_PAIR_STEP: f64 = 1.5;

/// Seconds that a step may take so that a larger chunk is tried.
const LONGEST_TRIAL: f64 = 6.0;

/// Tokens in the first prompt step, before any speed is known.
const FIRST_CHUNK: usize = TILE;

/// The chunk sizes that are planned: few, so that compute graphs are reused, and whole tiles.
const CHUNKS: [usize; 13] = [16, 32, 64, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 4096];

/// Beside running streams a prompt is read at this share of its best speed at least. Small
/// chunks of a mixture of experts read nearly all weights for few tokens; without this bound the
/// measured speed and the chunk would make each other smaller.
const LEAST_SPEED: f64 = 0.7;

/// The same for a prompt that runs alone, even if a step takes longer than a second.
const LEAST_SPEED_ALONE: f64 = 0.9;

/// While several prompts wait, they get so many times what the running streams need of a step.
const CROWD_SHARE: f64 = 2.0;

/// A larger chunk is tried, up to a ubatch, while the last size gained at least this.
const WORTH_TRYING: f64 = 1.05;

/// Measured speeds of the running model.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Seconds a step may take while streams decode.
    target: f64,
    /// llama.cpp computes this many tokens of a step at once.
    n_ubatch: usize,
    /// Seconds of a step that only decodes.
    decode: Average,
    /// Seconds per prompt token, for chunks of about the sizes in [`CHUNKS`].
    prompt: [Average; CHUNKS.len()],
}

impl Pace {
    pub(crate) fn new(target: Duration, n_ubatch: usize) -> Self {
        Self {
            target: target.as_secs_f64(),
            n_ubatch: n_ubatch.max(1),
            decode: Average::default(),
            prompt: Default::default(),
        }
    }

    /// Learns from a step that computed a token of each running stream.
    pub(crate) fn observe_streams(&mut self, took: Duration) {
        self.decode.add(took.as_secs_f64());
    }

    /// Learns from a step that read `tokens` of prompts.
    pub(crate) fn observe_prompts(&mut self, tokens: usize, took: Duration) {
        // Tiny rests of prompts say little about speed.
        let Some(bucket) = CHUNKS.iter().rposition(|&size| size <= tokens) else { return };
        let change = self.prompt[bucket].add(took.as_secs_f64() / tokens as f64);
        // What changed the speed of these chunks, most often how deep in a sequence they are,
        // does so to others, whose measurements would be out of date. Half of it (of its logarithm)
        // is put down to that, so that a wrong ratio between two sizes does not stay for good.
        if tokens >= TILE {
            let others = (0..CHUNKS.len()).filter(|&i| i != bucket);
            others.for_each(|i| self.prompt[i].scale(change.sqrt()));
            // Two tiles are no slower than one. As slow as they were deep in the last prompt, they
            // would not be tried again in the shallows of the next.
            if CHUNKS[bucket] == TILE
                && let Some(seconds) = self.prompt[bucket].value
            {
                self.prompt[bucket + 1].at_most(seconds);
            }
        }
    }

    /// Prompt tokens that the next step may take for `waiting` prompts. After it each of
    /// `decoding` running streams gets a token; what both steps take is how far their tokens lie
    /// apart. The more prompts wait for each stream, the longer a step may be: when many requests
    /// arrive together, the first to decode must not hold up all others.
    pub(crate) fn prompt_budget(&self, waiting: usize, decoding: usize, n_batch: usize) -> usize {
        let room = n_batch.max(1);
        let speeds = self.prompt.iter().filter_map(|a| a.value).map(|seconds| 1.0 / seconds);
        let Some(best) = speeds.reduce(f64::max) else {
            return FIRST_CHUNK.min(room);
        };
        let seconds = |size: usize| self.reading_seconds(size);
        let fits = |limit: f64| self.largest_within(limit);
        let at_speed = |share: f64| {
            let fast = |&size: &usize| self.seconds_per_token(size) * best * share <= 1.0;
            CHUNKS.into_iter().find(fast).unwrap_or(CHUNKS[0])
        };
        let tile = if seconds(TILE) <= LONGEST_TILE_STEP { TILE } else { CHUNKS[0] };
        let chunk = if decoding == 0 {
            // llama.cpp computes whole ubatches, so nothing is gained by more than one.
            // Speeds lag behind the depth, so the limit is exceeded at times.
            let efficient = at_speed(LEAST_SPEED_ALONE).min(fits(LONGEST_TILE_STEP));
            // Others must not wait for a trial.
            let trial = if waiting > 1 { LONGEST_TILE_STEP } else { LONGEST_TRIAL };
            let efficient = efficient.max(self.worth_trying(trial));
            let pair = if seconds(2 * TILE) <= LONGEST_PAIR_STEP { 2 * TILE } else { tile };
            fits(LONGEST_STEP).max(efficient.max(pair).min(self.n_ubatch)).max(tile)
        } else {
            // One prompt counts for nothing: then the target alone decides.
            let crowd = if waiting > 1 { waiting as f64 / decoding as f64 } else { 0.0 };
            let target = (self.target * (1.0 + crowd)).min(LONGEST_STEP.max(self.target));
            // Streams take their part of every step; with small chunks that is most of the time.
            let decode = self.decode.value.unwrap_or(0.0);
            let least = if waiting > 1 { CROWD_SHARE * decode } else { 0.0 };
            let left = (target - decode).max(least);
            fits(left).max(at_speed(LEAST_SPEED).min(fits(LONGEST_STEP))).max(tile)
        };
        // What is left over after whole ubatches would read all weights once more for little.
        let chunk = chunk.min(room);
        if chunk > self.n_ubatch { chunk / self.n_ubatch * self.n_ubatch } else { chunk }
    }

    /// The largest chunk that is read within `limit` seconds.
    fn largest_within(&self, limit: f64) -> usize {
        let largest = CHUNKS.into_iter().rev().find(|&size| self.reading_seconds(size) <= limit);
        largest.unwrap_or(CHUNKS[0])
    }

    /// Seconds that reading `tokens` of a prompt takes; infinite before any speed is known.
    pub(crate) fn reading_seconds(&self, tokens: usize) -> f64 {
        self.seconds_per_token(tokens) * tokens.max(1) as f64
    }

    /// The size after the largest one measured, if that one was faster than the one before it, or
    /// was the first; none that takes more than `longest` seconds.
    fn worth_trying(&self, longest: f64) -> usize {
        let mut known = (0..CHUNKS.len()).rev().filter_map(|i| Some((i, self.prompt[i].value?)));
        let gained = match (known.next(), known.next()) {
            (Some((largest, now)), Some((_, before))) if now * WORTH_TRYING <= before => largest,
            (Some((largest, _)), None) if CHUNKS[largest] <= FIRST_CHUNK => largest,
            _ => return CHUNKS[0],
        };
        match CHUNKS.get(gained + 1) {
            Some(&next)
                if CHUNKS[gained] < self.n_ubatch && self.reading_seconds(next) <= longest =>
            {
                next
            }
            _ => CHUNKS[0],
        }
    }

    /// As measured for chunks of this size, else of the next larger (which is too optimistic,
    /// but will be measured), else of the next smaller size.
    fn seconds_per_token(&self, size: usize) -> f64 {
        let at = CHUNKS.iter().rposition(|&chunk| chunk <= size).unwrap_or(0);
        let (below, above) = self.prompt.split_at(at);
        let known = above.iter().chain(below.iter().rev()).find_map(|average| average.value);
        known.unwrap_or(f64::INFINITY)
    }
}

/// An average in which the last few values count most.
#[derive(Debug, Default)]
struct Average {
    value: Option<f64>,
}

impl Average {
    /// The factor by which the average changed.
    fn add(&mut self, sample: f64) -> f64 {
        // Zero would make the speed infinite.
        let sample = sample.max(1e-9);
        let old = self.value.unwrap_or(sample);
        let new = old + (sample - old) * 0.3;
        self.value = Some(new);
        new / old
    }

    fn at_most(&mut self, most: f64) {
        self.value = self.value.map(|value| value.min(most));
    }

    fn scale(&mut self, factor: f64) {
        self.value = self.value.map(|value| (value * factor).max(1e-9));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps take `fixed_ms` and 1 s for every `speed` prompt tokens.
    fn seen(pace: &mut Pace, fixed_ms: u64, speed: usize, chunk: usize) {
        let took = fixed_ms as f64 / 1e3 + chunk as f64 / speed as f64;
        pace.observe_prompts(chunk, Duration::from_secs_f64(took));
    }

    fn pace(fixed_ms: u64, speed: usize, decode_ms: u64) -> Pace {
        let mut pace = Pace::new(Duration::from_millis(250), 512);
        pace.observe_streams(Duration::from_millis(decode_ms));
        for chunk in CHUNKS {
            seen(&mut pace, fixed_ms, speed, chunk);
        }
        pace
    }

    #[test]
    fn the_first_prompt_step_is_small() {
        assert_eq!(Pace::new(Duration::from_millis(250), 512).prompt_budget(1, 0, 2048), 64);
    }

    #[test]
    fn beside_streams_a_step_stays_near_the_target() {
        assert_eq!(pace(0, 1000, 40).prompt_budget(1, 1, 2048), 192);
        assert_eq!(pace(0, 380, 30).prompt_budget(1, 1, 2048), 64);
    }

    #[test]
    fn the_more_prompts_wait_for_each_stream_the_longer_a_step() {
        let pace = pace(0, 1000, 50);
        let budgets = [1, 2, 8].map(|waiting| pace.prompt_budget(waiting, 2, 2048));
        assert_eq!(budgets, [192, 384, 512]);
    }

    #[test]
    fn alone_a_prompt_takes_whole_ubatches_but_no_step_longer_than_a_second() {
        assert_eq!(pace(0, 10_000, 40).prompt_budget(1, 0, 2048), 2048);
        assert_eq!(pace(0, 800, 40).prompt_budget(1, 0, 2048), 512);
        assert_eq!(pace(0, 400, 40).prompt_budget(1, 0, 2048), 384);
        assert_eq!(pace(0, 20, 40).prompt_budget(1, 0, 2048), 16);
    }

    #[test]
    fn alone_a_prompt_keeps_nearly_all_of_its_speed_even_if_a_step_takes_longer() {
        let mut pace = Pace::new(Duration::from_millis(250), 512);
        for _ in 0..20 {
            let chunk = pace.prompt_budget(1, 0, 2048);
            assert!(chunk <= 512);
            seen(&mut pace, 2000, 1000, chunk);
        }
        assert_eq!(pace.prompt_budget(1, 0, 2048), 512);
    }

    #[test]
    fn where_small_chunks_are_slow_a_prompt_keeps_half_of_its_speed() {
        // Every chunk costs 300 ms more: 64 tokens take 364 ms, 1024 take 1.3 s.
        let mut pace = pace(300, 1000, 40);
        let chunk = pace.prompt_budget(1, 1, 2048);
        assert!((256..=512).contains(&chunk), "{chunk}");
        for _ in 0..50 {
            let chunk = pace.prompt_budget(1, 1, 2048);
            seen(&mut pace, 300, 1000, chunk);
        }
        assert_eq!(pace.prompt_budget(1, 1, 2048), chunk, "it does not shrink by and by");
    }

    #[test]
    fn a_prompt_goes_on_even_where_decoding_alone_misses_the_target() {
        assert_eq!(pace(0, 100, 500).prompt_budget(1, 4, 2048), 64);
        assert_eq!(pace(0, 100, 500).prompt_budget(1, 4, 10), 10);
    }

    #[test]
    fn chunks_are_no_smaller_than_a_tile_unless_that_takes_many_seconds() {
        assert_eq!(pace(0, 30, 40).prompt_budget(1, 1, 2048), 64);
        assert_eq!(pace(0, 30, 40).prompt_budget(1, 0, 2048), 64);
        assert_eq!(pace(0, 20, 40).prompt_budget(1, 1, 2048), CHUNKS[0]);
        assert_eq!(pace(0, 20, 40).prompt_budget(1, 0, 2048), CHUNKS[0]);
    }

    #[test]
    fn deep_in_a_sequence_all_chunks_are_known_to_be_slower() {
        let mut pace = pace(0, 1000, 40);
        for _ in 0..20 {
            pace.observe_prompts(192, Duration::from_millis(1920));
        }
        // 100 tokens a second, not 1000: half as many are read at once, or fewer.
        assert!(pace.prompt_budget(1, 1, 2048) <= 96);
    }

    #[test]
    fn in_the_shallows_after_a_deep_prompt_chunks_are_large_again() {
        // Deep in, 28 tokens a second; then 180.
        let mut pace = pace(0, 28, 40);
        let chunks: Vec<usize> = (0..12)
            .map(|_| {
                let chunk = pace.prompt_budget(1, 0, 2048);
                seen(&mut pace, 0, 180, chunk);
                chunk
            })
            .collect();
        assert_eq!((chunks[0], chunks[11]), (64, 128), "{chunks:?}");
    }

    #[test]
    fn no_step_gets_much_longer_than_a_tile_may_take_while_a_prompt_gets_deeper() {
        // 180 tokens a second at the beginning, 30 at the end.
        let seconds =
            |depth: usize| 1.0 / 180.0 + (1.0 / 30.0 - 1.0 / 180.0) * depth as f64 / 8192.0;
        let mut pace = Pace::new(Duration::from_millis(250), 512);
        let mut longest = 0.0_f64;
        for _ in 0..5 {
            let mut depth = 0;
            while depth < 8192 {
                let chunk = pace.prompt_budget(1, 0, 2048);
                let took = chunk as f64 * seconds(depth + chunk / 2);
                longest = longest.max(took);
                pace.observe_prompts(chunk, Duration::from_secs_f64(took));
                depth += chunk;
            }
        }
        assert!(longest < 1.5 * LONGEST_TILE_STEP, "{longest}");
    }

    #[test]
    fn alone_a_prompt_takes_two_tiles_if_that_is_not_much_longer_than_a_second() {
        assert_eq!(pace(0, 90, 40).prompt_budget(1, 0, 2048), 128);
        assert_eq!(pace(0, 90, 40).prompt_budget(1, 1, 2048), 64);
        assert_eq!(pace(0, 80, 40).prompt_budget(1, 0, 2048), 64);
    }

    #[test]
    fn after_whole_ubatches_prompts_that_wait_together_are_read_in_steps_of_a_second() {
        let mut pace = Pace::new(Duration::from_millis(250), 512);
        for chunk in [64, 448, 512, 512] {
            seen(&mut pace, 0, 100, chunk);
        }
        assert_eq!(pace.prompt_budget(2, 0, 2048), 128);
    }

    #[test]
    fn a_cold_first_step_is_forgotten() {
        let mut pace = Pace::new(Duration::from_millis(250), 512);
        pace.observe_prompts(64, Duration::from_millis(1300));
        for _ in 0..30 {
            pace.observe_prompts(128, Duration::from_millis(128));
            pace.observe_prompts(64, Duration::from_millis(64));
        }
        let seconds = pace.reading_seconds(64);
        assert!((0.060..0.070).contains(&seconds), "{seconds}");
    }

    #[test]
    fn any_measurement_leaves_a_budget_between_one_and_the_batch() {
        for took in [0, 1, 1_000_000, 3_600_000_000] {
            let mut pace = Pace::new(Duration::from_millis(1), 512);
            pace.observe_prompts(100, Duration::from_micros(took));
            pace.observe_streams(Duration::from_micros(took));
            for decoding in [0, 5, 5000] {
                let budget = pace.prompt_budget(1, decoding, 2048);
                assert!((1..=2048).contains(&budget), "{budget}");
            }
        }
    }
}
