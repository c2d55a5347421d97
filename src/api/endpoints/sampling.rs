//! Sampling parameters as `/props` and `/slots` show them.

use serde_json::{Value, json};

use crate::engine::SamplingParams;

/// Sampling parameters under llama-server's names.
pub(super) fn sampling(p: &SamplingParams) -> Value {
    let logit_bias: Vec<Value> =
        p.logit_bias.iter().map(|(token, bias)| json!({"token": token, "bias": bias})).collect();
    json!({
        "seed": p.seed.map_or(-1, i64::from),
        "temperature": short(p.temperature),
        "dynatemp_range": short(p.dynatemp_range),
        "dynatemp_exponent": short(p.dynatemp_exponent),
        "top_k": p.top_k,
        "top_p": short(p.top_p),
        "min_p": short(p.min_p),
        "top_n_sigma": short(p.top_n_sigma),
        "xtc_probability": short(p.xtc_probability),
        "xtc_threshold": short(p.xtc_threshold),
        "typical_p": short(p.typical_p),
        "repeat_last_n": p.repeat_last_n,
        "repeat_penalty": short(p.repeat_penalty),
        "presence_penalty": short(p.presence_penalty),
        "frequency_penalty": short(p.frequency_penalty),
        "dry_multiplier": short(p.dry_multiplier),
        "dry_base": short(p.dry_base),
        "dry_allowed_length": p.dry_allowed_length,
        "dry_penalty_last_n": p.dry_penalty_last_n,
        "dry_sequence_breakers": p.dry_sequence_breakers,
        "mirostat": p.mirostat,
        "mirostat_tau": short(p.mirostat_tau),
        "mirostat_eta": short(p.mirostat_eta),
        "min_keep": p.min_keep,
        "ignore_eos": p.ignore_eos,
        "logit_bias": logit_bias,
        "samplers": p.samplers,
    })
}

/// 0.95 rather than the 0.949999988079071 that a widened `f32` shows.
fn short(x: f32) -> Value {
    x.to_string().parse::<f64>().map_or(Value::Null, |x| json!(x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_show_the_digits_that_the_settings_have() {
        assert_eq!(short(0.95).to_string(), "0.95");
        assert_eq!(short(-1.0).to_string(), "-1.0");
        assert_eq!(short(f32::INFINITY), Value::Null);
    }
}
