//! A bounded queue between the server and an output that may be slow: a thread of its own waits
//! for the output, so that nothing else does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};
use std::{io, thread};

/// How often the end of the process looks whether all has been sent.
const FLUSH_INTERVAL: Duration = Duration::from_millis(1);

/// Items on their way to an output. What finds no room is dropped and counted.
#[derive(Debug)]
pub(super) struct Queue<T> {
    sender: SyncSender<(T, u64)>,
    /// Items that were taken in and have not been sent yet.
    pending: Arc<AtomicUsize>,
    /// Items dropped since the last one that found room.
    dropped: AtomicU64,
}

impl<T: Send + 'static> Queue<T> {
    /// Starts a thread of this name that hands each item to `send`, with the number of items that
    /// were dropped right before it. At most `capacity` items wait.
    pub(super) fn new(
        name: &str,
        capacity: usize,
        mut send: impl FnMut(T, u64) + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, items) = sync_channel(capacity);
        let pending = Arc::new(AtomicUsize::new(0));
        let unsent = Arc::clone(&pending);
        let body = move || {
            for (item, dropped) in items {
                send(item, dropped);
                unsent.fetch_sub(1, Ordering::Release);
            }
        };
        thread::Builder::new().name(name.to_owned()).spawn(body)?;
        Ok(Self { sender, pending, dropped: AtomicU64::new(0) })
    }

    /// Takes an item in, or drops it. Never waits.
    pub(super) fn push(&self, item: T) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        self.pending.fetch_add(1, Ordering::Relaxed);
        if self.sender.try_send((item, dropped)).is_err() {
            self.pending.fetch_sub(1, Ordering::Relaxed);
            self.dropped.fetch_add(dropped + 1, Ordering::Relaxed);
        }
    }

    /// Waits until all that was taken in has been sent, at most this long.
    pub(super) fn flush(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        while self.pending.load(Ordering::Acquire) > 0 && Instant::now() < deadline {
            thread::sleep(FLUSH_INTERVAL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_finds_no_room_is_dropped_and_counted_at_the_next_item() {
        let (sent, sends) = channel();
        let (allow, allowed) = channel::<()>();
        let send = move |item, dropped| {
            // Fails once the other end is gone, and waits no more.
            let _ = allowed.recv();
            sent.send((item, dropped)).unwrap();
        };
        let queue = Queue::new("test", 2, send).unwrap();
        for item in 0..10 {
            queue.push(item);
        }
        drop(allow);
        queue.flush(LONG);
        let first: Vec<(i32, u64)> = sends.try_iter().collect();
        // Two wait; a third is being sent, if the thread took it in time.
        assert!((2..=3).contains(&first.len()), "{first:?}");
        assert!(first.starts_with(&[(0, 0), (1, 0)]) && first.iter().all(|sent| sent.1 == 0));
        queue.push(10);
        assert_eq!(sends.recv_timeout(LONG).unwrap(), (10, 10 - first.len() as u64));
    }

    #[test]
    fn the_end_waits_for_what_is_being_sent_but_not_for_ever() {
        let (allow, allowed) = channel::<()>();
        let queue = Queue::new("test", 2, move |(), _| allowed.recv().unwrap()).unwrap();
        queue.flush(LONG);
        queue.push(());
        let began = Instant::now();
        queue.flush(Duration::from_millis(20));
        assert!(began.elapsed() >= Duration::from_millis(20));
        allow.send(()).unwrap();
        queue.flush(LONG);
        assert!(began.elapsed() < LONG);
    }
}
