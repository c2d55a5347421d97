//! Starts the binary as a service manager would, and looks at its log.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use serde_json::Value;

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Small, and free of the machine's settings.
const COMMON: [&str; 7] = ["serve", "--ctx-size", "16384", "--parallel", "2", "--threads", "1"];

/// A server that runs; killed when dropped.
pub struct Service {
    child: Child,
    log: Arc<Mutex<String>>,
}

/// How a server is to be started.
pub struct Start {
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    sockets: Vec<OwnedFd>,
    stderr: Option<Stdio>,
}

impl Start {
    /// With flags and `NAME=VALUE` variables.
    pub fn with(words: &[&str]) -> Self {
        let (flags, variables): (Vec<&str>, Vec<&str>) =
            words.iter().partition(|word| word.starts_with('-') || !word.contains('='));
        let pair = |word: &str| word.split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned()));
        Self {
            arguments: COMMON.iter().chain(&flags).map(|word| (*word).to_owned()).collect(),
            variables: variables.into_iter().filter_map(pair).collect(),
            sockets: Vec::new(),
            stderr: None,
        }
    }

    /// Passes a descriptor as systemd does; two at most.
    pub fn pass(mut self, socket: impl Into<OwnedFd>) -> Self {
        self.sockets.push(socket.into());
        self
    }

    /// In place of the pipe whose other end is [`Service::log`].
    pub fn stderr(mut self, stderr: impl Into<Stdio>) -> Self {
        self.stderr = Some(stderr.into());
        self
    }

    pub fn spawn(self) -> Service {
        let passed = self.sockets.len();
        // The shell knows the process's id and can give descriptors their numbers; `exec` keeps
        // both. What is passed comes in as its standard input and output.
        let redirections = ["", "3<&0", "3<&0 4<&1"][passed];
        let shell = format!(
            "[ {passed} = 0 ] || export LISTEN_FDS={passed} LISTEN_PID=${{LISTEN_PID-$$}}\n\
             exec \"$0\" \"$@\" {redirections} </dev/null >/dev/null"
        );
        let mut sockets = self.sockets.into_iter().map(Stdio::from);
        let piped = self.stderr.is_none();
        let mut child = Command::new("/bin/sh")
            .arg("-c")
            .arg(shell)
            .arg(env!("CARGO_BIN_EXE_strixhalo"))
            .args(self.arguments)
            .env_clear()
            .envs(self.variables)
            .stdin(sockets.next().unwrap_or_else(Stdio::null))
            .stdout(sockets.next().unwrap_or_else(Stdio::null))
            .stderr(self.stderr.unwrap_or_else(Stdio::piped))
            .spawn()
            .expect("the binary starts");
        let log = Arc::new(Mutex::new(String::new()));
        if let Some(stderr) = child.stderr.take().filter(|_| piped) {
            let log = log.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    let mut log = log.lock().unwrap();
                    log.push_str(&line);
                    log.push('\n');
                }
            });
        }
        Service { child, log }
    }

    /// The exit code and the log of a start that fails.
    pub fn fail(self) -> (i32, String) {
        let mut service = self.spawn();
        let code = service.wait().code().unwrap_or(-1);
        // The reader ends with the process.
        std::thread::sleep(Duration::from_millis(50));
        let log = service.log();
        assert!(!log.contains("panicked"), "{log}");
        (code, log)
    }
}

impl Service {
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The first line of the log that holds this.
    pub fn wait_for_log(&self, text: &str) -> String {
        self.wait_for_logs(text, 1).remove(0)
    }

    /// The first `n` lines of the log that hold this.
    pub fn wait_for_logs(&self, text: &str, n: usize) -> Vec<String> {
        wait_until(&format!("{n} lines with {text:?} in the log"), || {
            let log = self.log();
            let lines: Vec<_> = log.lines().filter(|l| l.contains(text)).map(Into::into).collect();
            (lines.len() >= n).then_some(lines)
        })
    }

    /// `http://127.0.0.1:PORT`, when the model is served.
    pub fn base(&self) -> String {
        let line = self.wait_for_log("listening on http://");
        self.wait_for_log("is ready after");
        let (_, rest) = line.split_once("listening on ").unwrap();
        rest.split_whitespace().next().unwrap().to_owned()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).expect("it runs");
    }

    /// Sets a limit of the running process.
    pub fn limit(&self, what: Resource, n: u64) {
        let id = i32::try_from(self.child.id()).unwrap();
        let limit = Rlimit { current: Some(n), maximum: Some(n) };
        prlimit(Pid::from_raw(id), what, limit).expect("it runs");
    }

    /// Lowers the soft limit of open files of the running process, which it may raise again.
    pub fn soft_limit_descriptors(&self, n: u64) {
        let id = i32::try_from(self.child.id()).unwrap();
        let limit = Rlimit { current: Some(n), ..getrlimit(Resource::Nofile) };
        prlimit(Pid::from_raw(id), Resource::Nofile, limit).expect("it runs");
    }

    /// The end of the process.
    pub fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        wait_until("the end of the process", || child.try_wait().unwrap())
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks again and again until there is an answer.
pub fn wait_until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if let Some(answer) = ask() {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("waited in vain for {what}");
}

/// More tokens than are generated during a test, and fewer than fit into a slot.
pub const ENDLESS: u32 = 8000;

/// A socket that listens on a free port of this machine, with its base URL.
pub fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    (listener, base)
}

pub fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .build()
        .into()
}

/// Status and JSON of a GET.
pub fn get(url: &str) -> (u16, Value) {
    let mut response = agent().get(url).call().expect("an answer");
    let body = response.body_mut().read_to_string().unwrap();
    (response.status().as_u16(), serde_json::from_str(&body).unwrap_or(Value::Null))
}

/// A greedy chat with one user message; 200 and a text.
pub fn chat(base: &str) -> String {
    let body = serde_json::json!({
        "messages": [{"role": "user", "content": "Hello!"}], "temperature": 0, "max_tokens": 16,
    });
    let mut response = agent()
        .post(format!("{base}/v1/chat/completions"))
        .header("content-type", "application/json")
        .send(body.to_string().as_bytes())
        .expect("an answer");
    let text = response.body_mut().read_to_string().unwrap();
    assert_eq!(response.status(), 200, "{text}");
    let answer: Value = serde_json::from_str(&text).unwrap();
    answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

/// Begins a stream of this many tokens, and reads its first lines.
pub fn begin_stream(base: &str, tokens: u32) -> impl BufRead + use<> {
    let body = serde_json::json!({
        "messages": [{"role": "user", "content": "Hello!"}], "ignore_eos": true,
        "max_tokens": tokens, "stream": true, "stream_options": {"include_usage": true},
    });
    let response = agent()
        .post(format!("{base}/v1/chat/completions"))
        .header("content-type", "application/json")
        .send(body.to_string().as_bytes())
        .expect("an answer");
    assert_eq!(response.status(), 200);
    let mut reader = BufReader::new(response.into_body().into_reader());
    let mut line = String::new();
    for _ in 0..4 {
        reader.read_line(&mut line).unwrap();
    }
    assert!(line.contains("chat.completion.chunk"), "{line}");
    reader
}
