//! The server's life: check, bind, load, serve, drain.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::decide::{Decision, decide};
use super::load::{Told, spawn};
use super::reload::{New, Reloader};
use super::signals::{Asked, Signals, catch_hangups};
use super::source::{Source, template_override};
use super::supervise::{Pace, report_loading, send_heartbeats};
use crate::api::{self, AppState, LoadState, LoadedModel};
use crate::cli::Exit;
use crate::config::{Loaded, Settings, Sources};
use crate::engine;
use crate::http::{self, Keys};
use crate::service::logging::{self, LogControl};
use crate::service::notify::{Notifier, heartbeat_interval};
use crate::service::sockets::take_passed;

/// Time that stopping may take after the drain: freeing the memory of a large model.
const STOP_EXTRA: Duration = Duration::from_secs(30);

/// Why the command ends with an error: one line, and the exit code.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit_code: u8,
    pub(super) message: String,
}

impl Failure {
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit_code: exit as u8, message: message.into() }
    }
}

/// Serves until SIGTERM or SIGINT.
pub(super) fn serve(sources: Sources, loaded: Loaded, log: LogControl) -> Result<Exit, Failure> {
    // First, while no other thread reads the environment.
    let passed = take_passed().map_err(|error| Failure::new(Exit::System, error.to_string()))?;
    let notifier = Notifier::from_env();
    let runtime = runtime(&loaded.settings)
        .map_err(|error| Failure::new(Exit::System, format!("cannot start threads: {error}")))?;
    let hangup = {
        let _runtime = runtime.enter();
        catch_hangups().map_err(no_signals)?
    };
    let ended = prepare(&loaded).and_then(|(source, decision, keys)| {
        let names = source.names(&loaded.settings.model.alias);
        runtime.block_on(async {
            let signals = Signals::new(hangup).map_err(no_signals)?;
            let listeners = match passed {
                none if none.is_empty() => http::bind(&loaded.settings).await,
                passed => http::adopt(passed),
            }
            .map_err(|error| Failure {
                exit_code: error.exit_code(),
                message: error.to_string(),
            })?;
            let (load, loading) = watch::channel(LoadState::Loading { progress: 0.0 });
            let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
            let state = AppState::new(loaded.settings.clone(), keys, names, started, loading);
            let life = Life {
                state,
                signals,
                notifier: notifier.clone(),
                reloader: Reloader::new(sources, log, loaded),
            };
            life.run(listeners, decision, source, load).await
        })
    });
    if let Err(failure) = &ended {
        notifier.status(&format!("failed: {}", failure.message));
    }
    notifier.flush();
    // A text that is being tokenised for nobody must not hold up the end.
    runtime.shutdown_background();
    ended
}

/// Ends the process without the libraries' own clean-up, which would take the memory away from
/// under the engine's threads: they still run.
fn end_at_once(exit: Exit) -> ! {
    logging::flush();
    signal_hook::low_level::exit(exit as i32)
}

fn no_signals(error: std::io::Error) -> Failure {
    Failure::new(Exit::System, format!("cannot handle signals: {error}"))
}

/// All that can be wrong with files and settings shows here, before a port is taken.
fn prepare(loaded: &Loaded) -> Result<(Source, Decision, Keys), Failure> {
    let settings = &loaded.settings;
    let keys = http::load_keys(settings)
        .map_err(|error| Failure { exit_code: error.exit_code(), message: error.to_string() })?;
    let chat_template = template_override(settings)?;
    let source = Source::open(&settings.model)?;
    let devices = engine::devices();
    log_start(loaded, &devices);
    let decision = decide(loaded, &source, chat_template, &devices)?;
    for line in &decision.news {
        tracing::info!("{line}");
    }
    for line in &decision.warnings {
        tracing::warn!("{line}");
    }
    Ok((source, decision, keys))
}

/// A server from bound listeners to the last closed connection.
struct Life {
    state: AppState,
    signals: Signals,
    notifier: Notifier,
    reloader: Reloader,
}

impl Life {
    async fn run(
        mut self,
        listeners: Vec<http::Listener>,
        decision: Decision,
        source: Source,
        load: watch::Sender<LoadState>,
    ) -> Result<Exit, Failure> {
        let address = listeners.first().map(|l| l.address().to_owned()).unwrap_or_default();
        let demo = source.shown.is_none();
        let bytes = source.facts.tensor_bytes;
        let reports =
            report_loading(self.notifier.clone(), load.subscribe(), bytes, Pace::default());
        let mut reports = Some(tokio::spawn(reports));
        if let Some(interval) = heartbeat_interval() {
            let (notifier, state) = (self.notifier.clone(), self.state.clone());
            tokio::spawn(send_heartbeats(notifier, state, load.subscribe(), interval));
        }
        let (tell, mut told) = mpsc::unbounded_channel();
        let give_up = Arc::new(AtomicBool::new(false));
        let loader = spawn(decision, source, load, tell, give_up.clone()).map_err(|error| {
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
                asked = self.signals.next() => match asked {
                    Asked::Stop => break,
                    Asked::Reload => self.begin_reload(&mut reload, serving.is_some()),
                },
                read = reload.read() => {
                    self.end_reload(read, serving.as_deref());
                    if std::mem::take(&mut reload).is_asked_again() {
                        self.begin_reload(&mut reload, serving.is_some());
                    }
                }
                event = told.recv() => match event {
                    Some(Told::Ready(model)) => {
                        if let Some(reports) = reports.take() {
                            // It ends with the loading; then nothing it says can follow READY.
                            let _ = reports.await;
                        }
                        self.reloader.apply_limits(&self.state);
                        let status = announce(&self.state, &model, demo, &address);
                        self.notifier.ready(&status);
                        serving = Some(status);
                    }
                    Some(Told::Failed(message)) => {
                        failure = Some(Failure::new(Exit::Internal, message));
                        break;
                    }
                    Some(Told::Died) => {
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
        let model = self.state.served().now().ok();
        if let Some(model) = &model {
            model.engine.drain(Instant::now() + drain);
        }
        let threads = tokio::task::spawn_blocking(move || {
            // Its panic, if any, is in the log.
            let _ = loader.join();
            if let Some(model) = model {
                model.engine.join();
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
    fn end_reload(&mut self, read: Result<New, String>, serving: Option<&str>) {
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
        read: JoinHandle<Result<New, String>>,
        /// Asked for since it began.
        again: bool,
    },
}

impl Reload {
    /// Waits for what is read; for ever, if nothing is.
    async fn read(&mut self) -> Result<New, String> {
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

fn runtime(settings: &Settings) -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if settings.server.threads > 0 {
        builder.worker_threads(settings.server.threads as usize);
    }
    builder.enable_all().thread_name("http").build()
}

/// What this process is: version, backend, devices, CPU features, settings that were changed.
fn log_start(loaded: &Loaded, devices: &[engine::Device]) {
    tracing::info!("strixhalo {}", *crate::cli::VERSION);
    for device in devices {
        tracing::info!(
            "device {}: {} ({:.1} of {:.1} GiB free)",
            device.name,
            device.description,
            device.memory_free as f64 / (1_u64 << 30) as f64,
            device.memory_total as f64 / (1_u64 << 30) as f64,
        );
    }
    let compiled_for = engine::system_info();
    tracing::info!("llama.cpp: {compiled_for}");
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && !compiled_for.contains("AVX2 = 1") {
        tracing::warn!(
            "llama.cpp was compiled without AVX2, which this CPU has: it is many times slower than it could be; build it with ./dev build"
        );
    }
    for entry in loaded.changed() {
        tracing::info!("setting {} = {} ({})", entry.key, entry.value, entry.origin);
    }
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
fn announce(state: &AppState, model: &LoadedModel, demo: bool, address: &str) -> String {
    let facts = model.engine.facts();
    tracing::info!(
        "model {} ({}, {}, {:.2} GB) is ready after {:.2} s: {} slots of {} tokens",
        state.served().name(),
        facts.architecture,
        facts.ftype,
        facts.size as f64 / 1e9,
        facts.load_seconds,
        facts.n_slots,
        facts.n_ctx_slot,
    );
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
        "serving {} at {address}: {} slots of {} tokens",
        state.served().name(),
        facts.n_slots,
        facts.n_ctx_slot
    )
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
