//! What the service manager hears while the server runs: progress of loading, and heartbeats.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use crate::api::{AppState, LoadState};
use crate::service::notify::Notifier;

/// Time that each word of a loading server asks for. Much longer than the time between two, so
/// that a machine that swaps is not taken for one that hangs.
const EXTENSION: Duration = Duration::from_secs(120);
/// Progress comes by the hundred; people read the status once a second at most.
const NEWS_EVERY: Duration = Duration::from_secs(1);
/// Nothing is heard while a large tensor is read, the context is allocated and the first tokens
/// are decoded: the word goes out all the same.
const WORD_EVERY: Duration = Duration::from_secs(10);
/// Silence after which loading is taken to hang. A mapped model of 90 GB is read from disk by its
/// first decode, which tells nothing for minutes.
const LOAD_SILENCE: Duration = Duration::from_secs(900);

/// Tells how far the loading of `bytes` is, until it ends.
pub(super) async fn report_loading(
    notifier: Notifier,
    mut load: watch::Receiver<LoadState>,
    bytes: u64,
) {
    if !notifier.is_active() {
        return;
    }
    let mut heard = Instant::now();
    let mut last = 0.0;
    let mut silent = false;
    loop {
        let share = match &*load.borrow_and_update() {
            LoadState::Loading { progress } => *progress,
            LoadState::Ready(_) | LoadState::Failed(_) => return,
        };
        if share > last {
            (last, heard) = (share, Instant::now());
        }
        if heard.elapsed() < LOAD_SILENCE {
            notifier.starting(&loading(share, bytes), EXTENSION);
        } else if !silent {
            silent = true;
            tracing::error!(
                "loading has made no progress for {} s: systemd is not asked for more time",
                LOAD_SILENCE.as_secs()
            );
            notifier.status("loading hangs");
        }
        let ended = load.wait_for(|state| !matches!(state, LoadState::Loading { .. }));
        if tokio::time::timeout(NEWS_EVERY, ended).await.is_ok() {
            return;
        }
        // A change or the time: either way there is something to say.
        let _ = tokio::time::timeout(WORD_EVERY - NEWS_EVERY, load.changed()).await;
    }
}

/// Such as `loading 43 %, 37/85 GB`.
fn loading(share: f32, bytes: u64) -> String {
    if share >= 1.0 {
        return "preparing the context and the first decode".to_owned();
    }
    let (unit, name) = if bytes < 1_000_000_000 { (1e6, "MB") } else { (1e9, "GB") };
    let total = bytes as f64 / unit;
    let percent = (share * 100.0).floor();
    format!("loading {percent:.0} %, {:.0}/{total:.0} {name}", (f64::from(share) * total).floor())
}

/// Sends a heartbeat at this interval for as long as the engine moves on. That the task runs at
/// all shows that the HTTP side does.
pub(super) async fn send_heartbeats(
    notifier: Notifier,
    state: AppState,
    mut load: watch::Receiver<LoadState>,
    interval: Duration,
) {
    if !notifier.is_active() {
        return;
    }
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    let mut stuck = false;
    loop {
        ticks.tick().await;
        if load.has_changed().unwrap_or(false) {
            heard = Instant::now();
        }
        let (busy_for, bound) = match &*load.borrow_and_update() {
            LoadState::Loading { .. } => (Some(heard.elapsed()), LOAD_SILENCE),
            LoadState::Ready(model) => {
                let bound = Duration::from_secs(state.settings().limits.stall_timeout);
                (model.engine.busy_for(), bound)
            }
            LoadState::Failed(_) => (None, LOAD_SILENCE),
        };
        let was_stuck = stuck;
        stuck = busy_for.is_some_and(|time| time > bound);
        match (was_stuck, stuck) {
            (_, false) => notifier.heartbeat(),
            (true, true) => {}
            (false, true) => tracing::error!(
                "the engine has not moved on for {} s: systemd's watchdog gets no heartbeat until it does",
                bound.as_secs()
            ),
        }
        if was_stuck && !stuck {
            tracing::warn!("the engine moves on again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_says_how_much_is_read_in_a_unit_that_fits() {
        assert_eq!(loading(0.43, 85_000_000_000), "loading 43 %, 36/85 GB");
        assert_eq!(loading(0.0, 85_400_000_000), "loading 0 %, 0/85 GB");
        assert_eq!(loading(0.42, 640_000_000), "loading 42 %, 268/640 MB");
        assert_eq!(loading(0.999, 1_500_000_000), "loading 99 %, 1/2 GB");
        assert_eq!(loading(1.0, 640_000_000), "preparing the context and the first decode");
    }
}
