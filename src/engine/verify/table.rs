//! The comparisons as a table for people.

use super::comparison::Comparison;
use crate::config::CacheType;

/// A line for each comparison below one with the names of the columns; the last column says whether
/// both sides agree. Shortened prompts and errors have lines of their own.
pub fn table(comparisons: &[Comparison]) -> String {
    let mut out = format!(
        "{:<9} {:<5} {:<17} {:>6} {:>6} {:>15} {:>15} {:>15}\n",
        "model", "kv", "case", "tokens", "time", "max (limit)", "rms (limit)", "same top (min)"
    );
    for comparison in comparisons {
        out += &format!(
            "{:<9} {:<5} {:<17} {:>6} {:>4.1} s ",
            comparison.model,
            kv(comparison.cache_type),
            comparison.case,
            comparison.tokens,
            comparison.seconds
        );
        let limits = &comparison.tolerance;
        match &comparison.outcome {
            Ok(found) => {
                let max = format!("{:.4} ({})", found.max_abs, limits.max_abs);
                let rms = format!("{:.4} ({})", found.rms, limits.rms);
                let top =
                    format!("{:.1} % ({:.0} %)", found.same_top * 100.0, limits.same_top * 100.0);
                let verdict = if found.passed { "ok" } else { "WRONG" };
                out += &format!("{max:>15} {rms:>15} {top:>15}  {verdict}\n");
            }
            Err(error) => out += &format!(" FAILED: {error}\n"),
        }
        if let Some(whole) = comparison.shortened_from {
            out += &format!("          shortened from {whole} tokens: this device is slow\n");
        }
    }
    out
}

/// llama.cpp's name of a type of the cache, of the two that are compared.
fn kv(kind: CacheType) -> &'static str {
    if kind == CacheType::Q8_0 { "q8_0" } else { "f16" }
}
