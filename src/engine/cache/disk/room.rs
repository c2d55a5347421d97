//! What may be written, and what has to go for it. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::super::files::StoredFile;

/// Files that are met at a start, and no more are kept: it bounds the start's time and the memory for
/// their tokens.
pub(super) const MAX_FILES: usize = 4096;

const HOUR: Duration = Duration::from_secs(3600);

/// Bytes that were written within the last hour, against the most that may be.
#[derive(Debug)]
pub(super) struct WriteBudget {
    per_hour: u64,
    used: u64,
    /// When how many bytes were taken, the oldest first.
    writes: VecDeque<(Instant, u64)>,
}

impl WriteBudget {
    pub(super) fn new(per_hour: u64) -> Self {
        Self { per_hour, used: 0, writes: VecDeque::new() }
    }

    /// Takes `bytes` if the last hour leaves them.
    pub(super) fn take(&mut self, bytes: u64, now: Instant) -> bool {
        while let Some((at, bytes)) = self.writes.front()
            && now.saturating_duration_since(*at) >= HOUR
        {
            self.used -= bytes;
            self.writes.pop_front();
        }
        let fits = self.used.checked_add(bytes).is_some_and(|used| used <= self.per_hour);
        if fits {
            self.used += bytes;
            self.writes.push_back((now, bytes));
        }
        fits
    }

    /// Gives back `bytes` that were taken and not written.
    pub(super) fn give_back(&mut self, bytes: u64) {
        if let Some(at) = self.writes.iter().rposition(|(_, taken)| *taken == bytes) {
            self.writes.remove(at);
            self.used -= bytes;
        }
    }
}

/// Bytes that the files may take together: `max`, and less where the file system would have less
/// than `min_free` bytes left. `used` are those of the files now, `free` those of the file system.
pub(super) fn bound(max: u64, min_free: u64, used: u64, free: u64) -> u64 {
    max.min(used.saturating_add(free).saturating_sub(min_free))
}

/// The files that have to go so that one of `size` bytes (0: none) can be added to `files`, which
/// are sorted, the last used first. Those of another key than `key` go first, then the ones that
/// were not used for the longest time. `None`: it is larger than `bound`, so nothing goes for it.
pub(super) fn victims<'a>(
    files: &'a [StoredFile],
    key: &str,
    size: u64,
    bound: u64,
) -> Option<Vec<&'a StoredFile>> {
    if size > bound {
        return None;
    }
    let mut used: u64 = files.iter().map(|file| file.bytes).sum();
    let mut count = files.len() + usize::from(size > 0);
    let (own, foreign): (Vec<_>, Vec<_>) = files.iter().partition(|file| file.key_digits() == key);
    let oldest_first = foreign.into_iter().rev().chain(own.into_iter().rev());
    let goes = oldest_first.take_while(|file| {
        let is_full = used.saturating_add(size) > bound || count > MAX_FILES;
        if is_full {
            used -= file.bytes;
            count -= 1;
        }
        is_full
    });
    Some(goes.collect())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn no_hour_has_more_bytes_than_its_budget() {
        let mut budget = WriteBudget::new(100);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(budget.take(60, at(0)));
        assert!(!budget.take(60, at(10)), "120 in an hour");
        assert!(budget.take(40, at(1800)));
        assert!(!budget.take(1, at(3599)));
        assert!(budget.take(60, at(3600)), "the first is an hour old");
        budget.give_back(60);
        assert!(budget.take(50, at(3601)));
        assert!(!WriteBudget::new(0).take(1, start));
    }

    fn file(key: char, bytes: u64, age: u64) -> StoredFile {
        StoredFile {
            name: format!("{}-{age}", key.to_string().repeat(16)),
            bytes,
            modified: SystemTime::UNIX_EPOCH + Duration::from_secs(1000 - age),
        }
    }

    #[test]
    fn foreign_files_go_first_and_then_the_oldest() {
        let files = [file('a', 10, 1), file('b', 10, 2), file('a', 10, 3), file('b', 10, 4)];
        let ages = |size, bound| {
            let names = victims(&files, &"a".repeat(16), size, bound)?;
            Some(names.iter().map(|file| file.name[17..].to_owned()).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(ages(10, 50).unwrap(), "");
        assert_eq!(ages(10, 40).unwrap(), "4");
        assert_eq!(ages(10, 20).unwrap(), "4 2 3");
        assert_eq!(ages(20, 20).unwrap(), "4 2 3 1");
        assert_eq!(ages(0, 15).unwrap(), "4 2 3");
        assert_eq!(ages(21, 20), None, "nothing goes for what cannot fit");
    }

    #[test]
    fn a_floor_of_free_space_lowers_the_bound() {
        assert_eq!(bound(100, 10, 20, 200), 100);
        assert_eq!(bound(100, 10, 20, 50), 60);
        assert_eq!(bound(100, 10, 20, 5), 15, "files give way to others");
        assert_eq!(bound(100, 50, 20, 5), 0);
    }
}
