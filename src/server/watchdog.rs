//! Heartbeats for the service manager's watchdog.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::load_report::ReportInterval;
use crate::api::{AppState, LoadState};
use crate::service::notify::Notifier;

/// Sends a heartbeat at this interval for as long as the engine moves on. That the task runs at
/// all shows that the HTTP side does.
pub(super) async fn send_heartbeats(
    notifier: Notifier,
    state: AppState,
    mut load: watch::Receiver<LoadState>,
    interval: Duration,
) {
    let silence = ReportInterval::default().silence;
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
            LoadState::Testing | LoadState::Loading { .. } => (Some(heard.elapsed()), silence),
            LoadState::Ready(model) => {
                let bound = Duration::from_secs(state.settings().limits.stall_timeout);
                let beside = state.models().beside_iter().filter_map(|served| served.now().ok());
                let beside = beside.filter_map(|engine| engine.busy_for()).max();
                (model.engine.busy_for().max(beside), bound)
            }
            LoadState::Failed(_) => (None, silence),
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
