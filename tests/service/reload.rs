//! SIGHUP.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use rustix::process::Signal;

use crate::harness::{Service, Start, get};
use crate::manager::Manager;

/// A settings file that can be changed.
struct Files(tempfile::TempDir);

impl Files {
    fn new(settings: &str, keys: &str) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.write("s.toml", settings);
        files.write("keys", keys);
        files
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.0.path().join(name), content).unwrap();
    }
}

fn reload(service: &Service, manager: &mut Manager) -> String {
    service.signal(Signal::HUP);
    manager.wait_for_name("RELOADING");
    manager.wait_for_name("READY").get("STATUS").unwrap().to_owned()
}

/// A connection that is used again.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn open(base: &str) -> Self {
        Self(BufReader::new(TcpStream::connect(base.trim_start_matches("http://")).unwrap()))
    }

    /// The status of a request with this key.
    fn ask(&mut self, key: &str) -> u16 {
        let head = format!(
            "GET /v1/models HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n\r\n"
        );
        self.0.get_mut().write_all(head.as_bytes()).unwrap();
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).expect("a status line").parse().unwrap();
        let mut length = 0;
        while line != "\r\n" {
            line.clear();
            self.0.read_line(&mut line).unwrap();
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
        }
        self.0.read_exact(&mut vec![0; length]).unwrap();
        status
    }
}

#[test]
fn new_keys_count_at_once_and_connections_stay() {
    let files = Files::new("", "key-before\n");
    let mut manager = Manager::new();
    let (keys, variable) = (files.path("keys"), manager.variable());
    let service = Start::with(&["--port", "0", "--api-key-file", &keys, &variable]).spawn();
    manager.wait_for_name("READY");
    let mut connection = Connection::open(&service.base());
    assert_eq!((connection.ask("key-before"), connection.ask("key-after")), (200, 401));
    files.write("keys", "key-after\nanother-one\n");
    reload(&service, &mut manager);
    assert_eq!((connection.ask("key-before"), connection.ask("key-after")), (401, 200));
    // A file without keys would open the server.
    files.write("keys", "# none\n");
    let status = reload(&service, &mut manager);
    assert!(status.contains("; settings not reloaded: the API key file "), "{status}");
    assert_eq!((connection.ask("key-before"), connection.ask("key-after")), (401, 200));
    let log = service.log();
    assert!(!log.contains("key-before") && !log.contains("key-after"), "{log}");
    assert!(log.contains("the API keys changed: 2 instead of 1"), "{log}");
}

#[test]
fn a_pipe_is_not_read_a_second_time() {
    let files = Files::new("[server]\napi_keys = [\"one\"]\n", "");
    mkfifo(&files.path("pipe"));
    let pipe = files.path("pipe");
    // As `--config <(..)` does: there once, and empty after that.
    let text = std::thread::spawn({
        let (from, to) = (files.path("s.toml"), pipe.clone());
        move || fs::write(to, fs::read(from).unwrap()).unwrap()
    });
    let mut manager = Manager::new();
    let service = Start::with(&["--port", "0", "--config", &pipe, &manager.variable()]).spawn();
    let mut connection = Connection::open(&service.base());
    text.join().unwrap();
    assert_eq!((connection.ask("one"), connection.ask("")), (200, 401));
    let status = reload(&service, &mut manager);
    assert!(status.contains("is a pipe, which can be read only once"), "{status}");
    assert_eq!((connection.ask("one"), connection.ask("")), (200, 401));
}

#[test]
fn a_file_that_hangs_while_it_is_read_again_does_not_keep_the_server_from_stopping() {
    let files = Files::new("", "one\n");
    let mut manager = Manager::new();
    let (config, variable) = (files.path("s.toml"), manager.variable());
    let mut service = Start::with(&["--port", "0", "--config", &config, &variable]).spawn();
    service.base();
    fs::remove_file(&config).unwrap();
    mkfifo(&config);
    service.signal(Signal::HUP);
    manager.wait_for_name("RELOADING");
    service.signal(Signal::TERM);
    assert_eq!(service.wait().code(), Some(0));
}

fn mkfifo(path: &str) {
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
}

#[test]
fn limits_sampling_and_log_level_change_and_all_else_waits_for_the_next_start() {
    let files = Files::new("[sampling]\ntop_k = 7\n", "");
    let mut manager = Manager::new();
    let (settings, variable) = (files.path("s.toml"), manager.variable());
    let service = Start::with(&["--port", "0", "--config", &settings, &variable]).spawn();
    manager.wait_for_name("READY");
    let base = service.base();
    let top_k = || {
        let (_, props) = get(&format!("{base}/props"));
        props["default_generation_settings"]["params"]["top_k"].as_u64().unwrap()
    };
    let post = || {
        let response = crate::harness::agent()
            .post(format!("{base}/tokenize"))
            .send(&*vec![b' '; 4000])
            .unwrap();
        response.status().as_u16()
    };
    assert_eq!((top_k(), post()), (7, 400));
    assert!(!service.log().contains("DEBUG"));
    files.write(
        "s.toml",
        "[sampling]\ntop_k = 9\n[limits]\nbody_bytes = 2000\n[log]\nlevel = 'debug'\n\
         [server]\nstrict_model_names = true\n[context]\nbatch = 1024\n",
    );
    let status = reload(&service, &mut manager);
    assert!(status.starts_with("serving ") && !status.contains(';'), "{status}");
    assert_eq!((top_k(), post()), (9, 413));
    get(&format!("{base}/health"));
    service.wait_for_log("DEBUG");
    for waits in [
        "setting server.strict_model_names was changed from false to true: takes effect at the next start",
        "setting context.batch was changed from 2048 to 1024: takes effect at the next start",
    ] {
        assert!(service.wait_for_log(waits).contains("WARN"));
    }
    assert_eq!(service.log().matches("next start").count(), 2);
    service.wait_for_log("setting sampling.top_k = 9 (");
}

#[test]
fn a_broken_file_changes_nothing_and_is_told_in_log_and_status() {
    let files = Files::new("[sampling]\ntop_k = 7\n", "");
    let mut manager = Manager::new();
    let (settings, variable) = (files.path("s.toml"), manager.variable());
    let service = Start::with(&["--port", "0", "--config", &settings, &variable]).spawn();
    manager.wait_for_name("READY");
    let base = service.base();
    files.write("s.toml", "[sampling]\ntop_k = 9\ntop_p = 'much'\n");
    let status = reload(&service, &mut manager);
    let problem = format!("{settings}:3: sampling.top_p: expected a number from 0 to 1");
    assert!(status.contains(&format!("; settings not reloaded: {problem}")), "{status}");
    let line = service.wait_for_log("the settings stay as they were");
    assert!(line.contains("ERROR") && line.contains(&problem), "{line}");
    let (_, props) = get(&format!("{base}/props"));
    assert_eq!(props["default_generation_settings"]["params"]["top_k"], 7);
    files.write("s.toml", "[sampling]\ntop_k = 9\n");
    assert!(!reload(&service, &mut manager).contains("not reloaded"));
    let (_, props) = get(&format!("{base}/props"));
    assert_eq!(props["default_generation_settings"]["params"]["top_k"], 9);
}

#[test]
fn more_connections_get_more_file_descriptors() {
    let files = Files::new("[limits]\nconnections = 10\n", "");
    let mut manager = Manager::new();
    let (settings, variable) = (files.path("s.toml"), manager.variable());
    let service = Start::with(&["--port", "0", "--config", &settings, &variable]).spawn();
    manager.wait_for_name("READY");
    service.soft_limit_descriptors(300);
    files.write("s.toml", "[limits]\nconnections = 100\n");
    reload(&service, &mut manager);
    let limits = fs::read_to_string(format!("/proc/{}/limits", service.id())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().nth(3), Some("356"), "{line}");
}

#[test]
fn with_three_models_the_queue_changes_for_each_and_their_files_wait_for_the_next_start() {
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models");
    let settings = |queue: u32, pooling: &str, alias: &str| {
        format!(
            "[limits]\nqueue = {queue}\n[embedding_model]\npath = '{models}/tiny-bert.gguf'\n\
             pooling = '{pooling}'\n[rerank_model]\npath = '{models}/tiny-reranker.gguf'\n\
             alias = ['{alias}']\n"
        )
    };
    let files = Files::new(&settings(100, "model", "before"), "");
    let mut manager = Manager::new();
    let (config, variable) = (files.path("s.toml"), manager.variable());
    let service = Start::with(&["--port", "0", "--config", &config, &variable]).spawn();
    manager.wait_for_name("READY");
    let base = service.base();
    let post = |path: &str, body: &str| {
        let request = crate::harness::agent().post(format!("{base}{path}"));
        request.send(body).unwrap().status().as_u16()
    };
    let texts = vec!["\"The quick brown fox jumps over the lazy dogs and is not seen.\""; 200];
    let texts = texts.join(", ");
    // Eight requests at once: how many were answered, and how many were turned away.
    let at_once = |path: &str, body: &str| {
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..8).map(|_| scope.spawn(|| post(path, body))).collect();
            asking.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let count = |wanted| statuses.iter().filter(|&&status| status == wanted).count();
        assert_eq!(count(200) + count(429), 8, "{statuses:?}");
        (count(200), count(429))
    };
    let work = [
        ("/v1/embeddings", format!("{{\"input\": [{texts}]}}")),
        ("/v1/rerank", format!("{{\"query\": \"fox\", \"documents\": [{texts}]}}")),
    ];
    for (path, body) in &work {
        assert_eq!(at_once(path, body), (8, 0), "{path}");
    }
    files.write("s.toml", &settings(0, "cls", "after"));
    let status = reload(&service, &mut manager);
    assert!(status.starts_with("serving ") && !status.contains(';'), "{status}");
    for (path, body) in &work {
        let (answered, refused) = at_once(path, body);
        assert!(answered > 0 && refused > 0, "{path}: {answered} answered, {refused} refused");
    }
    for waits in [
        "setting embedding_model.pooling was changed from \"model\" to \"cls\": takes effect at the next start",
        "setting rerank_model.alias was changed from [\"before\"] to [\"after\"]: takes effect at the next start",
    ] {
        assert!(service.wait_for_log(waits).contains("WARN"));
    }
    let (_, listed) = get(&format!("{base}/v1/models"));
    assert_eq!(listed["data"][2]["id"], "before", "{listed}");
    assert_eq!(post("/v1/embeddings", "{\"input\": \"a\"}"), 200);
}
