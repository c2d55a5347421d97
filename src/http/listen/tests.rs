#![allow(clippy::unwrap_used)]

use std::os::unix::fs::FileTypeExt;

use super::*;

fn settings(hosts: &[&str], port: u16) -> Settings {
    let mut settings = Settings::default();
    settings.server.host = hosts.iter().map(|&h| h.to_owned()).collect();
    settings.server.port = port;
    settings
}

fn port(listener: &Listener) -> u16 {
    listener.address().rsplit(':').next().unwrap().parse().unwrap()
}

#[test]
fn a_host_is_an_ip_address_a_name_or_a_socket_path() {
    let ip = |s: &str| Host::Ip(s.parse().unwrap());
    for (entry, host) in [
        ("127.0.0.1", ip("127.0.0.1")),
        (" ::1 ", ip("::1")),
        ("[::]", ip("::")),
        ("box.example", Host::Name("box.example")),
        ("unix:/run/a", Host::Unix(Path::new("/run/a"))),
        ("/run/a.sock", Host::Unix(Path::new("/run/a.sock"))),
    ] {
        assert_eq!(Host::parse(entry).unwrap(), host, "{entry}");
    }
    for bad in ["", "unix:"] {
        assert!(matches!(Host::parse(bad), Err(ListenError::Setting(_))), "{bad}");
    }
}

#[tokio::test]
async fn several_addresses_are_bound_and_one_named_twice_once() {
    let listeners = bind(&settings(&["127.0.0.1", "127.0.0.2", "127.0.0.1"], 0)).await.unwrap();
    let addresses: Vec<_> = listeners.iter().map(Listener::address).collect();
    assert_eq!(addresses.len(), 2, "{addresses:?}");
    assert!(addresses[0].starts_with("http://127.0.0.1:"));
    assert!(addresses[1].starts_with("http://127.0.0.2:"));
}

#[tokio::test]
async fn all_addresses_of_a_name_get_the_same_port() {
    let listeners = bind(&settings(&["localhost"], 0)).await.unwrap();
    assert!(listeners.iter().all(|l| port(l) == port(&listeners[0])));
}

#[tokio::test]
async fn a_port_in_use_is_an_error_that_names_the_way_out() {
    let first = bind(&settings(&["127.0.0.1"], 0)).await.unwrap();
    let error = bind(&settings(&["127.0.0.1"], port(&first[0]))).await.unwrap_err();
    assert!(matches!(error, ListenError::InUse { .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains(&format!("127.0.0.1:{}", port(&first[0]))), "{message}");
    assert!(message.contains("--port") && message.contains("ss -ltnp"), "{message}");
}

#[tokio::test]
async fn an_address_of_nobody_and_a_name_of_nobody_are_told_apart() {
    let error = bind(&settings(&["192.0.2.1"], 0)).await.unwrap_err();
    assert!(matches!(error, ListenError::NotOurs { .. }), "{error}");
    let error = bind(&settings(&["no-such-host.invalid"], 0)).await.unwrap_err();
    assert!(matches!(error, ListenError::UnknownHost { .. }), "{error}");
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let host = format!("unix:{}", path.display());
    // std leaves the file behind, as a killed process does.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let live = bind(&settings(&[&host], 0)).await.unwrap();
    assert_eq!(live[0].address(), host);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);

    let error = bind(&settings(&[&host], 0)).await.unwrap_err();
    assert!(matches!(error, ListenError::InUse { .. }), "{error}");
    assert!(std::fs::metadata(&path).unwrap().file_type().is_socket());

    drop(live);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("precious");
    std::fs::write(&path, "data").unwrap();
    let error = bind(&settings(&[&format!("unix:{}", path.display())], 0)).await.unwrap_err();
    assert!(matches!(error, ListenError::Setting(_)), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"data");
}

#[tokio::test]
async fn a_socket_path_that_cannot_be_is_a_setting_error() {
    for path in ["unix:/nonexistent/dir/s".to_owned(), format!("unix:/tmp/{}", "a".repeat(200))] {
        let error = bind(&settings(&[&path], 0)).await.unwrap_err();
        assert!(matches!(error, ListenError::Setting(_)), "{error}");
    }
}
