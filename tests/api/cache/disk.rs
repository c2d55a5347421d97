//! Conversations outlive the server, and nothing that lies on the disk makes an answer another.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Answer, TWO_SLOTS, ask, assert_as_cold, assert_cached, cold, conversation, extend};
use super::{hybrid, kinds};
use crate::harness::{Server, send};

/// A directory for files of the cache, and the model and settings of the servers that use it.
struct Disk {
    dir: TempDir,
    flags: Vec<String>,
}

impl Disk {
    fn new(model: &[String], more: &[&str]) -> Self {
        let words = model.iter().map(String::as_str).chain(TWO_SLOTS).chain(more.iter().copied());
        Self { dir: TempDir::new().unwrap(), flags: words.map(str::to_owned).collect() }
    }

    /// The same files and other settings.
    fn with(&self, flags: Vec<String>) -> Self {
        let dir = TempDir::new().unwrap();
        for file in self.files() {
            let copy = dir.path().join(file.strip_prefix(self.dir.path()).unwrap());
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::copy(file, copy).unwrap();
        }
        Self { dir, flags }
    }

    /// A copy with the same settings.
    fn copy(&self) -> Self {
        self.with(self.flags.clone())
    }

    fn server(&self) -> Server {
        let dir = self.dir.path().to_str().unwrap();
        let mut flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        flags.extend(["--cache-disk", dir, "--cache-disk-min-free", "0"]);
        Server::start(&flags)
    }

    fn cold(&self) -> Server {
        cold(&self.flags.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// All files, at whatever depth, in the order of their names.
    fn files(&self) -> Vec<PathBuf> {
        let (mut files, mut folders) = (Vec::new(), vec![self.dir.path().to_owned()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { files.push(path) }
            }
        }
        files.sort();
        files
    }
}

/// Holds `count` conversations and ends properly. Returns what was asked.
fn fill(disk: &Disk, count: u32) -> Vec<Vec<Value>> {
    let server = disk.server();
    let all: Vec<Vec<Value>> = (1..=count).map(|number| conversation(number, 100)).collect();
    for messages in &all {
        ask(&server, messages);
    }
    assert_eq!(server.terminate().code(), Some(0));
    assert!(!disk.files().is_empty(), "a drain writes what is held");
    all
}

/// The next turn of a conversation.
fn next_turn(messages: &[Value], number: u32) -> Vec<Value> {
    let mut messages = messages.to_vec();
    extend(&mut messages, number);
    messages
}

/// Waits until `condition` holds; panics after some seconds.
fn wait(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..600 {
        if condition() {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("{what}");
}

/// Waits until no file grows any more.
fn wait_until_written(disk: &Disk) {
    let sizes = || -> Vec<u64> {
        disk.files().iter().filter_map(|file| Some(fs::metadata(file).ok()?.len())).collect()
    };
    wait("a file is still being written", || {
        let before = sizes();
        thread::sleep(Duration::from_millis(500));
        before == sizes()
    });
}

#[test]
fn conversations_go_on_after_a_restart() {
    for (kind, model) in kinds() {
        let disk = Disk::new(&model, &[]);
        let all = fill(&disk, 3);
        let (server, cold) = (disk.server(), disk.cold());
        for (number, messages) in (1..).zip(&all) {
            let next = next_turn(messages, number);
            let answer = ask(&server, &next);
            assert_cached(&server, &next, messages.len(), &answer, kind);
            assert_as_cold(&cold, &next, &answer, kind);
        }
    }
}

#[test]
fn a_conversation_goes_on_after_a_crash_of_an_idle_server() {
    for (kind, model) in kinds() {
        let disk = Disk::new(&model, &[]);
        let mut messages = conversation(1, 100);
        for turn in 0..3 {
            let server = disk.server();
            let unchanged = messages.len();
            if turn > 0 {
                extend(&mut messages, 1);
            }
            let before = disk.files();
            let answer = ask(&server, &messages);
            if turn > 0 {
                assert_cached(&server, &messages, unchanged, &answer, kind);
            }
            assert_as_cold(&disk.cold(), &messages, &answer, kind);
            wait("an idle server writes what it holds", || disk.files() != before);
            wait_until_written(&disk);
            drop(server);
        }
    }
}

#[test]
fn what_was_read_of_a_prompt_that_was_left_outlives_the_server() {
    for (kind, model) in kinds() {
        let disk = Disk::new(&model, &[]);
        let server = disk.server();
        // The client leaves before its last message is read.
        let messages = conversation(1, 500);
        let stream = send(&server, json!({"messages": messages, "stream": true}));
        server.wait_for_busy_slots(1);
        drop(stream);
        server.wait_for_busy_slots(0);
        assert_eq!(server.terminate().code(), Some(0));
        let written = disk.files();
        let (server, cold) = (disk.server(), disk.cold());
        assert_as_cold(&cold, &messages, &ask(&server, &messages), kind);
        let rejected = server.metric("strixhalo_cache_files_rejected_total");
        assert_eq!(rejected, 0.0, "{kind}: of {written:?}");
    }
}

#[test]
fn files_are_for_their_owner_alone() {
    let disk = Disk::new(&[], &[]);
    fill(&disk, 2);
    for file in disk.files() {
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
}

/// Answers the next turns from spoiled files. They must be those of a cold server, and the files
/// must be gone.
fn assert_harmless(disk: &Disk, cold: &Server, all: &[Vec<Value>], what: &str) -> Vec<Answer> {
    let spoiled: Vec<(PathBuf, Vec<u8>)> =
        disk.files().into_iter().map(|file| (file.clone(), fs::read(file).unwrap())).collect();
    let server = disk.server();
    let mut answers = Vec::new();
    for (number, messages) in (1..).zip(all) {
        let next = next_turn(messages, number);
        let answer = ask(&server, &next);
        assert_as_cold(cold, &next, &answer, what);
        answers.push(answer);
    }
    wait(&format!("{what}: a spoiled file is still there"), || {
        spoiled.iter().all(|(path, bytes)| fs::read(path).map_or(true, |now| now != *bytes))
    });
    answers
}

fn rewrite(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[test]
fn damaged_and_cut_files_are_removed_and_change_no_answer() {
    for (kind, model) in kinds() {
        let disk = Disk::new(&model, &[]);
        let all = fill(&disk, 1);
        let cold = disk.cold();
        for place in [0.0, 0.001, 0.01, 0.1, 0.5, 0.9, 1.0] {
            let copy = disk.copy();
            for file in copy.files() {
                rewrite(&file, |bytes| {
                    let at = (place * (bytes.len() - 1) as f64) as usize;
                    bytes[at] ^= 0x10;
                });
            }
            let what = format!("{kind}, a bit flipped at {place}");
            let answers = assert_harmless(&copy, &cold, &all, &what);
            assert_eq!(answers[0].cached_tokens, 0, "{what}");
        }
        for (left, what) in [(0.0, "empty"), (0.1, "a tenth"), (0.999, "all but the end")] {
            let copy = disk.copy();
            for file in copy.files() {
                rewrite(&file, |bytes| bytes.truncate((left * bytes.len() as f64) as usize));
            }
            let answers = assert_harmless(&copy, &cold, &all, &format!("{kind}, {what}"));
            assert_eq!(answers[0].cached_tokens, 0, "{kind}, {what}");
        }
    }
}

#[test]
fn files_under_each_others_names_change_no_answer() {
    for (kind, model) in kinds() {
        let disk = Disk::new(&model, &[]);
        let all = fill(&disk, 3);
        let files = disk.files();
        let contents: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
        for (place, file) in files.iter().enumerate() {
            fs::write(file, &contents[(place + 1) % contents.len()]).unwrap();
        }
        let (server, cold) = (disk.server(), disk.cold());
        for (number, messages) in (1..).zip(&all) {
            let next = next_turn(messages, number);
            assert_as_cold(&cold, &next, &ask(&server, &next), kind);
        }
    }
}

#[test]
fn halves_of_two_files_put_together_change_no_answer() {
    for (kind, model) in kinds() {
        let disk = Disk::new(&model, &[]);
        let all = fill(&disk, 2);
        let files = disk.files();
        let last = fs::read(files.last().unwrap()).unwrap();
        rewrite(&files[0], |bytes| {
            let half = bytes.len().min(last.len()) / 2;
            bytes.truncate(half);
            bytes.extend(&last[half..]);
        });
        let (server, cold) = (disk.server(), disk.cold());
        for (number, messages) in (1..).zip(&all) {
            let next = next_turn(messages, number);
            assert_as_cold(&cold, &next, &ask(&server, &next), kind);
        }
    }
}

#[test]
fn a_foreign_file_is_not_read_and_a_file_of_the_caches_name_is_removed() {
    let disk = Disk::new(&[], &[]);
    let all = fill(&disk, 1);
    let cold = disk.cold();
    for bytes in [b"not a state".to_vec(), vec![0; 1 << 16], vec![0xff; 1 << 16]] {
        let copy = disk.copy();
        for file in copy.files() {
            fs::write(file, &bytes).unwrap();
        }
        let answers = assert_harmless(&copy, &cold, &all, "a foreign file");
        assert_eq!(answers[0].cached_tokens, 0);
    }
    // Whoever shares the directory keeps what is theirs.
    let notes = disk.dir.path().join("notes.txt");
    fs::write(&notes, "mine").unwrap();
    let next = next_turn(&all[0], 1);
    assert_as_cold(&cold, &next, &ask(&disk.server(), &next), "beside a foreign file");
    assert_eq!(fs::read(&notes).unwrap(), b"mine");
}

/// A copy of a model with other weights: bits of the last quarter, which holds nothing but weights.
fn of_the_same_shape(path: &str) -> tempfile::NamedTempFile {
    let mut bytes = fs::read(path).unwrap();
    let weights = bytes.len() / 4 * 3;
    bytes[weights..].iter_mut().for_each(|byte| *byte ^= 1);
    let file = tempfile::Builder::new().suffix(".gguf").tempfile().unwrap();
    fs::write(file.path(), bytes).unwrap();
    file
}

#[test]
fn a_model_of_the_same_shape_gets_nothing_of_anothers_files() {
    let disk = Disk::new(&["--model".to_owned(), hybrid()], &[]);
    let all = fill(&disk, 2);
    let other = of_the_same_shape(&hybrid());
    let mut flags = disk.flags.clone();
    flags[1] = other.path().to_str().unwrap().to_owned();
    let other = disk.with(flags);
    let (server, cold) = (other.server(), other.cold());
    for (number, messages) in (1..).zip(&all) {
        let next = next_turn(messages, number);
        let answer = ask(&server, &next);
        // The two share what the templates of both begin with, not a message.
        assert_eq!(answer.cached_tokens, 0, "conversation {number}");
        assert_as_cold(&cold, &next, &answer, "another model");
    }
}

#[test]
fn another_type_of_the_cache_gets_nothing_of_these_files() {
    let types = |kv: &str| ["--cache-type-k".to_owned(), kv.to_owned()];
    let disk = Disk::new(&types("f16"), &[]);
    let all = fill(&disk, 1);
    let other = disk.with(Disk::new(&types("q8_0"), &[]).flags);
    let (server, cold) = (other.server(), other.cold());
    let next = next_turn(&all[0], 1);
    let answer = ask(&server, &next);
    assert_eq!(answer.cached_tokens, 0);
    assert_as_cold(&cold, &next, &answer, "another type");
    // The other way round as well: the first's files are still right for the first.
    let answer = ask(&disk.server(), &next);
    assert_cached(&disk.server(), &next, all[0].len(), &answer, "the first type again");
}
