//! What `strixhalo bench` prints.

use std::fmt::Write;

use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::arguments::BenchArgs;
use super::conversation::ConversationResult;
use super::load::LoadResult;
use super::rps::RpsResult;
use super::slots::SlotsResult;
use super::stall::StallResult;
use super::stats::Spread;

/// Different error messages that are shown.
const SHOWN_ERRORS: usize = 5;

/// All results of one call.
pub(super) struct Report {
    pub(super) environment: Environment,
    pub(super) decode: Vec<LoadResult>,
    pub(super) edit: Vec<LoadResult>,
    pub(super) prose: Vec<LoadResult>,
    pub(super) prefill: Vec<LoadResult>,
    pub(super) stall: Option<StallResult>,
    pub(super) rps: Option<RpsResult>,
    pub(super) conversations: Vec<ConversationResult>,
    pub(super) slots: Option<SlotsResult>,
    /// What the reader must know: loads that were left out, missing counts.
    pub(super) notes: Vec<String>,
}

/// Who measured what, when and how.
#[derive(Debug, Serialize)]
pub(super) struct Environment {
    settings: Value,
    server: Value,
    client: Value,
    date: String,
}

impl Environment {
    /// Without the API key.
    pub(super) fn of(
        args: &BenchArgs,
        model: &str,
        props: Option<&Value>,
        tokens_per_word: Option<f64>,
    ) -> Environment {
        let prop = |pointer: &str| props.and_then(|props| props.pointer(pointer)).cloned();
        Environment {
            settings: json!({
                "url": args.url,
                "model": model,
                "scenario": args.scenario,
                "endpoint": args.endpoint,
                "streams": args.streams,
                "prompt_tokens": args.prompt_tokens,
                "max_tokens": args.max_tokens,
                "edit_text": args.edit_text,
                "repeat": args.repeat,
                "ignore_eos": args.ignore_eos,
                "shared_prefix": args.shared_prefix,
                "stall_prompt": args.stall_prompt,
                "connections": args.connections,
                "duration": args.duration,
                "conversations": args.conversations,
                "turns": args.turns,
                "resumed": args.resumed,
                "seed": args.seed,
                "timeout": args.timeout,
                "tokens_per_word": tokens_per_word,
            }),
            server: json!({
                "build_info": prop("/build_info"),
                "model_path": prop("/model_path"),
                "slots": prop("/total_slots"),
                "context_per_slot": prop("/default_generation_settings/n_ctx"),
            }),
            client: json!({
                "version": env!("CARGO_PKG_VERSION"),
                "cpu": cpu_model(),
                "threads": std::thread::available_parallelism().map(usize::from).ok(),
            }),
            date: OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default(),
        }
    }
}

fn cpu_model() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

impl Report {
    /// Whether nothing was measured: no load fitted the server's context.
    pub(super) fn is_empty(&self) -> bool {
        self.stall.is_none()
            && self.rps.is_none()
            && self.conversations.is_empty()
            && self.loads().next().is_none()
    }

    /// Requests that failed.
    pub(super) fn errors(&self) -> usize {
        self.loads().map(|result| result.errors).sum::<usize>()
            + self.stall.as_ref().map_or(0, |stall| stall.errors.len())
            + self.rps.as_ref().map_or(0, |rps| rps.errors.len())
            + self.conversations.iter().map(|result| result.errors.len()).sum::<usize>()
    }

    fn loads(&self) -> impl Iterator<Item = &LoadResult> {
        let slots = self.slots.iter().flat_map(|slots| slots.fresh.iter().chain(&slots.held));
        [&self.decode, &self.edit, &self.prose, &self.prefill].into_iter().flatten().chain(slots)
    }

    /// One JSON object with settings, environment and every request's figures.
    pub(super) fn json(&self) -> String {
        let mut value = json!({
            "settings": self.environment.settings,
            "environment": {
                "date": self.environment.date,
                "server": self.environment.server,
                "client": self.environment.client,
            },
            "results": {
                "decode": self.decode,
                "edit": self.edit,
                "prose": self.prose,
                "prefill": self.prefill,
                "stall": self.stall,
                "rps": self.rps,
                "slots": self.slots,
            },
            "errors": self.errors(),
            "notes": self.notes,
        });
        for result in &self.conversations {
            value["results"][result.load.scenario.name()] = json!(result);
        }
        format!("{value:#}\n")
    }

    /// Tables.
    pub(super) fn text(&self) -> String {
        let text_of = |value: &Value| match value {
            Value::String(text) => text.clone(),
            Value::Null => "-".to_owned(),
            other => other.to_string(),
        };
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "server {}, model {}, {} slots of {} tokens; {}",
            text_of(&self.environment.server["build_info"]),
            text_of(&self.environment.settings["model"]),
            text_of(&self.environment.server["slots"]),
            text_of(&self.environment.server["context_per_slot"]),
            self.environment.date,
        );
        if !self.decode.is_empty() {
            text += &format!("\ndecode\n{}", decode_table(&self.decode));
        }
        for (name, results) in [("edit", &self.edit), ("prose", &self.prose)] {
            if !results.is_empty() {
                text += &format!("\n{name}\n{}", speculation_table(results));
            }
        }
        if !self.prefill.is_empty() {
            text += &format!("\n{}", self.prefill_table());
        }
        if let Some(stall) = &self.stall {
            text += &format!("\n{}", stall_table(stall));
        }
        if let Some(rps) = &self.rps {
            text += &format!("\n{}", rps_table(rps));
        }
        for result in &self.conversations {
            text += &format!("\n{}", conversation_table(result));
        }
        if let Some(slots) = &self.slots {
            text += &format!("\nslots: before\n{}", decode_table(&slots.fresh));
            text += &format!(
                "slots: after each of {} held a conversation\n{}",
                slots.slots,
                decode_table(&slots.held)
            );
        }
        for line in self.notes.iter().chain(&self.error_lines()) {
            let _ = writeln!(text, "\n{line}");
        }
        text
    }

    fn prefill_table(&self) -> String {
        let mut rows = vec![row([
            "prompt tokens",
            "cached",
            "TTFT ms",
            "max",
            "tok/s",
            "tok/s by server",
            "errors",
        ])];
        for result in &self.prefill {
            let m = &result.median;
            rows.push(row([
                &number(m.prompt_tokens, 0) as &str,
                &number(m.cached_tokens, 0),
                &number(m.ttft_ms.map(|s| s.p50), 1),
                &number(m.ttft_ms.map(|s| s.max), 1),
                &number(m.prefill_tokens_per_second, 1),
                &number(m.server_prefill_tokens_per_second, 1),
                &result.errors.to_string(),
            ]));
        }
        format!("prefill, one stream\n{}", aligned(&rows))
    }

    fn error_lines(&self) -> Vec<String> {
        let mut messages: Vec<&str> = self
            .loads()
            .flat_map(LoadResult::messages)
            .chain(self.conversations.iter().flat_map(|c| c.errors.iter().map(String::as_str)))
            .chain(self.stall.iter().flat_map(|s| s.errors.iter().map(String::as_str)))
            .chain(self.rps.iter().flat_map(|r| r.errors.iter().map(String::as_str)))
            .collect();
        messages.sort_unstable();
        messages.dedup();
        let hidden = messages.len().saturating_sub(SHOWN_ERRORS);
        let mut lines: Vec<String> =
            messages.iter().take(SHOWN_ERRORS).map(|message| format!("error: {message}")).collect();
        if hidden > 0 {
            lines.push(format!("error: {hidden} more kinds; --json has them all"));
        }
        lines
    }
}

fn decode_table(results: &[LoadResult]) -> String {
    let mut rows = vec![row([
        "streams",
        "prompt",
        "cached",
        "output",
        "tok/chunk",
        "tok/s",
        "tok/s",
        "TTFT ms",
        "",
        "between tokens, ms",
        "",
        "",
        "",
        "req/s",
        "errors",
    ])];
    rows.push(row([
        "", "tokens", "", "", "", "total", "a stream", "p50", "max", "p50", "p90", "p99", "max",
        "", "",
    ]));
    for result in results {
        let m = &result.median;
        rows.push(row([
            &result.load.streams.to_string() as &str,
            &number(m.prompt_tokens, 0),
            &number(m.cached_tokens, 0),
            &number(m.completion_tokens, 0),
            &number(m.completion_tokens.zip(m.chunks).map(|(t, c)| t / c.max(1.0)), 2),
            &number(m.total_tokens_per_second, 2),
            &number(m.stream_tokens_per_second, 2),
            &number(m.ttft_ms.map(|s| s.p50), 1),
            &number(m.ttft_ms.map(|s| s.max), 1),
            &number(m.inter_token_ms.map(|s| s.p50), 2),
            &number(m.inter_token_ms.map(|s| s.p90), 2),
            &number(m.inter_token_ms.map(|s| s.p99), 2),
            &number(m.inter_token_ms.map(|s| s.max), 2),
            &number(m.requests_per_second, 2),
            &result.errors.to_string(),
        ]));
    }
    aligned(&rows)
}

fn speculation_table(results: &[LoadResult]) -> String {
    let mut rows = vec![row([
        "streams",
        "prompt tokens",
        "output",
        "tok/s total",
        "tok/s a stream",
        "drafted",
        "accepted",
        "TTFT ms",
        "errors",
    ])];
    for result in results {
        let m = &result.median;
        rows.push(row([
            &result.load.streams.to_string() as &str,
            &number(m.prompt_tokens, 0),
            &number(m.completion_tokens, 0),
            &number(m.total_tokens_per_second, 2),
            &number(m.stream_tokens_per_second, 2),
            &number(m.drafted_tokens, 0),
            &number(m.accepted_tokens, 0),
            &number(m.ttft_ms.map(|s| s.p50), 1),
            &result.errors.to_string(),
        ]));
    }
    aligned(&rows)
}

fn conversation_table(result: &ConversationResult) -> String {
    let mut rows = vec![row([
        "requests",
        "prompt tokens",
        "cached",
        "computed",
        "new, about",
        "TTFT ms p50",
        "max",
    ])];
    for step in &result.steps {
        rows.push(row([
            &step.step as &str,
            &number(step.prompt_tokens, 0),
            &number(step.cached_tokens, 0),
            &number(step.computed_tokens, 0),
            &number(Some(step.new_tokens), 0),
            &number(step.ttft_ms.map(|s| s.p50), 1),
            &number(step.ttft_ms.map(|s| s.max), 1),
        ]));
    }
    let errors = match result.errors.len() {
        0 => String::new(),
        errors => format!(", {errors} errors"),
    };
    format!("{}{errors}\n{}", result.load.scenario.name(), aligned(&rows))
}

fn stall_table(stall: &StallResult) -> String {
    let rows = [
        row([
            "long prompt",
            "its TTFT ms",
            "chunks meanwhile",
            "gap ms p50",
            "p99",
            "max",
            "before: p50",
            "max",
            "errors",
        ]),
        row([
            &number(stall.long_prompt_tokens, 0) as &str,
            &number(stall.long_ttft_ms, 1),
            &number(stall.during_chunks, 0),
            &number(stall.during_p50_ms, 2),
            &number(stall.during_p99_ms, 2),
            &number(stall.during_max_ms, 2),
            &number(stall.before_ms.map(|s| s.p50), 2),
            &number(stall.before_ms.map(|s| s.max), 2),
            &stall.errors.len().to_string(),
        ]),
    ];
    format!("stall: a running stream while a long prompt arrives\n{}", aligned(&rows))
}

fn rps_table(rps: &RpsResult) -> String {
    let latency = |value: fn(Spread) -> f64| number(rps.latency_ms.map(value), 2);
    let rows = [
        row([
            "connections",
            "seconds",
            "requests",
            "req/s",
            "ms p50",
            "p90",
            "p99",
            "max",
            "errors",
        ]),
        row([
            &rps.connections.to_string() as &str,
            &number(Some(rps.seconds), 1),
            &rps.requests.to_string(),
            &number(Some(rps.requests_per_second), 1),
            &latency(|s| s.p50),
            &latency(|s| s.p90),
            &latency(|s| s.p99),
            &latency(|s| s.max),
            &rps.errors.len().to_string(),
        ]),
    ];
    format!("rps: requests of one token\n{}", aligned(&rows))
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// `-` where nothing was measured.
fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.decimals$}"))
}

/// Columns as wide as their widest cell, flush right, two spaces apart.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
        text += cells.join("  ").trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [row(["a", "long head"]), row(["1234", "5"])];
        assert_eq!(aligned(&rows), "   a  long head\n1234          5\n");
    }

    #[test]
    fn what_was_not_measured_is_a_dash() {
        assert_eq!(number(None, 2), "-");
        assert_eq!(number(Some(1.005), 1), "1.0");
    }
}
