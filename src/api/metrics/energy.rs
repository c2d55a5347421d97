//! The energy that computing took, so that joules per token can be told.

use prometheus::{Counter, CounterVec, Opts, Registry};
use tokio::sync::Notify;

use crate::http::registered;

/// What GPUs consumed while the engines computed, and the news that it will.
#[derive(Debug)]
pub struct Energy {
    joules: CounterVec,
    work: Notify,
}

/// Counters of one GPU, in joules.
#[derive(Debug, Clone)]
pub struct GpuEnergy {
    /// While prompts were read.
    pub prompt: Counter,
    /// While tokens were generated.
    pub generation: Counter,
    /// While texts were embedded or ranked.
    pub embedding: Counter,
}

impl Energy {
    /// Registers the counter in `r`, where it has no series until a GPU is named.
    #[allow(clippy::expect_used)] // the names are constants, and every test builds it
    pub fn new(r: &Registry) -> Self {
        let opts = Opts::new(
            "strixhalo_gpu_energy_joules_total",
            "Energy of the GPU while a model computed, by phase: prompt, generation or embedding.",
        );
        let joules = CounterVec::new(opts, &["gpu", "phase"]).expect("a valid counter");
        Self { joules: registered(r, joules), work: Notify::new() }
    }

    /// The counters of the GPU of this name; they exist from now on.
    pub fn of(&self, gpu: &str) -> GpuEnergy {
        GpuEnergy {
            prompt: self.joules.with_label_values(&[gpu, "prompt"]),
            generation: self.joules.with_label_values(&[gpu, "generation"]),
            embedding: self.joules.with_label_values(&[gpu, "embedding"]),
        }
    }

    /// An engine was given work.
    pub fn work_begins(&self) {
        self.work.notify_one();
    }

    /// Waits until an engine is given work, or has been since this was called last.
    pub async fn work_begun(&self) {
        self.work.notified().await;
    }
}
