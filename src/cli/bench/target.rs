//! What is measured: a server, a model, and how requests to it look.

use serde_json::{Value, json};

use super::client::{Client, ClientError, Sample};
use super::prompt::{PromptMaker, calibration_text};
use super::sse::Event;

/// Words of the two calibration prompts.
const CALIBRATION_WORDS: (usize, usize) = (40, 200);

/// Which endpoint the requests go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Endpoint {
    /// `/completions`: the prompt as it is.
    Completions,
    /// `/chat/completions`: the prompt as one user message.
    Chat,
}

impl Endpoint {
    fn path(self) -> &'static str {
        match self {
            Endpoint::Completions => "/completions",
            Endpoint::Chat => "/chat/completions",
        }
    }
}

/// A server, ready to be asked.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) client: Client,
    pub(super) endpoint: Endpoint,
    pub(super) model: String,
    pub(super) ignore_eos: bool,
    pub(super) temperature: f64,
    pub(super) prompts: PromptMaker,
}

impl Target {
    /// One streamed request; `on_text` as in [`Client::stream`].
    pub(super) fn stream(
        &self,
        prompt: &str,
        max_tokens: u32,
        on_text: impl FnMut() -> bool,
    ) -> Result<Sample, ClientError> {
        let mut body = self.body(prompt, max_tokens, self.endpoint);
        body["stream"] = true.into();
        body["stream_options"] = json!({"include_usage": true});
        self.client.stream(self.endpoint.path(), &body, on_text)
    }

    /// One streamed chat; `on_text` as in [`Client::stream`].
    pub(super) fn chat(
        &self,
        messages: &[Value],
        max_tokens: u32,
        on_text: impl FnMut() -> bool,
    ) -> Result<Sample, ClientError> {
        let mut body = self.body("", max_tokens, Endpoint::Chat);
        body["messages"] = messages.into();
        body["stream"] = true.into();
        body["stream_options"] = json!({"include_usage": true});
        self.client.stream(Endpoint::Chat.path(), &body, on_text)
    }

    /// One request that is answered in one piece.
    pub(super) fn complete(&self, prompt: &str, max_tokens: u32) -> Result<Event, ClientError> {
        let body = self.body(prompt, max_tokens, self.endpoint);
        self.client.complete(self.endpoint.path(), &body)
    }

    /// Warms the server up, and learns from two prompts how many tokens a word has. `None` if the
    /// server gives no usage.
    pub(super) fn warm_up(&self) -> Result<Option<f64>, ClientError> {
        let count = |words| {
            self.complete(&calibration_text(words), 4).map(|event| event.usage.unwrap_or_default())
        };
        let short = count(CALIBRATION_WORDS.0)?.prompt_tokens;
        let long = count(CALIBRATION_WORDS.1)?.prompt_tokens;
        let words = (CALIBRATION_WORDS.1 - CALIBRATION_WORDS.0) as f64;
        Ok((long > short).then(|| (long - short) as f64 / words))
    }

    fn body(&self, prompt: &str, max_tokens: u32, endpoint: Endpoint) -> Value {
        let mut body = json!({
            "model": self.model,
            "max_tokens": max_tokens,
            "temperature": self.temperature,
        });
        match endpoint {
            Endpoint::Completions => body["prompt"] = prompt.into(),
            Endpoint::Chat => body["messages"] = json!([{"role": "user", "content": prompt}]),
        }
        // Not OpenAI's: a server that refuses unknown fields must not see it unasked.
        if self.ignore_eos {
            body["ignore_eos"] = true.into();
        }
        body
    }
}
