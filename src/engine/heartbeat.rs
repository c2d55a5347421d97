//! Whether the engine thread moves on: what the service manager's watchdog is told.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// When the engine thread began its current step. Written by that thread alone.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    origin: Instant,
    /// Milliseconds from `origin`, and one, so that 0 can mean that the thread waits for work.
    began: AtomicU64,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { origin: Instant::now(), began: AtomicU64::new(0) }
    }
}

impl Heartbeat {
    /// A step begins.
    pub(crate) fn step(&self) {
        self.began.store(self.now() + 1, Ordering::Relaxed);
    }

    /// The thread waits for work.
    pub(crate) fn idle(&self) {
        self.began.store(0, Ordering::Relaxed);
    }

    /// How long the current step has taken so far; `None` between steps.
    pub(crate) fn busy_for(&self) -> Option<Duration> {
        let began = self.began.load(Ordering::Relaxed).checked_sub(1)?;
        Some(Duration::from_millis(self.now().saturating_sub(began)))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_ages_until_the_next_one_and_waiting_does_not() {
        let heartbeat = Heartbeat::default();
        assert_eq!(heartbeat.busy_for(), None);
        heartbeat.step();
        std::thread::sleep(Duration::from_millis(20));
        assert!(heartbeat.busy_for().unwrap() >= Duration::from_millis(15));
        heartbeat.step();
        assert!(heartbeat.busy_for().unwrap() < Duration::from_millis(15));
        heartbeat.idle();
        assert_eq!(heartbeat.busy_for(), None);
    }
}
