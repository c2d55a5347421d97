//! What the engine has done and holds, and how far loading is.

use std::ops::Add;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::cache::add_cache;
use super::embedding::add_embedding;
use super::families::Families;
use super::memory::{Loaded, add_memory};
use super::speculation::add_speculation;
use crate::api::model::{LoadState, LoadedModel, ServedModel};
use crate::api::state::AppState;
use crate::engine::{EmbeddingEngine, Engine, SlotSnapshot};

/// What the engine has done, under llama-server's names. All zero until the model is loaded.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) prompt_tokens: u64,
    pub(super) prompt_tokens_cached: u64,
    pub(super) prompt_us: u64,
    pub(super) predicted_tokens: u64,
    pub(super) predicted_us: u64,
    pub(super) decodes: u64,
    pub(super) busy_slots: u64,
    pub(super) longest_sequence: u64,
    pub(super) drafts: u64,
    pub(super) drafted_tokens: u64,
    pub(super) accepted_tokens: u64,
    pub(super) processing: usize,
    pub(super) waiting: usize,
}

impl Totals {
    /// Adds what this engine has done.
    fn add(&mut self, engine: &Engine) {
        let counters = engine.counters();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        self.prompt_tokens += read(&counters.prompt_tokens);
        self.prompt_tokens_cached += read(&counters.prompt_tokens_cached);
        self.prompt_us += read(&counters.prompt_us);
        self.predicted_tokens += read(&counters.predicted_tokens);
        self.predicted_us += read(&counters.predicted_us);
        self.decodes += read(&counters.decodes);
        self.busy_slots += read(&counters.busy_slots);
        self.drafts += read(&counters.speculation.drafts);
        self.drafted_tokens += read(&counters.speculation.drafted_tokens);
        self.accepted_tokens += read(&counters.speculation.accepted_tokens);
        self.longest_sequence = self.longest_sequence.max(read(&counters.longest_sequence));
        self.processing += engine.slots().iter().filter(|slot| slot.processing).count();
        self.waiting += engine.waiting();
    }

    pub(super) fn add_to(&self, families: &mut Families) {
        let prompt_seconds = self.prompt_us as f64 / 1e6;
        let predicted_seconds = self.predicted_us as f64 / 1e6;
        for (name, help, value) in [
            ("prompt_tokens_total", "Prompt tokens computed.", self.prompt_tokens as f64),
            (
                "prompt_tokens_cached_total",
                "Prompt tokens taken from the prefix cache.",
                self.prompt_tokens_cached as f64,
            ),
            ("prompt_seconds_total", "Seconds spent on prompts.", prompt_seconds),
            ("tokens_predicted_total", "Tokens generated.", self.predicted_tokens as f64),
            ("tokens_predicted_seconds_total", "Seconds spent on generating.", predicted_seconds),
            ("n_decode_total", "Calls of llama_decode.", self.decodes as f64),
            ("n_tokens_max", "Longest sequence so far, in tokens.", self.longest_sequence as f64),
            ("spec_decode_num_drafts_total", "Drafts made by speculation.", self.drafts as f64),
            (
                "spec_decode_num_draft_tokens_total",
                "Tokens drafted by speculation.",
                self.drafted_tokens as f64,
            ),
            (
                "spec_decode_num_accepted_tokens_total",
                "Drafted tokens accepted.",
                self.accepted_tokens as f64,
            ),
        ] {
            families.counter(&format!("llamacpp:{name}"), help, value);
        }
        for (name, help, value) in [
            (
                "prompt_tokens_seconds",
                "Prompt tokens per second, mean since the start.",
                ratio(self.prompt_tokens as f64, prompt_seconds),
            ),
            (
                "predicted_tokens_seconds",
                "Generated tokens per second, mean since the start.",
                ratio(self.predicted_tokens as f64, predicted_seconds),
            ),
            ("requests_processing", "Slots at work.", self.processing as f64),
            ("requests_deferred", "Requests that wait for a slot.", self.waiting as f64),
            (
                "n_busy_slots_per_decode",
                "Slots that take part in a call of llama_decode, mean since the start.",
                ratio(self.busy_slots as f64, self.decodes as f64),
            ),
        ] {
            families.gauge(&format!("llamacpp:{name}"), help, value);
        }
    }
}

/// Loading, queue, slots and KV cache.
pub(super) fn add_state(families: &mut Families, state: &AppState) {
    let loaded: Vec<(&str, Arc<LoadedModel>)> = state
        .models()
        .iter()
        .filter_map(|served| Some((served.name(), served.now().ok()?)))
        .collect();
    let mut totals = Totals::default();
    let (mut slots, mut n_ctx) = (Vec::new(), 0);
    for (_, model) in &loaded {
        totals.add(&model.engine);
        slots.extend(model.engine.slots());
        n_ctx += model.engine.facts().n_ctx;
    }
    // Requests that wait for a model wait for a slot, too.
    totals.waiting += state.models().iter().map(ServedModel::held).sum::<usize>();
    totals.add_to(families);

    let progress = state.models().iter().map(|served| match served.load_state() {
        LoadState::Ready(_) => 1.0,
        LoadState::Loading { progress } => f64::from(progress),
        LoadState::Testing | LoadState::Failed(_) => 0.0,
    });
    // Of several models, the one that is the farthest from answering.
    let progress = progress.fold(1.0, f64::min);
    let beside: Vec<(&str, EmbeddingEngine)> = state
        .models()
        .beside_iter()
        .filter_map(|served| Some((served.name(), served.now().ok()?)))
        .collect();
    let ready = state.models().iter().count() == loaded.len()
        && state.models().beside_iter().count() == beside.len();
    let ready = if ready { 1.0 } else { 0.0 };
    families.gauge("strixhalo_ready", "1 once all models are loaded and answer.", ready);
    families.gauge(
        "strixhalo_model_load_progress",
        "Share that is read of the model that generates; those beside it follow.",
        progress,
    );
    let generate = loaded.iter().map(|(name, model)| Loaded {
        name,
        facts: model.engine.facts(),
        planned: model.memory.planned,
    });
    let others = beside.iter().map(|(name, engine)| Loaded {
        name,
        facts: engine.facts(),
        planned: engine.planned(),
    });
    let models: Vec<Loaded<'_>> = generate.chain(others).collect();
    families.gauge(
        "strixhalo_model_load_seconds",
        "Time that loading took, of all models together, with the warm-up; 0 until then.",
        // They are loaded one after the other.
        models.iter().map(|model| model.facts.load_seconds).fold(0.0, f64::add),
    );
    add_memory(families, &models);
    let labels = models.iter().map(|model| {
        [
            ("model", model.name),
            ("architecture", model.facts.architecture.as_str()),
            ("quantization", model.facts.ftype.as_str()),
        ]
    });
    let labels: Vec<_> = labels.collect();
    let values: Vec<_> = labels.iter().map(|labels| (labels.as_slice(), 1.0)).collect();
    if !values.is_empty() {
        families.gauges("strixhalo_model_info", "A loaded model; always 1.", &values);
    }
    families.gauge(
        "strixhalo_queue_requests",
        "Sequences that wait for a slot, and requests that wait for the model.",
        totals.waiting as f64,
    );
    families.gauge(
        "strixhalo_queue_limit",
        "Most that may wait (limits.queue).",
        f64::from(state.settings().limits.queue),
    );
    add_slots(families, &slots, n_ctx);
    add_embedding(families, state.models());
    let counters: Vec<_> = loaded.iter().map(|(_, model)| &model.engine.counters().cache).collect();
    add_cache(families, &counters);
    let counters: Vec<_> =
        loaded.iter().map(|(_, model)| &model.engine.counters().speculation).collect();
    add_speculation(families, &counters);
}

/// `n_ctx`: the context of all slots together.
fn add_slots(families: &mut Families, slots: &[SlotSnapshot], n_ctx: u32) {
    let count =
        |wanted: fn(&SlotSnapshot) -> bool| slots.iter().filter(|slot| wanted(slot)).count() as f64;
    families.gauge("strixhalo_slots", "Slots.", slots.len() as f64);
    families.gauge("strixhalo_slots_busy", "Slots at work.", count(|slot| slot.processing));
    families.gauges(
        "strixhalo_slots_state",
        "Slots by what they do: idle, prompt (reading one) or generating.",
        &[
            (&[("state", "idle")], count(|slot| !slot.processing)),
            (&[("state", "prompt")], count(|slot| slot.processing && !slot.generating)),
            (&[("state", "generating")], count(|slot| slot.processing && slot.generating)),
        ],
    );
    let used: u64 = slots.iter().map(|slot| u64::from(slot.cached_tokens)).sum();
    families.gauge("strixhalo_kv_cells", "Tokens that the KV cache has room for.", n_ctx.into());
    families.gauge(
        "strixhalo_kv_cells_used",
        "Tokens that the KV cache holds, those of idle slots included.",
        used as f64,
    );
    families.gauge(
        "strixhalo_kv_usage_ratio",
        "Used share of the KV cache.",
        ratio(used as f64, n_ctx.into()),
    );
}

/// A mean; of nothing, 0.
fn ratio(sum: f64, n: f64) -> f64 {
    if n > 0.0 { sum / n } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_and_kv_cache_are_counted_by_what_they_hold() {
        let slot = |processing, generating, cached_tokens| SlotSnapshot {
            processing,
            generating,
            cached_tokens,
            ..SlotSnapshot::default()
        };
        let mut families = Families::default();
        let slots = [
            slot(true, true, 100),
            slot(true, false, 50),
            slot(false, true, 106),
            slot(false, false, 0),
        ];
        add_slots(&mut families, &slots, 1024);
        let text = super::super::text(&families.0).unwrap_or_default();
        for line in [
            "strixhalo_slots 4",
            "strixhalo_slots_busy 2",
            "strixhalo_slots_state{state=\"idle\"} 2",
            "strixhalo_slots_state{state=\"prompt\"} 1",
            "strixhalo_slots_state{state=\"generating\"} 1",
            "strixhalo_kv_cells 1024",
            "strixhalo_kv_cells_used 256",
            "strixhalo_kv_usage_ratio 0.25",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }
}
