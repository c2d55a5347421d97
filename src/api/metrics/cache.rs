//! What the caches did and hold.

use std::sync::atomic::{AtomicU64, Ordering};

use super::families::Families;
use crate::api::cache_names;
use crate::engine::{CacheCounters, CacheSource};

/// The sums over all models.
pub(super) fn add_cache(families: &mut Families, models: &[&CacheCounters]) {
    let sum = |counter: fn(&CacheCounters) -> &AtomicU64| {
        models.iter().map(|counters| counter(counters).load(Ordering::Relaxed)).sum::<u64>() as f64
    };
    let hits = [
        (CacheSource::Slot, sum(|c| &c.hits_slot)),
        (CacheSource::Sequence, sum(|c| &c.hits_sequence)),
        (CacheSource::Memory, sum(|c| &c.hits_memory)),
        (CacheSource::Disk, sum(|c| &c.hits_disk)),
    ];
    let labels = hits.map(|(source, _)| [("source", cache_names::source(source))]);
    let samples: Vec<_> =
        labels.iter().zip(hits).map(|(labels, (_, n))| (labels.as_slice(), n)).collect();
    families.counters(
        "strixhalo_cache_hits_total",
        "Prompts that went on from what was held, by where: slot (their own), sequence (another \
         slot's), memory or disk.",
        &samples,
    );
    for (name, help, value) in [
        ("misses", "Prompts of which nothing was held.", sum(|c| &c.misses)),
        ("states_saved", "States saved to memory.", sum(|c| &c.saved)),
        ("states_dropped", "States that memory gave up for want of room.", sum(|c| &c.dropped)),
        (
            "states_rejected",
            "Restored states that did not prove to be what they were taken for.",
            sum(|c| &c.rejected),
        ),
        ("checkpoints_taken", "Recurrent states kept.", sum(|c| &c.checkpoints_taken)),
        (
            "checkpoints_restored",
            "Recurrent states gone back to.",
            sum(|c| &c.checkpoints_restored),
        ),
        ("files_written", "States written to disk.", sum(|c| &c.files_written)),
        (
            "files_rejected",
            "Files removed because they could not be read.",
            sum(|c| &c.files_rejected),
        ),
        (
            "files_refused",
            "States not written for want of room or of the hour's budget.",
            sum(|c| &c.files_refused),
        ),
    ] {
        families.counter(&format!("strixhalo_cache_{name}_total"), help, value);
    }
    for (name, help, value) in [
        ("memory_states", "States held in memory.", sum(|c| &c.memory_states)),
        ("memory_bytes", "Bytes of the states held in memory.", sum(|c| &c.memory_bytes)),
        ("checkpoint_bytes", "Bytes of the recurrent states held.", sum(|c| &c.checkpoint_bytes)),
        ("disk_files", "States held on disk.", sum(|c| &c.disk_files)),
        ("disk_bytes", "Bytes of the states held on disk.", sum(|c| &c.disk_bytes)),
    ] {
        families.gauge(&format!("strixhalo_cache_{name}"), help, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_caches_of_all_models_did_is_added_up() {
        let counters = [CacheCounters::default(), CacheCounters::default()];
        let set = |counter: &AtomicU64, n| counter.store(n, Ordering::Relaxed);
        set(&counters[0].hits_slot, 5);
        set(&counters[0].hits_disk, 1);
        set(&counters[1].hits_disk, 2);
        set(&counters[0].misses, 3);
        set(&counters[1].saved, 7);
        set(&counters[0].rejected, 1);
        set(&counters[0].checkpoints_restored, 9);
        set(&counters[0].memory_bytes, 1 << 33);
        set(&counters[1].memory_bytes, 1 << 33);
        set(&counters[0].disk_files, 6);
        let mut families = Families::default();
        add_cache(&mut families, &[&counters[0], &counters[1]]);
        let text = super::super::text(&families.0).unwrap_or_default();
        for line in [
            "strixhalo_cache_hits_total{source=\"slot\"} 5",
            "strixhalo_cache_hits_total{source=\"sequence\"} 0",
            "strixhalo_cache_hits_total{source=\"memory\"} 0",
            "strixhalo_cache_hits_total{source=\"disk\"} 3",
            "strixhalo_cache_misses_total 3",
            "strixhalo_cache_states_saved_total 7",
            "strixhalo_cache_states_dropped_total 0",
            "strixhalo_cache_states_rejected_total 1",
            "strixhalo_cache_checkpoints_taken_total 0",
            "strixhalo_cache_checkpoints_restored_total 9",
            "strixhalo_cache_files_written_total 0",
            "strixhalo_cache_files_rejected_total 0",
            "strixhalo_cache_memory_states 0",
            "strixhalo_cache_memory_bytes 17179869184",
            "strixhalo_cache_checkpoint_bytes 0",
            "strixhalo_cache_disk_files 6",
            "strixhalo_cache_disk_bytes 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }
}
