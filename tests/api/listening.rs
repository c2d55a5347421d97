//! Addresses, keys, and how the process ends when it cannot have them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::harness::Server;

fn command(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strixhalo"));
    command
        .args(["serve", "--ctx-size", "512", "--parallel", "1", "--threads", "1"])
        .args(flags)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// The exit code and the last line of a start that fails.
fn refused(flags: &[&str]) -> (i32, String) {
    let output = command(flags).output().expect("the binary starts");
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!log.contains("panicked"), "{log}");
    (output.status.code().unwrap_or(-1), log.lines().last().unwrap_or_default().to_owned())
}

/// Starts a server and reads its log until it listens on `n` addresses.
fn listen(flags: &[&str], n: usize) -> (Child, Vec<String>) {
    let mut child = command(flags).spawn().expect("the binary starts");
    let mut log = BufReader::new(child.stderr.take().expect("stderr is piped"));
    let mut addresses = Vec::new();
    while addresses.len() < n {
        let mut line = String::new();
        assert_ne!(log.read_line(&mut line).expect("a log in UTF-8"), 0, "it ended early");
        if let Some((_, address)) = line.trim_end().split_once("listening on ") {
            addresses.push(address.to_owned());
        }
    }
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    (child, addresses)
}

fn terminate(mut child: Child) -> i32 {
    let id = i32::try_from(child.id()).expect("process ids are positive");
    let pid = rustix::process::Pid::from_raw(id).expect("a process id");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    child.wait().expect("it ends").code().unwrap_or(-1)
}

fn ask_unix(path: &Path) -> String {
    let mut client = UnixStream::connect(path).expect("it listens");
    client.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn several_addresses_are_served_and_a_socket_file_goes_with_its_server() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("strixhalo.sock");
    let hosts = format!("127.0.0.1,127.0.0.2,unix:{}", path.display());
    let (child, addresses) = listen(&["--port", "0", "--host", &hosts], 3);
    for address in &addresses[..2] {
        assert_eq!(ureq::get(format!("{address}/")).call().unwrap().status(), 200, "{address}");
    }
    assert_eq!(addresses[2], format!("unix:{}", path.display()));
    assert!(ask_unix(&path).starts_with("HTTP/1.1 200 "));
    assert_eq!(terminate(child), 0);
    assert!(!path.exists());
}

#[test]
fn a_port_in_use_ends_the_start_with_71() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (code, line) = refused(&["--port", &port]);
    assert_eq!(code, 71, "{line}");
    assert!(line.contains(&format!("127.0.0.1:{port}")) && line.contains("--port"), "{line}");
}

#[test]
fn a_key_file_that_is_missing_or_empty_ends_the_start_with_78() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    for content in [None, Some("# nothing\n")] {
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let (code, line) = refused(&["--port", "0", "--api-key-file", path.to_str().unwrap()]);
        assert_eq!(code, 78, "{line}");
        assert!(line.contains("keys"), "{line}");
    }
}

#[test]
fn keys_of_the_file_open_the_server_and_are_not_logged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    std::fs::write(&path, "# users\r\nsecret-one\r\n\r\nsecret-two\r\n").unwrap();
    let server = Server::start(&["--api-key-file", path.to_str().unwrap()]);
    let status = |name: &str, value: &str| {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let url = format!("{}/v1/models", server.base);
        agent.get(url).header(name, value).call().unwrap().status().as_u16()
    };
    assert_eq!(server.get("/v1/models").status, 401);
    assert_eq!(status("authorization", "bearer secret-one"), 200);
    assert_eq!(status("x-api-key", "secret-two"), 200);
    assert_eq!(status("authorization", "Bearer secret"), 401);
    let settings = command(&["--port", "0", "--api-key", "secret-three", "--host", "unix:"]);
    let output = { settings }.output().unwrap();
    assert!(!String::from_utf8_lossy(&output.stderr).contains("secret-three"));
}
