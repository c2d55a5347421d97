//! Request bodies as JSON, with errors in OpenAI's form.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use http::{HeaderMap, header};

use crate::api::error::ApiError;
use crate::api::generation::off_the_reactor;
use crate::http::{Error, json_limits};
use crate::protocol::FromJson;

/// The request body, read as JSON; `read_body` has bounded it.
///
/// Any `Content-Type` is taken, as llama-server does (`curl -d` sends a form's), except those
/// that certainly are not JSON, and compressed bodies: 415. All else that is wrong is a 400.
#[derive(Debug)]
pub(in crate::api) struct JsonBody<T>(pub(in crate::api) T);

/// Bodies from this size on are parsed off the reactor.
const LARGE: usize = 256 << 10;

impl<T: FromJson, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        refuse_other_media(request.headers())?;
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|e| Error::Invalid { message: e.body_text(), code: "invalid_body" })?;
        let value = if body.len() < LARGE {
            T::from_json(&body)?
        } else {
            off_the_reactor(body.len(), move || {
                json_limits::check(&body)?;
                Ok(T::from_json(&body)?)
            })
            .await?
        };
        Ok(Self(value))
    }
}

fn refuse_other_media(headers: &HeaderMap) -> Result<(), Error> {
    let media = headers.get(header::CONTENT_TYPE).map(|v| v.as_bytes().to_ascii_lowercase());
    let is = |media: &[u8], kind: &str| media.starts_with(kind.as_bytes());
    let encoding = headers.get(header::CONTENT_ENCODING).map(|v| v.as_bytes().to_ascii_lowercase());
    if let Some(encoding) = encoding.filter(|e| !e.is_empty() && e != b"identity") {
        let encoding = String::from_utf8_lossy(&encoding).chars().take(40).collect();
        return Err(Error::UnsupportedEncoding { encoding });
    }
    match media {
        Some(media)
            if ["multipart/", "image/", "audio/", "video/"].iter().any(|k| is(&media, k)) =>
        {
            Err(Error::UnsupportedMediaType)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn refusal(name: header::HeaderName, value: &'static str) -> Option<Error> {
        refuse_other_media(&HeaderMap::from_iter([(name, HeaderValue::from_static(value))])).err()
    }

    #[test]
    fn a_compressed_body_is_refused_by_name() {
        let error = refusal(header::CONTENT_ENCODING, "GZip").map(|e| e.to_string());
        assert!(error.is_some_and(|e| e.contains("`Content-Encoding: gzip`")));
        assert!(refusal(header::CONTENT_ENCODING, "identity").is_none());
        assert!(refusal(header::CONTENT_TYPE, "application/x-www-form-urlencoded").is_none());
    }
}
