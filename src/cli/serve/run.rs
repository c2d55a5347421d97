//! The server's life: check, bind, load, serve, drain.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::decide::{Decision, decide};
use super::load::{Told, spawn};
use super::source::{Source, template_override};
use crate::api::{self, AppState, LoadState, Model};
use crate::cli::Exit;
use crate::config::{Loaded, Settings};
use crate::engine;

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
pub(super) fn serve(loaded: Loaded) -> Result<Exit, Failure> {
    let settings = &loaded.settings;
    // All that can be wrong with files and settings shows before a port is taken.
    let keys = api::load_keys(settings)
        .map_err(|error| Failure { exit_code: error.exit_code(), message: error.to_string() })?;
    let chat_template = template_override(settings)?;
    let source = Source::open(&settings.model)?;
    let devices = engine::devices();
    log_start(&loaded, &devices);
    let decision = decide(&loaded, &source, chat_template, &devices)?;
    for notice in &decision.notices {
        // What was chosen for the user is news; what the user chose against advice is a warning.
        if loaded.origins.is_set("context.ctx_size") {
            tracing::warn!("{notice}");
        } else {
            tracing::info!("{notice}");
        }
    }
    let names = source.names(&settings.model.alias);
    let runtime = runtime(settings)
        .map_err(|error| Failure::new(Exit::System, format!("cannot start threads: {error}")))?;
    let ended = runtime.block_on(async {
        let listeners = api::bind(settings).await.map_err(|error| Failure {
            exit_code: error.exit_code(),
            message: error.to_string(),
        })?;
        let (load, loading) = watch::channel(LoadState::Loading { progress: 0.0 });
        let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let state = AppState::new(settings.clone(), keys, names, started, loading);
        let address = listeners.first().map(|l| l.address().to_owned()).unwrap_or_default();
        live(listeners, state, decision, source, load, &address).await
    });
    // A text that is being tokenised for nobody must not hold up the end.
    runtime.shutdown_background();
    ended
}

/// From bound listeners to the last closed connection.
async fn live(
    listeners: Vec<api::Listener>,
    state: AppState,
    decision: Decision,
    source: Source,
    load: watch::Sender<LoadState>,
    address: &str,
) -> Result<Exit, Failure> {
    let handler = |kind| {
        signal(kind)
            .map_err(|error| Failure::new(Exit::System, format!("cannot handle signals: {error}")))
    };
    let mut signals = Signals {
        terminate: handler(SignalKind::terminate())?,
        interrupt: handler(SignalKind::interrupt())?,
    };
    let (tell, mut told) = mpsc::unbounded_channel();
    let demo = source.shown.is_none();
    let give_up = Arc::new(AtomicBool::new(false));
    let loader = spawn(decision, source, load, tell, give_up.clone())
        .map_err(|error| Failure::new(Exit::System, format!("cannot start a thread: {error}")))?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(api::serve(listeners, state.clone(), async {
        // A dropped sender means the same.
        let _ = stopped.await;
    }));
    let mut failure = None;
    loop {
        tokio::select! {
            () = signals.next() => break,
            event = told.recv() => match event {
                Some(Told::Ready(model)) => announce(&state, &model, demo, address),
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
    let drain = Duration::from_secs(state.settings().limits.drain_timeout);
    if failure.is_none() {
        tracing::info!("stopping: running requests get up to {} s to finish", drain.as_secs());
    }
    drop(stop);
    give_up.store(true, Ordering::Relaxed);
    let model = state.model_now().ok();
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
        () = signals.next() => {
            tracing::warn!("told to stop a second time: ending at once");
            process::exit(Exit::Terminated as i32);
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

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
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

/// Says that the model is there, and what to try.
fn announce(state: &AppState, model: &Model, demo: bool, address: &str) {
    let facts = model.engine.facts();
    tracing::info!(
        "model {} ({}, {}, {:.2} GB) is ready after {:.2} s: {} slots of {} tokens",
        state.model_name(),
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
        "try it: curl {address}/v1/chat/completions -H 'Content-Type: application/json' -d '{}'",
        r#"{"messages": [{"role": "user", "content": "Hello!"}]}"#
    );
}
