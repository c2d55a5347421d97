//! `/`: what this server is, and where its endpoints are.

use axum::{Extension, Json};
use serde_json::{Value, json};

/// Paths that the index names, with the prefix.
#[derive(Debug, Clone)]
pub(in crate::api) struct ListedPaths(pub(in crate::api) Vec<String>);

pub(in crate::api) async fn index(
    Extension(ListedPaths(endpoints)): Extension<ListedPaths>,
) -> Json<Value> {
    Json(json!({
        "name": env!("CARGO_PKG_NAME"),
        "version": env!("CARGO_PKG_VERSION"),
        "endpoints": endpoints,
    }))
}
