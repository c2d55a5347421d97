//! What the threads of the store do: write, read, remove.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Instant, SystemTime};

use super::super::Snapshot;
use super::super::files::{self, StoredFile, TEMPORARY};
use super::format::{self, Header, ReadError};
use super::room::{bound, victims};
use super::{DiskEntry, DiskEvent, MAX_FILES, Refusal, Shared, Write, lock};

/// Bytes after which what was written is waited for: it bounds the memory of pages that are not on
/// the disk yet, and how long an end takes.
const SYNC_EVERY: u64 = 256 << 20;

/// Refuses a directory that somebody else could put files into: llama.cpp trusts the states that it
/// is given, and checksums are no signatures.
fn check_owner(directory: &Path) -> io::Result<()> {
    let metadata = fs::metadata(directory)?;
    let cause = if metadata.uid() != rustix::process::geteuid().as_raw() {
        "it belongs to another user"
    } else if metadata.mode() & 0o022 != 0 {
        "others may write to it (chmod go-w)"
    } else {
        return Ok(());
    };
    Err(io::Error::new(io::ErrorKind::PermissionDenied, cause))
}

impl Shared {
    /// Makes the directory and meets what is in it.
    pub(super) fn find_files(&self) -> io::Result<()> {
        let directory = &self.params.directory;
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        check_owner(directory)?;
        files::remove_leftovers(directory)?;
        let own = |file: &StoredFile| file.key_digits() == self.key_digits;
        for file in files::list(directory)?.into_iter().filter(own).take(MAX_FILES) {
            match self.read_header(&file) {
                Ok(header) => {
                    self.entry(file.name, file.bytes, header, file.modified);
                }
                Err(ReadError::System(error)) if error.kind() == io::ErrorKind::NotFound => {}
                Err(ReadError::System(error)) => {
                    tracing::warn!("the saved prompt {} cannot be read: {error}", file.name);
                }
                Err(ReadError::Damaged(cause)) => {
                    self.reject(&file.name, cause);
                    let id = self.next_id.fetch_add(1, Ordering::Relaxed);
                    self.tell(DiskEvent::Removed { id, rejected: true });
                }
            }
        }
        self.make_room(0)?;
        Ok(())
    }

    fn read_header(&self, file: &StoredFile) -> Result<Header, ReadError> {
        let mut source = File::open(self.path(&file.name)).map_err(ReadError::System)?;
        let header = Header::read(&mut source, file.bytes)?;
        let name = format::file_name(&header.key, &header.tokens, header.conversation.owner);
        if header.key != self.params.key || name != file.name {
            return Err(ReadError::Damaged("it is another one than its name says"));
        }
        Ok(header)
    }

    /// Removes a file that is damaged or not what its name says.
    fn reject(&self, name: &str, cause: &str) {
        tracing::warn!("the saved prompt {name} is removed: {cause}");
        self.delete(name);
    }

    /// Does what is queued to be written until the end.
    pub(super) fn write_all(&self) {
        while let Some(job) = self.next_write() {
            match job {
                Write::Save(snapshot) => self.save(&snapshot),
                Write::Remove(id) => {
                    if let Some(entry) = self.find(id) {
                        self.delete(&entry.name);
                        self.forget(id, false);
                    }
                }
                Write::Touch(id) => {
                    if let Some(entry) = self.find(id) {
                        self.touch(&entry);
                    }
                }
                Write::Measure => {
                    if let Err(error) = self.make_room(0) {
                        self.cannot("look at", &error);
                    }
                }
            }
        }
    }

    fn next_write(&self) -> Option<Write> {
        let mut queue = lock(&self.queue);
        loop {
            if queue.end.is_some_and(|end| Instant::now() >= end) {
                return None;
            }
            if let Some(job) = queue.writes.pop_front() {
                if let Write::Save(snapshot) = &job {
                    queue.waiting_bytes -= format::file_bytes(snapshot);
                }
                drop(queue);
                // Somebody may wait for the place.
                self.changed.notify_all();
                return Some(job);
            }
            if queue.end.is_some() {
                return None;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Reads what is asked for until the end.
    pub(super) fn read_all(&self) {
        while let Some(id) = self.next_read() {
            let found = self.find(id);
            let start = Instant::now();
            let read = found.as_ref().map(|entry| self.read(entry));
            let took = start.elapsed();
            let (snapshot, damaged) = match read {
                Some(Ok(snapshot)) => (Some(Arc::new(snapshot)), None),
                Some(Err(ReadError::Damaged(cause))) => (None, Some(cause)),
                Some(Err(ReadError::System(error))) if error.kind() == io::ErrorKind::NotFound => {
                    self.forget(id, false);
                    (None, None)
                }
                Some(Err(ReadError::System(error))) => {
                    self.cannot("read from", &error);
                    (None, None)
                }
                None => (None, None),
            };
            self.tell(DiskEvent::Read { id, snapshot, took });
            if let (Some(entry), Some(cause)) = (found, damaged) {
                self.reject(&entry.name, cause);
                self.forget(id, true);
            }
        }
    }

    fn next_read(&self) -> Option<u64> {
        let mut queue = lock(&self.queue);
        loop {
            if queue.end.is_some() {
                return None;
            }
            if let Some(id) = queue.reads.pop_front() {
                return Some(id);
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn read(&self, entry: &DiskEntry) -> Result<Snapshot, ReadError> {
        let mut source = File::open(self.path(&entry.name)).map_err(ReadError::System)?;
        let bytes = source.metadata().map_err(ReadError::System)?.len();
        let (snapshot, key) = format::read(&mut source, bytes)?;
        let same = key == self.params.key
            && snapshot.tokens == entry.tokens
            && snapshot.conversation.owner == entry.conversation.owner;
        if same {
            Ok(snapshot)
        } else {
            Err(ReadError::Damaged("it is another one than its name says"))
        }
    }

    fn save(&self, snapshot: &Snapshot) {
        let bytes = format::file_bytes(snapshot);
        let owner = snapshot.conversation.owner;
        let name = format::file_name(&self.params.key, &snapshot.tokens, owner);
        let known = self.named(&name);
        if let Some(entry) = &known
            && entry.tokens == snapshot.tokens
            && self.touch(entry)
        {
            lock(&self.queue).budget.give_back(bytes);
            return self.tell(DiskEvent::Written(entry.clone()));
        }
        let written = self.make_room(bytes).and_then(|has_room| match has_room {
            true => self.write(&name, snapshot),
            false => Ok(None),
        });
        match written {
            Ok(Some(header)) => {
                if let Some(entry) = known {
                    // The new file has taken its name.
                    self.forget(entry.id, false);
                }
                let entry = self.entry(name, bytes, header, SystemTime::now());
                self.tell(DiskEvent::Written(entry.clone()));
                self.replace_older(&entry);
            }
            Ok(None) => {
                let mut queue = lock(&self.queue);
                queue.budget.give_back(bytes);
                self.refuse(&mut queue, Refusal::Room);
            }
            Err(error) => self.cannot("write to", &error),
        }
    }

    /// Removes the files that hold the beginning of a conversation that `new` holds more of.
    fn replace_older(&self, new: &DiskEntry) {
        if new.conversation.id == 0 {
            return;
        }
        let is_older = |entry: &&Arc<DiskEntry>| {
            entry.conversation == new.conversation
                && entry.tokens.len() < new.tokens.len()
                && new.tokens.starts_with(&entry.tokens)
                // A state that cannot be cut must have kept what the older one ends with.
                && ((new.checkpoints.is_empty() && entry.checkpoints.is_empty())
                    || new.checkpoints.contains(&entry.tokens.len()))
        };
        let older: Vec<_> = lock(&self.entries).values().filter(is_older).cloned().collect();
        for entry in older {
            self.delete(&entry.name);
            self.forget(entry.id, false);
        }
    }

    /// Removes files until one of `bytes` (0: none) fits, and notes how large one may be; false: it
    /// cannot fit.
    fn make_room(&self, bytes: u64) -> io::Result<bool> {
        let directory = &self.params.directory;
        let files = files::list(directory)?;
        self.forget_vanished(&files);
        let used = files.iter().map(|file| file.bytes).sum();
        let system = rustix::fs::statvfs(directory)?;
        let free = system.f_bavail.saturating_mul(system.f_frsize);
        let bound = bound(self.params.max_bytes, self.params.min_free_bytes, used, free);
        lock(&self.queue).room = bound;
        let Some(victims) = victims(&files, &self.key_digits, bytes, bound) else {
            return Ok(false);
        };
        for file in victims {
            if files::remove(&self.path(&file.name))?
                && let Some(entry) = self.named(&file.name)
            {
                self.forget(entry.id, false);
            }
        }
        Ok(true)
    }

    /// Forgets the entries whose files another process removed.
    fn forget_vanished(&self, files: &[StoredFile]) {
        let names: HashSet<&str> = files.iter().map(|file| file.name.as_str()).collect();
        let gone = |entry: &&Arc<DiskEntry>| !names.contains(entry.name.as_str());
        let gone: Vec<u64> =
            lock(&self.entries).values().filter(gone).map(|entry| entry.id).collect();
        gone.into_iter().for_each(|id| self.forget(id, false));
    }

    /// Writes the file under another name and gives it its own when it is whole and on the disk;
    /// `None`: a part of it is longer than any that is read.
    fn write(&self, name: &str, snapshot: &Snapshot) -> io::Result<Option<Header>> {
        let Some(header) = format::encode_header(&self.params.key, snapshot) else {
            return Ok(None);
        };
        // A random number, since processes in containers may have the same number.
        let temporary = self.path(&format!("{name}.{:016x}{TEMPORARY}", fastrand::u64(..)));
        let result = self.write_temporary(&temporary, &header, snapshot).and_then(|file| {
            fs::rename(&temporary, self.path(name))?;
            // Until now it was locked, and nobody took it for one that a crash left behind.
            drop(file);
            File::open(&self.params.directory)?.sync_all()
        });
        match result {
            Ok(()) => {
                let read = Header::read(&mut header.as_slice(), format::file_bytes(snapshot));
                read.map(Some).map_err(|error| io::Error::other(error.to_string()))
            }
            Err(error) => {
                files::remove(&temporary)?;
                Err(error)
            }
        }
    }

    fn write_temporary(&self, path: &Path, header: &[u8], snapshot: &Snapshot) -> io::Result<File> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        // Where files cannot be locked, none is taken for one that a crash left behind.
        let _ = file.lock();
        let mut synced = 0;
        format::write(&file, header, snapshot, |written| {
            if written - synced >= SYNC_EVERY {
                file.sync_data()?;
                synced = written;
            }
            Ok(!self.is_over())
        })?;
        file.sync_all()?;
        Ok(file)
    }

    /// Whether the time to write is over.
    fn is_over(&self) -> bool {
        lock(&self.queue).end.is_some_and(|end| Instant::now() >= end)
    }

    /// Marks a file as used; false: it is gone.
    fn touch(&self, entry: &DiskEntry) -> bool {
        let marked = File::open(self.path(&entry.name))
            .and_then(|file| file.set_modified(SystemTime::now()));
        match marked {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.forget(entry.id, false);
                false
            }
            // What cannot be marked is still there.
            _ => true,
        }
    }

    fn delete(&self, name: &str) {
        if let Err(error) = files::remove(&self.path(name)) {
            self.cannot("remove a file from", &error);
        }
    }

    fn named(&self, name: &str) -> Option<Arc<DiskEntry>> {
        lock(&self.entries).values().find(|entry| entry.name == name).cloned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.params.directory.join(name)
    }

    /// Says what the system refused; an end that came before a write was done is none.
    fn cannot(&self, what: &str, error: &io::Error) {
        if error.kind() != io::ErrorKind::TimedOut {
            tracing::warn!("cannot {what} {}: {error}", self.params.directory.display());
        }
    }
}
