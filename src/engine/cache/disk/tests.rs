use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use proptest::prelude::*;

use super::super::{Checkpoint, Proof, saved_prompts};
use super::*;

const KEY: [u8; 32] = [7; 32];

fn params(directory: &std::path::Path) -> DiskParams {
    DiskParams {
        directory: directory.to_owned(),
        key: KEY,
        max_bytes: 1 << 30,
        write_bytes_per_hour: 1 << 30,
        min_free_bytes: 0,
    }
}

/// A conversation of so many tokens, with a state of so many bytes and a checkpoint.
fn snapshot(conversation: u64, tokens: usize, state: usize) -> Snapshot {
    Snapshot {
        tokens: (0..tokens).map(|i| (i as u64 * 31 + conversation) as Token).collect(),
        conversation: ConversationId { id: conversation, named: true, parent: 5, owner: 0 },
        anchor: tokens / 2,
        state: (0..state).map(|i| (i % 251) as u8).collect(),
        checkpoints: vec![Checkpoint { position: tokens / 2, state: Arc::new(vec![9; 50]) }],
        proof: Proof { token: 3, top: vec![(1, 0.5), (2, -1.25)] },
    }
}

struct Store {
    disk: Disk,
    events: mpsc::Receiver<DiskEvent>,
}

impl Store {
    fn open(params: &DiskParams) -> Self {
        let (sender, events) = mpsc::channel();
        let disk = Disk::open(params, move |event| drop(sender.send(event))).unwrap();
        Self { disk, events }
    }

    fn event(&self) -> DiskEvent {
        self.events.recv_timeout(Duration::from_secs(30)).expect("an event")
    }

    /// Saves and gives the entry; events of files that went for it are passed over.
    fn save(&self, snapshot: &Snapshot) -> Arc<DiskEntry> {
        assert!(self.disk.save(Arc::new(snapshot.clone())));
        loop {
            if let DiskEvent::Written(entry) = self.event() {
                return entry;
            }
        }
    }

    fn read(&self, id: u64) -> Option<Arc<Snapshot>> {
        self.disk.read(id);
        loop {
            match self.event() {
                DiskEvent::Read { id: read, snapshot, .. } if read == id => return snapshot,
                _ => {}
            }
        }
    }

    fn removed(&self) -> (u64, bool) {
        loop {
            if let DiskEvent::Removed { id, rejected } = self.event() {
                return (id, rejected);
            }
        }
    }

    /// Waits for all that was queued.
    fn close(self) -> Vec<DiskEvent> {
        self.disk.close(Instant::now() + Duration::from_secs(60));
        self.events.try_iter().collect()
    }
}

fn names(directory: &std::path::Path) -> Vec<String> {
    let files = fs::read_dir(directory).unwrap();
    files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

fn only_file(directory: &std::path::Path) -> PathBuf {
    let [name] = &names(directory)[..] else { panic!("not one file") };
    directory.join(name)
}

#[test]
fn what_is_saved_is_read_back_also_by_the_next_process() {
    let root = tempfile::tempdir().unwrap();
    let params = params(&root.path().join("new/prompts"));
    let saved = snapshot(1, 100, 3_000_000);
    let store = Store::open(&params);
    let entry = store.save(&saved);
    assert_eq!((entry.tokens.as_slice(), entry.anchor), (saved.tokens.as_slice(), 50));
    assert_eq!(entry.checkpoints, [50]);
    assert_eq!(*store.read(entry.id).unwrap(), saved);
    assert!(store.read(999).is_none());
    store.close();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&params.directory), 0o700);
    let file = only_file(&params.directory);
    assert_eq!((mode(&file), fs::metadata(&file).unwrap().len()), (0o600, entry.bytes));
    let [shown] = &saved_prompts(&params.directory).unwrap()[..] else { panic!("not one file") };
    let expected = ("07".repeat(8), Some(100), entry.bytes);
    assert_eq!((shown.model.clone(), shown.tokens, shown.bytes), expected);

    let store = Store::open(&params);
    let [entry] = &store.disk.entries()[..] else { panic!("not one entry") };
    assert_eq!((entry.conversation, entry.bytes), (saved.conversation, format::file_bytes(&saved)));
    assert_eq!(*store.read(entry.id).unwrap(), saved);
}

#[test]
fn the_same_history_is_the_same_file_and_another_owners_is_not() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(&params(root.path()));
    let one = snapshot(1, 10, 100);
    let mut others = one.clone();
    others.conversation.owner = 8;
    let first = store.save(&one);
    assert_eq!(store.save(&one).id, first.id);
    assert_ne!(store.save(&others).id, first.id);
    assert_eq!(names(root.path()).len(), 2);
}

#[test]
fn a_longer_history_replaces_the_beginning_of_its_conversation_and_no_other() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(&params(root.path()));
    let whole = snapshot(1, 20, 100);
    let beginning = |conversation| {
        let mut beginning = snapshot(1, 10, 100);
        beginning.conversation.id = conversation;
        beginning.conversation.owner = conversation;
        beginning
    };
    let old = store.save(&beginning(1));
    let others = [store.save(&beginning(2)), store.save(&beginning(0))];
    let new = store.save(&Snapshot { conversation: old.conversation, ..whole });
    assert_eq!(store.removed(), (old.id, false));
    let mut kept: Vec<u64> = store.disk.entries().iter().map(|entry| entry.id).collect();
    kept.sort();
    assert_eq!(kept, [others[0].id, others[1].id, new.id]);
    assert_eq!(names(root.path()).len(), 3);
}

#[test]
fn a_damaged_cut_or_swapped_file_is_rejected_and_removed_by_a_read() {
    let damage: [fn(&std::path::Path); 3] = [
        |file| {
            let mut bytes = fs::read(file).unwrap();
            let at = bytes.len() - 200;
            bytes[at] ^= 1;
            fs::write(file, bytes).unwrap();
        },
        |file| fs::File::options().write(true).open(file).unwrap().set_len(300).unwrap(),
        |file| {
            // A whole file of another history under this name.
            let mut bytes = Vec::new();
            let other = snapshot(2, 100, 1000);
            let header = format::encode_header(&KEY, &other).unwrap();
            format::write(&mut bytes, &header, &other, |_| Ok(true)).unwrap();
            fs::write(file, bytes).unwrap();
        },
    ];
    for damage in damage {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(&params(root.path()));
        let entry = store.save(&snapshot(1, 100, 1000));
        damage(&only_file(root.path()));
        assert!(store.read(entry.id).is_none());
        assert_eq!(store.removed(), (entry.id, true));
        assert!(names(root.path()).is_empty() && store.disk.entries().is_empty());
        // It can be saved again.
        let entry = store.save(&snapshot(1, 100, 1000));
        assert!(store.read(entry.id).is_some());
    }
}

#[test]
fn what_a_start_finds_is_checked_by_its_header_and_foreign_files_are_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(&params(root.path()));
    let mut files = Vec::new();
    for conversation in 1..=4 {
        store.save(&snapshot(conversation, 100, 1000));
        let known = |name: &String| !files.contains(name);
        files.push(names(root.path()).into_iter().find(known).unwrap());
    }
    store.close();
    let path = |name: &str| root.path().join(name);
    let mut bytes = fs::read(path(&files[0])).unwrap();
    bytes[150] ^= 4;
    fs::write(path(&files[0]), &bytes).unwrap();
    fs::write(path(&files[1]), "no saved prompt").unwrap();
    let another = format!("{}-{}.prompt", "07".repeat(8), "0".repeat(32));
    fs::rename(path(&files[2]), path(&another)).unwrap();
    let foreign = format!("{}-{}.prompt", "ab".repeat(8), "0".repeat(32));
    fs::write(path(&foreign), "another model's, or another build's").unwrap();
    fs::write(path(&format!("{}.1.tmp", files[3])), "left by a crash").unwrap();
    fs::write(path("notes.txt"), "somebody's").unwrap();

    let store = Store::open(&params(root.path()));
    let rejected = store
        .events
        .try_iter()
        .filter(|event| matches!(event, DiskEvent::Removed { rejected: true, .. }));
    assert_eq!(rejected.count(), 3, "a flipped bit, no file of ours, another name");
    assert_eq!(store.disk.entries().len(), 1);
    let mut left = names(root.path());
    left.sort();
    let mut expected = vec![files[3].clone(), foreign, "notes.txt".to_owned()];
    expected.sort();
    assert_eq!(left, expected);
}

#[test]
fn files_of_another_key_go_first_and_then_the_ones_that_were_not_used() {
    let root = tempfile::tempdir().unwrap();
    let other = DiskParams { key: [8; 32], ..params(root.path()) };
    let foreign = Store::open(&other);
    foreign.save(&snapshot(9, 10, 10_000));
    let three = 3 * format::file_bytes(&snapshot(1, 10, 10_000)) + 100;
    let store = Store::open(&DiskParams { max_bytes: three, ..params(root.path()) });
    let saved: Vec<_> = (1..=3).map(|n| store.save(&snapshot(n, 10, 10_000))).collect();
    // The other process finds its file gone.
    let [entry] = &foreign.disk.entries()[..] else { panic!("not one entry") };
    assert!(foreign.read(entry.id).is_none());
    let old = |entry: &DiskEntry, age: u64| {
        let file = fs::File::open(root.path().join(&entry.name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
    };
    for (entry, age) in saved.iter().zip([300, 200, 100]) {
        old(entry, age);
    }
    store.disk.touch(saved[0].id);
    store.save(&snapshot(4, 10, 10_000));
    let ids: Vec<u64> = store.disk.entries().iter().map(|entry| entry.id).collect();
    assert!(ids.contains(&saved[0].id) && !ids.contains(&saved[1].id), "{ids:?}");
    assert_eq!(names(root.path()).len(), 3);
    // A smaller bound holds from the next start on.
    store.close();
    let store = Store::open(&DiskParams { max_bytes: three / 2, ..params(root.path()) });
    assert_eq!(store.disk.entries().len(), 1);
}

#[test]
fn what_the_bounds_do_not_allow_is_refused_and_counted() {
    let root = tempfile::tempdir().unwrap();
    let bytes = format::file_bytes(&snapshot(1, 10, 10_000));
    let save = |store: &Store, n| store.disk.save(Arc::new(snapshot(n, 10, 10_000)));
    for refuses in [
        DiskParams { max_bytes: bytes - 1, ..params(root.path()) },
        DiskParams { write_bytes_per_hour: bytes - 1, ..params(root.path()) },
        // As on a full disk.
        DiskParams { min_free_bytes: u64::MAX, ..params(root.path()) },
    ] {
        let store = Store::open(&refuses);
        assert!(!save(&store, 1), "{refuses:?}");
        assert_eq!(store.disk.refused(), 1);
        store.close();
        assert!(names(root.path()).is_empty());
    }
    let store = Store::open(&DiskParams { write_bytes_per_hour: bytes, ..params(root.path()) });
    let entry = store.save(&snapshot(1, 10, 10_000));
    assert!(!save(&store, 2), "the hour's bytes are used up");
    assert!(store.read(entry.id).is_some(), "what is there is read");
}

#[test]
fn a_queue_that_is_full_refuses_and_the_end_waits_for_it_until_its_deadline() {
    let root = tempfile::tempdir().unwrap();
    let params = DiskParams { write_bytes_per_hour: u64::MAX, ..params(root.path()) };
    let store = Store::open(&params);
    let taken =
        (1..=2000_u64).take_while(|n| store.disk.save(Arc::new(snapshot(*n, 10, 20_000)))).count();
    assert!(taken < 2000, "a bound on what waits");
    assert_eq!(store.disk.refused(), 0);
    let deadline = Instant::now() + Duration::from_secs(60);
    assert!(store.disk.save_waiting(Arc::new(snapshot(5000, 10, 20_000)), deadline));
    let written = store.close().into_iter().filter(|e| matches!(e, DiskEvent::Written(_))).count();
    assert_eq!(written, taken + 1);

    let store = Store::open(&params);
    store.disk.save(Arc::new(snapshot(6000, 10, 50_000_000)));
    store.disk.close(Instant::now());
    assert!(names(root.path()).iter().all(|name| name.ends_with(".prompt")));
    let (sender, _events) = mpsc::channel();
    let store = Disk::open(&params, move |event| drop(sender.send(event))).unwrap();
    assert_eq!(store.entries().len(), taken + 1);
}

#[test]
fn two_servers_write_into_one_directory_and_no_file_is_torn() {
    let root = tempfile::tempdir().unwrap();
    let small = DiskParams { max_bytes: 500_000, ..params(root.path()) };
    let work = |store: Store| {
        for n in 0..60 {
            let saved = snapshot(n % 20 + 1, 50, 20_000);
            let entry = store.save(&saved);
            if let Some(read) = store.read(entry.id) {
                assert_eq!(*read, saved);
            }
        }
        store.close()
    };
    let stores = [Store::open(&small), Store::open(&small)];
    let threads = stores.map(|store| thread::spawn(move || work(store)));
    for thread in threads {
        let rejected =
            |event: &DiskEvent| matches!(event, DiskEvent::Removed { rejected: true, .. });
        assert!(!thread.join().unwrap().iter().any(rejected));
    }
    let store = Store::open(&small);
    let entries = store.disk.entries();
    assert!((1..=25).contains(&entries.len()), "{}", entries.len());
    assert!(entries.iter().all(|entry| store.read(entry.id).is_some()));
}

#[test]
fn a_directory_that_cannot_be_made_is_an_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(Disk::open(&params(&file.path().join("prompts")), |_| ()).is_err());
}

#[test]
fn a_directory_that_others_may_write_to_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let chmod = |mode| fs::set_permissions(root.path(), fs::Permissions::from_mode(mode)).unwrap();
    for (mode, is_taken) in [(0o770, false), (0o777, false), (0o755, true), (0o700, true)] {
        chmod(mode);
        assert_eq!(Disk::open(&params(root.path()), |_| ()).is_ok(), is_taken, "{mode:o}");
    }
}

fn file_of(snapshot: &Snapshot) -> Vec<u8> {
    let mut bytes = Vec::new();
    let header = format::encode_header(&KEY, snapshot).unwrap();
    format::write(&mut bytes, &header, snapshot, |_| Ok(true)).unwrap();
    assert_eq!(bytes.len() as u64, format::file_bytes(snapshot));
    bytes
}

proptest! {
    #[test]
    fn any_snapshot_survives_the_way_through_a_file(
        tokens in prop::collection::vec(any::<Token>(), 0..300),
        state in prop::collection::vec(any::<u8>(), 0..5000),
        lengths in prop::collection::vec(0..2000_usize, 0..5),
        top in prop::collection::vec((any::<Token>(), -1e9_f32..1e9), 0..40),
        named: bool,
    ) {
        let end = tokens.len();
        let checkpoint = |(i, n): (usize, &usize)| {
            Checkpoint { position: i.min(end), state: Arc::new(vec![i as u8; *n]) }
        };
        let saved = Snapshot {
            conversation: ConversationId { id: 1, named, parent: 2, owner: 3 },
            anchor: end,
            state,
            checkpoints: lengths.iter().enumerate().take(end).map(checkpoint).collect(),
            proof: Proof { token: 1, top },
            tokens,
        };
        let bytes = file_of(&saved);
        let (read, key) = format::read(&mut bytes.as_slice(), bytes.len() as u64).unwrap();
        prop_assert_eq!((read, key), (saved, KEY));
    }

    #[test]
    fn no_changed_or_cut_file_gives_a_snapshot(at: prop::sample::Index, bit in 0..8_u8, cut: bool) {
        let mut bytes = file_of(&snapshot(1, 40, 700));
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] ^= 1 << bit }
        prop_assert!(format::read(&mut bytes.as_slice(), bytes.len() as u64).is_err());
        // Nor one whose length is told wrongly.
        let longer = bytes.len() as u64 + 1;
        prop_assert!(format::read(&mut bytes.as_slice(), longer).is_err());
    }

    #[test]
    fn numbers_that_a_right_checksum_covers_take_no_memory_that_the_file_has_not(
        at in 52..113_usize,
        value: [u8; 4],
    ) {
        let saved = snapshot(1, 40, 700);
        let mut header = format::encode_header(&KEY, &saved).unwrap();
        let end = header.len() - 16;
        header[at..at + 4].copy_from_slice(&value);
        let checksum = twox_hash::XxHash3_128::oneshot(&header[..end]).to_le_bytes();
        header[end..].copy_from_slice(&checksum);
        let mut bytes = header;
        bytes.extend(&file_of(&saved)[end + 16..]);
        // Whatever it says, it is read without a panic, and what is read is no longer than the file.
        if let Ok((read, _)) = format::read(&mut bytes.as_slice(), bytes.len() as u64) {
            prop_assert!(read.state.len() <= bytes.len());
        }
    }
}
