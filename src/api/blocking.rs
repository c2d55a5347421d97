//! Work that takes too long for the reactor's threads, and not all of it at once.

use tokio::sync::Semaphore;

use super::ApiError;

/// Large texts that are read at the same time: tokenising a megabyte takes seconds of a core
/// that the engine computes on, and a client that has gone does not end it.
static AT_ONCE: Semaphore = Semaphore::const_new(4);

/// Runs `work` on a thread where it may block. A panic in it becomes an internal error.
pub(super) async fn off_the_reactor<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    const DIED: ApiError = ApiError::Internal("an internal error; the server's log says more");
    // The semaphore is never closed.
    let permit = AT_ONCE.acquire().await.map_err(|_| DIED)?;
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        work()
    })
    .await
    .map_err(|_| DIED)?
}
