//! Sampling values that a model file recommends.

use serde_json::{Value, json};

use super::gguf::{Gguf, MetaValue};
use crate::config::{Recommendation, SamplerKind};

/// llama.cpp's keys (`LLAMA_MODEL_META_KEY_SAMPLING_*`) with the settings they are for.
const KEYS: [(&str, &str); 12] = [
    ("general.sampling.sequence", "sampling.samplers"),
    ("general.sampling.top_k", "sampling.top_k"),
    ("general.sampling.top_p", "sampling.top_p"),
    ("general.sampling.min_p", "sampling.min_p"),
    ("general.sampling.xtc_probability", "sampling.xtc_probability"),
    ("general.sampling.xtc_threshold", "sampling.xtc_threshold"),
    ("general.sampling.temp", "sampling.temperature"),
    ("general.sampling.penalty_last_n", "sampling.repeat_last_n"),
    ("general.sampling.penalty_repeat", "sampling.repeat_penalty"),
    ("general.sampling.mirostat", "sampling.mirostat"),
    ("general.sampling.mirostat_tau", "sampling.mirostat_tau"),
    ("general.sampling.mirostat_eta", "sampling.mirostat_eta"),
];

/// The recommendations of a file, not checked yet.
pub(super) fn recommendations(gguf: &Gguf) -> Vec<Recommendation> {
    let recommended = |&(key, setting): &(&'static str, &'static str)| {
        let value = match &gguf.meta.get(key)?.value {
            // -1 is all of them, as 0 is.
            MetaValue::Signed(-1) if setting == "sampling.top_k" => json!(0),
            MetaValue::Signed(number) => json!(number),
            MetaValue::Unsigned(number) => json!(number),
            // Through text: 0.3_f32 would be 0.30000001192092896.
            MetaValue::Float(number) => {
                json!((*number as f32).to_string().parse::<f64>().unwrap_or(*number))
            }
            MetaValue::Text(names) => samplers(names),
            MetaValue::Bool(_) | MetaValue::Array(_) => Value::Null,
        };
        Some(Recommendation { key, setting, value })
    };
    KEYS.iter().filter_map(recommended).collect()
}

/// `top_k;temperature` as a list; a name that nobody knows stays as it is.
fn samplers(names: &str) -> Value {
    let names = names.split(';').map(|name| {
        SamplerKind::from_name(name).map_or_else(|| json!(name), |sampler| json!(sampler))
    });
    Value::Array(names.collect())
}
