//! How a request wants its tokens chosen: llama-server's sampling fields, by its names.

use serde::Deserialize;
use serde_json::Value;

use super::body::{BodyError, Integer};
use crate::config::{SamplerKind, SamplingSettings};

/// The fields as sent; absent ones take the settings' values.
#[derive(Debug, Default, Deserialize)]
pub(super) struct SamplingFields {
    temperature: Option<f64>,
    top_k: Option<Integer>,
    top_p: Option<f64>,
    min_p: Option<f64>,
    typical_p: Option<f64>,
    top_n_sigma: Option<f64>,
    xtc_probability: Option<f64>,
    xtc_threshold: Option<f64>,
    dynatemp_range: Option<f64>,
    dynatemp_exponent: Option<f64>,
    repeat_last_n: Option<Integer>,
    repeat_penalty: Option<f64>,
    /// What vLLM and OpenRouter call it.
    repetition_penalty: Option<f64>,
    frequency_penalty: Option<f64>,
    presence_penalty: Option<f64>,
    dry_multiplier: Option<f64>,
    dry_base: Option<f64>,
    dry_allowed_length: Option<Integer>,
    dry_penalty_last_n: Option<Integer>,
    dry_sequence_breakers: Option<Vec<String>>,
    mirostat: Option<Integer>,
    mirostat_tau: Option<f64>,
    mirostat_eta: Option<f64>,
    adaptive_target: Option<f64>,
    samplers: Option<Value>,
    min_keep: Option<Integer>,
    seed: Option<Integer>,
    ignore_eos: Option<bool>,
}

/// How tokens are chosen, without `logit_bias`.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// The settings' values with the request's over them. `n_predict` is the settings' own.
    pub values: SamplingSettings,
    /// Samplers never leave fewer candidates than this.
    pub min_keep: u32,
    /// End-of-generation tokens are never chosen.
    pub ignore_eos: bool,
}

impl From<&SamplingSettings> for Sampling {
    fn from(settings: &SamplingSettings) -> Self {
        Self { values: settings.clone(), min_keep: 0, ignore_eos: false }
    }
}

/// More sequence breakers than this cost time at every token.
const MAX_BREAKERS: usize = 32;

impl SamplingFields {
    /// The settings' values with the request's over them.
    pub(super) fn over(self, defaults: &SamplingSettings) -> Result<Sampling, BodyError> {
        let mut p = defaults.clone();
        number(&mut p.temperature, self.temperature, "temperature", 0.0, 100.0)?;
        number(&mut p.top_p, self.top_p, "top_p", 0.0, 1.0)?;
        number(&mut p.min_p, self.min_p, "min_p", 0.0, 1.0)?;
        number(&mut p.typical_p, self.typical_p, "typical_p", 0.0, 1.0)?;
        number(&mut p.top_n_sigma, self.top_n_sigma, "top_n_sigma", -1.0, 1000.0)?;
        number(&mut p.xtc_probability, self.xtc_probability, "xtc_probability", 0.0, 1.0)?;
        number(&mut p.xtc_threshold, self.xtc_threshold, "xtc_threshold", 0.0, 1.0)?;
        number(&mut p.dynatemp_range, self.dynatemp_range, "dynatemp_range", 0.0, 100.0)?;
        number(&mut p.dynatemp_exponent, self.dynatemp_exponent, "dynatemp_exponent", 0.0, 100.0)?;
        // The penalty divides logits: 0 would make them infinite.
        number(&mut p.repeat_penalty, self.repetition_penalty, "repetition_penalty", 0.01, 100.0)?;
        number(&mut p.repeat_penalty, self.repeat_penalty, "repeat_penalty", 0.01, 100.0)?;
        number(&mut p.frequency_penalty, self.frequency_penalty, "frequency_penalty", -2.0, 2.0)?;
        number(&mut p.presence_penalty, self.presence_penalty, "presence_penalty", -2.0, 2.0)?;
        number(&mut p.dry_multiplier, self.dry_multiplier, "dry_multiplier", 0.0, 100.0)?;
        // Frontends send 0 for a penalty that is off; llama-server takes its default below 1.
        let dry_base = self.dry_base.filter(|&base| base >= 1.0 || !base.is_finite());
        number(&mut p.dry_base, dry_base, "dry_base", 1.0, 1000.0)?;
        number(&mut p.mirostat_tau, self.mirostat_tau, "mirostat_tau", 0.0, 1000.0)?;
        number(&mut p.mirostat_eta, self.mirostat_eta, "mirostat_eta", 0.0, 1000.0)?;

        let most = i128::from(i32::MAX);
        // -1 is vLLM's way to say "all".
        let top_k = self.top_k.map(|k| if k.0 == -1 { Integer(0) } else { k });
        integer(&mut p.top_k, top_k, "top_k", 0, most)?;
        integer(&mut p.repeat_last_n, self.repeat_last_n, "repeat_last_n", -1, most)?;
        integer(&mut p.dry_allowed_length, self.dry_allowed_length, "dry_allowed_length", 0, most)?;
        integer(
            &mut p.dry_penalty_last_n,
            self.dry_penalty_last_n,
            "dry_penalty_last_n",
            -1,
            most,
        )?;
        integer(&mut p.mirostat, self.mirostat, "mirostat", 0, 2)?;
        let mut min_keep = 0;
        integer(&mut min_keep, self.min_keep, "min_keep", 0, most)?;

        if let Some(breakers) = self.dry_sequence_breakers {
            if breakers.len() > MAX_BREAKERS || breakers.iter().any(|b| b.len() > 1024) {
                return Err(BodyError::value(
                    "dry_sequence_breakers",
                    format!("`dry_sequence_breakers` takes {MAX_BREAKERS} strings of 1024 bytes"),
                ));
            }
            p.dry_sequence_breakers = breakers.into_iter().filter(|b| !b.is_empty()).collect();
        }
        if self.adaptive_target.is_some_and(|target| target >= 0.0) {
            return Err(BodyError::unsupported(
                "adaptive_target",
                "the adaptive-p sampler is not a part of this server; leave out `adaptive_target`",
            ));
        }
        match self.samplers {
            None | Some(Value::Null) => {}
            Some(named) => p.samplers = samplers(&named)?,
        }
        if let Some(seed) = self.seed {
            p.seed = fold_seed(seed).map_or(-1, i64::from);
        }
        Ok(Sampling { values: p, min_keep, ignore_eos: self.ignore_eos.unwrap_or(false) })
    }
}

/// Puts `sent` into `field` if it is there and within the range, both ends included.
#[allow(clippy::cast_possible_truncation)] // f32 is what the samplers compute with
fn number(
    field: &mut f32,
    sent: Option<f64>,
    name: &str,
    least: f64,
    most: f64,
) -> Result<(), BodyError> {
    match sent {
        None => Ok(()),
        Some(value) if (least..=most).contains(&value) => {
            *field = value as f32;
            Ok(())
        }
        Some(value) => Err(BodyError::value(
            name,
            format!("`{name}` must be between {least} and {most}, not {value}"),
        )),
    }
}

/// As `number`, for integers. A bound of `i32::MAX` is none: what is larger counts as that.
pub(super) fn integer<T: TryFrom<i128>>(
    field: &mut T,
    sent: Option<Integer>,
    name: &str,
    least: i128,
    most: i128,
) -> Result<(), BodyError> {
    let Some(Integer(value)) = sent else { return Ok(()) };
    let bounded = most < i128::from(i32::MAX);
    let taken = if bounded { value } else { value.min(most) };
    match T::try_from(taken) {
        Ok(in_type) if (least..=most).contains(&taken) => {
            *field = in_type;
            Ok(())
        }
        _ => Err(BodyError::value(
            name,
            if bounded {
                format!("`{name}` must be between {least} and {most}, not {value}")
            } else {
                format!("`{name}` must be at least {least}, not {value}")
            },
        )),
    }
}

/// An integer in `0..=most`, if it was sent.
pub(super) fn count(
    sent: Option<Integer>,
    name: &str,
    most: u32,
) -> Result<Option<u32>, BodyError> {
    let mut value = 0;
    integer(&mut value, sent, name, 0, most.into())?;
    Ok(sent.map(|_| value))
}

/// -1 and llama.cpp's 2^32-1 ask for a random seed; others are folded into 32 bits, so that the
/// same number always gives the same seed.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // folding is the point
fn fold_seed(Integer(seed): Integer) -> Option<u32> {
    if seed == -1 || seed == i128::from(u32::MAX) {
        return None;
    }
    let wide = seed as u64;
    Some(((wide >> 32) ^ wide) as u32)
}

fn samplers(sent: &Value) -> Result<Vec<SamplerKind>, BodyError> {
    let chain: Result<Vec<_>, _> = match sent {
        Value::Array(names) => names
            .iter()
            .map(|name| match name {
                Value::String(name) => by_name(name),
                _ => Err(BodyError::wrong_type("samplers", "`samplers` takes names as strings")),
            })
            .collect(),
        Value::String(names) if names.contains(['_', ';']) => {
            names.split(';').filter(|name| !name.is_empty()).map(by_name).collect()
        }
        Value::String(letters) => letters.chars().map(by_letter).collect(),
        _ => Err(BodyError::wrong_type(
            "samplers",
            "`samplers` takes a list of names or a string of letters",
        )),
    };
    match chain {
        Ok(chain) => match (1..chain.len()).find(|&i| chain[..i].contains(&chain[i])) {
            Some(again) => Err(BodyError::value(
                "samplers",
                format!("number {} of `samplers` was named before; name each once", again + 1),
            )),
            None => Ok(chain),
        },
        error => error,
    }
}

fn by_name(name: &str) -> Result<SamplerKind, BodyError> {
    SamplerKind::from_name(name).ok_or_else(|| unknown_sampler(name))
}

fn by_letter(letter: char) -> Result<SamplerKind, BodyError> {
    let unknown = || unknown_sampler(letter.encode_utf8(&mut [0; 4]));
    SamplerKind::from_letter(letter).ok_or_else(unknown)
}

fn unknown_sampler(name: &str) -> BodyError {
    let name: String = name.chars().take(40).collect();
    BodyError::value(
        "samplers",
        format!(
            "unknown sampler `{name}`; known: penalties (e), dry (d), top_n_sigma (s), top_k (k), \
             typ_p (y), top_p (p), min_p (m), xtc (x), temperature (t)"
        ),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::body::parse;
    use super::*;

    fn read(json: &str) -> Result<Sampling, BodyError> {
        parse::<SamplingFields>(json.as_bytes())?.over(&SamplingSettings::default())
    }

    #[test]
    fn absent_and_null_fields_take_the_settings_values() {
        let defaults = Sampling::from(&SamplingSettings::default());
        assert_eq!(read("{}").unwrap(), defaults);
        assert_eq!(
            read(r#"{"temperature":null,"seed":null,"samplers":null,"top_k":null}"#).unwrap(),
            defaults
        );
    }

    #[test]
    fn repetition_penalty_is_another_name_of_repeat_penalty() {
        let penalty = |json: &str| read(json).unwrap().values.repeat_penalty;
        assert_eq!(penalty(r#"{"repetition_penalty":1.9}"#), 1.9);
        assert_eq!(penalty(r#"{"repetition_penalty":1.9,"repeat_penalty":1.2}"#), 1.2);
        assert_eq!(penalty(r#"{"repetition_penalty":null,"repeat_penalty":1.2}"#), 1.2);
        let error = read(r#"{"repetition_penalty":0}"#).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("repetition_penalty"));
    }

    #[test]
    fn a_limit_larger_than_any_is_none() {
        let p = read(r#"{"top_k":99999999999,"repeat_last_n":1e30}"#).unwrap().values;
        assert_eq!((i64::from(p.top_k), i64::from(p.repeat_last_n)), (2147483647, 2147483647));
    }

    #[test]
    fn values_out_of_range_are_refused_with_their_field() {
        for (json, field) in [
            (r#"{"temperature":1e9}"#, "temperature"),
            (r#"{"temperature":-0.1}"#, "temperature"),
            (r#"{"top_p":1.5}"#, "top_p"),
            (r#"{"min_p":-1}"#, "min_p"),
            (r#"{"typical_p":2}"#, "typical_p"),
            (r#"{"top_k":-2}"#, "top_k"),
            (r#"{"repeat_last_n":-2}"#, "repeat_last_n"),
            (r#"{"repeat_penalty":0}"#, "repeat_penalty"),
            (r#"{"frequency_penalty":2.1}"#, "frequency_penalty"),
            (r#"{"presence_penalty":-3}"#, "presence_penalty"),
            (r#"{"mirostat":3}"#, "mirostat"),
            (r#"{"xtc_probability":1.1}"#, "xtc_probability"),
            (r#"{"samplers":["top_q"]}"#, "samplers"),
            (r#"{"samplers":"kz"}"#, "samplers"),
            (r#"{"samplers":"ktk"}"#, "samplers"),
            (r#"{"samplers":["temp","temperature"]}"#, "samplers"),
            (r#"{"samplers":5}"#, "samplers"),
            (r#"{"samplers":[1]}"#, "samplers"),
            (r#"{"adaptive_target":0.5}"#, "adaptive_target"),
        ] {
            let error = read(json).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(field), "{json}");
        }
    }

    #[test]
    fn ends_of_ranges_are_allowed() {
        let p = read(
            r#"{"temperature":100,"top_p":0,"top_k":-1,"frequency_penalty":-2,"dry_base":0,
                "adaptive_target":-1,"mirostat":2,"repeat_last_n":-1}"#,
        )
        .unwrap()
        .values;
        assert_eq!((p.temperature, p.top_p, p.top_k), (100.0, 0.0, 0));
        assert_eq!((p.dry_base, p.mirostat, p.repeat_last_n), (1.75, 2, -1));
    }

    #[test]
    fn samplers_are_named_or_spelt_in_letters() {
        use SamplerKind::*;
        let chain = |json: &str| read(json).unwrap().values.samplers;
        assert_eq!(chain(r#"{"samplers":["temperature","top_k"]}"#), [Temperature, TopK]);
        assert_eq!(chain(r#"{"samplers":"top_k;temperature"}"#), [TopK, Temperature]);
        assert_eq!(
            chain(r#"{"samplers":"edskypmxt"}"#),
            [Penalties, Dry, TopNSigma, TopK, TypP, TopP, MinP, Xtc, Temperature]
        );
        assert_eq!(chain(r#"{"samplers":[]}"#), []);
    }

    #[test]
    fn seeds_of_any_size_are_folded_and_minus_one_is_random() {
        let seed = |json: &str| {
            let seed = read(&format!(r#"{{"seed":{json}}}"#)).unwrap().values.seed;
            u32::try_from(seed).ok()
        };
        assert_eq!(seed("0"), Some(0));
        assert_eq!(seed("4294967294"), Some(4_294_967_294));
        assert_eq!(seed("-1"), None);
        assert_eq!(seed("4294967295"), None);
        assert_eq!(seed("9223372036854775807"), seed("9223372036854775807"));
        assert!(seed("-5").is_some() && seed("1e30").is_some());
    }
}
