//! `/metrics`: Prometheus text. llama-server's names with their meanings, and our own.
//!
//! What the engine, the slots and the machine are at is read at each scrape; requests feed
//! counters and histograms as they go. Nothing is reset by a scrape.

mod cache;
mod counts;
mod embedding;
mod energy;
mod engine;
mod families;
mod host;
mod memory;
mod speculation;

use std::path::Path;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, header};
use prometheus::TextEncoder;
use prometheus::proto::MetricFamily;

pub(super) use counts::{Counts, Sequences};
pub use energy::{Energy, GpuEnergy};
use families::Families;

use super::error::ApiError;
use super::state::AppState;
use crate::host::{GpuReading, ProcessUsage};
use crate::http::Error;

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const START_TIME: HeaderName = HeaderName::from_static("process-start-time-unix");

pub(super) async fn metrics(State(state): State<AppState>) -> Result<Response, ApiError> {
    const FAILED: ApiError = ApiError::Http(Error::Internal("the metrics could not be collected"));
    if !state.settings().server.metrics {
        return Err(ApiError::NotImplemented(
            "/metrics is switched off: set `server.metrics = true` to use it".to_owned(),
        ));
    }
    let started = state.started();
    // Sensors of a GPU can take milliseconds.
    let text = tokio::task::spawn_blocking(move || text(&collect(&state, Path::new("/"))))
        .await
        .map_err(|_| FAILED)?
        .map_err(|_| FAILED)?;
    let headers =
        [(header::CONTENT_TYPE, CONTENT_TYPE.to_owned()), (START_TIME, started.to_string())];
    Ok((headers, text).into_response())
}

/// All families; `root`: where /proc and /sys are.
fn collect(state: &AppState, root: &Path) -> Vec<MetricFamily> {
    let mut families = Families::default();
    engine::add_state(&mut families, state);
    families.gauges(
        "strixhalo_build_info",
        "The running build; always 1.",
        &[(&[("version", env!("CARGO_PKG_VERSION"))], 1.0)],
    );
    host::add_process(&mut families, ProcessUsage::read(root), state.started());
    host::add_gpus(&mut families, &GpuReading::read_all(root));
    families.0.extend(state.registry().gather());
    families.0
}

/// The exposition format 0.0.4.
fn text(families: &[MetricFamily]) -> Result<String, prometheus::Error> {
    TextEncoder::new().encode_to_string(families)
}

#[cfg(test)]
mod tests;
