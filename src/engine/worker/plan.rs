//! The loop's third phase: what goes into the next step.

use super::Worker;
use super::part::Part;
use super::slot::Slot;
use crate::engine::schedule::{self, StepKind, Want};
use crate::engine::speculate::Draft;

impl Worker<'_> {
    /// The parts of the next step; none if there is nothing to compute.
    pub(super) fn plan(&mut self) -> Vec<Part> {
        let wants: Vec<_> = self.slots.iter().map(Slot::want).collect();
        self.kind = schedule::kind(&wants, self.kind);
        let shares = match self.kind {
            StepKind::Streams => schedule::plan_streams(&wants, self.limits.n_batch),
            StepKind::Prompts => {
                self.prompt_steps += 1;
                let has_streams = wants.contains(&Want::Decode);
                let budget = self.cost.prefill_tokens(has_streams).min(self.limits.n_batch);
                schedule::plan_prompts(&wants, budget, self.limits.n_batch, self.prompt_steps)
            }
        };
        let part = |(slot, share)| Part { slot, share, draft: Draft::default(), first: 0 };
        let mut parts: Vec<Part> =
            shares.into_iter().enumerate().filter(|&(_, share)| share > 0).map(part).collect();
        if self.kind == StepKind::Streams {
            self.draft(&mut parts);
        }
        parts
    }
}
