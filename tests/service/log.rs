//! Where the log goes, and what happens where it cannot go.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;

use rustix::fs::OFlags;
use rustix::process::{Resource, Signal};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;

use crate::harness::{Start, chat, get, listener};

/// Requests whose log, a line each, fills a pipe and the queue before it.
const MORE_THAN_WAITS: usize = 1500;

#[test]
fn a_full_disk_under_the_log_stops_nothing() {
    let (socket, base) = listener();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut service = Start::with(&["--log-level", "debug"]).pass(socket).stderr(full).spawn();
    chat(&base);
    service.signal(Signal::TERM);
    assert_eq!(service.wait().code(), Some(0));
}

#[test]
fn a_start_that_fails_ends_with_its_code_though_nobody_can_read_why() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut service = Start::with(&["--model", "/nowhere.gguf"]).stderr(full).spawn();
    assert_eq!(service.wait().code(), Some(66));
}

#[test]
fn a_reader_of_the_log_that_is_stuck_or_gone_holds_no_request_up() {
    let (socket, base) = listener();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let flags = ["--log-level", "trace"];
    let mut service = Start::with(&flags).pass(socket).stderr(writer).spawn();
    for _ in 0..MORE_THAN_WAITS {
        get(&format!("{base}/v1/models"));
    }
    chat(&base);
    let (mut some, mut text) = (vec![0; 64 << 10], String::new());
    while !text.contains("could not be written)") {
        let n = reader.read(&mut some).unwrap();
        assert_ne!(n, 0, "the log ended");
        text += &String::from_utf8_lossy(&some[..n]);
        get(&format!("{base}/v1/models"));
    }
    drop(reader);
    chat(&base);
    service.signal(Signal::TERM);
    assert_eq!(service.wait().code(), Some(0));
}

/// A terminal, and what opens its other end.
fn terminal() -> (OwnedFd, impl Fn(OFlags) -> File) {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
    let open = move |flags: OFlags| {
        let flags = (flags | OFlags::NOCTTY).bits().cast_signed();
        File::options().write(true).custom_flags(flags).open(&name).unwrap()
    };
    (terminal, open)
}

#[test]
fn a_terminal_that_nobody_reads_holds_no_request_up() {
    let (socket, base) = listener();
    let (_terminal, open) = terminal();
    let words = ["--log-level", "trace", "TERM=xterm"];
    let mut service = Start::with(&words).pass(socket).stderr(open(OFlags::empty())).spawn();
    for _ in 0..MORE_THAN_WAITS {
        get(&format!("{base}/v1/models"));
    }
    chat(&base);
    service.signal(Signal::TERM);
    assert_eq!(service.wait().code(), Some(0));
}

#[test]
fn a_terminal_that_takes_nothing_holds_no_start_up() {
    let (socket, base) = listener();
    let (_terminal, open) = terminal();
    let mut full = open(OFlags::NONBLOCK);
    while full.write(&[b'x'; 64]).is_ok() {}
    let stderr = open(OFlags::empty());
    let mut service = Start::with(&["TERM=xterm"]).pass(socket).stderr(stderr).spawn();
    chat(&base);
    service.signal(Signal::TERM);
    assert_eq!(service.wait().code(), Some(0));
}

#[test]
fn what_json_lines_lack_is_told_as_one_of_them() {
    let (socket, base) = listener();
    let (reader, writer) = std::io::pipe().unwrap();
    // Of a single page: a note alone would fill it.
    rustix::pipe::fcntl_setpipe_size(&writer, 4096).unwrap();
    let flags = ["--log-level", "trace", "--log-format", "json"];
    let _service = Start::with(&flags).pass(socket).stderr(writer).spawn();
    for _ in 0..MORE_THAN_WAITS {
        get(&format!("{base}/v1/models"));
    }
    let mut told = false;
    for line in BufReader::new(reader).lines() {
        let line: Value = serde_json::from_str(&line.unwrap()).expect("JSON");
        let message = line["message"].as_str().unwrap();
        if told && !message.contains("could not be written)") {
            break;
        }
        told |= message.contains("could not be written)") && line["level"] == "WARN";
        get(&format!("{base}/v1/models"));
    }
    assert!(told);
}

#[test]
fn a_log_file_at_its_size_limit_stops_nothing() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let (socket, base) = listener();
    let mut service =
        Start::with(&["--log-level", "debug"]).pass(socket).stderr(file.reopen().unwrap()).spawn();
    // What listens is ready before the process is.
    chat(&base);
    service.limit(Resource::Fsize, 1000);
    chat(&base);
    chat(&base);
    service.signal(Signal::TERM);
    assert_eq!(service.wait().code(), Some(0));
}

#[test]
fn no_level_logs_prompts_keys_or_headers() {
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), "key-0451\n").unwrap();
    let path = keys.path().to_str().unwrap();
    let flags = ["--port", "0", "--log-level", "trace", "--api-key-file", path];
    let service = Start::with(&flags).spawn();
    let url = format!("{}/v1/chat/completions", service.base());
    let ask = |key: &str| {
        let body = r#"{"messages": [{"role": "user", "content": "word-0452"}], "max_tokens": 4}"#;
        let response = crate::harness::agent()
            .post(&url)
            .header("authorization", format!("Bearer {key}"))
            .header("cookie", "cookie-0453")
            .send(body)
            .unwrap();
        response.status().as_u16()
    };
    assert_eq!((ask("key-0451"), ask("key-0454")), (200, 401));
    service.wait_for_logs("POST /v1/chat/completions", 2);
    let log = service.log();
    for secret in ["0451", "0452", "0453", "0454"] {
        assert!(!log.contains(&format!("-{secret}")), "{secret} in {log}");
    }
}

#[test]
fn json_lines_are_written_when_asked_though_systemd_took_the_log() {
    let stream = "JOURNAL_STREAM=1:1";
    let service = Start::with(&["--port", "0", "--log-format", "json", stream]).spawn();
    service.wait_for_log("is ready after");
    for line in service.log().lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        assert!(line["message"].is_string() && line["level"].is_string(), "{line}");
    }
}

#[test]
fn the_doctor_reads_size_and_time_of_a_load_from_the_log() {
    let service = Start::with(&["--port", "0"]).spawn();
    let line = service.wait_for_log("is ready after");
    let (gigabytes, seconds) = strixhalo::host::doctor::last_load(&line).expect(&line);
    assert!(gigabytes < 1.0 && seconds < 600.0, "{line}");
}

#[test]
fn the_start_says_where_states_are_kept_which_is_in_the_cache_directory_that_systemd_names() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let systemd = format!("CACHE_DIRECTORY={path}");
    let service = Start::with(&["--port", "0", &systemd]).spawn();
    service.wait_for_log(&format!("up to 32.0 GiB in {path}/prompts"));
    let off = Start::with(&["--port", "0", "--cache-disk-size", "0", &systemd]).spawn();
    off.wait_for_log("none on disk (the disk cache is off)");
    let without = Start::with(&["--port", "0"]).spawn();
    without.wait_for_log("none on disk (the disk cache is off)");
}

#[test]
fn a_journal_that_cannot_be_reached_is_a_warning_and_lines_on_stderr() {
    if std::path::Path::new("/run/systemd/journal/socket").exists() {
        eprintln!("not tested: this machine has a journal");
        return;
    }
    let service = Start::with(&["--port", "0", "--log-format", "journald"]).spawn();
    let line = service.wait_for_log("the journal cannot be reached: ");
    assert!(line.contains("WARN"), "{line}");
    chat(&service.base());
}

/// Plays journald for one server, in its own namespace: binds journald's socket, connects the
/// server's stderr to "the journal" and reads until it is ready. What follows asks something of it.
const JOURNAL: &str = r#"
import json, os, signal, socket, struct, subprocess, sys, urllib.request
os.makedirs("/run/systemd/journal")
journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
journal.bind("/run/systemd/journal/socket")
journal.settimeout(60)

def entry():
    data, fields = journal.recv(1 << 16), {}
    while data:
        name, data = data.split(b"\n", 1)
        if b"=" in name:
            name, value = name.split(b"=", 1)
        else:
            size = struct.unpack("<Q", data[:8])[0]
            value, data = data[8:8 + size], data[9 + size:]
        fields[name.decode()] = value.decode()
    print(json.dumps(fields), flush=True)
    return fields.get("MESSAGE", "")

def ask():
    body = b'{"messages": [{"role": "user", "content": "a secret"}], "max_tokens": 4}'
    request = urllib.request.Request(base + "/v1/chat/completions", body, {"X-Request-Id": "id-7"})
    urllib.request.urlopen(request, timeout=60).read()

ours, stderr = socket.socketpair()
stat = os.fstat(stderr.fileno())
server = subprocess.Popen(sys.argv[1:], stderr=stderr, stdin=subprocess.DEVNULL,
                          env={"JOURNAL_STREAM": f"{stat.st_dev}:{stat.st_ino}"})
base = None
while not (message := entry()).startswith("try it"):
    if message.startswith("listening on "):
        base = message.split()[2]
"#;

/// Runs [`JOURNAL`] and then `more`: the entries, or None where this cannot be tested.
fn with_journal(more: &str) -> Option<Vec<Value>> {
    let namespace =
        ["-rm", "sh", "-c", "mount -t tmpfs none /run && exec python3 -c \"$0\" \"$@\""];
    let output = Command::new("unshare")
        .args(namespace)
        .arg(format!("{JOURNAL}{more}"))
        .args([env!("CARGO_BIN_EXE_strixhalo"), "serve", "--port", "0", "--ctx-size", "1024"])
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            eprintln!("not tested: unshare cannot be run: {error}");
            return None;
        }
    };
    let stderr = String::from_utf8_lossy(&output.stderr);
    if stderr.contains("unshare: ") || stderr.contains("mount: ") {
        eprintln!("not tested: no namespaces of its own for a test: {stderr}");
        return None;
    }
    assert!(output.status.success(), "{stderr}");
    let text = String::from_utf8(output.stdout).unwrap();
    Some(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

#[test]
fn the_journal_gets_entries_with_fields_when_systemd_connected_stderr_to_it() {
    let asked = r#"
ask()
server.send_signal(signal.SIGTERM)
while entry() != "stopped":
    pass
assert server.wait() == 0
stderr.close()
assert ours.recv(1 << 16) == b"", "something went to stderr"
"#;
    let Some(entries) = with_journal(asked) else { return };
    // The first datagram is empty: it tries the socket out.
    for entry in entries.iter().filter(|entry| *entry != &serde_json::json!({})) {
        assert_eq!(entry["SYSLOG_IDENTIFIER"], "strixhalo", "{entry}");
        assert!(entry["MESSAGE"].is_string() && entry["TARGET"].is_string(), "{entry}");
        assert!(["3", "4", "6"].contains(&entry["PRIORITY"].as_str().unwrap()), "{entry}");
        assert!(!entry.to_string().contains("a secret"), "{entry}");
    }
    let ready = |entry: &&Value| entry["MESSAGE"].as_str().is_some_and(|m| m.contains("is ready"));
    assert_eq!(entries.iter().find(ready).expect("the line is there")["PRIORITY"], "6");
    let request = |entry: &&Value| entry.to_string().contains("id-7");
    let request = entries.iter().find(request).expect("the request's entry");
    assert_eq!(request["STATUS"], "200", "{request}");
}

#[test]
fn a_journal_that_reads_nothing_holds_up_neither_requests_nor_the_end() {
    // More than the socket's queue holds.
    let asked = r#"
with open("/proc/sys/net/unix/max_dgram_qlen") as most:
    for _ in range(int(most.read()) + 20):
        ask()
server.send_signal(signal.SIGTERM)
assert server.wait(timeout=60) == 0
"#;
    with_journal(asked);
}
