//! Every error that a client can see, mapped to a status, type and code in one place.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::engine::GenerationError;

/// What a request can be answered with instead of a result.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ApiError {
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
        "prompt is too long: {tokens} tokens > {limit} maximum (exceeds the available context size)"
    )]
    ContextLengthExceeded {
        /// Tokens of the prompt.
        tokens: usize,
        /// Tokens that a prompt may have.
        limit: usize,
        /// The field that holds the prompt.
        param: &'static str,
    },
    /// 401
    #[error(
        "invalid or missing API key: send `Authorization: Bearer KEY` or the header `x-api-key`"
    )]
    Unauthorized,
    /// 404: no such route.
    #[error("no route {path}")]
    NoRoute {
        /// The path that was asked for.
        path: String,
    },
    /// 404: no such model, under `strict_model_names` or `/v1/models/{id}`.
    #[error("the model `{asked}` does not exist; served: {served}")]
    NoModel {
        /// What was asked for.
        asked: String,
        /// What is served.
        served: String,
    },
    /// 405
    #[error("{method} is not allowed here; allowed: {allow}")]
    MethodNotAllowed {
        /// The request's method.
        method: String,
        /// The methods of the route.
        allow: String,
    },
    /// 408
    #[error("the request did not arrive in time")]
    RequestTimeout,
    /// 408, in a stream: its buffer was full for too long.
    #[error("the answer was not read for too long (`limits.stream_stall_timeout`)")]
    SlowReader,
    /// 504; the type and status are those of Anthropic's API. SDKs try such a request again.
    #[error(
        "the request took longer than it may (`limits.request_timeout`) and nothing was generated; try again later, or shorten the prompt"
    )]
    DeadlineExceeded,
    /// 413
    #[error("the request body is larger than {limit} bytes (`limits.body_bytes`)")]
    BodyTooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// 415
    #[error("the body must be JSON: send `Content-Type: application/json`")]
    UnsupportedMediaType,
    /// 415
    #[error("a body with `Content-Encoding: {encoding}` cannot be read: send it uncompressed")]
    UnsupportedEncoding {
        /// As the client named it.
        encoding: String,
    },
    /// 429
    #[error("the queue is full ({waiting} waiting); try again later")]
    QueueFull {
        /// Requests that wait.
        waiting: usize,
        /// Seconds after which a try is worth while.
        retry_after: u64,
    },
    /// 500
    #[error("{0}")]
    Internal(&'static str),
    /// 501: switched off, or not a part of this server.
    #[error("{0}")]
    NotImplemented(String),
    /// 503: loading, failed to load, draining, or no room for one more.
    #[error("{message}")]
    Unavailable {
        /// Why.
        message: String,
        /// A stable word for programs, such as `loading` or `shutting_down`.
        code: &'static str,
    },
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

    /// A 503 that sends the client to another server, or to this one's successor.
    pub(super) fn shutting_down() -> Self {
        Self::Unavailable {
            message: "the server is shutting down".to_owned(),
            code: "shutting_down",
        }
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::InvalidRequest { .. } | Self::ContextLengthExceeded { .. } => {
                StatusCode::BAD_REQUEST
            }
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NoRoute { .. } | Self::NoModel { .. } => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout | Self::SlowReader => StatusCode::REQUEST_TIMEOUT,
            Self::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType | Self::UnsupportedEncoding { .. } => {
                StatusCode::UNSUPPORTED_MEDIA_TYPE
            }
            Self::QueueFull { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NotImplemented(_) => StatusCode::NOT_IMPLEMENTED,
            Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::InvalidRequest { .. }
            | Self::ContextLengthExceeded { .. }
            | Self::MethodNotAllowed { .. }
            | Self::BodyTooLarge { .. }
            | Self::UnsupportedMediaType
            | Self::UnsupportedEncoding { .. } => "invalid_request_error",
            Self::Unauthorized => "authentication_error",
            Self::NoRoute { .. } | Self::NoModel { .. } => "not_found_error",
            Self::RequestTimeout | Self::SlowReader | Self::DeadlineExceeded => "timeout_error",
            Self::QueueFull { .. } => "rate_limit_error",
            Self::Internal(_) => "server_error",
            Self::NotImplemented(_) => "not_implemented_error",
            Self::Unavailable { .. } => "unavailable_error",
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::InvalidRequest { code, .. } | Self::Unavailable { code, .. } => code,
            Self::ContextLengthExceeded { .. } => "context_length_exceeded",
            Self::Unauthorized => "invalid_api_key",
            Self::NoRoute { .. } => "not_found",
            Self::NoModel { .. } => "model_not_found",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::RequestTimeout => "request_timeout",
            Self::SlowReader => "slow_reader",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::UnsupportedEncoding { .. } => "unsupported_encoding",
            Self::QueueFull { .. } => "queue_full",
            Self::Internal(_) => "internal_error",
            Self::NotImplemented(_) => "not_implemented",
        }
    }

    fn param(&self) -> Option<&str> {
        match self {
            Self::InvalidRequest { param, .. } => param.as_deref(),
            Self::ContextLengthExceeded { param, .. } => Some(param),
            Self::NoModel { .. } => Some("model"),
            _ => None,
        }
    }

    /// The body: `{"error":{"message","type","param","code"}}`.
    pub fn body(&self) -> Value {
        json!({"error": {
            "message": self.to_string(),
            "type": self.kind(),
            "param": self.param(),
            "code": self.code(),
        }})
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status(), Json(self.body())).into_response();
        let headers = response.headers_mut();
        match &self {
            Self::QueueFull { retry_after, .. } => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(*retry_after));
            }
            Self::Unauthorized => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::MethodNotAllowed { allow, .. } => {
                if let Ok(value) = HeaderValue::from_str(allow) {
                    headers.insert(header::ALLOW, value);
                }
            }
            Self::Unavailable { code, .. } => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("10"));
                if *code == "shutting_down" {
                    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
            }
            _ => {}
        }
        response
    }
}

impl From<GenerationError> for ApiError {
    fn from(error: GenerationError) -> Self {
        match error {
            GenerationError::Compute => Self::Internal("the model could not compute this request"),
            GenerationError::NoRoom => Self::Unavailable {
                message: "no room in the KV cache beside the running requests; try again later"
                    .to_owned(),
                code: "no_kv_room",
            },
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
        let body = ApiError::from(GenerationError::SlowReader).body();
        assert_eq!(body["error"]["code"], "slow_reader");
        assert!(body["error"]["message"].as_str().is_some_and(|m| m.contains("not read")));
    }
}
