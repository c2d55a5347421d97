//! The server: its unit, its processes, its settings, and what it says of itself.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::process::{own_environment, servers};
use crate::config::{Loaded, Origin, Settings, Sources, load};
use crate::host::doctor::tree::Tree;
use crate::host::service_memory::service_processes;

/// Where units lie, the strongest first.
const UNITS: [&str; 4] =
    ["etc/systemd/system", "run/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"];
/// The settings file of the NixOS module.
const SETTINGS: &str = "/etc/strixhalo/settings.toml";
/// How long the server may take for each step of an answer.
const TIMEOUT: Duration = Duration::from_millis(50);
/// Most bytes of an answer.
const MAX_ANSWER: u64 = 64 << 10;

/// The text of the service's unit, with what was dropped in.
#[derive(Debug, Default)]
pub(super) struct Unit {
    file: Option<String>,
    lines: Vec<String>,
}

impl Unit {
    pub(super) fn read(tree: &Tree) -> Self {
        let file = UNITS.iter().map(|directory| format!("{directory}/strixhalo.service"));
        let Some((file, mut text)) =
            file.into_iter().find_map(|file| Some((file.clone(), tree.text(&file)?)))
        else {
            return Self::default();
        };
        let dropped = UNITS.iter().rev().flat_map(|directory| {
            let directory = format!("{directory}/strixhalo.service.d");
            let names = tree.names(&directory).into_iter();
            names.map(move |name| format!("{directory}/{name}"))
        });
        for text_of in dropped.filter_map(|file| tree.text(&file)) {
            text.push('\n');
            text.push_str(&text_of);
        }
        let lines = text.replace("\\\n", " ").lines().map(|line| line.trim().to_owned()).collect();
        Self { file: Some(format!("/{file}")), lines }
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.lines.iter().filter_map(move |line| line.strip_prefix(name)?.strip_prefix('='))
    }

    /// A bound on its memory.
    fn memory_max(&self) -> Option<&str> {
        self.values("MemoryMax").last().filter(|bound| !["", "infinity"].contains(bound))
    }

    pub(super) fn log_namespace(&self) -> Option<&str> {
        self.values("LogNamespace").last().filter(|name| !name.is_empty())
    }

    /// `Environment=`, with quotes taken off and `%%` read as `%`.
    fn environment(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        for assignment in self.values("Environment").flat_map(words) {
            if let Some((name, value)) = assignment.split_once('=') {
                all.insert(name.to_owned(), value.replace("%%", "%"));
            }
        }
        all
    }

    /// The file after `--config` in `ExecStart=`.
    fn config(&self) -> Option<PathBuf> {
        let line = self.values("ExecStart").last()?;
        let mut words = words(line).into_iter();
        words.find(|word| word == "--config")?;
        words.next().map(PathBuf::from)
    }
}

/// Splits a line of a unit: words are parted by blanks and may stand in double quotes.
fn words(line: &str) -> Vec<String> {
    let (mut all, mut word, mut quoted, mut escaped) = (Vec::new(), String::new(), false, false);
    for c in line.chars() {
        match c {
            _ if std::mem::take(&mut escaped) => word.push(c),
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ' ' | '\t' if !quoted => {
                if !word.is_empty() {
                    all.push(std::mem::take(&mut word));
                }
            }
            _ => word.push(c),
        }
    }
    if !word.is_empty() {
        all.push(word);
    }
    all
}

/// What the running server says of itself at `/health`.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::host::doctor) enum Answer {
    /// Nobody listens at the address.
    None,
    /// Something answers, with this body if it is JSON.
    Json(Value),
    /// Something listens and does not answer in time, or no JSON.
    Other,
}

/// The server on this machine.
#[derive(Debug)]
pub(in crate::host::doctor) struct Service {
    /// The file of its unit.
    pub(in crate::host::doctor) unit: Option<String>,
    /// Most memory that its unit lets it have, as the unit says it.
    pub(in crate::host::doctor) memory_max: Option<String>,
    /// Whether systemd holds its socket.
    pub(in crate::host::doctor) has_socket: bool,
    /// Its processes, whoever started them.
    pub(in crate::host::doctor) pids: Vec<String>,
    /// Its variables; without a unit those of this process.
    pub(in crate::host::doctor) environment: BTreeMap<String, String>,
    /// Where the variables are from.
    pub(in crate::host::doctor) environment_file: String,
    /// Its settings, or why they cannot be read.
    pub(in crate::host::doctor) settings: Result<Loaded, String>,
    /// The file of its settings, if there is one.
    pub(in crate::host::doctor) settings_file: Option<String>,
    /// Its word on itself.
    pub(in crate::host::doctor) answer: Answer,
}

impl Service {
    pub(super) fn read(tree: &Tree, unit: Unit, config: Option<&Path>) -> Self {
        let (environment, environment_file) = match &unit.file {
            Some(file) => (unit.environment(), file.clone()),
            None => (own_environment(tree), "/proc/self/environ".to_owned()),
        };
        let mut pids: Vec<String> =
            service_processes(tree.root()).iter().map(u32::to_string).collect();
        if pids.is_empty() {
            pids = servers(tree);
        }
        let named = environment.get("STRIXHALO_CONFIG").filter(|file| !file.is_empty());
        let file = config
            .map(Path::to_owned)
            .or_else(|| Some(tree.path(&unit.config()?.to_string_lossy())))
            .or_else(|| Some(tree.path(named?)))
            .or_else(|| Some(tree.path(SETTINGS)).filter(|file| file.exists()));
        let settings = settings(file.as_deref(), &environment).map_err(|error| {
            // A recording is not the machine that messages name.
            if tree.is_live() { error } else { error.replace(&*tree.root().to_string_lossy(), "") }
        });
        let answer = match &settings {
            Ok(loaded) => ask(tree, &loaded.settings),
            Err(_) => Answer::None,
        };
        Self {
            memory_max: unit.memory_max().map(str::to_owned),
            unit: unit.file,
            has_socket: UNITS.iter().any(|at| tree.exists(&format!("{at}/strixhalo.socket"))),
            pids,
            environment,
            environment_file,
            settings_file: file.map(|file| {
                let below = file.strip_prefix(tree.root()).unwrap_or(&file);
                Path::new("/").join(below).display().to_string()
            }),
            settings,
            answer,
        }
    }

    /// Its settings; `None` where they are refused or cannot be read.
    pub(in crate::host::doctor) fn settings(&self) -> Option<&Settings> {
        self.settings.as_ref().ok().map(|loaded| &loaded.settings)
    }

    /// The file that the value of a setting came from, or the word for a default.
    pub(in crate::host::doctor) fn origin(&self, key: &str) -> &str {
        let origin = self.settings.as_ref().map(|loaded| loaded.origins.get(key));
        match (origin, &self.settings_file) {
            (Ok(Origin::Default), _) => "by default",
            (Ok(Origin::File { .. }), Some(file)) => file,
            _ => &self.environment_file,
        }
    }
}

fn settings(file: Option<&Path>, environment: &BTreeMap<String, String>) -> Result<Loaded, String> {
    // The key file of systemd's credentials is named by a specifier, and is the service's alone.
    let variables = environment
        .iter()
        .filter(|(name, _)| *name != "STRIXHALO_CONFIG" && !name.ends_with("API_KEY_FILE"))
        .map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let sources = Sources {
        file: file.map(Path::to_owned),
        environment: variables.collect(),
        ..Sources::default()
    };
    load(sources).map_err(|error| error.to_string())
}

/// Asks the running server for `/health`, which needs no key, over loopback alone. A recorded tree
/// has the answer in `recorded/health.json`.
fn ask(tree: &Tree, settings: &Settings) -> Answer {
    if !tree.is_live() {
        let body = tree.text("recorded/health.json");
        return body.map_or(Answer::None, |text| json(&text));
    }
    let addresses = settings.server.host.iter().filter_map(|host| match host.as_str() {
        "localhost" | "0.0.0.0" | "::" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        other => other.parse::<IpAddr>().ok().filter(IpAddr::is_loopback),
    });
    let path = format!("{}/health", settings.server.api_prefix);
    let answers =
        addresses.take(2).map(|ip| get(SocketAddr::new(ip, settings.server.port), &path, TIMEOUT));
    answers
        .reduce(|first, next| if first == Answer::None { next } else { first })
        .unwrap_or(Answer::None)
}

fn get(address: SocketAddr, path: &str, timeout: Duration) -> Answer {
    let Ok(mut stream) = TcpStream::connect_timeout(&address, timeout) else {
        return Answer::None;
    };
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let sent = stream
        .set_read_timeout(Some(timeout))
        .and_then(|()| stream.set_write_timeout(Some(timeout)))
        .and_then(|()| stream.write_all(request.as_bytes()));
    let mut bytes = Vec::new();
    // What came before a time-out is looked at all the same.
    let _ = sent.and_then(|()| stream.take(MAX_ANSWER).read_to_end(&mut bytes));
    let text = String::from_utf8_lossy(&bytes);
    text.split_once("\r\n\r\n").map_or(Answer::Other, |(_, body)| json(body))
}

fn json(text: &str) -> Answer {
    serde_json::from_str(text).map_or(Answer::Other, Answer::Json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_units_lines_are_split_as_systemd_does() {
        assert_eq!(words(r#""A=b c" D=e  "F=\"g\\""#), ["A=b c", "D=e", "F=\"g\\"]);
        let unit = Unit {
            file: None,
            lines: vec![
                "Environment=\"A=50%%\" B=1".to_owned(),
                "Environment=B=2".to_owned(),
                "ExecStart=/bin/strixhalo serve --config /etc/a.toml".to_owned(),
            ],
        };
        let expected = [("A", "50%"), ("B", "2")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(unit.environment(), BTreeMap::from(expected));
        assert_eq!(unit.config(), Some(PathBuf::from("/etc/a.toml")));
    }

    #[test]
    fn the_answer_of_a_running_server_is_read() {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 256];
            let n = stream.read(&mut request).unwrap();
            stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n{\"backend\": \"ROCm\"}").unwrap();
            String::from_utf8_lossy(&request[..n]).into_owned()
        });
        let answer = get(address, "/llm/health", Duration::from_secs(10));
        assert!(server.join().unwrap().starts_with("GET /llm/health HTTP/1.0\r\n"));
        assert_eq!(answer, Answer::Json(serde_json::json!({"backend": "ROCm"})));
    }

    #[test]
    fn a_port_that_nobody_listens_on_has_no_answer_and_a_silent_one_another() {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(get(address, "/health", TIMEOUT), Answer::Other);
        drop(listener);
        assert_eq!(get(address, "/health", TIMEOUT), Answer::None);
    }
}
