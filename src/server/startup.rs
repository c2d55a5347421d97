//! The start of the serving process: all that can be wrong with files and settings shows before a
//! port is taken.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use super::exit::{Exit, Failure};
use super::launch::{LaunchPlan, plan};
use super::loading::LoadStates;
use super::reload::Reloader;
use super::run::Server;
use super::template::template_override;
use super::version::VERSION;
use crate::api::{AppState, LoadState, Models, ServedModel};
use crate::config::{Loaded, Settings, Sources};
use crate::engine;
use crate::http::{self, Keys};
use crate::model::{EmbeddingSource, EmbeddingSources, Source};
use crate::service::logging::LogControl;
use crate::service::notify::Notifier;
use crate::service::signals::{Signals, catch_hangups};
use crate::service::sockets::take_passed;

/// Serves until SIGTERM or SIGINT.
pub(crate) fn serve(
    sources: Sources,
    mut loaded: Loaded,
    log: LogControl,
) -> Result<Exit, Failure> {
    // First, while no other thread reads the environment.
    let passed = take_passed()?;
    let notifier = Notifier::from_env();
    let runtime = runtime(&loaded.settings)
        .map_err(|error| Failure::new(Exit::System, format!("cannot start threads: {error}")))?;
    let hangup = {
        let _runtime = runtime.enter();
        catch_hangups().map_err(no_signals)?
    };
    let ended = prepare(&mut loaded).and_then(|(source, others, plan, keys)| {
        let names = source.names(&loaded.settings.model.alias);
        runtime.block_on(async {
            let signals = Signals::new(hangup).map_err(no_signals)?;
            let listeners = match passed {
                none if none.is_empty() => http::bind(&loaded.settings).await,
                passed => http::adopt(passed),
            }?;
            let (load, loading) = watch::channel(LoadState::Loading { progress: 0.0 });
            let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
            let served = ServedModel::new(names, loading);
            let (embedding, embeds) = watch::channel(LoadState::Loading { progress: 0.0 });
            let (rerank, ranks) = watch::channel(LoadState::Loading { progress: 0.0 });
            let names = |model: EmbeddingSource| model.names;
            let models = Models::new(vec![served.clone()]).beside(
                others.embedding.map(names).map(|names| ServedModel::new(names, embeds)),
                others.rerank.map(names).map(|names| ServedModel::new(names, ranks)),
            );
            let states = LoadStates { chat: load, embedding, rerank };
            let state = AppState::new(loaded.settings.clone(), keys, models, started);
            let server = Server {
                state,
                served,
                signals,
                notifier: notifier.clone(),
                reloader: Reloader::new(sources, log, loaded, &source),
            };
            server.run(listeners, plan, source, states).await
        })
    });
    if let Err(failure) = &ended {
        notifier.status(&format!("failed: {}", failure.message));
    }
    notifier.flush();
    // A text that is being tokenized for nobody must not hold up the end.
    runtime.shutdown_background();
    ended
}

fn no_signals(error: std::io::Error) -> Failure {
    Failure::new(Exit::System, format!("cannot handle signals: {error}"))
}

/// All that can be wrong with files and settings shows here, before a port is taken.
fn prepare(loaded: &mut Loaded) -> Result<(Source, EmbeddingSources, LaunchPlan, Keys), Failure> {
    let settings = &loaded.settings;
    let keys = http::load_keys(settings)?;
    let chat_template = template_override(settings)?;
    let source = Source::open(&settings.model)?;
    let others =
        EmbeddingSources::open(settings, &source.names(&settings.model.alias), &source.facts)?;
    let devices = engine::devices();
    log_start(loaded, &devices);
    for line in loaded.recommend(source.shown.as_deref(), &source.facts.sampling) {
        tracing::info!("{line}");
    }
    let plan = plan(loaded, &source, &others, chat_template, &devices)?;
    for line in &plan.notices {
        tracing::info!("{line}");
    }
    for line in &plan.warnings {
        tracing::warn!("{line}");
    }
    Ok((source, others, plan, keys))
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
    tracing::info!("strixhalo {}", *VERSION);
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
