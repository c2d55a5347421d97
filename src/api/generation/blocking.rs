//! Work that takes too long for the reactor's threads, and not all of it at once.

use tokio::sync::Semaphore;

use crate::api::error::ApiError;
use crate::engine;
use crate::http::Error;

/// MiB of long texts that are read at the same time, with one for each begun: tokenizing a megabyte
/// takes seconds of a core that the engine computes on, and a client that has gone does not end it. A
/// larger text is read alone: a hundred times its size may be in memory meanwhile.
static LONG_AT_ONCE: Semaphore = Semaphore::const_new(MAX_LONG_MIB);
const MAX_LONG_MIB: usize = 4;
/// Short ones, which take milliseconds, wait for each other alone.
static SHORT_AT_ONCE: Semaphore = Semaphore::const_new(4);
/// Requests whose DRY sampler is made, which takes up to seconds: more than one at a time would fill
/// the other lanes.
static DRY_AT_ONCE: Semaphore = Semaphore::const_new(1);
/// Requests whose grammar is compiled, which takes up to seconds: they wait for each other, and no
/// text for them.
static GRAMMARS_AT_ONCE: Semaphore = Semaphore::const_new(4);
/// Most bytes of a short one.
const MAX_SHORT: usize = 64 << 10;

const DIED: ApiError =
    ApiError::Http(Error::Internal("an internal error; the server's log says more"));

/// Runs `work` on a thread where it may block; `bytes`: the size of what it reads. A panic in it
/// becomes an internal error.
pub(in crate::api) async fn off_the_reactor<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let mib = bytes.div_ceil(1 << 20).min(MAX_LONG_MIB);
    let (lane, share) = if bytes <= MAX_SHORT { (&SHORT_AT_ONCE, 1) } else { (&LONG_AT_ONCE, mib) };
    let work = move || {
        let done = work();
        if mib == MAX_LONG_MIB {
            engine::give_memory_back();
        }
        done
    };
    in_lane(lane, share as u32, work).await
}

async fn in_lane<T: Send + 'static>(
    lane: &'static Semaphore,
    share: u32,
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    // The semaphores are never closed.
    let permit = lane.acquire_many(share).await.map_err(|_| DIED)?;
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        work()
    })
    .await
    .map_err(|_| DIED)?
}

/// Runs `work`, which compiles a grammar, on a thread where it may block.
pub(in crate::api) async fn compiling<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    in_lane(&GRAMMARS_AT_ONCE, 1, work).await
}

/// The same for a request with DRY: one after the other.
pub(in crate::api) async fn one_at_a_time<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let permit = DRY_AT_ONCE.acquire().await.map_err(|_| DIED)?;
    let work = move || {
        let _permit = permit;
        work()
    };
    off_the_reactor(bytes, work).await
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[tokio::test]
    async fn grammars_hold_up_no_text() {
        let (wait, ends): (Vec<_>, Vec<_>) = (0..5).map(|_| channel::<()>()).unzip();
        let grammars: Vec<_> = ends
            .into_iter()
            .map(|end| tokio::spawn(compiling(move || Ok(end.recv().is_err()))))
            .collect();
        while GRAMMARS_AT_ONCE.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(off_the_reactor(MAX_SHORT, || Ok(5)).await, Ok(5));
        drop(wait);
        for task in grammars {
            assert_eq!(task.await.unwrap(), Ok(true));
        }
    }

    #[tokio::test]
    async fn long_texts_hold_up_no_short_one() {
        let (wait, ends): (Vec<_>, Vec<_>) = (0..5).map(|_| channel::<()>()).unzip();
        let long: Vec<_> = ends
            .into_iter()
            .map(|end| {
                tokio::spawn(off_the_reactor(MAX_SHORT + 1, move || Ok(end.recv().is_err())))
            })
            .collect();
        while LONG_AT_ONCE.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(off_the_reactor(MAX_SHORT, || Ok(5)).await, Ok(5));
        drop(wait);
        for task in long {
            assert_eq!(task.await.unwrap(), Ok(true));
        }
    }
}
