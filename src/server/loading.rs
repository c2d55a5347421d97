//! Loading beside the listener: progress in the log and for `/health`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::sync::{mpsc, watch};

use super::exit::Failure;
use super::launch::LaunchPlan;
use super::selftest::{SelfTest, SelfTestError};
use super::template::template;
use crate::api::{LoadState, LoadedModel, MemoryReport};
use crate::engine::{self, EmbeddingEngine, EmbeddingParams, LoadError};
use crate::host::GpuPool;
use crate::model::Source;

/// What the loading thread reports to the rest of the process.
#[derive(Debug)]
pub(super) enum LoadEvent {
    /// The model is served.
    Ready(Arc<LoadedModel>),
    /// It cannot be loaded, or the GPU failed its test.
    Failed(Failure),
    /// The test of the GPU does not end; its thread is left behind.
    Hangs(Failure),
    /// The engine died of a defect.
    Died,
}

/// Where the loading of all models is told.
pub(super) struct LoadStates {
    pub(super) chat: watch::Sender<LoadState>,
    pub(super) embedding: watch::Sender<LoadState<EmbeddingEngine>>,
    pub(super) rerank: watch::Sender<LoadState<EmbeddingEngine>>,
}

/// Tests the GPU, if `selftest` is there, then loads, on a thread of its own: the real model comes when
/// the memory of the small ones is free again. `state` is what the API answers with meanwhile;
/// `give_up` ends both early.
pub(super) fn spawn(
    plan: LaunchPlan,
    source: Source,
    states: LoadStates,
    events: mpsc::UnboundedSender<LoadEvent>,
    give_up: Arc<AtomicBool>,
    selftest: Option<SelfTest>,
) -> std::io::Result<JoinHandle<()>> {
    let body = move || {
        let LoadStates { chat, embedding, rerank } = states;
        let state = Arc::new(chat);
        let bytes = source.facts.tensor_bytes;
        let mut progress = Progress::new(bytes, state.clone());
        if let Some(test) = selftest {
            state.send_replace(LoadState::Testing);
            if let Err(error) = test(give_up.clone()) {
                if !give_up.load(Ordering::Relaxed) {
                    let message = "the GPU did not pass its self-test".to_owned();
                    state.send_replace(LoadState::Failed(message));
                }
                let event = match error {
                    SelfTestError::Hangs { .. } => LoadEvent::Hangs(error.into()),
                    _ => LoadEvent::Failed(error.into()),
                };
                let _ = events.send(event);
                return;
            }
            state.send_replace(LoadState::Loading { progress: 0.0 });
        }
        let died = events.clone();
        let stopping = give_up.clone();
        let beside = [(plan.embedding, embedding), (plan.rerank, rerank)];
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
                // Before the first model answers, so that one moment is the end of the start.
                if let Err(error) = load_beside(beside, &stopping, &events) {
                    engine.drain(Instant::now());
                    engine.join();
                    if !stopping.load(Ordering::Relaxed) {
                        let message = "a model could not be loaded".to_owned();
                        state.send_replace(LoadState::Failed(message));
                    }
                    let _ = events.send(LoadEvent::Failed(error.into()));
                    return;
                }
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
                let _ = events.send(LoadEvent::Failed(error.into()));
            }
        }
    };
    std::thread::Builder::new().name("load".to_owned()).spawn(body)
}

/// Loads the models beside the one that chats, one after the other.
fn load_beside(
    models: [(Option<EmbeddingParams>, watch::Sender<LoadState<EmbeddingEngine>>); 2],
    give_up: &Arc<AtomicBool>,
    events: &mpsc::UnboundedSender<LoadEvent>,
) -> Result<(), LoadError> {
    for (params, state) in models {
        let Some(params) = params else { continue };
        let state = Arc::new(state);
        let (told, give_up, died) = (state.clone(), give_up.clone(), events.clone());
        let progress = move |share| {
            told.send_replace(LoadState::Loading { progress: share });
            !give_up.load(Ordering::Relaxed)
        };
        let engine = EmbeddingEngine::load(params, progress, move || {
            drop(died.send(LoadEvent::Died));
        })?;
        state.send_replace(LoadState::Ready(engine));
    }
    Ok(())
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::mpsc as blocking;
    use std::time::Duration;

    use super::*;
    use crate::config::{Sources, load};
    use crate::model::EmbeddingSources;
    use crate::server::exit::Exit;
    use crate::server::launch::plan;

    struct Started {
        state: watch::Receiver<LoadState>,
        events: mpsc::UnboundedReceiver<LoadEvent>,
        give_up: Arc<AtomicBool>,
    }

    fn start(selftest: SelfTest) -> Started {
        let environment = [("LLAMA_ARG_CTX_SIZE", "512"), ("LLAMA_ARG_N_PARALLEL", "1")];
        let environment = environment.map(|(name, value)| (name.into(), value.into())).to_vec();
        let loaded = load(Sources { environment, ..Sources::default() }).unwrap();
        let source = Source::open(&loaded.settings.model).unwrap();
        let plan = plan(&loaded, &source, &EmbeddingSources::default(), None, &[]).unwrap();
        let (state, seen) = watch::channel(LoadState::Loading { progress: 0.0 });
        let (sender, events) = mpsc::unbounded_channel();
        let give_up = Arc::new(AtomicBool::new(false));
        let beside = || watch::channel(LoadState::Loading { progress: 0.0 }).0;
        let states = LoadStates { chat: state, embedding: beside(), rerank: beside() };
        spawn(plan, source, states, sender, give_up.clone(), Some(selftest)).unwrap();
        Started { state: seen, events, give_up }
    }

    fn wrong() -> SelfTestError {
        SelfTestError::Wrong { device: "Vulkan0".to_owned(), wrong: 1, all: 18 }
    }

    #[tokio::test]
    async fn the_model_is_loaded_when_the_gpu_has_passed_and_not_before() {
        let (pass, passed) = blocking::channel();
        let mut started = start(Box::new(move |_| {
            passed.recv().unwrap();
            Ok(())
        }));
        let state = &mut started.state;
        state.wait_for(|state| matches!(state, LoadState::Testing)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(matches!(&*state.borrow(), LoadState::Testing));
        assert!(started.events.try_recv().is_err());
        pass.send(()).unwrap();
        assert!(matches!(started.events.recv().await, Some(LoadEvent::Ready(_))));
        assert!(matches!(&*started.state.borrow(), LoadState::Ready(_)));
    }

    #[tokio::test]
    async fn a_gpu_that_fails_ends_the_start_with_70_and_nothing_is_loaded() {
        let mut started = start(Box::new(|_| Err(wrong())));
        let Some(LoadEvent::Failed(failure)) = started.events.recv().await else {
            panic!("a failure");
        };
        assert_eq!(failure.exit, Exit::Internal);
        assert!(failure.message.contains("self-test failed"), "{}", failure.message);
        assert!(started.events.recv().await.is_none());
        assert!(matches!(&*started.state.borrow(), LoadState::Failed(_)));

        let limit = Duration::from_secs(600);
        let hang = SelfTestError::Hangs { device: "Vulkan0".to_owned(), limit };
        let mut started = start(Box::new(|_| Err(hang)));
        let Some(LoadEvent::Hangs(failure)) = started.events.recv().await else {
            panic!("a failure");
        };
        assert_eq!(failure.exit, Exit::Internal);
    }

    #[tokio::test]
    async fn a_server_that_is_stopped_ends_the_test() {
        let mut started = start(Box::new(|give_up| {
            while !give_up.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(wrong())
        }));
        started.state.wait_for(|state| matches!(state, LoadState::Testing)).await.unwrap();
        started.give_up.store(true, Ordering::Relaxed);
        assert!(matches!(started.events.recv().await, Some(LoadEvent::Failed(_))));
        assert!(matches!(&*started.state.borrow(), LoadState::Testing));
    }
}
