//! This boot's log of the kernel and of the service, bounded in lines and in time.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use crate::host::doctor::tree::Tree;

/// Most lines of each log, the latest ones.
const MAX_LINES: &str = "3000";
/// Most bytes of each log.
const MAX_BYTES: u64 = 2 << 20;
/// Time in which both logs have to be there.
const TIMEOUT: Duration = Duration::from_millis(180);

/// The lines of a log, or why they are not there.
pub(in crate::host::doctor) type Lines = Result<Vec<String>, &'static str>;

/// Both logs.
#[derive(Debug)]
pub(in crate::host::doctor) struct Journal {
    /// What the kernel said.
    pub(in crate::host::doctor) kernel: Lines,
    /// What the service said.
    pub(in crate::host::doctor) service: Lines,
}

/// What shows the kernel's log.
pub(in crate::host::doctor) const KERNEL_COMMAND: &str = "journalctl -b -k";
/// What shows the service's log.
pub(in crate::host::doctor) const SERVICE_COMMAND: &str = "journalctl -b -u strixhalo";

const DENIED: &str = "this user may not read the journal, or it has no entries";
const LATE: &str = "the journal did not answer in time";
const NOT_RECORDED: &str = "the recorded tree has no such log";

/// The logs while they are being read.
#[derive(Debug)]
pub(super) struct Reading {
    kernel: Receiver<Lines>,
    service: Receiver<Lines>,
    until: Instant,
}

/// Begins to read. A recorded tree has the logs in `recorded/`.
pub(super) fn begin(tree: &Tree, namespace: Option<&str>) -> Reading {
    if !tree.is_live() {
        let recorded = |name: &str| {
            let text = tree.text(&format!("recorded/{name}"));
            now(text.map(|text| lines(&text)).ok_or(NOT_RECORDED))
        };
        return Reading {
            kernel: recorded("kernel.log"),
            service: recorded("service.log"),
            until: Instant::now() + TIMEOUT,
        };
    }
    let namespace = namespace.map(|name| format!("--namespace={name}"));
    let mut service = vec!["-u", "strixhalo.service", "-o", "cat"];
    service.extend(namespace.as_deref());
    Reading {
        kernel: ask(&["-k", "-o", "short-monotonic"], true),
        service: ask(&service, false),
        until: Instant::now() + TIMEOUT,
    }
}

impl Reading {
    /// Waits until both logs are there or their time is over.
    pub(super) fn finish(self) -> Journal {
        let wait = |lines: &Receiver<Lines>| {
            let left = self.until.saturating_duration_since(Instant::now());
            lines.recv_timeout(left).unwrap_or(Err(LATE))
        };
        Journal { kernel: wait(&self.kernel), service: wait(&self.service) }
    }
}

fn now(lines: Lines) -> Receiver<Lines> {
    let (sender, receiver) = mpsc::channel();
    // The receiver is right here.
    let _ = sender.send(lines);
    receiver
}

/// Runs journalctl for this boot. It is killed when its time is over, by the thread that reads it.
fn ask(arguments: &[&str], is_kernel: bool) -> Receiver<Lines> {
    let child = Command::new("journalctl")
        .args(["-b", "--no-pager", "-q", "-n", MAX_LINES])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else {
        let missing = Err("there is no journalctl here");
        return now(if is_kernel { kmsg() } else { missing });
    };
    let (sender, receiver) = mpsc::channel();
    let output = child.stdout.take();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = output.map(|output| output.take(MAX_BYTES).read_to_end(&mut bytes));
        let found = lines(&String::from_utf8_lossy(&bytes));
        let is_there = matches!(read, Some(Ok(_))) && !found.is_empty();
        // Whoever asked may have gone.
        let _ = sender.send(if is_there { Ok(found) } else { Err(DENIED) });
    });
    std::thread::spawn(move || {
        let until = Instant::now() + TIMEOUT;
        while Instant::now() < until {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // It ends, or it is out of our reach.
        let _ = child.kill();
        let _ = child.wait();
    });
    receiver
}

/// The kernel's own ring, where there is no journal. Each read is one record.
fn kmsg() -> Lines {
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let Ok(mut ring) = OpenOptions::new().read(true).custom_flags(nonblocking).open("/dev/kmsg")
    else {
        return Err("there is no journalctl, and /dev/kmsg may not be read");
    };
    let mut found = Vec::new();
    let mut record = [0; 8192];
    while let Ok(n) = ring.read(&mut record) {
        let text = String::from_utf8_lossy(&record[..n]);
        let Some((_, message)) = text.split_once(';').filter(|_| found.len() < 20_000) else {
            break;
        };
        found.extend(message.lines().next().map(str::to_owned));
    }
    if found.is_empty() { Err(DENIED) } else { Ok(found) }
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::trim_end).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}
