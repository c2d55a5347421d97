//! Section `sampling`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Sampling values for requests that do not set their own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SamplingSettings {
    /// 0 takes the most likely token; 1, the default, samples from the model's own distribution,
    /// which is what the Qwen3 models are published with.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub temperature: f32,
    /// Samples among the k most likely tokens; 0: all. 40 cuts the long tail of nonsense.
    #[schemars(range(max = 2_147_483_647))]
    pub top_k: u32,
    /// Samples among the most likely tokens whose probabilities add up to this; 1: all.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub top_p: f32,
    /// Drops tokens less likely than this share of the most likely one; 0: none. 0.01 removes
    /// only what temperature 1 should not pick.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_p: f32,
    /// Locally typical sampling: keeps the tokens closest to the expected surprise that add up to
    /// this probability; 1: off, as most models want it.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub typical_p: f32,
    /// Keeps tokens within this many standard deviations of the best logit; -1: off.
    #[schemars(range(min = -1.0, max = 1000.0))]
    pub top_n_sigma: f32,
    /// Probability of removing all top choices but the last (XTC); 0: off.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub xtc_probability: f32,
    /// Tokens above this probability count as top choices for XTC; above 0.5: off.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub xtc_threshold: f32,
    /// Half of the range in which the temperature moves with entropy; 0: off.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub dynatemp_range: f32,
    /// Exponent that maps entropy to temperature; used only with `dynatemp_range`.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub dynatemp_exponent: f32,
    /// Tokens that the penalties look back on; 0: off, -1: the whole context.
    #[schemars(range(min = -1))]
    pub repeat_last_n: i32,
    /// Divides the logits of repeated tokens; 1: off, because code and tables repeat rightly.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub repeat_penalty: f32,
    /// Subtracted once per occurrence of a token; 0: off.
    #[schemars(range(min = -100.0, max = 100.0))]
    pub frequency_penalty: f32,
    /// Subtracted from tokens that occurred; 0: off.
    #[schemars(range(min = -100.0, max = 100.0))]
    pub presence_penalty: f32,
    /// Strength of the DRY repetition penalty; 0: off.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub dry_multiplier: f32,
    /// Base of DRY's exponential growth.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub dry_base: f32,
    /// Repetitions up to this length, in tokens, are free of DRY's penalty.
    #[schemars(range(min = 0))]
    pub dry_allowed_length: i32,
    /// Tokens that DRY looks back on; 0: off, -1: the whole context.
    #[schemars(range(min = -1))]
    pub dry_penalty_last_n: i32,
    /// Strings that interrupt a repetition for DRY; by default those that end a line, a key, a
    /// quotation or an emphasis.
    pub dry_sequence_breakers: Vec<String>,
    /// Mirostat version: 0 (off), 1 or 2. It replaces the other samplers but the penalties and
    /// the temperature.
    #[schemars(range(max = 2))]
    pub mirostat: u8,
    /// Mirostat's target entropy (tau).
    #[schemars(range(min = 0.0, max = 100.0))]
    pub mirostat_tau: f32,
    /// Mirostat's learning rate (eta).
    #[schemars(range(min = 0.0, max = 1.0))]
    pub mirostat_eta: f32,
    /// The samplers in the order they apply; one that is not listed does nothing. The default is
    /// llama-server's order.
    pub samplers: Vec<SamplerKind>,
    /// Seed of the random generator; -1: a new one for every request.
    #[schemars(range(min = -1, max = 4_294_967_295_i64))]
    pub seed: i64,
    /// Most tokens generated for a request that sets no limit; -1: until the context is full.
    #[schemars(range(min = -1))]
    pub n_predict: i32,
}

impl Default for SamplingSettings {
    fn default() -> Self {
        use SamplerKind::*;
        Self {
            temperature: 1.0,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.01,
            typical_p: 1.0,
            top_n_sigma: -1.0,
            xtc_probability: 0.0,
            xtc_threshold: 0.1,
            dynatemp_range: 0.0,
            dynatemp_exponent: 1.0,
            repeat_last_n: 64,
            repeat_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            dry_multiplier: 0.0,
            dry_base: 1.75,
            dry_allowed_length: 2,
            dry_penalty_last_n: 64,
            dry_sequence_breakers: ["\n", ":", "\"", "*"].map(str::to_owned).to_vec(),
            mirostat: 0,
            mirostat_tau: 5.0,
            mirostat_eta: 0.1,
            samplers: vec![Penalties, Dry, TopNSigma, TopK, TypP, TopP, MinP, Xtc, Temperature],
            seed: -1,
            n_predict: -1,
        }
    }
}

/// The samplers of a chain, by llama-server's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // each is documented at its setting
pub enum SamplerKind {
    Penalties,
    Dry,
    TopNSigma,
    TopK,
    #[serde(alias = "typical_p")]
    TypP,
    TopP,
    MinP,
    Xtc,
    Temperature,
}

impl SamplerKind {
    /// The sampler of this name, in any of llama-server's spellings: `top_k`, `top-k`, `TOPK`.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name.trim().to_lowercase().replace('-', "_").as_str() {
            "penalties" => Self::Penalties,
            "dry" => Self::Dry,
            "top_n_sigma" | "top_nsigma" => Self::TopNSigma,
            "top_k" | "topk" => Self::TopK,
            "typ_p" | "typ" | "typical_p" | "typical" => Self::TypP,
            "top_p" | "topp" | "nucleus" => Self::TopP,
            "min_p" | "minp" => Self::MinP,
            "xtc" => Self::Xtc,
            "temperature" | "temp" => Self::Temperature,
            _ => return None,
        })
    }

    /// The sampler that llama-server's `--sampler-seq` has this letter for.
    pub fn from_letter(letter: char) -> Option<Self> {
        Some(match letter {
            'e' => Self::Penalties,
            'd' => Self::Dry,
            's' => Self::TopNSigma,
            'k' => Self::TopK,
            'y' => Self::TypP,
            'p' => Self::TopP,
            'm' => Self::MinP,
            'x' => Self::Xtc,
            't' => Self::Temperature,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samplers_have_their_own_name_and_llama_servers_spellings() {
        for kind in SamplingSettings::default().samplers {
            let name = serde_json::to_value(kind).unwrap();
            assert_eq!(SamplerKind::from_name(name.as_str().unwrap()), Some(kind));
        }
        for (name, kind) in [
            ("temp", SamplerKind::Temperature),
            ("Top-K", SamplerKind::TopK),
            ("typical", SamplerKind::TypP),
            ("nucleus", SamplerKind::TopP),
            ("top-nsigma", SamplerKind::TopNSigma),
        ] {
            assert_eq!(SamplerKind::from_name(name), Some(kind), "{name}");
        }
        assert_eq!(SamplerKind::from_name("top_q"), None);
        assert_eq!(SamplerKind::from_letter('q'), None);
    }
}
