//! Every error that an endpoint can answer with, mapped to a status and code in one place.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use crate::engine::GenerationError;
use crate::http::{Error, Problem};
use crate::protocol::BodyError;

/// What a request can be answered with instead of a result.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ApiError {
    /// An error that needs no model.
    #[error(transparent)]
    Http(#[from] Error),
    /// 400: the request's content is wrong. `param` is the path of the field at fault.
    #[error("{message}")]
    InvalidRequest {
        /// What is wrong, and what would be right.
        message: String,
        /// Path of the field, such as `messages[0].role`.
        param: Option<String>,
        /// A stable word for programs.
        code: &'static str,
    },
    /// 400: the prompt does not fit. The wording is what coding agents look for.
    #[error(
        "prompt is too long: {tokens} tokens {} {n_ctx} maximum (exceeds the available context size)",
        if tokens > n_ctx { ">" } else { ">=" }
    )]
    ContextLengthExceeded {
        /// Tokens of the prompt.
        tokens: usize,
        /// Tokens of a prompt and its answer together: the context of a slot.
        n_ctx: usize,
        /// The field that holds the prompt.
        param: &'static str,
    },
    /// 404: no such model, under `strict_model_names` or `/v1/models/{id}`.
    #[error("the model `{asked}` does not exist; served: {served}")]
    NoModel {
        /// What was asked for.
        asked: String,
        /// What is served.
        served: String,
    },
    /// 404: no such response is stored, or it is another key's.
    #[error(
        "there is no stored response `{id}`: it was not stored, was deleted or made room for others"
    )]
    NoResponse {
        /// What was asked for.
        id: String,
    },
    /// 408, in a stream: its buffer was full for too long.
    #[error("the answer was not read for too long (`limits.stream_stall_timeout`)")]
    SlowReader,
    /// 504; the type and status are those of Anthropic's API. SDKs try such a request again.
    #[error(
        "the request took longer than it may (`limits.request_timeout`) and nothing was generated; try again later, or shorten the prompt"
    )]
    DeadlineExceeded,
    /// 429
    #[error("the queue is full ({waiting} waiting); try again later")]
    QueueFull {
        /// Requests that wait.
        waiting: usize,
        /// Seconds after which a try is worth while.
        retry_after: u64,
    },
    /// 501: switched off, or not a part of this server.
    #[error("{0}")]
    NotImplemented(String),
}

impl ApiError {
    /// A 400 about the field at `param`.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::InvalidRequest {
            message: message.into(),
            param: Some(param.into()),
            code: "invalid_value",
        }
    }

    /// A 503 with a stable word for programs, such as `loading`.
    pub(super) fn unavailable(message: impl Into<String>, code: &'static str) -> Self {
        Error::Unavailable { message: message.into(), code }.into()
    }

    /// A 503 that sends the client to another server, or to this one's successor.
    pub(super) fn shutting_down() -> Self {
        Error::shutting_down().into()
    }

    /// What its answer says.
    pub fn problem(&self) -> Problem {
        let (status, code, param) = match self {
            Self::Http(error) => return error.problem(),
            Self::InvalidRequest { param, code, .. } => {
                (StatusCode::BAD_REQUEST, *code, param.clone())
            }
            Self::ContextLengthExceeded { param, .. } => {
                (StatusCode::BAD_REQUEST, "context_length_exceeded", Some((*param).to_owned()))
            }
            Self::NoModel { .. } => {
                (StatusCode::NOT_FOUND, "model_not_found", Some("model".to_owned()))
            }
            Self::NoResponse { .. } => (StatusCode::NOT_FOUND, "response_not_found", None),
            Self::SlowReader => (StatusCode::REQUEST_TIMEOUT, "slow_reader", None),
            Self::DeadlineExceeded => (StatusCode::GATEWAY_TIMEOUT, "deadline_exceeded", None),
            Self::QueueFull { .. } => (StatusCode::TOO_MANY_REQUESTS, "queue_full", None),
            Self::NotImplemented(_) => (StatusCode::NOT_IMPLEMENTED, "not_implemented", None),
        };
        let numbers = match self {
            // The names are llama-server's.
            Self::ContextLengthExceeded { tokens, n_ctx, .. } => {
                vec![("n_prompt_tokens", *tokens as u64), ("n_ctx", *n_ctx as u64)]
            }
            _ => Vec::new(),
        };
        Problem { status, code, message: self.to_string(), param, numbers, request_id: None }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let problem = self.problem();
        match self {
            Self::Http(error) => error.into_response(),
            Self::QueueFull { retry_after, .. } => {
                ([(header::RETRY_AFTER, HeaderValue::from(retry_after))], problem).into_response()
            }
            _ => problem.into_response(),
        }
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        Self::InvalidRequest { message: error.message, param: error.param, code: error.code }
    }
}

impl From<GenerationError> for ApiError {
    fn from(error: GenerationError) -> Self {
        match error {
            GenerationError::Compute => {
                Error::Internal("the model could not compute this request").into()
            }
            GenerationError::Grammar => {
                Error::Internal("the output could not be kept to the requested format").into()
            }
            GenerationError::Forbidden => Self::invalid("logit_bias", error.to_string()),
            GenerationError::NoRoom => Self::unavailable(
                "no room in the KV cache beside the running requests; try again later",
                "no_kv_room",
            ),
            GenerationError::SlowReader => Self::SlowReader,
            GenerationError::DeadlineExceeded => Self::DeadlineExceeded,
            // Another server can take it.
            GenerationError::ShuttingDown | GenerationError::Stopped => Self::shutting_down(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_reads_too_slowly_is_not_told_that_it_sent_too_slowly() {
        let problem = ApiError::from(GenerationError::SlowReader).problem();
        assert_eq!(problem.code, "slow_reader");
        assert!(problem.message.contains("not read"));
    }
}
