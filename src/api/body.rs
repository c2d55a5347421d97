//! JSON request bodies.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;

use super::ApiError;

/// A JSON body; errors name the field at fault.
#[derive(Debug)]
pub(super) struct JsonBody<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let invalid = |message: String, param: Option<String>| ApiError::InvalidRequest {
            message,
            param,
            code: "invalid_json",
        };
        let bytes =
            Bytes::from_request(request, state).await.map_err(|e| invalid(e.body_text(), None))?;
        let mut json = serde_json::Deserializer::from_slice(&bytes);
        let value = serde_path_to_error::deserialize(&mut json).map_err(|e| {
            let path = e.path().to_string();
            invalid(e.inner().to_string(), (path != ".").then_some(path))
        })?;
        json.end().map_err(|e| invalid(e.to_string(), None))?;
        Ok(Self(value))
    }
}
