//! Saved states on disk: a file each, written and read by threads of their own, so that the engine
//! waits for no disk.
//!
//! Several servers may share a directory. Files get their name only when they are whole, and one that
//! has vanished is no error; the bounds are kept by looking at the directory before each write.

mod format;
mod room;
mod work;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

pub(crate) use self::format::STATE_FORMAT;
use self::room::{MAX_FILES, WriteBudget};
use super::Snapshot;
use super::files::key_digits;
use crate::engine::{ConversationId, DiskParams, Token};

/// Bytes of the snapshots that wait to be written, beside the first: they may be nobody else's by
/// then, and count for no other bound.
const MAX_WAITING_BYTES: u64 = 256 << 20;
/// Jobs that wait.
const MAX_WAITING: usize = 256;

/// A file, as the index knows it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DiskEntry {
    /// Names it in this process; never used a second time.
    pub(crate) id: u64,
    /// What its state has read.
    pub(crate) tokens: Vec<Token>,
    pub(crate) conversation: ConversationId,
    /// Up to where a prompt must agree to go on with this conversation.
    pub(crate) anchor: usize,
    /// Positions of its checkpoints, ascending.
    pub(crate) checkpoints: Vec<usize>,
    /// Bytes of the file.
    pub(crate) bytes: u64,
    /// When it was last used, as of the time that this process met or wrote it.
    pub(crate) last_used: SystemTime,
    /// The file's name in the directory.
    name: String,
}

/// What became of what was asked, and of files that went for others.
#[derive(Debug)]
pub(crate) enum DiskEvent {
    /// A snapshot is on disk. One that was there already comes with the entry it had.
    Written(Arc<DiskEntry>),
    /// The answer to a read; `None`: the file is gone, damaged or not readable.
    Read {
        /// The entry that was asked for.
        id: u64,
        /// What it holds.
        snapshot: Option<Arc<Snapshot>>,
        /// How long reading took.
        took: Duration,
    },
    /// A file is gone.
    Removed {
        /// Its entry. Files that were rejected by [`Disk::open`] never had one that was told.
        id: u64,
        /// It was damaged or not what its name says.
        rejected: bool,
    },
}

/// Handle of the store; its threads end with it.
pub(crate) struct Disk {
    shared: Arc<Shared>,
    /// The writer; the reader is not waited for.
    writer: Option<JoinHandle<()>>,
}

/// What the handle and the threads share.
struct Shared {
    params: DiskParams,
    /// First digits of the key, with which names begin.
    key_digits: String,
    queue: Mutex<Queue>,
    /// Something was queued, taken, or the end has come.
    changed: Condvar,
    entries: Mutex<HashMap<u64, Arc<DiskEntry>>>,
    on_event: Mutex<Box<dyn Fn(DiskEvent) + Send>>,
    next_id: AtomicU64,
    refused: AtomicU64,
}

/// What waits for the threads.
struct Queue {
    writes: VecDeque<Write>,
    reads: VecDeque<u64>,
    /// Bytes of the snapshots in `writes`.
    waiting_bytes: u64,
    budget: WriteBudget,
    /// Bytes that one file may take, when it was last looked.
    room: u64,
    /// Set when the store ends: what is not written by then never is.
    end: Option<Instant>,
    /// Reasons that were logged.
    told: Vec<Refusal>,
}

/// What the writing thread does.
enum Write {
    Save(Arc<Snapshot>),
    Remove(u64),
    Touch(u64),
    /// Looks how much room there is.
    Measure,
}

/// Why a snapshot is not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// Too much waits already, or the store ends.
    Busy,
    /// The hour's budget is used up.
    Budget,
    /// It is larger than all files may be together, or the file system is full.
    Room,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panic left behind is whole: values change in one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk {
    /// Makes the directory (0700), reads the headers of the files in it, of at most
    /// [`MAX_FILES`], removes those that are damaged, cut or not what their
    /// names say and those that are over the bounds, and starts the threads. `on_event` is called by
    /// them, and before the return for what was removed. Errors: the directory cannot be made or
    /// read, others may write to it, or no thread started.
    pub(crate) fn open(
        params: &DiskParams,
        on_event: impl Fn(DiskEvent) + Send + 'static,
    ) -> io::Result<Self> {
        let queue = Queue {
            writes: VecDeque::new(),
            reads: VecDeque::new(),
            waiting_bytes: 0,
            budget: WriteBudget::new(params.write_bytes_per_hour),
            room: 0,
            end: None,
            told: Vec::new(),
        };
        let shared = Arc::new(Shared {
            key_digits: key_digits(&params.key),
            params: params.clone(),
            queue: Mutex::new(queue),
            changed: Condvar::new(),
            entries: Mutex::default(),
            on_event: Mutex::new(Box::new(on_event)),
            next_id: AtomicU64::new(1),
            refused: AtomicU64::new(0),
        });
        shared.find_files()?;
        let mut disk = Self { shared: shared.clone(), writer: None };
        let spawn = |name: &str, body: fn(&Shared)| {
            let shared = shared.clone();
            thread::Builder::new().name(name.to_owned()).spawn(move || body(&shared))
        };
        disk.writer = Some(spawn("disk-write", Shared::write_all)?);
        spawn("disk-read", Shared::read_all)?;
        Ok(disk)
    }

    /// What is on disk of this key, as far as this process knows: another server may have removed a
    /// file since.
    pub(crate) fn entries(&self) -> Vec<Arc<DiskEntry>> {
        lock(&self.shared.entries).values().cloned().collect()
    }

    /// Queues a snapshot to be written; [`DiskEvent::Written`] tells when it is, and nothing comes
    /// if it cannot be. False: too much is queued, or the hour's budget or the room does not allow
    /// it.
    pub(crate) fn save(&self, snapshot: Arc<Snapshot>) -> bool {
        let mut queue = lock(&self.shared.queue);
        match queue.push(snapshot) {
            Ok(()) => {
                drop(queue);
                self.shared.changed.notify_all();
                true
            }
            Err(refusal) => {
                self.shared.refuse(&mut queue, refusal);
                drop(queue);
                self.shared.changed.notify_all();
                false
            }
        }
    }

    /// As [`save`](Self::save), but waits until `deadline` while too much is queued: for the time
    /// when nothing else is left to do.
    pub(crate) fn save_waiting(&self, snapshot: Arc<Snapshot>, deadline: Instant) -> bool {
        let mut queue = lock(&self.shared.queue);
        while !queue.has_place(format::file_bytes(&snapshot)) && queue.end.is_none() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.shared.changed.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(queue);
        self.save(snapshot)
    }

    /// Queues a read; [`DiskEvent::Read`] is the answer. Reads wait for each other, not for writes.
    pub(crate) fn read(&self, id: u64) {
        lock(&self.shared.queue).reads.push_back(id);
        self.shared.changed.notify_all();
    }

    /// Queues the removal of a file.
    pub(crate) fn remove(&self, id: u64) {
        self.queue(Write::Remove(id));
    }

    /// Marks a file as used now, so that others go first.
    pub(crate) fn touch(&self, id: u64) {
        self.queue(Write::Touch(id));
    }

    /// Snapshots that were not written for want of budget or room.
    pub(crate) fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }

    /// Writes what is queued until the deadline, then lets the threads end. A write that is not done by
    /// then leaves nothing behind.
    pub(crate) fn close(mut self, deadline: Instant) {
        self.end(deadline);
        if let Some(writer) = self.writer.take() {
            // Its panic, if any, is in the log.
            let _ = writer.join();
        }
    }

    fn queue(&self, job: Write) {
        lock(&self.shared.queue).writes.push_back(job);
        self.shared.changed.notify_all();
    }

    fn end(&self, deadline: Instant) {
        lock(&self.shared.queue).end.get_or_insert(deadline);
        self.shared.changed.notify_all();
    }
}

impl Drop for Disk {
    /// Lets the threads end without waiting for them.
    fn drop(&mut self) {
        self.end(Instant::now());
    }
}

impl Queue {
    /// Whether a snapshot of so many bytes may wait beside what waits already.
    fn has_place(&self, bytes: u64) -> bool {
        let waiting = self.waiting_bytes.saturating_add(bytes);
        self.writes.len() < MAX_WAITING && (self.waiting_bytes == 0 || waiting <= MAX_WAITING_BYTES)
    }

    fn push(&mut self, snapshot: Arc<Snapshot>) -> Result<(), Refusal> {
        let bytes = format::file_bytes(&snapshot);
        if self.end.is_some() || !self.has_place(bytes) {
            return Err(Refusal::Busy);
        }
        if bytes > self.room {
            if self.writes.is_empty() {
                // It may have changed since somebody looked.
                self.writes.push_back(Write::Measure);
            }
            return Err(Refusal::Room);
        }
        if !self.budget.take(bytes, Instant::now()) {
            return Err(Refusal::Budget);
        }
        self.waiting_bytes += bytes;
        self.writes.push_back(Write::Save(snapshot));
        Ok(())
    }
}

impl Shared {
    fn tell(&self, event: DiskEvent) {
        lock(&self.on_event)(event);
    }

    /// Counts a snapshot that is not written, and says why the first time.
    fn refuse(&self, queue: &mut Queue, refusal: Refusal) {
        if refusal == Refusal::Busy {
            return;
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        if queue.told.contains(&refusal) {
            return;
        }
        queue.told.push(refusal);
        let directory = self.params.directory.display();
        match refusal {
            Refusal::Budget => tracing::warn!(
                "no more is written to {directory} for now: cache.disk_write_mib_per_hour allows {} MiB an hour",
                self.params.write_bytes_per_hour >> 20
            ),
            _ => tracing::warn!(
                "a state is not written to {directory}: cache.disk_mib allows {} MiB, cache.disk_min_free_mib keeps {} MiB of the disk free",
                self.params.max_bytes >> 20,
                self.params.min_free_bytes >> 20
            ),
        }
    }

    /// A new entry for a file, under an id of its own.
    fn entry(
        &self,
        name: String,
        bytes: u64,
        header: format::Header,
        last_used: SystemTime,
    ) -> Arc<DiskEntry> {
        let entry = Arc::new(DiskEntry {
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            tokens: header.tokens,
            conversation: header.conversation,
            anchor: header.anchor,
            checkpoints: header.checkpoints.into_iter().map(|(position, _)| position).collect(),
            bytes,
            last_used,
            name,
        });
        lock(&self.entries).insert(entry.id, entry.clone());
        entry
    }

    fn find(&self, id: u64) -> Option<Arc<DiskEntry>> {
        lock(&self.entries).get(&id).cloned()
    }

    /// Forgets an entry, and tells it once.
    fn forget(&self, id: u64, rejected: bool) {
        if lock(&self.entries).remove(&id).is_some() {
            self.tell(DiskEvent::Removed { id, rejected });
        }
    }
}

#[cfg(test)]
mod tests;
