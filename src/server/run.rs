//! The server's life from bound listeners to the last closed connection: load, serve, drain.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::energy::measure_energy;
use super::exit::{Exit, Failure};
use super::launch::LaunchPlan;
use super::load_report::{ReportInterval, report_loading};
use super::loading::{LoadEvent, LoadStates, spawn};
use super::reload::{ReloadedSettings, Reloader};
use super::selftest;
use super::watchdog::send_heartbeats;
use crate::api::{self, AppState, LoadedModel, ServedModel};
use crate::http;
use crate::model::Source;
use crate::service::logging;
use crate::service::notify::{Notifier, heartbeat_interval};
use crate::service::signals::{Signal, Signals};

/// Time that stopping may take after the drain: freeing the memory of a large model.
const STOP_EXTRA: Duration = Duration::from_secs(30);

/// A server whose listeners are bound.
pub(super) struct Server {
    pub(super) state: AppState,
    /// The model that it loads.
    pub(super) served: ServedModel,
    pub(super) signals: Signals,
    pub(super) notifier: Notifier,
    pub(super) reloader: Reloader,
}

impl Server {
    pub(super) async fn run(
        mut self,
        listeners: Vec<http::Listener>,
        plan: LaunchPlan,
        source: Source,
        states: LoadStates,
    ) -> Result<Exit, Failure> {
        let address = listeners.first().map(|l| l.address().to_owned()).unwrap_or_default();
        let demo = source.shown.is_none();
        let bytes = source.facts.tensor_bytes;
        let load = states.chat.subscribe();
        let reports =
            report_loading(self.notifier.clone(), load.clone(), bytes, ReportInterval::default());
        let mut reports = Some(tokio::spawn(reports));
        if let Some(interval) = heartbeat_interval() {
            let (notifier, state) = (self.notifier.clone(), self.state.clone());
            tokio::spawn(send_heartbeats(notifier, state, load.clone(), interval));
        }
        tokio::spawn(measure_energy(self.state.clone()));
        let (sender, mut events) = mpsc::unbounded_channel();
        let give_up = Arc::new(AtomicBool::new(false));
        let test = selftest::of(plan.selftest.clone(), plan.params.threads);
        let loader =
            spawn(plan, source, states, sender, give_up.clone(), test).map_err(|error| {
                Failure::new(Exit::System, format!("cannot start a thread: {error}"))
            })?;
        let (stop, stopped) = oneshot::channel::<()>();
        let router = api::router(self.state.clone());
        let server =
            tokio::spawn(http::serve(listeners, self.state.http().clone(), router, async {
                // A dropped sender means the same.
                let _ = stopped.await;
            }));
        let mut failure = None;
        let mut serving: Option<String> = None;
        let mut reload = Reload::None;
        loop {
            tokio::select! {
                signal = self.signals.next() => match signal {
                    Signal::Stop => break,
                    Signal::Reload => self.begin_reload(&mut reload, serving.is_some()),
                },
                read = reload.read() => {
                    self.end_reload(read, serving.as_deref());
                    if std::mem::take(&mut reload).is_asked_again() {
                        self.begin_reload(&mut reload, serving.is_some());
                    }
                }
                event = events.recv() => match event {
                    Some(LoadEvent::Ready(model)) => {
                        if let Some(reports) = reports.take() {
                            // It ends with the loading; then nothing it says can follow READY.
                            let _ = reports.await;
                        }
                        self.reloader.apply_limits(&self.state);
                        let status = announce(&self.state, self.served.name(), &model, demo, &address);
                        self.notifier.ready(&status);
                        serving = Some(status);
                    }
                    Some(LoadEvent::Failed(reason)) => {
                        failure = Some(reason);
                        break;
                    }
                    Some(LoadEvent::Hangs(reason)) => {
                        // The GPU's thread cannot be ended, and the libraries' clean-up would wait.
                        self.notifier.status(&format!("failed: {}", reason.message));
                        self.notifier.flush();
                        reason.report();
                        end_at_once(reason.exit);
                    }
                    Some(LoadEvent::Died) => {
                        // What it computed is lost; a new process is the way back.
                        tracing::error!("the engine died of a defect; the panic is above");
                        return Err(Failure::new(Exit::Internal, "the engine died of a defect"));
                    }
                    None => break,
                },
            }
        }
        let drain = Duration::from_secs(self.state.settings().limits.drain_timeout);
        if failure.is_none() {
            let status =
                format!("stopping: running requests get up to {} s to finish", drain.as_secs());
            tracing::info!("{status}");
            self.notifier.stopping(&status, drain + STOP_EXTRA);
        }
        drop(stop);
        give_up.store(true, Ordering::Relaxed);
        let model = self.served.now().ok();
        if let Some(model) = &model {
            model.engine.drain(Instant::now() + drain);
        }
        let deadline = Instant::now() + drain;
        let beside: Vec<_> = self.state.models().beside_iter().cloned().collect();
        beside.iter().filter_map(|served| served.now().ok()).for_each(|e| e.drain(deadline));
        let threads = tokio::task::spawn_blocking(move || {
            // Its panic, if any, is in the log.
            let _ = loader.join();
            if let Some(model) = model {
                model.engine.join();
            }
            for engine in beside.iter().filter_map(|served| served.now().ok()) {
                // One that was loaded meanwhile has not heard of the end.
                engine.drain(deadline);
                engine.join();
            }
        });
        tokio::select! {
            _ = async { tokio::join!(server, threads) } => {}
            () = self.signals.stop() => {
                tracing::warn!("told to stop a second time: ending at once");
                self.notifier.flush();
                end_at_once(Exit::Terminated);
            }
            () = tokio::time::sleep(drain + STOP_EXTRA) => {
                tracing::error!(
                    "the engine did not stop within {} s: ending without it",
                    (drain + STOP_EXTRA).as_secs()
                );
                self.notifier.flush();
                end_at_once(Exit::Internal);
            }
        }
        match failure {
            Some(failure) => Err(failure),
            None => {
                tracing::info!("stopped");
                Ok(Exit::Success)
            }
        }
    }

    /// Begins to read the settings again; while that is done already, it is done once more after
    /// it. Only of a server that is ready does the manager want to hear about it.
    fn begin_reload(&mut self, reload: &mut Reload, serving: bool) {
        match reload {
            Reload::Reading { again, .. } => *again = true,
            Reload::None => {
                if serving {
                    self.notifier.reloading();
                }
                *reload = Reload::Reading { read: self.reloader.read(), again: false };
            }
        }
    }

    /// Takes over what was read. `serving` is the status of a server that is ready.
    fn end_reload(&mut self, read: Result<ReloadedSettings, String>, serving: Option<&str>) {
        let note = match read.and_then(|new| self.reloader.take_over(&self.state, new)) {
            Ok(()) => {
                tracing::info!("the settings were read again");
                None
            }
            Err(error) => {
                tracing::error!("the settings stay as they were: {error}");
                Some(format!("settings not reloaded: {error}"))
            }
        };
        match (serving, note) {
            (Some(serving), None) => self.notifier.ready(serving),
            (Some(serving), Some(note)) => self.notifier.ready(&format!("{serving}; {note}")),
            (None, Some(note)) => self.notifier.status(&note),
            (None, None) => {}
        }
    }
}

/// Whether the settings are being read again.
#[derive(Debug, Default)]
enum Reload {
    #[default]
    None,
    Reading {
        read: JoinHandle<Result<ReloadedSettings, String>>,
        /// Asked for since it began.
        again: bool,
    },
}

impl Reload {
    /// Waits for what is read; for ever, if nothing is.
    async fn read(&mut self) -> Result<ReloadedSettings, String> {
        match self {
            Self::None => std::future::pending().await,
            Self::Reading { read, .. } => {
                read.await.unwrap_or_else(|error| Err(format!("a defect: {error}")))
            }
        }
    }

    fn is_asked_again(&self) -> bool {
        matches!(self, Self::Reading { again: true, .. })
    }
}

/// Ends the process without the libraries' own clean-up, which would take the memory away from
/// under the engine's threads: they still run.
fn end_at_once(exit: Exit) -> ! {
    logging::flush();
    signal_hook::low_level::exit(exit as i32)
}

/// What follows `curl` for a server at this address.
fn base(address: &str, prefix: &str) -> String {
    match address.strip_prefix("unix:") {
        None => format!("{address}{prefix}"),
        Some(path) => match path.strip_prefix('@') {
            None => format!("--unix-socket {path} http://localhost{prefix}"),
            Some(name) => format!("--abstract-unix-socket {name} http://localhost{prefix}"),
        },
    }
}

/// Says that the model is there, and what to try; gives it as one line for the service manager.
fn announce(
    state: &AppState,
    name: &str,
    model: &LoadedModel,
    demo: bool,
    address: &str,
) -> String {
    let facts = model.engine.facts();
    let placed = facts.allocations.placement();
    tracing::info!(
        "model {} ({}, {}, {:.2} GB) is ready after {:.2} s: {} slots of {} tokens, {placed}",
        name,
        facts.architecture,
        facts.ftype,
        facts.size as f64 / 1e9,
        facts.load_seconds,
        facts.n_slots,
        facts.n_ctx_slot,
    );
    tell_memory(model, state.settings().model.n_gpu_layers);
    if demo {
        tracing::warn!(
            "NO MODEL IS CONFIGURED: this is the built-in demo model, which can greet and count but knows nothing; serve a real one with --model FILE.gguf"
        );
    }
    tracing::info!(
        "try it: curl {}/v1/chat/completions -H 'Content-Type: application/json' -d '{}'",
        base(address, &state.settings().server.api_prefix),
        r#"{"messages": [{"role": "user", "content": "Hello!"}]}"#
    );
    format!(
        "serving {name} at {address}: {} slots of {} tokens, {placed}",
        facts.n_slots, facts.n_ctx_slot
    )
}

/// Says what was planned and allocated, and warns if a GPU in use computes fewer layers than `asked`.
fn tell_memory(model: &LoadedModel, asked: u32) {
    let facts = model.engine.facts();
    let gib = |bytes: u64| bytes as f64 / (1_u64 << 30) as f64;
    tracing::info!(
        "memory: {:.2} GiB planned with all caches full, {:.2} GiB allocated by llama.cpp",
        gib(model.memory.planned.total()),
        gib(facts.allocations.total()),
    );
    let placed = facts.allocations.placement();
    if !facts.gpus.is_empty() && placed.gpu_layers < placed.layers.min(asked as usize) {
        tracing::warn!("{placed}: the CPU computes the others, and the GPU waits for it");
    }
}

#[cfg(test)]
mod tests {
    use super::base;

    #[test]
    fn the_command_to_try_fits_the_address_and_the_prefix() {
        assert_eq!(base("http://127.0.0.1:80", "/llm"), "http://127.0.0.1:80/llm");
        assert_eq!(base("unix:/run/s", ""), "--unix-socket /run/s http://localhost");
        assert_eq!(base("unix:@s", "/a"), "--abstract-unix-socket s http://localhost/a");
    }
}
