//! The worker's side of the disk cache: what is there, what is being read, and what is written.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Worker;
use crate::engine::cache::{Disk, DiskEntry, DiskEvent, Snapshot};
use crate::engine::handle::add;

/// Bytes of a file that are read in a second, before the first one: an SSD that is not in a hurry.
const USUAL_SPEED: f64 = 1e9;

/// A disk that was busy for a moment is asked again.
const MIN_SPEED: f64 = 5e7;

/// The disk cache, as the engine thread knows it.
pub(in crate::engine) struct DiskState {
    disk: Option<Disk>,
    entries: Vec<Arc<DiskEntry>>,
    /// The entries that are being read; the requests that want them wait.
    reading: Vec<u64>,
    /// What was read and not used yet.
    read: Vec<(u64, Arc<Snapshot>)>,
    /// Bytes per second.
    speed: f64,
    write_bytes_per_hour: u64,
}

impl DiskState {
    /// `None`: nothing is kept on disk.
    pub(in crate::engine) fn new(disk: Option<Disk>, write_bytes_per_hour: u64) -> Self {
        let entries = disk.as_ref().map(Disk::entries).unwrap_or_default();
        Self {
            disk,
            entries,
            reading: Vec::new(),
            read: Vec::new(),
            speed: USUAL_SPEED,
            write_bytes_per_hour,
        }
    }

    /// How long a history of so many bytes rests before it is written: a tenth of the time in which
    /// the hour's budget has grown by as much. Each turn would be a whole state, and the budget gone
    /// with a few of a large model's.
    pub(super) fn rest(&self, bytes: usize) -> Duration {
        const HOUR: f64 = 3600.0;
        let per_second = self.write_bytes_per_hour as f64 / HOUR;
        Duration::from_secs_f64((0.1 * bytes as f64 / per_second.max(1.0)).min(HOUR))
    }

    pub(super) fn is_on(&self) -> bool {
        self.disk.is_some()
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &DiskEntry> {
        self.entries.iter().map(Arc::as_ref)
    }

    /// Seconds that a file of so many bytes takes to read.
    pub(super) fn seconds(&self, bytes: u64) -> f64 {
        bytes as f64 / self.speed
    }

    /// What was read of an entry. It is given once: what it is used for then holds it.
    pub(super) fn take_read(&mut self, id: u64) -> Option<Arc<Snapshot>> {
        let at = self.read.iter().position(|(read, _)| *read == id)?;
        Some(self.read.swap_remove(at).1)
    }

    pub(super) fn has_read(&self, id: u64) -> bool {
        self.read.iter().any(|(read, _)| *read == id)
    }

    /// Begins to read an entry.
    pub(super) fn read(&mut self, id: u64) {
        if let Some(disk) = &self.disk
            && !self.reading.contains(&id)
        {
            self.reading.push(id);
            disk.read(id);
        }
    }

    /// Queues a state to be written; whether it will be.
    pub(super) fn save(&self, snapshot: &Arc<Snapshot>) -> bool {
        self.disk.as_ref().is_some_and(|disk| disk.save(snapshot.clone()))
    }

    pub(super) fn save_waiting(&self, snapshot: &Arc<Snapshot>, deadline: Instant) -> bool {
        self.disk.as_ref().is_some_and(|disk| disk.save_waiting(snapshot.clone(), deadline))
    }

    pub(super) fn touch(&self, id: u64) {
        if let Some(disk) = &self.disk {
            disk.touch(id);
        }
    }

    /// States that were not written for want of room or of the hour's budget.
    pub(super) fn refused(&self) -> u64 {
        self.disk.as_ref().map_or(0, Disk::refused)
    }

    /// Forgets an entry that did not prove to be what it was taken for, and its file.
    pub(super) fn remove(&mut self, id: u64) {
        self.entries.retain(|entry| entry.id != id);
        if let Some(disk) = &self.disk {
            disk.remove(id);
        }
    }

    /// Forgets what was read, but for what requests still want.
    pub(super) fn forget_read(&mut self, wanted: &[u64]) {
        self.read.retain(|(id, _)| wanted.contains(id));
    }

    /// Entries that are being read, or were and are not used yet.
    pub(super) fn waiting(&self) -> usize {
        self.reading.len() + self.read.len()
    }

    pub(super) fn close(&mut self, deadline: Instant) {
        if let Some(disk) = self.disk.take() {
            disk.close(deadline);
        }
    }
}

impl Worker<'_> {
    pub(super) fn disk_did(&mut self, event: DiskEvent) {
        let counters = &self.shared.counters.cache;
        let state = &mut self.disk;
        match event {
            DiskEvent::Written(entry) => {
                add(&counters.files_written, 1);
                state.entries.retain(|held| held.id != entry.id);
                state.entries.push(entry);
            }
            DiskEvent::Removed { id, rejected } => {
                state.entries.retain(|entry| entry.id != id);
                add(&counters.files_rejected, usize::from(rejected));
            }
            DiskEvent::Read { id, snapshot, took } => {
                state.reading.retain(|reading| *reading != id);
                match snapshot {
                    Some(snapshot) => {
                        let speed = snapshot.bytes() as f64 / took.as_secs_f64().max(1e-6);
                        state.speed += (speed.max(MIN_SPEED) - state.speed) * 0.3;
                        state.read.push((id, snapshot));
                    }
                    None => state.entries.retain(|entry| entry.id != id),
                }
            }
        }
        self.count_files();
    }

    /// Tells what is on disk.
    pub(in crate::engine) fn count_files(&self) {
        let counters = &self.shared.counters.cache;
        let state = &self.disk;
        let bytes = state.entries.iter().map(|entry| entry.bytes).sum();
        counters.disk_files.store(state.entries.len() as u64, Ordering::Relaxed);
        counters.disk_bytes.store(bytes, Ordering::Relaxed);
    }
}
