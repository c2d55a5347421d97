//! Lines on stderr. Those of the log are written by a thread of their own: a full disk and a closed
//! or stuck pipe are the log's trouble, not that of the requests.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use super::journal;
use super::queue::Queue;

/// Lines that wait to be written at most.
const MAX_LINES: usize = 1024;

static LINES: OnceLock<Queue<Vec<u8>>> = OnceLock::new();
/// Lines are JSON objects.
static JSON: AtomicBool = AtomicBool::new(false);

/// Where the log's lines go, once [`start`] has been called. A line is one write.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match LINES.get() {
            Some(lines) => lines.push(line.to_vec()),
            None => io::stderr().write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// From now on a thread writes the lines.
pub(super) fn start() -> io::Result<()> {
    // Not through the standard library's stderr, whose lock a stuck write would hold: a panic
    // must not wait for it.
    let mut stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let write = move |line: Vec<u8>, dropped| {
        if dropped > 0 {
            let note = format!("({dropped} log lines before this one could not be written)");
            // Here and below: what cannot be written is lost.
            let _ = stderr.write_all(shown("WARN", &note).as_bytes());
        }
        let _ = stderr.write_all(&line);
    };
    // A second log is refused where it is set up.
    let _ = LINES.set(Queue::new("log", MAX_LINES, write)?);
    Ok(())
}

/// Waits until the lines are written, at most this long.
pub(super) fn flush(timeout: Duration) {
    if let Some(lines) = LINES.get() {
        lines.flush(timeout);
    }
}

/// From now on all lines are JSON objects.
pub(super) fn use_json() {
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
    // The exit code says that something went wrong, if nothing else can.
    let _ = Stderr.write_all(format!("{priority}{text}").as_bytes());
}
