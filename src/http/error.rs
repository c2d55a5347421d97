//! Errors that need no model, and how every error becomes an answer.
//!
//! A layer that refuses a request does not know in which API's form: its answer carries a
//! [`Problem`], which another layer writes in the form of the request's route.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

/// Seconds after which a server that is loading or full may have room.
const RETRY_AFTER: u64 = 10;

/// Why a request is refused before an endpoint has looked at it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// 400: it is not HTTP or not JSON as it must be.
    #[error("{message}")]
    Invalid {
        /// What is wrong, and what would be right.
        message: String,
        /// A stable word for programs.
        code: &'static str,
    },
    /// 401
    #[error(
        "invalid or missing API key: send `Authorization: Bearer KEY` or the header `x-api-key`"
    )]
    Unauthorized,
    /// 403: a web page may be behind the request.
    #[error("{message}")]
    Forbidden {
        /// What is refused, and the setting that allows it.
        message: String,
        /// A stable word for programs.
        code: &'static str,
    },
    /// 404: no such route.
    #[error("no route {path}")]
    NoRoute {
        /// The path that was asked for.
        path: String,
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
    /// 500
    #[error("{0}")]
    Internal(&'static str),
    /// 503: loading, failed to load, draining, or no room for one more.
    #[error("{message}")]
    Unavailable {
        /// Why.
        message: String,
        /// A stable word for programs, such as `loading` or `shutting_down`.
        code: &'static str,
    },
}

/// What an error answer says, for an API to write in its own form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status, from which APIs derive the error's type.
    pub status: StatusCode,
    /// A stable word for programs.
    pub code: &'static str,
    /// One line for people.
    pub message: String,
    /// Path of the field at fault, such as `messages[0].role`.
    pub param: Option<String>,
    /// Numbers for programs, by their names.
    pub numbers: Vec<(&'static str, u64)>,
    /// The request's id, once it is known.
    pub request_id: Option<String>,
}

impl Error {
    /// A 503 that sends the client to another server, or to this one's successor.
    pub(crate) fn shutting_down() -> Self {
        Self::Unavailable {
            message: "the server is shutting down".to_owned(),
            code: "shutting_down",
        }
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Invalid { .. } => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden { .. } => StatusCode::FORBIDDEN,
            Self::NoRoute { .. } => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType | Self::UnsupportedEncoding { .. } => {
                StatusCode::UNSUPPORTED_MEDIA_TYPE
            }
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// A stable word for programs.
    fn code(&self) -> &'static str {
        match self {
            Self::Invalid { code, .. }
            | Self::Forbidden { code, .. }
            | Self::Unavailable { code, .. } => code,
            Self::Unauthorized => "invalid_api_key",
            Self::NoRoute { .. } => "not_found",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::RequestTimeout => "request_timeout",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::UnsupportedEncoding { .. } => "unsupported_encoding",
            Self::Internal(_) => "internal_error",
        }
    }

    /// What its answer says.
    pub fn problem(&self) -> Problem {
        Problem {
            status: self.status(),
            code: self.code(),
            message: self.to_string(),
            param: None,
            numbers: Vec::new(),
            request_id: None,
        }
    }
}

impl IntoResponse for Problem {
    /// An answer without a body, which a layer adds.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = self.problem().into_response();
        let headers = response.headers_mut();
        match &self {
            Self::Unauthorized => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::MethodNotAllowed { allow, .. } => {
                if let Ok(value) = HeaderValue::from_str(allow) {
                    headers.insert(header::ALLOW, value);
                }
            }
            Self::Unavailable { code, .. } => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER));
                if *code == "shutting_down" {
                    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
            }
            _ => {}
        }
        response
    }
}
