//! What the service manager hears while the model is loaded.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::api::LoadState;
use crate::service::notify::Notifier;

/// Time that each report asks for. Much longer than the time between two, so that a machine that
/// swaps is not taken for one that hangs.
const EXTENSION: Duration = Duration::from_secs(120);

/// The status while the GPU is tested.
const TESTING: &str = "self-test: comparing what the GPU computes with the CPU";

/// Times between the reports of a server that loads.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReportInterval {
    /// The shortest: progress comes by the hundred, people read the status once a second at most.
    min: Duration,
    /// The longest: there is no progress while a large tensor is read, the context is allocated
    /// and the first tokens are decoded, and a report goes out all the same.
    max: Duration,
    /// Time without progress after which loading is taken to hang. A mapped model of 90 GB is
    /// read from disk by its first decode, which takes minutes.
    pub(super) silence: Duration,
}

impl Default for ReportInterval {
    fn default() -> Self {
        Self {
            min: Duration::from_secs(1),
            max: Duration::from_secs(10),
            silence: Duration::from_secs(900),
        }
    }
}

/// Tells how far the loading of `bytes` is, until it ends.
pub(super) async fn report_loading(
    notifier: Notifier,
    mut load: watch::Receiver<LoadState>,
    bytes: u64,
    interval: ReportInterval,
) {
    if !notifier.is_active() {
        return;
    }
    let mut heard = Instant::now();
    let mut last = 0.0;
    let mut silent = false;
    loop {
        let (share, status) = match &*load.borrow_and_update() {
            LoadState::Testing => (0.0, TESTING.to_owned()),
            LoadState::Loading { progress } => (*progress, loading(*progress, bytes)),
            LoadState::Ready(_) | LoadState::Failed(_) => return,
        };
        if share > last {
            (last, heard, silent) = (share, Instant::now(), false);
        }
        if heard.elapsed() < interval.silence {
            notifier.starting(&status, EXTENSION);
        } else if !silent {
            silent = true;
            let seconds = interval.silence.as_secs();
            tracing::error!(
                "loading has made no progress for {seconds} s: systemd is not asked for more time"
            );
            notifier.status(&format!("loading has made no progress for {seconds} s"));
        }
        // With a receiver of its own: what it sees counts as heard, and would not be told below.
        let mut end = load.clone();
        let ended = end.wait_for(|state| !state.is_starting());
        if tokio::time::timeout(interval.min, ended).await.is_ok() {
            return;
        }
        // A change or the time: either way there is something to say.
        let _ = tokio::time::timeout(interval.max - interval.min, load.changed()).await;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_load_that_says_nothing_is_given_time_until_it_is_taken_to_hang() {
        let (notifier, sent) = Notifier::recording();
        let (load, loading) = watch::channel(LoadState::Loading { progress: 0.5 });
        let ms = Duration::from_millis;
        let interval = ReportInterval { min: ms(1), max: ms(5), silence: ms(100) };
        let report = tokio::spawn(report_loading(notifier, loading, 10_000_000, interval));
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
        let (min, hour) = (Duration::from_millis(100), Duration::from_secs(3600));
        let interval = ReportInterval { min, max: hour, silence: hour };
        tokio::spawn(report_loading(notifier, loading, 10_000_000, interval));
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

    #[tokio::test]
    async fn a_test_of_the_gpu_is_told_and_given_time() {
        let (notifier, sent) = Notifier::recording();
        let (load, loading) = watch::channel(LoadState::Testing);
        let ms = Duration::from_millis;
        let interval = ReportInterval { min: ms(1), max: ms(5), silence: ms(60_000) };
        let report = tokio::spawn(report_loading(notifier, loading, 10_000_000, interval));
        let mut told = Vec::new();
        while told.len() < 3 {
            told.extend(sent.try_recv());
            tokio::time::sleep(ms(1)).await;
        }
        for text in told {
            assert!(text.contains("STATUS=self-test") && text.contains("EXTEND_TIMEOUT"), "{text}");
            assert!(!text.contains("READY"), "{text}");
        }
        load.send_replace(LoadState::Failed(String::new()));
        report.await.unwrap();
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
