//! Serving all listeners, and ending in good order.

use std::time::Duration;

use axum::Router;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::accept::{accept_loop, raise_descriptor_limit};
use super::connection::Stage;
use super::{Context, Listener};

/// Time for the last answers to reach their clients after the engine's own deadline.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Answers with `router` until `shutdown` is done. Then new requests and new connections get 503, and running
/// requests may finish; returns when all connections are closed, or cuts
/// them off `limits.drain_timeout` and a second after the shutdown began.
pub async fn serve(
    listeners: Vec<Listener>,
    context: Context,
    router: Router,
    shutdown: impl Future<Output = ()> + Send,
) {
    raise_descriptor_limit(context.settings().limits.connections);
    context.set_loopback_only(listeners.iter().all(|listener| !listener.is_reachable()));
    // Every task holds a receiver: when all are dropped, all tasks are done.
    let (stage, seen) = watch::channel(Stage::Serve);
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(accept_loop(listener, router.clone(), context.clone(), seen.clone()));
    }
    drop(seen);

    shutdown.await;
    let drain_timeout = Duration::from_secs(context.settings().limits.drain_timeout);
    context.start_draining();
    stage.send_replace(Stage::Drain);
    if tokio::time::timeout(drain_timeout + FLUSH_TIMEOUT, stage.closed()).await.is_err() {
        tracing::warn!(
            "{} connections were still open {} s after the shutdown began and are cut off",
            stage.receiver_count(),
            (drain_timeout + FLUSH_TIMEOUT).as_secs()
        );
        stage.send_replace(Stage::Cut);
        // Dropping a connection takes no time, so this wait only lets the tasks see the word.
        let _ = tokio::time::timeout(FLUSH_TIMEOUT, stage.closed()).await;
    }
}
