//! The HTTP side: one request, its events and when they came.

use std::io::{BufRead, BufReader, Read};
use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::http::Response;
use ureq::{Agent, Body};

use super::sse::{self, Event, Line, Timings, Usage};

/// Longest line of a stream and longest body that are read, in bytes.
const MAX_BYTES: u64 = 16 << 20;

/// Why a request gave no result.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum ClientError {
    /// No HTTP answer: refused, unknown host, TLS, or nothing within the time limit.
    #[error("{0}")]
    Transport(String),
    /// An answer other than 200.
    #[error("HTTP {status}: {message}")]
    Status { status: u16, message: String },
    /// An answer that is not what an OpenAI-compatible server gives.
    #[error("{0}")]
    Answer(String),
}

impl From<ureq::Error> for ClientError {
    fn from(error: ureq::Error) -> ClientError {
        ClientError::Transport(error.to_string())
    }
}

/// The way to one server.
#[derive(Clone)]
pub(super) struct Client {
    agent: Agent,
    base: String,
    authorization: Option<String>,
    timeout: Duration,
}

/// One streamed answer. Times count from `sent`.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) sent: Instant,
    /// When each chunk with text came.
    pub(super) texts: Vec<Duration>,
    /// When the last token was there: the finish event, or else the last text.
    pub(super) end: Duration,
    /// `None` if the stream was left before its end.
    pub(super) finish_reason: Option<String>,
    pub(super) usage: Option<Usage>,
    pub(super) timings: Option<Timings>,
}

impl Sample {
    /// Time to the first text. An answer without any text (one token that is half a character,
    /// say) had its first token at its end.
    pub(super) fn first(&self) -> Duration {
        self.texts.first().copied().unwrap_or(self.end)
    }

    /// Times between neighboring chunks with text.
    pub(super) fn gaps(&self) -> impl Iterator<Item = Duration> + '_ {
        self.texts.windows(2).map(|pair| pair[1].saturating_sub(pair[0]))
    }
}

impl Client {
    /// `base` is the URL up to and with `/v1`; `timeout` bounds each request as a whole. Every
    /// request opens a connection: one that stood idle may be closed by the server just when it
    /// is used again, which would be counted as an error.
    pub(super) fn new(base: &str, api_key: Option<&str>, timeout: Duration) -> Client {
        Client {
            agent: agent(timeout, false),
            base: base.trim_end_matches('/').to_owned(),
            authorization: api_key.map(|key| format!("Bearer {key}")),
            timeout,
        }
    }

    /// The same with a connection of its own that stays open, for one thread that sends requests
    /// one straight after the other.
    pub(super) fn keeping_its_connection(&self) -> Client {
        Client { agent: agent(self.timeout, true), ..self.clone() }
    }

    /// The ids of `/models`.
    pub(super) fn models(&self) -> Result<Vec<String>, ClientError> {
        let body = self.get(&format!("{}/models", self.base))?;
        let list = body.get("data").and_then(Value::as_array).ok_or_else(|| {
            ClientError::Answer(
                "the answer to /models has no list `data`; is the URL right?".into(),
            )
        })?;
        Ok(list.iter().filter_map(|model| model.get("id")?.as_str().map(str::to_owned)).collect())
    }

    /// llama-server's `/props`, from servers that have it.
    pub(super) fn props(&self) -> Option<Value> {
        let root = self.base.strip_suffix("/v1").unwrap_or(&self.base);
        self.get(&format!("{root}/props")).ok()
    }

    /// A request that is answered in one piece.
    pub(super) fn complete(&self, path: &str, body: &Value) -> Result<Event, ClientError> {
        let mut response = self.post(path, body.to_string())?;
        let text = response.body_mut().with_config().limit(MAX_BYTES).read_to_string()?;
        serde_json::from_str(&text).map_err(|error| malformed(&error, &text))
    }

    /// A streamed request. `on_text` is called at each chunk with text; when it says `false` the
    /// connection is dropped, which cancels the request.
    pub(super) fn stream(
        &self,
        path: &str,
        body: &Value,
        mut on_text: impl FnMut() -> bool,
    ) -> Result<Sample, ClientError> {
        let body = body.to_string();
        let sent = Instant::now();
        let response = self.post(path, body)?;
        let mut reader = BufReader::with_capacity(16 << 10, response.into_body().into_reader());
        let mut sample = Sample {
            sent,
            texts: Vec::new(),
            end: Duration::ZERO,
            finish_reason: None,
            usage: None,
            timings: None,
        };
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = reader.by_ref().take(MAX_BYTES).read_until(b'\n', &mut line);
            let now = sent.elapsed();
            if read.map_err(|error| ClientError::Transport(error.to_string()))? == 0 {
                break;
            }
            let text = String::from_utf8_lossy(&line);
            let Line::Data(data) = sse::parse_line(&text) else { continue };
            let event: Event =
                serde_json::from_str(data).map_err(|error| malformed(&error, data))?;
            if let Some(message) = event.error() {
                return Err(ClientError::Answer(message));
            }
            if event.has_text() {
                sample.texts.push(now);
                sample.end = now;
                if !on_text() {
                    return Ok(sample);
                }
            }
            if let Some(reason) = event.finish_reason() {
                sample.finish_reason = Some(reason.to_owned());
                sample.end = now;
            }
            sample.usage = event.usage.or(sample.usage);
            sample.timings = event.timings.or(sample.timings);
        }
        if sample.finish_reason.is_none() {
            return Err(ClientError::Answer(
                "the stream ended without a finish_reason; the server's log may say why".into(),
            ));
        }
        Ok(sample)
    }

    fn post(&self, path: &str, body: String) -> Result<Response<Body>, ClientError> {
        let mut request = self.agent.post(format!("{}{path}", self.base));
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        checked(request.content_type("application/json").send(body)?)
    }

    fn get(&self, url: &str) -> Result<Value, ClientError> {
        let mut request = self.agent.get(url);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let mut response = checked(request.call()?)?;
        let text = response.body_mut().with_config().limit(MAX_BYTES).read_to_string()?;
        serde_json::from_str(&text).map_err(|error| malformed(&error, &text))
    }
}

fn agent(timeout: Duration, keep_alive: bool) -> Agent {
    Agent::config_builder()
        .timeout_global(Some(timeout))
        .timeout_connect(Some(timeout.min(Duration::from_secs(10))))
        .http_status_as_error(false)
        // A stream that arrives compressed has lost its timing.
        .accept_encoding("")
        // A proxy from the environment would be measured as well.
        .proxy(None)
        .max_idle_connections(usize::from(keep_alive))
        .max_idle_connections_per_host(usize::from(keep_alive))
        .build()
        .new_agent()
}

fn checked(mut response: Response<Body>) -> Result<Response<Body>, ClientError> {
    let status = response.status().as_u16();
    if status == 200 {
        return Ok(response);
    }
    let text = response.body_mut().with_config().limit(MAX_BYTES).read_to_string()?;
    let message = serde_json::from_str::<Value>(&text)
        .ok()
        .and_then(|body| body.get("error").map(sse::error_message))
        .unwrap_or_else(|| beginning(&text));
    Err(ClientError::Status { status, message })
}

fn malformed(error: &serde_json::Error, text: &str) -> ClientError {
    ClientError::Answer(format!("not the JSON of a completion ({error}): {}", beginning(text)))
}

/// Enough of a text to recognize it, on one line.
fn beginning(text: &str) -> String {
    let line: String = text.chars().take(120).collect();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}
