//! What the models that embed and rank have done, each by its name.

use std::sync::atomic::{AtomicU64, Ordering};

use super::families::{Families, Sample};
use crate::api::model::Models;
use crate::engine::EmbeddingCounters;

/// Of a model that is not loaded all counters are zero. Where there is none, there are no families.
pub(super) fn add_embedding(families: &mut Families, models: &Models) {
    let nothing = EmbeddingCounters::default();
    let engines: Vec<_> = models.beside_iter().map(|served| (served, served.now().ok())).collect();
    let labels: Vec<_> = engines.iter().map(|(served, _)| [("model", served.name())]).collect();
    let counted = |of: fn(&EmbeddingCounters) -> &AtomicU64, unit: f64| -> Vec<Sample<'_>> {
        let values = engines.iter().map(|(_, engine)| {
            let counters = engine.as_ref().map_or(&nothing, |engine| engine.counters());
            of(counters).load(Ordering::Relaxed) as f64 * unit
        });
        labels.iter().map(|labels| labels.as_slice()).zip(values).collect()
    };
    families.counters(
        "strixhalo_embedding_texts_total",
        "Texts that were embedded, and pairs of a query and a document that were ranked.",
        &counted(|counters| &counters.texts, 1.0),
    );
    families.counters(
        "strixhalo_embedding_tokens_total",
        "Tokens of the texts that were embedded or ranked.",
        &counted(|counters| &counters.tokens, 1.0),
    );
    families.counters(
        "strixhalo_embedding_seconds_total",
        "Seconds spent on embedding or ranking.",
        &counted(|counters| &counters.compute_us, 1e-6),
    );
    let requests = engines.iter().map(|(served, engine)| {
        (served.held() + engine.as_ref().map_or(0, |engine| engine.pending())) as f64
    });
    let requests: Vec<Sample<'_>> =
        labels.iter().map(|labels| labels.as_slice()).zip(requests).collect();
    families.gauges(
        "strixhalo_embedding_requests",
        "Requests that wait for a model that embeds or ranks, or are computed by it.",
        &requests,
    );
}
