//! `/metrics`: Prometheus text under llama-server's names.

use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderName, header};

use super::{ApiError, AppState, LoadState};

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const START_TIME: HeaderName = HeaderName::from_static("process-start-time-unix");

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/metrics", get(metrics))
}

async fn metrics(State(state): State<AppState>) -> Result<Response, ApiError> {
    if !state.settings().server.metrics {
        return Err(ApiError::NotImplemented(
            "/metrics is switched off: set `server.metrics = true` to use it".to_owned(),
        ));
    }
    let text = Totals::of(&state).render(state.started());
    let headers = [
        (header::CONTENT_TYPE, CONTENT_TYPE.to_owned()),
        (START_TIME, state.started().to_string()),
    ];
    Ok((headers, text).into_response())
}

/// What the engine has done; all zero until the model is loaded.
#[derive(Debug, Default)]
struct Totals {
    prompt_tokens: u64,
    prompt_tokens_cached: u64,
    prompt_us: u64,
    predicted_tokens: u64,
    predicted_us: u64,
    decodes: u64,
    busy_slots: u64,
    longest_sequence: u64,
    processing: usize,
    waiting: usize,
}

impl Totals {
    fn of(state: &AppState) -> Self {
        // Requests that wait for the model wait for a slot, too.
        let held = state.held();
        let LoadState::Ready(model) = state.load_state() else {
            return Self { waiting: held, ..Self::default() };
        };
        let counters = model.engine.counters();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Self {
            prompt_tokens: read(&counters.prompt_tokens),
            prompt_tokens_cached: read(&counters.prompt_tokens_cached),
            prompt_us: read(&counters.prompt_us),
            predicted_tokens: read(&counters.predicted_tokens),
            predicted_us: read(&counters.predicted_us),
            decodes: read(&counters.decodes),
            busy_slots: read(&counters.busy_slots),
            longest_sequence: read(&counters.longest_sequence),
            processing: model.engine.slots().iter().filter(|s| s.processing).count(),
            waiting: model.engine.waiting() + held,
        }
    }

    fn render(&self, started: u64) -> String {
        let mut text = Text::default();
        let prompt_seconds = seconds(self.prompt_us);
        let predicted_seconds = seconds(self.predicted_us);
        text.counter("prompt_tokens_total", "Prompt tokens computed.", self.prompt_tokens);
        text.counter(
            "prompt_tokens_cached_total",
            "Prompt tokens taken from the prefix cache.",
            self.prompt_tokens_cached,
        );
        text.counter("prompt_seconds_total", "Seconds spent on prompts.", prompt_seconds);
        text.counter("tokens_predicted_total", "Tokens generated.", self.predicted_tokens);
        text.counter(
            "tokens_predicted_seconds_total",
            "Seconds spent on generating.",
            predicted_seconds,
        );
        text.counter("n_decode_total", "Calls of llama_decode.", self.decodes);
        text.counter("n_tokens_max", "Longest sequence so far, in tokens.", self.longest_sequence);
        // Known to dashboards; this server does not speculate.
        for (name, help) in [
            ("spec_decode_num_drafts_total", "Drafts made by speculation."),
            ("spec_decode_num_draft_tokens_total", "Tokens drafted by speculation."),
            ("spec_decode_num_accepted_tokens_total", "Drafted tokens accepted."),
        ] {
            text.counter(name, help, 0);
        }
        text.gauge(
            "prompt_tokens_seconds",
            "Prompt tokens per second, mean since the start.",
            ratio(self.prompt_tokens as f64, prompt_seconds),
        );
        text.gauge(
            "predicted_tokens_seconds",
            "Generated tokens per second, mean since the start.",
            ratio(self.predicted_tokens as f64, predicted_seconds),
        );
        text.gauge("requests_processing", "Slots at work.", self.processing);
        text.gauge("requests_deferred", "Requests that wait for a slot.", self.waiting);
        text.gauge(
            "n_busy_slots_per_decode",
            "Slots that take part in a call of llama_decode, mean since the start.",
            ratio(self.busy_slots as f64, self.decodes as f64),
        );
        text.write(
            "strixhalo_build_info",
            "gauge",
            "The running build; always 1.",
            format_args!("{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")),
        );
        text.write(
            "process_start_time_seconds",
            "gauge",
            "Unix time of the process's start.",
            format_args!(" {started}"),
        );
        text.0
    }
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

/// A mean; of nothing, 0.
fn ratio(sum: f64, n: f64) -> f64 {
    if n > 0.0 { sum / n } else { 0.0 }
}

/// Text in the exposition format 0.0.4.
#[derive(Default)]
struct Text(String);

impl Text {
    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.write(format_args!("llamacpp:{name}"), "counter", help, format_args!(" {value}"));
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.write(format_args!("llamacpp:{name}"), "gauge", help, format_args!(" {value}"));
    }

    fn write(&mut self, name: impl Display, kind: &str, help: &str, value: impl Display) {
        // A String takes everything.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name}{value}");
    }
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_means_since_the_start_so_that_scrapers_do_not_disturb_each_other() {
        let totals = Totals {
            prompt_tokens: 300,
            prompt_us: 1_500_000,
            predicted_tokens: 50,
            predicted_us: 2_000_000,
            decodes: 4,
            busy_slots: 6,
            ..Totals::default()
        };
        let text = totals.render(1_700_000_000);
        for line in [
            "llamacpp:prompt_tokens_total 300",
            "llamacpp:prompt_seconds_total 1.5",
            "llamacpp:prompt_tokens_seconds 200",
            "llamacpp:predicted_tokens_seconds 25",
            "llamacpp:n_busy_slots_per_decode 1.5",
            "process_start_time_seconds 1700000000",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        assert_eq!(text, totals.render(1_700_000_000));
    }

    #[test]
    fn every_sample_has_its_help_and_type_and_is_a_number() {
        let text = Totals::default().render(1);
        let lines: Vec<&str> = text.lines().collect();
        for sample in lines.chunks(3) {
            let [help, kind, value] = sample else { panic!("{sample:?}") };
            let name = value.split([' ', '{']).next().unwrap_or_default();
            assert!(help.starts_with(&format!("# HELP {name} ")), "{help}");
            assert!(kind.starts_with(&format!("# TYPE {name} ")), "{kind}");
            let number = value.rsplit(' ').next().unwrap_or_default();
            assert!(number.parse::<f64>().is_ok_and(f64::is_finite), "{value}");
        }
        assert!(text.ends_with('\n'));
    }
}
