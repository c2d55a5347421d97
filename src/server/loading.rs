//! Loading beside the listener: progress in the log and for `/health`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use tokio::sync::{mpsc, watch};

use super::launch::LaunchPlan;
use super::template::template;
use crate::api::{LoadState, LoadedModel, MemoryReport};
use crate::engine::{self, LoadError};
use crate::host::GpuPool;
use crate::model::Source;

/// What the loading thread reports to the rest of the process.
#[derive(Debug)]
pub(super) enum LoadEvent {
    /// The model is served.
    Ready(Arc<LoadedModel>),
    /// It cannot be loaded.
    Failed(LoadError),
    /// The engine died of a defect.
    Died,
}

/// Loads on a thread of its own. `state` is what the API answers with meanwhile; `give_up` ends
/// the loading early.
pub(super) fn spawn(
    plan: LaunchPlan,
    source: Source,
    state: watch::Sender<LoadState>,
    events: mpsc::UnboundedSender<LoadEvent>,
    give_up: Arc<AtomicBool>,
) -> std::io::Result<JoinHandle<()>> {
    let body = move || {
        let state = Arc::new(state);
        let bytes = source.facts.tensor_bytes;
        let mut progress = Progress::new(bytes, state.clone());
        let died = events.clone();
        let stopping = give_up.clone();
        // The receiver is the main task; if it is gone, so is the process.
        let mut memory = MemoryReport {
            planned: plan.need,
            budget: plan.budget,
            gpus_before: plan.pools,
            gpus_after: Vec::new(),
        };
        let loaded = engine::load(
            plan.params,
            move |share| {
                progress.to(share);
                !give_up.load(Ordering::Relaxed)
            },
            move || drop(died.send(LoadEvent::Died)),
        );
        drop(source);
        match loaded {
            Ok(engine) => {
                memory.gpus_after = GpuPool::read_all(Path::new("/"));
                let model = Arc::new(LoadedModel { template: template(&engine), engine, memory });
                state.send_replace(LoadState::Ready(model.clone()));
                let _ = events.send(LoadEvent::Ready(model));
            }
            Err(error) => {
                if !stopping.load(Ordering::Relaxed) {
                    let message = "the model could not be loaded".to_owned();
                    state.send_replace(LoadState::Failed(message));
                }
                let _ = events.send(LoadEvent::Failed(error));
            }
        }
    };
    std::thread::Builder::new().name("load".to_owned()).spawn(body)
}

struct Progress {
    state: Arc<watch::Sender<LoadState>>,
    bytes: u64,
    /// The last tenth that was logged.
    logged: u32,
}

impl Progress {
    fn new(bytes: u64, state: Arc<watch::Sender<LoadState>>) -> Self {
        Self { state, bytes, logged: 0 }
    }

    fn to(&mut self, share: f32) {
        let share = share.clamp(0.0, 1.0);
        self.state.send_replace(LoadState::Loading { progress: share });
        let tenth = (share * 10.0) as u32;
        // Small models are there before anybody reads the line.
        if tenth > self.logged && self.bytes > 1 << 30 {
            self.logged = tenth;
            let total = self.bytes as f64 / 1e9;
            let read = f64::from(share) * total;
            tracing::info!("loading {} %, {read:.0}/{total:.0} GB", tenth * 10);
        }
    }
}
