//! Request bodies: bounded, JSON whatever the client calls it, errors in OpenAI's form.

use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::wire::{BodyError, FromJson};
use super::{ApiError, AppState};

/// The request body, read as JSON.
///
/// Any `Content-Type` is taken, as llama-server does (`curl -d` sends a form's), except those
/// that certainly are not JSON: 415. Too large is 413, all else that is wrong 400.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

/// Bodies from this size on are parsed off the reactor.
const LARGE: usize = 256 << 10;

impl<T: FromJson> FromRequest<AppState> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        refuse_other_media(request.headers())?;
        let body = read(request, state.settings().limits.body_bytes).await?;
        let value = if body.len() < LARGE {
            T::from_json(&body)
        } else {
            tokio::task::spawn_blocking(move || T::from_json(&body))
                .await
                .map_err(|_| ApiError::Internal("reading the request failed"))?
        };
        Ok(Self(value?))
    }
}

fn refuse_other_media(headers: &HeaderMap) -> Result<(), ApiError> {
    let media = headers.get(header::CONTENT_TYPE).map(|v| v.as_bytes().to_ascii_lowercase());
    let other = |media: &Vec<u8>| {
        ["multipart/", "image/", "audio/", "video/"].iter().any(|t| media.starts_with(t.as_bytes()))
    };
    if media.as_ref().is_some_and(other) {
        return Err(ApiError::UnsupportedMediaType);
    }
    Ok(())
}

async fn read(request: Request, limit: u64) -> Result<Bytes, ApiError> {
    let announced = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(ApiError::BodyTooLarge { limit });
    }
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    match Limited::new(request.into_body(), most).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if is_length_limit(error.as_ref()) => Err(ApiError::BodyTooLarge { limit }),
        Err(_) => Err(ApiError::InvalidRequest {
            message: "the request body ended early".to_owned(),
            param: None,
            code: "incomplete_body",
        }),
    }
}

/// The limit may be this extractor's or that of a layer around it.
fn is_length_limit(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |e| e.source()).any(|e| e.is::<LengthLimitError>())
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        Self::InvalidRequest { message: error.message, param: error.param, code: error.code }
    }
}
