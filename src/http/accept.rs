//! Accepting connections. Neither too many of them nor a lack of file descriptors stops the
//! server or keeps it spinning: connections over the limit get 503 immediately.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use futures_util::FutureExt;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{Semaphore, watch};

use super::closing::turn_away;
use super::connection::{IDLE_TIMEOUT, Stage, Timeouts, serve_connection};
use super::counts::{Counts, Refusal};
use super::socket::Stream;
use super::{Context, Error, Listener};

/// Pause after a failed accept. Out of file descriptors, nothing but a closing connection helps.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections that are turned away with an answer at the same time; more are closed without.
const MAX_REFUSALS: usize = 64;
/// Time for such a client to take its answer.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// The same while there is no file descriptor: all others wait for it.
const QUICK_REFUSAL_TIMEOUT: Duration = Duration::from_millis(10);
/// Refused and failed connections are warned about once in a while, not each.
const WARN_INTERVAL: Duration = Duration::from_secs(60);
/// File descriptors beside connections: listeners, logs, files, the GPU.
const OTHER_DESCRIPTORS: u64 = 256;

/// Serves connections until `stage` says otherwise. From then on new ones are told that the server
/// is shutting down, until this task is aborted; those of a passed socket wait for the next server.
pub(super) async fn accept_loop(
    listener: Listener,
    router: Router,
    context: Context,
    mut stage: watch::Receiver<Stage>,
) {
    let refusals = Arc::new(Semaphore::new(MAX_REFUSALS));
    let mut spare = spare();
    let (mut warned, mut failed, mut lacking) = (None, None, None);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stage.changed() => break,
        };
        let error = match accepted {
            Ok(stream) => {
                let settings = context.settings();
                if let Some(open) = Open::enter(context.counts(), settings.limits.connections) {
                    let timeouts = Timeouts {
                        headers: Duration::from_secs(settings.limits.header_timeout),
                        write: Duration::from_secs(settings.limits.stream_stall_timeout),
                        idle: IDLE_TIMEOUT,
                    };
                    let connection = serve_connection(
                        stream,
                        router.clone(),
                        context.clone(),
                        timeouts,
                        stage.clone(),
                    );
                    tokio::spawn(async move {
                        connection.await;
                        drop(open);
                    });
                } else {
                    context.counts().refused(Refusal::Limit);
                    if is_due(&mut warned) {
                        tracing::warn!(
                            "{} connections are open: more are answered with 503 (limits.connections)",
                            settings.limits.connections
                        );
                    }
                    refuse(&context, &refusals, stream, too_many(Refusal::Limit));
                }
                continue;
            }
            Err(error) => error,
        };
        let shortage = is_shortage(&error);
        if is_due(if shortage { &mut lacking } else { &mut failed }) {
            tracing::warn!(
                "cannot accept a connection on {}: {error}{}",
                listener.address(),
                if shortage { "; LimitNOFILE= or `ulimit -n` allow more" } else { "" }
            );
        }
        // With the spare descriptor given up, one client can be told.
        if shortage
            && spare.take().is_some()
            && let Some(Ok(stream)) = listener.accept().now_or_never()
        {
            context.counts().refused(Refusal::Descriptors);
            turn_away(&context, stream, too_many(Refusal::Descriptors), QUICK_REFUSAL_TIMEOUT)
                .await;
        } else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
        spare = self::spare();
    }
    // It would count as an open connection.
    drop(stage);
    while !listener.is_passed() {
        match listener.accept().await {
            Ok(stream) => refuse(&context, &refusals, stream, Error::shutting_down()),
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Whether a warning, last given at `said`, may be given again; notes that it is.
fn is_due(said: &mut Option<Instant>) -> bool {
    let due = said.is_none_or(|at| at.elapsed() > WARN_INTERVAL);
    if due {
        *said = Some(Instant::now());
    }
    due
}

/// Turns a connection away without waiting for it; with an answer, as far as `refusals` goes.
fn refuse(context: &Context, refusals: &Arc<Semaphore>, stream: Stream, error: Error) {
    if let Ok(permit) = refusals.clone().try_acquire_owned() {
        let context = context.clone();
        tokio::spawn(async move {
            turn_away(&context, stream, error, REFUSAL_TIMEOUT).await;
            drop(permit);
        });
    }
}

/// Allows this process as many file descriptors as `connections` need, as far as the hard limit
/// goes; the usual soft limit of 1024 is below that.
pub fn raise_descriptor_limit(connections: u32) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = u64::from(connections) + OTHER_DESCRIPTORS;
    let possible = maximum.map_or(wanted, |maximum| wanted.min(maximum));
    if current.is_some_and(|current| current < possible) {
        // Where it is not allowed, the limit stays what it is.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(possible), maximum });
    }
}

/// A descriptor to give up when there is no other.
fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

/// The process (EMFILE) or the machine (ENFILE) has no file descriptor left.
fn is_shortage(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

fn too_many(refusal: Refusal) -> Error {
    let message = match refusal {
        Refusal::Limit => {
            "the server has as many connections as it may (`limits.connections`); try again later"
        }
        Refusal::Descriptors => "the server has no file descriptor left; try again later",
    };
    Error::Unavailable { message: message.to_owned(), code: "too_many_connections" }
}

/// An open connection, which counts as long as this lives.
struct Open(Arc<Counts>);

impl Open {
    fn enter(counts: &Arc<Counts>, most: u32) -> Option<Self> {
        counts.connections.inc();
        let open = Self(counts.clone());
        if counts.connections.get() > i64::from(most) {
            return None;
        }
        counts.connections_accepted.inc();
        Some(open)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.dec();
    }
}
