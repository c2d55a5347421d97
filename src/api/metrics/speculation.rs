//! What speculation did, beside llama-server's counters of it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::families::Families;
use crate::api::draft_names;
use crate::engine::{NoDraft, SpeculationCounters};

/// The sums over all models.
pub(super) fn add_speculation(families: &mut Families, models: &[&SpeculationCounters]) {
    let sum = |counter: &dyn Fn(&SpeculationCounters) -> &AtomicU64| {
        models.iter().map(|counters| counter(counters).load(Ordering::Relaxed)).sum::<u64>() as f64
    };
    let reasons =
        [NoDraft::Disabled, NoDraft::Memory, NoDraft::NoMatch, NoDraft::Cost, NoDraft::Streams];
    let labels = reasons.map(|reason| [("reason", draft_names::reason(reason))]);
    let values = reasons.map(|reason| sum(&|counters| counters.without(reason)));
    let samples: Vec<_> =
        labels.iter().zip(values).map(|(labels, n)| (labels.as_slice(), n)).collect();
    families.counters(
        "strixhalo_speculation_idle_steps_total",
        "Steps of streams for which nothing was drafted, by why: disabled, memory (it cannot be \
         taken back), no_match (the text repeats nothing), cost (more than it brings), streams \
         (others would be slower).",
        &samples,
    );
    for (name, help, value) in [
        (
            "stream_steps",
            "Steps of streams: tokens generated in one are llamacpp:tokens_predicted_total by this.",
            sum(&|counters| &counters.stream_steps),
        ),
        (
            "restored",
            "Drafts after which a recurrent state was put back.",
            sum(&|counters| &counters.restored),
        ),
    ] {
        families.counter(&format!("strixhalo_speculation_{name}_total"), help, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_without_a_draft_are_told_by_their_reason() {
        let counters = SpeculationCounters::default();
        counters.without(NoDraft::Cost).store(3, Ordering::Relaxed);
        counters.stream_steps.store(10, Ordering::Relaxed);
        let mut families = Families::default();
        add_speculation(&mut families, &[&counters, &counters]);
        let text = super::super::text(&families.0).unwrap_or_default();
        for line in [
            "strixhalo_speculation_idle_steps_total{reason=\"cost\"} 6",
            "strixhalo_speculation_idle_steps_total{reason=\"no_match\"} 0",
            "strixhalo_speculation_stream_steps_total 20",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }
}
