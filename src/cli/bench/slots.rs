//! The scenario `slots`: whether streams are as fast after every slot has held a conversation.

use serde::Serialize;

use super::load::{self, Load, LoadResult};
use super::target::Target;

/// Tokens of the answers in the conversations that fill the slots.
const FILLING_TOKENS: u32 = 8;

/// What was measured.
#[derive(Debug, Serialize)]
pub(super) struct SlotsResult {
    /// Slots that held a conversation before `held`.
    pub(super) slots: u32,
    /// Each number of streams before every slot held a conversation.
    pub(super) fresh: Vec<LoadResult>,
    /// And after.
    pub(super) held: Vec<LoadResult>,
}

/// Measures each load, fills `slots` slots at once, and measures each load again. `index` as in
/// [`load::run`].
pub(super) fn run(
    target: &Target,
    loads: &[Load],
    slots: u32,
    repeat: u32,
    index: &mut u64,
) -> SlotsResult {
    let all =
        |index: &mut u64| loads.iter().map(|&one| load::run(target, one, repeat, index)).collect();
    let fresh = all(index);
    let prompt_tokens = loads.first().map_or(1, |load| load.prompt_tokens);
    let filling = Load { streams: slots, prompt_tokens, max_tokens: FILLING_TOKENS };
    load::run(target, filling, 1, index);
    SlotsResult { slots, fresh, held: all(index) }
}
