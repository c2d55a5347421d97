//! What the service manager hears while the server runs: progress of loading, and heartbeats.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use crate::api::{AppState, LoadState};
use crate::service::notify::Notifier;

/// Time that each word of a loading server asks for. Much longer than the time between two, so
/// that a machine that swaps is not taken for one that hangs.
const EXTENSION: Duration = Duration::from_secs(120);

/// When the manager hears what of a server that loads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Progress comes by the hundred; people read the status once a second at most.
    news: Duration,
    /// Nothing is heard while a large tensor is read, the context is allocated and the first
    /// tokens are decoded: the word goes out all the same.
    word: Duration,
    /// Silence after which loading is taken to hang. A mapped model of 90 GB is read from disk by
    /// its first decode, which tells nothing for minutes.
    silence: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            news: Duration::from_secs(1),
            word: Duration::from_secs(10),
            silence: Duration::from_secs(900),
        }
    }
}

/// Tells how far the loading of `bytes` is, until it ends.
pub(super) async fn report_loading(
    notifier: Notifier,
    mut load: watch::Receiver<LoadState>,
    bytes: u64,
    pace: Pace,
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
            (last, heard, silent) = (share, Instant::now(), false);
        }
        if heard.elapsed() < pace.silence {
            notifier.starting(&loading(share, bytes), EXTENSION);
        } else if !silent {
            silent = true;
            let seconds = pace.silence.as_secs();
            tracing::error!(
                "loading has made no progress for {seconds} s: systemd is not asked for more time"
            );
            notifier.status(&format!("loading has made no progress for {seconds} s"));
        }
        // With a receiver of its own: what it sees counts as heard, and would not be told below.
        let mut end = load.clone();
        let ended = end.wait_for(|state| !matches!(state, LoadState::Loading { .. }));
        if tokio::time::timeout(pace.news, ended).await.is_ok() {
            return;
        }
        // A change or the time: either way there is something to say.
        let _ = tokio::time::timeout(pace.word - pace.news, load.changed()).await;
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
    let silence = Pace::default().silence;
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
            LoadState::Loading { .. } => (Some(heard.elapsed()), silence),
            LoadState::Ready(model) => {
                let bound = Duration::from_secs(state.settings().limits.stall_timeout);
                (model.engine.busy_for(), bound)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_load_that_says_nothing_is_given_time_until_it_is_taken_to_hang() {
        let (notifier, sent) = Notifier::recording();
        let (load, loading) = watch::channel(LoadState::Loading { progress: 0.5 });
        let ms = Duration::from_millis;
        let pace = Pace { news: ms(1), word: ms(5), silence: ms(100) };
        let report = tokio::spawn(report_loading(notifier, loading, 10_000_000, pace));
        let mut words = 0;
        loop {
            match sent.try_recv() {
                Ok(text) if text.contains("EXTEND_TIMEOUT_USEC=120000000") => {
                    assert!(text.contains("STATUS=loading 50 %, 5/10 MB"), "{text}");
                    words += 1;
                }
                Ok(text) => {
                    assert_eq!(text, "STATUS=loading has made no progress for 0 s");
                    break;
                }
                Err(_) => tokio::time::sleep(ms(1)).await,
            }
        }
        assert!(words > 1, "{words}");
        // It goes on after all.
        load.send_replace(LoadState::Loading { progress: 0.75 });
        let text = loop {
            match sent.try_recv() {
                Ok(text) => break text,
                Err(_) => tokio::time::sleep(ms(1)).await,
            }
        };
        assert!(text.contains("75 %") && text.contains("EXTEND_TIMEOUT_USEC"), "{text}");
        load.send_replace(LoadState::Failed(String::new()));
        report.await.unwrap();
    }

    #[tokio::test]
    async fn progress_is_told_though_it_came_soon_after_the_last_word() {
        let (notifier, sent) = Notifier::recording();
        let (load, loading) = watch::channel(LoadState::Loading { progress: 0.25 });
        let (news, hour) = (Duration::from_millis(100), Duration::from_secs(3600));
        let pace = Pace { news, word: hour, silence: hour };
        tokio::spawn(report_loading(notifier, loading, 10_000_000, pace));
        let told = async |words: &str| {
            while !sent.try_iter().any(|text| text.contains(words)) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let limit = Duration::from_secs(20);
        tokio::time::timeout(limit, told("25 %")).await.expect("the start is told");
        load.send_replace(LoadState::Loading { progress: 1.0 });
        tokio::time::timeout(limit, told("the first decode")).await.expect("the end is told");
    }

    #[test]
    fn the_status_says_how_much_is_read_in_a_unit_that_fits() {
        assert_eq!(loading(0.43, 85_000_000_000), "loading 43 %, 36/85 GB");
        assert_eq!(loading(0.0, 85_400_000_000), "loading 0 %, 0/85 GB");
        assert_eq!(loading(0.42, 640_000_000), "loading 42 %, 268/640 MB");
        assert_eq!(loading(0.999, 1_500_000_000), "loading 99 %, 1/2 GB");
        assert_eq!(loading(1.0, 640_000_000), "preparing the context and the first decode");
    }
}
