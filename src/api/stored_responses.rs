//! Responses that later requests name: kept in memory within a bound of bytes.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde_json::Value;

/// Whose a response is: the hash of the API key that it was made with; none where there are no keys.
pub(super) type Owner = Option<[u8; 32]>;

/// Bytes that an entry takes beside its texts, roughly.
const OVERHEAD: usize = 512;

/// A response and what it answered.
#[derive(Debug, Clone)]
pub(super) struct StoredResponse {
    pub(super) owner: Owner,
    /// The response that it goes on from.
    pub(super) previous: Option<String>,
    /// The items of its request, a JSON array.
    pub(super) input: Bytes,
    /// As it was sent.
    pub(super) response: Bytes,
}

/// The responses that are kept.
#[derive(Debug)]
pub(super) struct StoredResponses {
    /// Most bytes of all of them; 0: none are kept.
    max_bytes: u64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    entries: HashMap<String, Entry>,
    /// Ids by their last use.
    by_use: BTreeMap<u64, String>,
    /// The responses of output items.
    items: HashMap<String, String>,
    uses: u64,
    bytes: u64,
}

#[derive(Debug)]
struct Entry {
    stored: StoredResponse,
    /// Ids of its output items.
    items: Vec<String>,
    last_use: u64,
    bytes: u64,
}

impl StoredResponses {
    /// Keeps `max_bytes` at most.
    pub(super) fn new(max_bytes: u64) -> Self {
        Self { max_bytes, kept: Mutex::default() }
    }

    /// Whether any are kept.
    pub(super) fn is_on(&self) -> bool {
        self.max_bytes > 0
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // No code that holds it panics half way.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a response; those that were not used for the longest time make room.
    pub(super) fn insert(&self, id: String, stored: StoredResponse) {
        let items = ids(&stored.response);
        let ids: usize = items.iter().map(|id| 2 * id.len()).sum();
        let bytes = (stored.input.len() + stored.response.len() + ids + OVERHEAD) as u64;
        if bytes > self.max_bytes {
            return;
        }
        let mut kept = self.lock();
        kept.remove(&id);
        kept.bytes += bytes;
        for item in &items {
            kept.items.insert(item.clone(), id.clone());
        }
        kept.entries.insert(id.clone(), Entry { stored, items, last_use: 0, bytes });
        kept.used(&id);
        while kept.bytes > self.max_bytes {
            let Some((_, oldest)) = kept.by_use.pop_first() else { break };
            kept.remove(&oldest);
        }
    }

    /// The response of this id as it was sent.
    pub(super) fn get(&self, id: &str, owner: Owner) -> Option<Bytes> {
        let mut kept = self.lock();
        let response = kept.of(id, owner)?.response.clone();
        kept.used(id);
        Some(response)
    }

    /// Forgets the response; whether it was there. What goes on from it has no beginning then.
    pub(super) fn delete(&self, id: &str, owner: Owner) -> bool {
        let mut kept = self.lock();
        let is_there = kept.of(id, owner).is_some();
        if is_there {
            kept.remove(id);
        }
        is_there
    }

    /// The response of this id and those that it goes on from, the first one first; the error is the
    /// id of one that is not there.
    pub(super) fn chain(&self, id: &str, owner: Owner) -> Result<Vec<StoredResponse>, String> {
        let mut kept = self.lock();
        let mut chain = Vec::new();
        let mut next = Some(id.to_owned());
        while let Some(id) = next.take() {
            let Some(stored) = kept.of(&id, owner) else { return Err(id) };
            chain.push(stored.clone());
            next = stored.previous.clone();
        }
        kept.used(id);
        chain.reverse();
        Ok(chain)
    }

    /// The responses that have output items of these ids.
    pub(super) fn with_items(&self, ids: &[String], owner: Owner) -> Vec<Bytes> {
        let kept = self.lock();
        let mut holders: Vec<&String> = ids.iter().filter_map(|id| kept.items.get(id)).collect();
        holders.sort_unstable();
        holders.dedup();
        holders.into_iter().filter_map(|id| Some(kept.of(id, owner)?.response.clone())).collect()
    }
}

impl Kept {
    fn of(&self, id: &str, owner: Owner) -> Option<&StoredResponse> {
        self.entries.get(id).map(|entry| &entry.stored).filter(|stored| stored.owner == owner)
    }

    /// Notes a use of a response, and after it of those that it goes on from: what goes on from a
    /// response makes room before it does.
    fn used(&mut self, id: &str) {
        let mut next = Some(id.to_owned());
        while let Some(id) = next.take() {
            let Some(entry) = self.entries.get_mut(&id) else { return };
            self.by_use.remove(&entry.last_use);
            self.uses += 1;
            entry.last_use = self.uses;
            next = entry.stored.previous.clone();
            self.by_use.insert(self.uses, id);
        }
    }

    fn remove(&mut self, id: &str) {
        let Some(entry) = self.entries.remove(id) else { return };
        self.by_use.remove(&entry.last_use);
        self.bytes -= entry.bytes;
        for item in &entry.items {
            self.items.remove(item);
        }
    }
}

/// The output items of a response.
pub(super) fn output(response: &[u8]) -> Vec<Value> {
    let read = serde_json::from_slice(response)
        .ok()
        .and_then(|mut response: Value| response.get_mut("output").map(Value::take));
    match read {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

/// The ids of a response's output items.
fn ids(response: &[u8]) -> Vec<String> {
    #[derive(serde::Deserialize)]
    struct Response {
        output: Vec<Item>,
    }
    #[derive(serde::Deserialize)]
    struct Item {
        id: String,
    }
    let read = serde_json::from_slice(response);
    read.map(|Response { output }| output.into_iter().map(|item| item.id).collect())
        .unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stored(previous: Option<&str>, item: &str, owner: Owner) -> StoredResponse {
        let response = json!({"output": [{"id": item, "text": "x".repeat(400)}]});
        StoredResponse {
            owner,
            previous: previous.map(str::to_owned),
            input: Bytes::from_static(b"[]"),
            response: response.to_string().into(),
        }
    }

    #[test]
    fn a_chain_is_followed_to_its_beginning_and_is_its_owners() {
        let store = StoredResponses::new(1 << 20);
        let (mine, other) = (Some([1; 32]), Some([2; 32]));
        store.insert("a".to_owned(), stored(None, "i1", mine));
        store.insert("b".to_owned(), stored(Some("a"), "i2", mine));
        let chain = store.chain("b", mine).unwrap();
        let items: Vec<Value> = chain.iter().flat_map(|s| output(&s.response)).collect();
        assert_eq!((&items[0]["id"], &items[1]["id"]), (&json!("i1"), &json!("i2")));
        assert_eq!(store.chain("b", other).unwrap_err(), "b");
        assert!(store.get("b", None).is_none() && store.get("b", mine).is_some());
        let wanted = ["i1".to_owned(), "i9".to_owned()];
        assert_eq!(store.with_items(&wanted, mine).len(), 1);
        assert!(store.with_items(&wanted, other).is_empty());
        assert!(!store.delete("a", other) && store.delete("a", mine) && !store.delete("a", mine));
        assert_eq!(store.chain("b", mine).unwrap_err(), "a");
        assert!(store.with_items(&wanted, mine).is_empty());
    }

    #[test]
    fn what_was_not_used_for_the_longest_time_makes_room_and_no_beginning_before_its_end() {
        let store = StoredResponses::new(3_000);
        store.insert("a".to_owned(), stored(None, "i1", None));
        store.insert("b".to_owned(), stored(Some("a"), "i2", None));
        store.insert("c".to_owned(), stored(None, "i3", None));
        assert!(store.get("b", None).is_some());
        store.insert("d".to_owned(), stored(None, "i4", None));
        assert!(store.get("c", None).is_none());
        assert_eq!(store.chain("b", None).unwrap().len(), 2);
        store.insert("e".to_owned(), stored(None, "i5", None));
        store.insert("f".to_owned(), stored(None, "i6", None));
        store.insert("g".to_owned(), stored(None, "i7", None));
        assert!(store.get("b", None).is_none());
        let kept = store.lock();
        let sum: u64 = kept.entries.values().map(|entry| entry.bytes).sum();
        assert_eq!((kept.bytes, kept.by_use.len()), (sum, kept.entries.len()));
        assert!(kept.bytes <= 3_000 && kept.items.len() == kept.entries.len());
    }

    #[test]
    fn nothing_is_kept_where_it_is_off_or_too_large() {
        for max_bytes in [0, 600] {
            let store = StoredResponses::new(max_bytes);
            store.insert("a".to_owned(), stored(None, "i1", None));
            assert!(store.get("a", None).is_none());
            assert_eq!(store.is_on(), max_bytes > 0);
        }
    }
}
