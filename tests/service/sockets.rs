//! Socket activation: sd_listen_fds(3).

use std::fs::File;
use std::io::{BufRead, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::process::{Resource, Signal};

use crate::harness::{ENDLESS, Start, begin_stream, chat, listener};

/// TEST-NET-3: no interface has it, so that binding it would fail.
const UNROUTABLE: [&str; 2] = ["--host", "203.0.113.1"];

#[test]
fn a_socket_that_was_passed_in_is_used_instead_of_the_host() {
    let (socket, base) = listener();
    let mut service = Start::with(&UNROUTABLE).pass(socket.try_clone().unwrap()).spawn();
    let line = service.wait_for_log("listening on ");
    assert!(line.contains(&format!("listening on {base} (socket unknown was passed in")), "{line}");
    chat(&base);
    service.signal(Signal::TERM);
    assert_eq!(service.wait().code(), Some(0));

    let (code, log) = Start::with(&UNROUTABLE).fail();
    assert_eq!(code, 71, "{log}");
}

#[test]
fn tcp_and_unix_sockets_are_told_apart_and_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api.sock");
    let (tcp, base) = listener();
    let unix = UnixListener::bind(&path).unwrap();
    let words = ["LISTEN_FDNAMES=file:net", UNROUTABLE[0], UNROUTABLE[1]];
    let mut service = Start::with(&words).pass(unix).pass(tcp).spawn();
    service.wait_for_log(&format!("listening on unix:{} (socket file was", path.display()));
    service.wait_for_log(&format!("listening on {base} (socket net was"));
    chat(&base);
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    service.signal(Signal::TERM);
    assert_eq!(service.wait().code(), Some(0));
    assert!(path.exists(), "the file belongs to whoever made the socket");
}

#[test]
fn what_cannot_be_listened_on_ends_the_start_with_71_and_a_way_out() {
    let (listener, base) = listener();
    let stream = TcpStream::connect(base.trim_start_matches("http://")).unwrap();
    drop(listener);
    for (passed, hint) in [
        (Start::with(&[]).pass(UdpSocket::bind("127.0.0.1:0").unwrap()), "ListenStream="),
        (Start::with(&[]).pass(File::open("/dev/null").unwrap()), "ListenStream="),
        (Start::with(&[]).pass(stream), "Accept=no"),
    ] {
        let (code, log) = passed.fail();
        assert_eq!(code, 71, "{log}");
        let last = log.lines().last().unwrap();
        assert!(last.starts_with("strixhalo: descriptor 3 (unknown), which"), "{log}");
        assert!(last.contains(hint), "{log}");
    }
}

#[test]
fn sockets_for_another_process_are_not_touched() {
    let (socket, passed) = listener();
    let service = Start::with(&["--port", "0", "LISTEN_PID=1"]).pass(socket).spawn();
    let base = service.base();
    assert_ne!(base, passed);
    chat(&base);
}

#[test]
fn a_restart_loses_no_connection() {
    let (socket, base) = listener();
    let mut first = Start::with(&UNROUTABLE).pass(socket.try_clone().unwrap()).spawn();
    let before = chat(&base);
    first.signal(Signal::TERM);
    assert_eq!(first.wait().code(), Some(0));
    // Nobody serves; the kernel takes the connection, and the request waits in it.
    let waiting = std::thread::spawn({
        let base = base.clone();
        move || chat(&base)
    });
    let _second = Start::with(&UNROUTABLE).pass(socket).spawn();
    assert_eq!(waiting.join().unwrap(), before);
}

#[test]
fn after_a_kill_in_mid_stream_the_next_process_answers_on_the_same_socket() {
    let (socket, base) = listener();
    let mut first = Start::with(&UNROUTABLE).pass(socket.try_clone().unwrap()).spawn();
    let before = chat(&base);
    let mut stream = begin_stream(&base, ENDLESS);
    first.signal(Signal::KILL);
    assert_eq!(first.wait().code(), None);
    let cut = std::iter::repeat_with(|| stream.read_line(&mut String::new()))
        .find(|read| !matches!(read, Ok(1..)))
        .unwrap();
    assert!(cut.is_err(), "a cut stream must not look like one that ended");
    let _second = Start::with(&UNROUTABLE).pass(socket).spawn();
    assert_eq!(chat(&base), before);
}

#[test]
fn out_of_file_descriptors_clients_get_503_until_there_is_room_again() {
    let (socket, base) = listener();
    let service = Start::with(&UNROUTABLE).pass(socket).spawn();
    chat(&base);
    let address = base.trim_start_matches("http://");
    let open = std::fs::read_dir(format!("/proc/{}/fd", service.id())).unwrap().count();
    service.limit(Resource::Nofile, open as u64 + 8);
    let mut held: Vec<TcpStream> = Vec::new();
    let answer = loop {
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        let mut status = [0; 12];
        client.read_exact(&mut status).unwrap();
        if &status == b"HTTP/1.1 503" {
            let mut rest = String::new();
            client.read_to_string(&mut rest).unwrap();
            break rest;
        }
        assert_eq!(&status, b"HTTP/1.1 200");
        held.push(client);
        assert!(held.len() < 20, "the limit does nothing");
    };
    assert!(answer.contains("too_many_connections"), "{answer}");
    service.wait_for_log("cannot accept a connection on ");
    drop(held);
    crate::harness::wait_until("room", || {
        let response = crate::harness::agent().get(format!("{base}/health")).call().ok()?;
        (response.status() == 200).then_some(())
    });
    chat(&base);
}
