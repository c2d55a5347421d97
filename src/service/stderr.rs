//! Log lines on stderr that neither end the server nor hold it up.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// How long a reader that is behind is waited for, once; until it reads again, lines are dropped.
const PATIENCE: Duration = Duration::from_millis(100);
/// A pipe that is ready takes this much without blocking (POSIX's PIPE_BUF on Linux).
const PIPE_BUF: usize = 4096;

/// Lines that could not be written since the last one that was.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Writes whole lines, or drops them: a full disk and a closed or stuck pipe are the log's
/// trouble, not that of the requests whose threads write it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut stderr = io::stderr().lock();
        let lost = LOST.load(Ordering::Relaxed);
        let patience = if lost == 0 { PATIENCE } else { Duration::ZERO };
        let note = match lost {
            0 => String::new(),
            n => format!("({n} log lines before this one could not be written)\n"),
        };
        let written = [note.as_bytes(), line]
            .into_iter()
            .flat_map(|text| text.chunks(PIPE_BUF))
            .all(|part| takes_more(patience) && stderr.write_all(part).is_ok());
        LOST.store(if written { 0 } else { lost + 1 }, Ordering::Relaxed);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a write now would return at once, or does within `patience`.
fn takes_more(patience: Duration) -> bool {
    let stderr = rustix::stdio::stderr();
    let timeout = Timespec::try_from(patience).ok();
    loop {
        match poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], timeout.as_ref()) {
            Ok(ready) => return ready > 0,
            Err(Errno::INTR) => {}
            // What cannot be polled is asked by writing.
            Err(_) => return true,
        }
    }
}

/// Says the last word of a command, whatever becomes of it.
pub(crate) fn say(message: &str) {
    // `Stderr` does not fail.
    let _ = Stderr.write(format!("strixhalo: {message}\n").as_bytes());
}
