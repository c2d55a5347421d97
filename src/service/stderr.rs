//! Log lines on stderr that neither end the server nor hold it up.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use serde_json::json;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use super::journal;

/// How long a reader that is behind is waited for, once; until it reads again, lines are dropped.
const PATIENCE: Duration = Duration::from_millis(100);
/// A pipe that is ready takes this much without blocking (POSIX's PIPE_BUF on Linux).
const PIPE_BUF: usize = 4096;
/// A terminal that is ready may yet take nothing.
const NEXT_TRY: Duration = Duration::from_millis(1);

/// Whoever writes holds this one: the standard library's own lock may be held by somebody who waits
/// for the reader.
static WRITING: Mutex<()> = Mutex::new(());
/// Lines that could not be written since the last one that was.
static LOST: AtomicU64 = AtomicU64::new(0);
/// The last line was written in part.
pub(super) static BROKEN: AtomicBool = AtomicBool::new(false);
/// Lines are JSON objects.
static JSON: AtomicBool = AtomicBool::new(false);
/// A progress bar may stand in the terminal's last line.
pub(super) static BAR: AtomicBool = AtomicBool::new(false);
/// To the beginning of the line, and nothing in it.
pub(super) const CLEAR_LINE: &str = "\r\x1b[2K";

/// A terminal that is ready may take one byte only, and then holds up whoever writes more. This
/// way to it does not; stderr itself is shared with the shell, which would not expect that of it.
static TERMINAL: LazyLock<Option<File>> = LazyLock::new(|| {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(flags.bits().cast_signed());
    // Another user's terminal cannot be opened.
    io::stderr().is_terminal().then(|| options.open("/proc/self/fd/2").ok()).flatten()
});

/// Bytes that whoever is ready takes for certain: a terminal that could not be opened, one.
static MOST: LazyLock<usize> =
    LazyLock::new(|| if TERMINAL.is_none() && io::stderr().is_terminal() { 1 } else { PIPE_BUF });

/// Writes whole lines, or drops them: a full disk and a closed or stuck pipe are the log's
/// trouble, not that of the requests whose threads write it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let _writing = writing();
        let lost = LOST.load(Ordering::Relaxed);
        let mut text = Vec::new();
        if BROKEN.load(Ordering::Relaxed) {
            text.push(b'\n');
        }
        if BAR.load(Ordering::Relaxed) {
            text.extend(CLEAR_LINE.as_bytes());
        }
        if lost > 0 {
            text.extend(shown("WARN", &note(lost)).into_bytes());
        }
        let first = text.len();
        text.extend(line);
        let patience = if lost == 0 { PATIENCE } else { Duration::ZERO };
        let written = write_in_time(&text, patience);
        let lost = match written {
            all if all == text.len() => 0,
            // Those before it have been told.
            some if some >= first => 1,
            _ => lost + 1,
        };
        LOST.store(lost, Ordering::Relaxed);
        if written > 0 {
            BROKEN.store(text.get(written - 1) != Some(&b'\n'), Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn writing() -> MutexGuard<'static, ()> {
    WRITING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn note(lost: u64) -> String {
    format!("({lost} log lines before this one could not be written)")
}

/// How much of `text` could be written within `patience`.
pub(super) fn write_in_time(text: &[u8], patience: Duration) -> usize {
    let to = TERMINAL.as_ref().map_or(rustix::stdio::stderr(), |terminal| terminal.as_fd());
    let deadline = Instant::now() + patience;
    let mut written = 0;
    while written < text.len() && takes_more(deadline) {
        let end = text.len().min(written + *MOST);
        match rustix::io::write(to, &text[written..end]) {
            Ok(0) => break,
            Ok(n) => written += n,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if Instant::now() < deadline => thread::sleep(NEXT_TRY),
            Err(_) => break,
        }
    }
    written
}

/// Whether stderr takes something now, or does before the deadline.
fn takes_more(deadline: Instant) -> bool {
    let stderr = rustix::stdio::stderr();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).ok();
        match poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], timeout.as_ref()) {
            Ok(ready) => return ready > 0,
            Err(Errno::INTR) => {}
            // What cannot be polled is asked by writing.
            Err(_) => return true,
        }
    }
}

/// From now on all that is said is a JSON object per line.
pub(super) fn speak_json() {
    JSON.store(true, Ordering::Relaxed);
}

/// A line outside the log, in the log's format.
fn shown(level: &str, message: &str) -> String {
    if !JSON.load(Ordering::Relaxed) {
        return format!("{message}\n");
    }
    let mut timestamp = String::new();
    // Writing to a string does not fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut timestamp));
    format!("{}\n", json!({"timestamp": timestamp, "level": level, "message": message}))
}

/// Says the last word of a command, whatever becomes of it.
pub(crate) fn say(message: &str) {
    say_as("<3>", "ERROR", message);
}

/// Says what a command warns of.
pub(crate) fn warn(message: &str) {
    say_as("<4>", "WARN", &format!("warning: {message}"));
}

/// The journal takes what begins a line for its `priority`.
fn say_as(priority: &str, level: &str, message: &str) {
    let priority = if journal::is_stderr() { priority } else { "" };
    let text = shown(level, &format!("strixhalo: {message}"));
    // `Stderr` does not fail.
    let _ = Stderr.write(format!("{priority}{text}").as_bytes());
}
