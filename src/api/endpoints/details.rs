//! What a model is, as Ollama's clients read it.

use serde_json::{Value, json};

use crate::engine::ModelFacts;

/// Ollama's `details`; empty texts while the model is not loaded.
pub(super) fn details(facts: Option<&ModelFacts>) -> Value {
    let family = facts.map_or("", |f| f.architecture.as_str());
    json!({
        "parent_model": "",
        "format": "gguf",
        "family": family,
        "families": [family],
        "parameter_size": facts.map_or(String::new(), |f| parameter_size(f.n_params)),
        "quantization_level": facts.map_or("", |f| f.ftype.as_str()),
    })
}

/// `79.7B`, `596M`, `12K`.
fn parameter_size(n: u64) -> String {
    match n {
        1_000_000_000.. => format!("{:.1}B", n as f64 / 1e9),
        1_000_000.. => format!("{:.0}M", n as f64 / 1e6),
        _ => format!("{:.0}K", n as f64 / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::parameter_size;

    #[test]
    fn parameter_counts_read_as_people_write_them() {
        assert_eq!(parameter_size(79_674_391_296), "79.7B");
        assert_eq!(parameter_size(596_049_920), "596M");
        assert_eq!(parameter_size(12_345), "12K");
    }
}
