//! Routes of llama-server that this server does not have: a clear 501 instead of a 404 that
//! looks like a wrong address.

use axum::extract::OriginalUri;
use http::Method;

use crate::api::error::ApiError;

pub(in crate::api) async fn unsupported(method: Method, OriginalUri(uri): OriginalUri) -> ApiError {
    ApiError::NotImplemented(format!("{method} {} is not a part of this server yet", uri.path()))
}
