//! Starts the binary on a free port with the built-in model, and talks HTTP to it.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    /// `http://127.0.0.1:PORT`.
    pub base: String,
    agent: ureq::Agent,
    /// What it has logged since it listened.
    log: Arc<Mutex<Vec<String>>>,
}

/// An answer with its body as JSON (`Null` if it is none).
pub struct Reply {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub json: Value,
}

/// One thing that a stream said.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Data(Value),
    Done,
    Comment,
}

/// Settings that all tests share: 4 slots of 512 tokens, one thread, no settings of the machine.
const COMMON: [&str; 11] = [
    "serve",
    "--host",
    "127.0.0.1",
    "--port",
    "0",
    "--ctx-size",
    "2048",
    "--parallel",
    "4",
    "--threads",
    "1",
];

/// The server that tests without special settings share. It ends with the last test that holds
/// it: a static one would outlive the test process.
pub fn shared() -> Arc<Server> {
    static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(|e| e.into_inner());
    shared.upgrade().unwrap_or_else(|| {
        let server = Arc::new(Server::start(&[]));
        *shared = Arc::downgrade(&server);
        server
    })
}

impl Server {
    /// Starts a server with further flags and `NAME=VALUE` variables, and waits until its model
    /// is loaded.
    pub fn start(flags: &[&str]) -> Self {
        let server = Self::start_loading(flags);
        for _ in 0..600 {
            if server.get("/health").status == 200 {
                return server;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the model was not loaded within 30 s");
    }

    /// As `start`, without the wait.
    pub fn start_loading(flags: &[&str]) -> Self {
        let variables =
            flags.iter().filter(|f| !f.starts_with('-')).filter_map(|f| f.split_once('='));
        let mut child = Command::new(env!("CARGO_BIN_EXE_strixhalo"))
            .args(COMMON)
            .args(flags.iter().filter(|f| f.starts_with('-') || !f.contains('=')))
            .args(gpu_flags(flags))
            .env_clear()
            .envs(device_environment())
            .envs(variables)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut log = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let mut seen = String::new();
        let base = loop {
            let mut line = String::new();
            if log.read_line(&mut line).unwrap_or(0) == 0 {
                panic!("the server ended before it listened:\n{seen}");
            }
            if let Some((_, rest)) = line.split_once("listening on ") {
                // In JSON a quotation mark follows.
                let end = |c: char| c.is_whitespace() || c == '"';
                break rest.split(end).next().unwrap_or_default().to_owned();
            }
            seen.push_str(&line);
        };
        // A full pipe would stop the server, so its log is always read.
        let lines = Arc::new(Mutex::new(seen.lines().map(str::to_owned).collect::<Vec<_>>()));
        let kept = lines.clone();
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                kept.lock().unwrap_or_else(|e| e.into_inner()).push(line);
            }
        });
        Self { child, base, agent: agent(), log: lines }
    }

    pub fn get(&self, path: &str) -> Reply {
        reply(self.agent.get(format!("{}{path}", self.base)).call().expect("an answer"))
    }

    pub fn post(&self, path: &str, body: Value) -> Reply {
        self.post_bytes(path, body.to_string().as_bytes(), "application/json")
    }

    pub fn post_with(&self, path: &str, headers: &[(&str, &str)], body: Value) -> Reply {
        let mut request = self.agent.post(format!("{}{path}", self.base));
        for (name, value) in headers.iter().chain(&[("content-type", "application/json")]) {
            request = request.header(*name, *value);
        }
        reply(request.send(body.to_string().as_bytes()).expect("an answer"))
    }

    pub fn post_bytes(&self, path: &str, body: &[u8], content_type: &str) -> Reply {
        let request =
            self.agent.post(format!("{}{path}", self.base)).header("content-type", content_type);
        reply(request.send(body).expect("an answer"))
    }

    /// A chat with one user message and further fields.
    pub fn chat(&self, text: &str, fields: Value) -> Reply {
        self.post("/v1/chat/completions", chat_body(text, fields))
    }

    /// Posts and reads the stream to its end.
    pub fn stream(&self, path: &str, body: Value) -> Vec<Event> {
        events(&self.stream_text(path, body))
    }

    /// The same as text.
    pub fn stream_text(&self, path: &str, body: Value) -> String {
        let response = self
            .agent
            .post(format!("{}{path}", self.base))
            .header("content-type", "application/json")
            .send(body.to_string().as_bytes())
            .expect("an answer");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-cache");
        let mut text = String::new();
        response.into_body().into_reader().read_to_string(&mut text).expect("a stream in UTF-8");
        text
    }

    pub fn delete(&self, path: &str) -> Reply {
        reply(self.agent.delete(format!("{}{path}", self.base)).call().expect("an answer"))
    }

    /// Posts, and gives the text of an answer of this media type.
    pub fn text(&self, path: &str, body: Value, media_type: &str) -> String {
        let mut response = self
            .agent
            .post(format!("{}{path}", self.base))
            .header("content-type", "application/json")
            .send(body.to_string().as_bytes())
            .expect("an answer");
        let text = response.body_mut().read_to_string().expect("text");
        assert_eq!(response.status(), 200, "{text}");
        assert_eq!(response.headers()["content-type"], media_type);
        text
    }

    /// The first line of the log that `wanted` takes; panics if none comes for some seconds.
    pub fn logged(&self, wanted: impl Fn(&str) -> bool) -> String {
        for _ in 0..500 {
            let lines = self.log.lock().unwrap_or_else(|e| e.into_inner());
            if let Some(line) = lines.iter().find(|line| wanted(line)) {
                return line.clone();
            }
            drop(lines);
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("no such line in {:#?}", self.log.lock());
    }

    /// The text of `/metrics`.
    pub fn metrics(&self) -> String {
        let url = format!("{}/metrics", self.base);
        let mut response = self.agent.get(url).call().expect("an answer");
        response.body_mut().read_to_string().expect("text")
    }

    /// The value of a series, given as in `/metrics` with its labels; panics if it is not there.
    pub fn metric(&self, series: &str) -> f64 {
        let text = self.metrics();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in {text}")).parse().expect("a number")
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks the process to end, and waits until it has.
    pub fn terminate(mut self) -> ExitStatus {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).expect("the process can be ended");
        self.child.wait().expect("the process ends")
    }

    /// Slots that are at work.
    pub fn busy_slots(&self) -> usize {
        let slots = self.get("/slots").json;
        let busy = |slot: &&Value| slot["is_processing"] == true;
        slots.as_array().expect("/slots is a list").iter().filter(busy).count()
    }

    /// Waits until `n` slots are at work; panics after some seconds.
    pub fn wait_for_busy_slots(&self, n: usize) {
        for _ in 0..500 {
            if self.busy_slots() == n {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{} slots are busy, not {n}", self.busy_slots());
    }
}

/// A GPU is required where the tests are to run on one (`./dev gpu-check`), unless a test says
/// otherwise.
fn gpu_flags(flags: &[&str]) -> &'static [&'static str] {
    let on_gpu = std::env::var_os("STRIXHALO_TEST_GPU").is_some() && !flags.contains(&"--gpu");
    if on_gpu { &["--gpu", "required"] } else { &[] }
}

/// Variables that a GPU's driver may need, where the tests are to run on one.
pub fn device_environment() -> impl Iterator<Item = (OsString, OsString)> {
    let on_gpu = std::env::var_os("STRIXHALO_TEST_GPU").is_some();
    let settings = |name: &str| name.starts_with("LLAMA_") || name.starts_with("STRIXHALO_");
    std::env::vars_os().filter(move |(name, _)| on_gpu && !settings(&name.to_string_lossy()))
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a chat and leaves the connection open.
pub fn send(server: &Server, body: Value) -> TcpStream {
    let address = server.base.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let body = body.to_string();
    write!(
        stream,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    stream
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        // Only a server that hangs takes so long, also where much else runs.
        .timeout_global(Some(Duration::from_secs(300)))
        .build()
        .into()
}

fn reply(mut response: http::Response<ureq::Body>) -> Reply {
    let mut body = String::new();
    response.body_mut().as_reader().read_to_string(&mut body).expect("a body in UTF-8");
    Reply {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        json: serde_json::from_str(&body).unwrap_or(Value::Null),
    }
}

fn events(text: &str) -> Vec<Event> {
    assert!(text.ends_with("\n\n"), "events end with an empty line: {text:?}");
    let mut events = Vec::new();
    // As clients do that emit an event at each blank line: comments alone must not cause one.
    for event in text.split_terminator("\n\n") {
        let mut data = None;
        for line in event.split('\n') {
            match line.strip_prefix("data: ") {
                Some("[DONE]") => data = Some(Event::Done),
                Some(json) => {
                    data = Some(Event::Data(serde_json::from_str(json).expect("data is JSON")));
                }
                None if line.starts_with(':') => events.push(Event::Comment),
                None => panic!("not a line of an event: {line:?}"),
            }
        }
        events.push(data.unwrap_or_else(|| panic!("an event without data: {event:?}")));
    }
    events
}

/// The JSON chunks of a stream that ended as it should.
pub fn chunks(events: Vec<Event>) -> Vec<Value> {
    assert_eq!(events.last(), Some(&Event::Done));
    let data = events.into_iter().filter_map(|event| match event {
        Event::Data(value) => Some(value),
        _ => None,
    });
    data.collect()
}

/// The body of a chat with one user message and further fields; greedy and short unless told
/// otherwise.
pub fn chat_body(text: &str, fields: Value) -> Value {
    let mut body = serde_json::json!({
        "messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 24,
    });
    for (name, value) in fields.as_object().expect("fields are an object") {
        body[name] = value.clone();
    }
    body
}
