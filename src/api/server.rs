//! Accepting connections, and ending them in good order.

use std::fs::File;
use std::io;
use std::time::Duration;

use axum::Router;
use rustix::io::Errno;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use super::connection::{Stage, serve_connection};
use super::{ApiError, AppState, Listener, router};

/// Time for the last answers to reach their clients after the engine's own deadline.
const GRACE: Duration = Duration::from_secs(1);
/// Pause after a failed accept. Out of file descriptors, nothing but a closing connection helps.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Time that a client gets to take a refusal.
const REFUSAL: Duration = Duration::from_millis(100);

/// Serves until `shutdown` is done. Then no connection is accepted any more, new requests on open
/// ones get 503, and running ones may finish; returns when all connections are closed, or cuts
/// them off `limits.drain_timeout` and a second after the shutdown began.
pub async fn serve(
    listeners: Vec<Listener>,
    state: AppState,
    shutdown: impl Future<Output = ()> + Send,
) {
    let router = router(state.clone());
    // Every task holds a receiver: when all are dropped, all tasks are done.
    let (stage, seen) = watch::channel(Stage::Serve);
    for listener in listeners {
        tokio::spawn(accept_loop(listener, router.clone(), state.clone(), seen.clone()));
    }
    drop(seen);

    shutdown.await;
    let drain_timeout = Duration::from_secs(state.settings().limits.drain_timeout);
    state.start_draining();
    stage.send_replace(Stage::Drain);
    if tokio::time::timeout(drain_timeout + GRACE, stage.closed()).await.is_err() {
        tracing::warn!(
            "{} connections were still open {} s after the shutdown began and are cut off",
            stage.receiver_count(),
            (drain_timeout + GRACE).as_secs()
        );
        stage.send_replace(Stage::Cut);
        // Dropping a connection takes no time, so this wait only lets the tasks see the word.
        let _ = tokio::time::timeout(GRACE, stage.closed()).await;
    }
}

async fn accept_loop(
    listener: Listener,
    router: Router,
    state: AppState,
    mut stage: watch::Receiver<Stage>,
) {
    let mut failing = false;
    let mut reserve = Reserve::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stage.changed() => return,
        };
        match accepted {
            Ok(stream) => {
                failing = false;
                let header_timeout = Duration::from_secs(state.settings().limits.header_timeout);
                let connection =
                    serve_connection(stream, router.clone(), header_timeout, stage.clone());
                tokio::spawn(connection);
            }
            Err(error) => {
                if !failing {
                    tracing::warn!("cannot accept a connection on {}: {error}", listener.address());
                }
                failing = true;
                if !(is_out_of_descriptors(&error) && reserve.refuse(&listener).await) {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// A file descriptor that is kept back, so that a client can be told that there are no more.
struct Reserve(Option<File>);

impl Reserve {
    fn new() -> Self {
        Self(File::open("/dev/null").ok())
    }

    /// Answers the next waiting connection with 503; false if there was none, or no descriptor.
    async fn refuse(&mut self, listener: &Listener) -> bool {
        if self.0.take().is_none() {
            *self = Self::new();
            return false;
        }
        let refusal = async {
            let mut stream = listener.accept().await?;
            stream.write_all(&no_descriptors()).await?;
            stream.shutdown().await?;
            // Closed with unread input, a connection is reset and the answer lost.
            stream.read(&mut [0; 4096]).await
        };
        let refused = tokio::time::timeout(REFUSAL, refusal).await;
        *self = Self::new();
        !matches!(refused, Ok(Err(_)))
    }
}

fn no_descriptors() -> Vec<u8> {
    let error = ApiError::Unavailable {
        message: "the server has no room for more connections; try again later".to_owned(),
        code: "too_many_connections",
    };
    let body = error.body().to_string();
    format!(
        "HTTP/1.1 {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         retry-after: 1\r\nconnection: close\r\n\r\n{body}",
        error.status(),
        body.len()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests;
