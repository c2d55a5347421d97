//! States saved in memory, bounded in bytes: the least recently used go first.

use std::sync::Arc;

use super::{Snapshot, common_prefix};

/// States that no sequence of the context holds.
#[derive(Debug)]
pub(crate) struct MemoryStore {
    saved: Vec<Saved>,
    bytes: u64,
    max_bytes: u64,
    ids: u64,
}

/// One of them.
#[derive(Debug, Clone)]
pub(crate) struct Saved {
    pub(crate) id: u64,
    pub(crate) snapshot: Arc<Snapshot>,
    /// Of the snapshot when it was saved.
    checksum: u128,
    /// Grows with every use, over all histories.
    pub(crate) last_used: u64,
}

impl Saved {
    /// Whether the state is still the one that was saved.
    pub(crate) fn is_intact(&self) -> bool {
        self.snapshot.checksum() == self.checksum
    }
}

impl MemoryStore {
    /// Holds at most `max_bytes`.
    pub(crate) fn new(max_bytes: u64) -> Self {
        Self { saved: Vec::new(), bytes: 0, max_bytes, ids: 0 }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Saved> {
        self.saved.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.saved.len()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    pub(crate) fn get(&self, id: u64) -> Option<&Saved> {
        self.saved.iter().find(|saved| saved.id == id)
    }

    /// Marks a use.
    pub(crate) fn touch(&mut self, id: u64, now: u64) {
        if let Some(saved) = self.saved.iter_mut().find(|saved| saved.id == id) {
            saved.last_used = now;
        }
    }

    /// Marks the use of a conversation, so that it outlives others.
    pub(crate) fn touch_conversation(&mut self, conversation: u64, now: u64) {
        for saved in &mut self.saved {
            if saved.snapshot.conversation.id == conversation {
                saved.last_used = saved.last_used.max(now);
            }
        }
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<Saved> {
        let at = self.saved.iter().position(|saved| saved.id == id)?;
        let saved = self.saved.remove(at);
        self.bytes -= saved.snapshot.bytes();
        Some(saved)
    }

    /// Whether a state of so many bytes fits without another having to go.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        self.bytes.saturating_add(bytes) <= self.max_bytes
    }

    /// Gives up the least recently used states until one of so many bytes fits, or none is left.
    pub(crate) fn make_room(&mut self, bytes: u64) -> Vec<Saved> {
        let mut dropped = Vec::new();
        while !self.has_room(bytes) {
            let oldest = self.saved.iter().min_by_key(|saved| saved.last_used).map(|s| s.id);
            match oldest.and_then(|id| self.remove(id)) {
                Some(saved) => dropped.push(saved),
                None => break,
            }
        }
        dropped
    }

    /// Adds a state; the one that it continues goes, and others that have no room beside it, which
    /// are given back. `None`: it is too large.
    pub(crate) fn insert(
        &mut self,
        snapshot: Arc<Snapshot>,
        now: u64,
    ) -> Option<(u64, Vec<Saved>)> {
        let bytes = snapshot.bytes();
        if bytes > self.max_bytes {
            return None;
        }
        let replaced: Vec<u64> = self
            .saved
            .iter()
            .filter(|saved| continues(&snapshot, &saved.snapshot))
            .map(|saved| saved.id)
            .collect();
        for id in replaced {
            self.remove(id);
        }
        let dropped = self.make_room(bytes);
        self.ids += 1;
        self.bytes += bytes;
        let checksum = snapshot.checksum();
        self.saved.push(Saved { id: self.ids, snapshot, checksum, last_used: now });
        Some((self.ids, dropped))
    }
}

/// Whether a state is a later one of the same conversation, which serves all that the earlier does.
fn continues(later: &Snapshot, earlier: &Snapshot) -> bool {
    let n = earlier.tokens.len();
    later.conversation.owner == earlier.conversation.owner
        && later.tokens.len() >= n
        && common_prefix(&later.tokens, &earlier.tokens) == n
        // A state that cannot be cut must have kept what the earlier one ends with.
        && (later.tokens.len() == n
            || (later.checkpoints.is_empty() && earlier.checkpoints.is_empty())
            || later.checkpoints.iter().any(|checkpoint| checkpoint.position == n))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Checkpoint, Proof};
    use super::*;
    use crate::engine::{ConversationId, Token};

    fn snapshot(tokens: &[Token], bytes: usize) -> Arc<Snapshot> {
        Arc::new(Snapshot {
            tokens: tokens.to_vec(),
            conversation: ConversationId::default(),
            anchor: 0,
            state: vec![0; bytes - size_of_val(tokens)],
            checkpoints: Vec::new(),
            proof: Proof::default(),
        })
    }

    #[test]
    fn the_least_recently_used_states_go_when_there_is_no_room() {
        let mut store = MemoryStore::new(300);
        let (a, _) = store.insert(snapshot(&[1], 100), 1).unwrap();
        let (b, _) = store.insert(snapshot(&[2], 100), 2).unwrap();
        store.touch(a, 3);
        let (_, dropped) = store.insert(snapshot(&[3], 150), 4).unwrap();
        assert_eq!(dropped.iter().map(|saved| saved.id).collect::<Vec<_>>(), [b]);
        assert!(store.get(a).is_some());
        assert!(store.insert(snapshot(&[4], 301), 5).is_none());
        assert_eq!(store.bytes(), 250);
    }

    #[test]
    fn a_conversation_replaces_its_earlier_state() {
        let mut store = MemoryStore::new(1000);
        store.insert(snapshot(&[1, 2], 100), 1);
        store.insert(snapshot(&[1, 3], 100), 2);
        store.insert(snapshot(&[1, 2, 3], 100), 3);
        let held: Vec<&[Token]> = store.iter().map(|s| s.snapshot.tokens.as_slice()).collect();
        assert_eq!(held, [&[1, 3][..], &[1, 2, 3]]);
        assert_eq!(store.bytes(), 200);
    }

    #[test]
    fn a_state_whose_bytes_have_changed_is_not_intact() {
        let mut store = MemoryStore::new(1000);
        let whole = Snapshot {
            checkpoints: vec![Checkpoint { position: 1, state: Arc::new(vec![5; 9]) }],
            proof: Proof { token: 7, top: vec![(1, 0.5)] },
            ..(*snapshot(&[1, 2], 100)).clone()
        };
        store.insert(Arc::new(whole.clone()), 1).unwrap();
        assert!(store.saved[0].is_intact());
        let changes: [fn(&mut Snapshot); 6] = [
            |s| s.state[50] ^= 1,
            |s| s.tokens[1] ^= 1,
            |s| Arc::make_mut(&mut s.checkpoints[0].state)[8] ^= 1,
            |s| s.checkpoints[0].position ^= 1,
            |s| s.proof.token ^= 1,
            |s| s.proof.top[0].1 = 0.51,
        ];
        for change in changes {
            let mut changed = whole.clone();
            change(&mut changed);
            store.saved[0].snapshot = Arc::new(changed);
            assert!(!store.saved[0].is_intact());
        }
    }

    proptest! {
        #[test]
        fn the_bytes_held_are_counted_and_bounded(
            inserts in proptest::collection::vec((0..4, 0..4, 8usize..200), 0..40),
            max in 0u64..400,
        ) {
            let mut store = MemoryStore::new(max);
            for (now, (a, b, bytes)) in inserts.into_iter().enumerate() {
                store.insert(snapshot(&[a, b], bytes), now as u64);
                let sum: u64 = store.iter().map(|saved| saved.snapshot.bytes()).sum();
                prop_assert_eq!(store.bytes(), sum);
                prop_assert!(sum <= max);
            }
        }
    }
}
