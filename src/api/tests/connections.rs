//! Connections over real sockets; the model stays in the state "loading".

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::api::{AppState, LoadState, Models, ServedModel, router};
use crate::config::Settings;
use crate::http::{Keys, bind, serve};

struct Server {
    address: String,
    state: AppState,
    served: ServedModel,
    load: watch::Sender<LoadState>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::default();
        settings.server.port = 0;
        settings.limits.header_timeout = 1;
        settings.limits.drain_timeout = 0;
        change(&mut settings);
        let listeners = bind(&settings).await.unwrap();
        let address = listeners[0].address().trim_start_matches("http://").to_owned();
        let (load, loading) = watch::channel(LoadState::Loading { progress: 0.5 });
        let served = ServedModel::new(vec!["tiny".to_owned()], loading);
        let models = Models::new(vec![served.clone()]);
        let state = AppState::new(settings, Keys::default(), models, 1);
        let (stop, stopped) = oneshot::channel();
        let task =
            tokio::spawn(serve(listeners, state.http().clone(), router(state.clone()), async {
                let _ = stopped.await;
            }));
        Self { address, state, served, load, stop: Some(stop), task }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).await.unwrap()
    }

    /// A connection whose request is held until the model is loaded.
    async fn connect_held(&self) -> TcpStream {
        let before = self.served.held();
        let mut client = self.connect().await;
        client.write_all(&tokenize()).await.unwrap();
        self.until(|_| self.served.held() == before + 1).await;
        client
    }

    /// A client that has requests under way and takes none of the answers.
    async fn connect_stuck(&self) -> TcpStream {
        let mut client = self.connect().await;
        let requests = b"GET /props HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(1000);
        // Until the server, whose answers nobody takes, reads no more.
        let patience = Duration::from_millis(300);
        let mut silent = 0;
        while silent < 2 {
            match tokio::time::timeout(patience, client.write_all(&requests)).await {
                Ok(sent) => {
                    sent.unwrap();
                    silent = 0;
                }
                Err(_) => silent += 1,
            }
        }
        client
    }

    async fn until(&self, condition: impl Fn(&AppState) -> bool) {
        let start = Instant::now();
        while !condition(&self.state) {
            assert!(start.elapsed() < Duration::from_secs(5), "waited in vain");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

fn tokenize() -> Vec<u8> {
    let body = r#"{"content":"a"}"#;
    format!(
        "POST /tokenize HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// All that comes until the server closes the connection.
async fn rest(client: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = client.read_to_end(&mut bytes);
    tokio::time::timeout(Duration::from_secs(10), read).await.unwrap().unwrap();
    String::from_utf8(bytes).unwrap()
}

/// One answer with a `Content-Length`.
async fn answer(client: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let byte = tokio::time::timeout(Duration::from_secs(10), client.read_u8()).await;
        bytes.push(byte.unwrap().unwrap());
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")).unwrap();
            if body.len() == length.parse::<usize>().unwrap() {
                return text.into_owned();
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_drops_its_request_though_nothing_is_streamed() {
    let server = Server::start(|_| ()).await;
    let client = server.connect_held().await;
    drop(client);
    server.until(|_| server.served.held() == 0).await;
}

#[tokio::test]
async fn a_held_request_is_answered_when_loading_ends() {
    let server = Server::start(|_| ()).await;
    let mut client = server.connect_held().await;
    server.load.send_replace(LoadState::Failed("no memory".to_owned()));
    let answer = answer(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("load_failed"), "{answer}");
}

#[tokio::test]
async fn a_connection_is_used_again_and_outlives_the_header_timeout_while_idle() {
    let server = Server::start(|_| ()).await;
    let mut client = server.connect().await;
    for i in 0..100 {
        client.write_all(b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        assert!(answer(&mut client).await.starts_with("HTTP/1.1 200 "), "request {i}");
    }
    tokio::time::sleep(Duration::from_millis(1300)).await;
    client.write_all(b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    assert!(answer(&mut client).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Server::start(|_| ()).await;
    let mut client = server.connect().await;
    let requests =
        b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\nGET /nowhere HTTP/1.1\r\nhost: localhost\r\n\r\n";
    client.write_all(requests).await.unwrap();
    assert!(answer(&mut client).await.starts_with("HTTP/1.1 200 "));
    assert!(answer(&mut client).await.starts_with("HTTP/1.1 404 "));
}

#[tokio::test]
async fn slow_headers_get_408_and_silence_gets_nothing() {
    let server = Server::start(|_| ()).await;
    let mut slow = server.connect().await;
    let mut silent = server.connect().await;
    slow.write_all(b"GET /health HTTP/1.1\r\n").await.unwrap();
    let start = Instant::now();
    let answer = rest(&mut slow).await;
    assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
    assert!(answer.contains(r#""code":"request_timeout""#), "{answer}");
    assert_eq!(rest(&mut silent).await, "");
    assert!(start.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answers_is_given_up() {
    let server = Server::start(|s| s.limits.stream_stall_timeout = 1).await;
    let _client = server.connect_stuck().await;
    server.until(|s| s.http().counts().connections.get() == 0).await;
}

#[tokio::test]
async fn headers_of_many_kilobytes_are_refused() {
    let server = Server::start(|_| ()).await;
    let mut client = server.connect().await;
    let head = format!("GET / HTTP/1.1\r\nx-long: {}\r\n\r\n", "a".repeat(100 << 10));
    // The server may close before it has read all of it.
    let _ = client.write_all(head.as_bytes()).await;
    let mut status = [0; 12];
    client.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 431");
}

#[tokio::test]
async fn a_client_that_sends_all_of_too_large_a_body_still_gets_its_413() {
    let server = Server::start(|s| s.limits.body_bytes = 1 << 20).await;
    let mut client = server.connect().await;
    let size = 50 << 20;
    let head =
        format!("POST /tokenize HTTP/1.1\r\nhost: localhost\r\ncontent-length: {size}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(&vec![b' '; size]).await.unwrap();
    client.shutdown().await.unwrap();
    let answer = rest(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
}

#[tokio::test]
async fn shutdown_waits_for_running_requests_and_refuses_new_ones() {
    let mut server = Server::start(|s| s.limits.drain_timeout = 5).await;
    let running = server.connect_stuck().await;
    let mut idle = server.connect().await;
    idle.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    answer(&mut idle).await;
    let _fresh = server.connect().await;
    let mut half = server.connect().await;
    half.write_all(b"GET /v1/models HTTP/1.1\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;

    server.stop.take().unwrap().send(()).unwrap();
    server.until(|s| s.http().is_draining()).await;
    assert_eq!(rest(&mut idle).await, "");
    half.write_all(b"host: localhost\r\n\r\n").await.unwrap();
    let refused = rest(&mut half).await;
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("shutting_down"), "{refused}");
    let mut new = server.connect().await;
    let refused = rest(&mut new).await;
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("shutting_down"), "{refused}");
    assert!(refused.contains("connection: close") && refused.contains("retry-after"), "{refused}");
    assert!(!server.task.is_finished());
    drop(running);
    tokio::time::timeout(Duration::from_secs(2), server.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_first_request_that_meets_the_shutdown_is_told_to_come_again() {
    let mut server = Server::start(|s| s.limits.drain_timeout = 5).await;
    let mut first = server.connect().await;
    let mut silent = server.connect().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.stop.take().unwrap().send(()).unwrap();
    server.until(|s| s.http().is_draining()).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    first.write_all(b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let refused = rest(&mut first).await;
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("shutting_down"), "{refused}");
    assert_eq!(rest(&mut silent).await, "");
    tokio::time::timeout(Duration::from_secs(2), server.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_request_that_is_still_on_its_way_does_not_hold_up_the_shutdown() {
    let mut server = Server::start(|s| {
        (s.limits.header_timeout, s.limits.body_timeout, s.limits.drain_timeout) = (60, 60, 60);
    })
    .await;
    let mut head = server.connect().await;
    head.write_all(b"GET /v1/models HTTP/1.1\r\n").await.unwrap();
    let mut body = server.connect().await;
    body.write_all(b"POST /tokenize HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99\r\n\r\n{")
        .await
        .unwrap();
    server.until(|s| s.http().counts().in_flight.get() == 1).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.stop.take().unwrap().send(()).unwrap();
    for client in [&mut head, &mut body] {
        let refused = rest(client).await;
        assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
        assert!(refused.contains("shutting_down") && refused.contains("connection: close"));
    }
    tokio::time::timeout(Duration::from_secs(5), server.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn connections_that_do_not_end_are_cut_off_after_the_drain_timeout() {
    let mut server = Server::start(|_| ()).await;
    let _running = server.connect_stuck().await;
    server.stop.take().unwrap().send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(3), server.task).await.unwrap().unwrap();
    assert_eq!(server.state.http().counts().connections.get(), 0);
}

#[tokio::test]
async fn a_request_that_waits_for_the_model_is_told_of_the_shutdown() {
    let mut server = Server::start(|s| s.limits.drain_timeout = 60).await;
    let mut held = server.connect_held().await;
    server.stop.take().unwrap().send(()).unwrap();
    let refused = rest(&mut held).await;
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("shutting_down"), "{refused}");
    tokio::time::timeout(Duration::from_secs(5), server.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_unix_socket_serves_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let mut server =
        Server::start(|s| s.server.host.push(format!("unix:{}", path.display()))).await;
    let mut client = tokio::net::UnixStream::connect(&path).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    server.stop.take().unwrap().send(()).unwrap();
    server.task.await.unwrap();
    assert!(!path.exists());
}
